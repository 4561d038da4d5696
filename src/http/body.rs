//! Bounds of request bodies, and their formats.

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use hyper::{
    StatusCode,
    body::Body,
    header::{self, HeaderMap},
};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::Semaphore,
    time::timeout,
};

use super::{answer::Refusal, budget::no_room, limits::ServerLimits};
use crate::model::bytes_without_mark;

/// The path for uploading whole scans: it accepts larger bodies, and itself counts those of unknown length.
pub(super) const UPLOAD: &str = "/v1/scan";

/// How much of a file is in memory at a time, in bytes.
const PIECE: usize = 32 * 1024;

/// Bodies up to this size need no permit: they fit into the connection's buffer.
const SMALL: usize = 16 * 1024;

/// Streams a file, or another source, from its present position to its end.
pub fn pieces(source: impl AsyncRead + Unpin + Send) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(source, async |mut source| {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = source.read_buf(&mut piece).await?;
        Ok((read > 0).then(|| (piece.freeze(), source)))
    })
}

/// Bounds the body of every request to these routes, in bytes: at once if the client announces the length, else while
/// the body is being read.
///
/// The bodies of all requests together are bounded, too: a request waits for a while until its body fits.
pub(super) fn bounded(routes: Router, limits: ServerLimits) -> Router {
    let bounds = Bounds { limits, room: Arc::new(Semaphore::new(limits.bodies.max(limits.body))) };
    routes.layer(DefaultBodyLimit::max(limits.body)).layer(from_fn_with_state(bounds, check_announced))
}

#[derive(Clone)]
struct Bounds {
    limits: ServerLimits,
    /// Bytes.
    room: Arc<Semaphore>,
}

async fn check_announced(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let Bounds { limits, room } = bounds;
    let is_upload = request.uri().path() == UPLOAD;
    let most = if is_upload { limits.upload } else { limits.body };
    let size = request.body().size_hint();
    // The lower bound is Content-Length where there is one, 0 for a chunked body.
    if size.lower() > most as u64 {
        return too_large().into_response();
    }
    let largest =
        size.upper().and_then(|upper| usize::try_from(upper).ok()).map_or(most, |upper| upper.min(most));
    // An upload is written to a file as it arrives.
    if is_upload || largest <= SMALL {
        return next.run(request).await;
    }
    let bytes = u32::try_from(largest).unwrap_or(u32::MAX);
    match timeout(limits.queue, room.acquire_many_owned(bytes)).await {
        Ok(_room) => next.run(request).await,
        Err(_) => no_room(limits.queue).into_response(),
    }
}

/// Parses a JSON body, if the request declares it as such; unknown keys are ignored.
pub(super) fn document<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Refusal> {
    let content = headers.get(header::CONTENT_TYPE).and_then(|content| content.to_str().ok());
    let essence = content.and_then(|content| content.split(';').next()).unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be JSON; send it with `Content-Type: application/json`",
        ));
    }
    serde_json::from_slice(bytes_without_mark(body))
        .map_err(|error| Refusal::bad_request(format!("the body is not what it should be: {error}")))
}

pub(super) fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "the body is larger than this path takes; send less at a time",
    )
    .closing()
}

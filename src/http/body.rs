//! What a request may bring along: how much, and in which form.

use std::io;

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
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{answer::Refusal, limits::Limits};
use crate::model::bytes_without_mark;

/// Where whole scans are handed in: it takes more than other paths, and counts for itself what is not announced.
pub(super) const UPLOAD: &str = "/v1/scan";

/// How much of a file is in memory at a time, in bytes.
const PIECE: usize = 64 * 1024;

/// A file, or another source, of any length from where it stands to its end, as it is taken.
pub fn pieces(source: impl AsyncRead + Unpin + Send) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(source, async |mut source| {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = source.read_buf(&mut piece).await?;
        Ok((read > 0).then(|| (piece.freeze(), source)))
    })
}

/// Bounds the body of every request to these routes, in bytes: at once where the client says how much it is
/// going to send, else while it is being read.
pub(super) fn bounded(routes: Router, limits: Limits) -> Router {
    routes.layer(DefaultBodyLimit::max(limits.body)).layer(from_fn_with_state(limits, check_announced))
}

async fn check_announced(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let most = if request.uri().path() == UPLOAD { limits.upload } else { limits.body };
    // The lower bound is Content-Length where there is one, 0 for a chunked body.
    if request.body().size_hint().lower() > most as u64 {
        return too_large().into_response();
    }
    next.run(request).await
}

/// A JSON document in a request that says it is one; unknown keys are ignored.
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

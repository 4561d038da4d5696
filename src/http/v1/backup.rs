//! The database, to be kept elsewhere.

use std::io;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use futures_util::stream;
use hyper::header::{self, HeaderValue};
use tokio::{fs::File, io::AsyncReadExt};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, gated};
use crate::http::{answer::Refusal, auth::Gate, conversation::Leisure};

/// How much of the file is in memory at a time, in bytes.
const PIECE: usize = 64 * 1024;

pub(super) fn routes(gate: &Gate) -> OpenApiRouter<Api> {
    // It changes nothing; but all that is known of everybody at once is not for everybody.
    OpenApiRouter::new().routes(gated(gate, routes!(backup)))
}

/// A copy of the database as it is now: an SQLite file, to be put back into an empty `data_dir`.
#[utoipa::path(
    get, path = "/v1/backup", tag = "appliance",
    responses((status = 200, body = Vec<u8>, content_type = "application/vnd.sqlite3")),
)]
async fn backup(State(api): State<Api>, leisure: Leisure) -> Result<Response, Refusal> {
    let copy = File::from_std(api.queries.backup().await?);
    let length = copy.metadata().await.map(|data| data.len());
    leisure.take();
    let pieces = stream::try_unfold(copy, async |mut copy| {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = copy.read_buf(&mut piece).await?;
        Ok::<_, io::Error>((read > 0).then(|| (piece.freeze(), copy)))
    });
    let kind = HeaderValue::from_static("application/vnd.sqlite3");
    let name = HeaderValue::from_static("attachment; filename=\"portscan.db\"");
    let head = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)];
    let mut response = (head, Body::from_stream(pieces)).into_response();
    // So that a client sees when it was cut short.
    if let Ok(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(response)
}

//! A copy of the database, for a backup.

use std::convert::Infallible;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use hyper::{
    Method,
    header::{self, HeaderValue},
};
use tokio::fs::File;

use super::{Api, gated};
use crate::http::{
    answer::Refusal,
    auth::Gate,
    body,
    conversation::ExtendedTimeout,
    routes::{Routes, route},
};

pub(super) fn routes(gate: &Gate) -> Routes<Api> {
    // It changes nothing; but all that is known of all devices at once is for the owner alone.
    Routes::new().with(gated(gate, route!(backup)))
}

/// A copy of the database as it is now: an SQLite file, to be put back into an empty `data_dir`.
#[utoipa::path(
    get, path = "/v1/backup", tag = "appliance",
    responses((status = 200, body = Vec<u8>, content_type = "application/vnd.sqlite3")),
)]
async fn backup(
    method: Method,
    State(api): State<Api>,
    extended: ExtendedTimeout,
) -> Result<Response, Refusal> {
    let kind = HeaderValue::from_static("application/vnd.sqlite3");
    let name = HeaderValue::from_static("attachment; filename=\"portscan.db\"");
    let head = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)];
    if method == Method::HEAD {
        // The length is known only after making a copy, which may fill the disk: it is left out.
        let unknown = stream::empty::<Result<Bytes, Infallible>>();
        return Ok((head, Body::from_stream(unknown)).into_response());
    }
    let copy = File::from_std(api.store.backup().await?);
    let length = copy.metadata().await.map(|data| data.len());
    extended.enable();
    let mut response = (head, Body::from_stream(body::pieces(copy))).into_response();
    // So that a client notices a truncated copy.
    if let Ok(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(response)
}

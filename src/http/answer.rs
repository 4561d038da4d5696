//! What answers are made of: JSON, and errors that say how to mend them.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use hyper::{
    StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

/// A JSON document, ended by a newline for those who read it in a terminal.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(mut text) => {
            text.push(b'\n');
            let json = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, json)], text).into_response()
        }
        // Only maps with keys that are no strings cannot be written, and we have none.
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A "no": the status, and one sentence that says what is wrong and how to mend it.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody<'a> {
    /// What it is and how to mend it.
    pub(super) error: Cow<'a, str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error: error.into(), headers: Vec::new() }
    }

    pub(super) fn bad_request(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// Too much is asked for; the client may come back in so many seconds.
    pub(super) fn again_in(seconds: u64, error: impl Into<Cow<'static, str>>) -> Self {
        let later = HeaderValue::from(seconds);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error).with(header::RETRY_AFTER, later)
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Ends the connection, too: what else the client sends is not wanted.
    pub(super) fn closing(self) -> Self {
        self.with(header::CONNECTION, HeaderValue::from_static("close"))
    }
}

/// There is no such scan; or the database cannot be read, which may pass.
impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if let StoreError::UnknownScan(_) = error {
            return Self::new(
                StatusCode::NOT_FOUND,
                format!("{error}; ask for /v1/scans to see those there are"),
            );
        }
        tracing::warn!(%error, "cannot read the database");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &ErrorBody { error: self.error });
        response.headers_mut().extend(self.headers);
        response
    }
}

/// For a path that leads nowhere.
pub(super) async fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is nothing at this path; / lists what there is")
}

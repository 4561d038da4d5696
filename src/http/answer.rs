//! The parts of responses: JSON, and errors that name the remedy.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use hyper::{
    StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

/// A JSON document that ends with a newline, for users who read it in a terminal.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(mut text) => {
            text.push(b'\n');
            let json = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, json)], text).into_response()
        }
        // Only maps with keys other than strings cannot be serialized, and there are none.
        Err(error) => {
            tracing::error!(%error, "failed to serialize a response as JSON; answering 500");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// An error response: the status, and one sentence that says what is wrong and how to mend it.
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

    /// The server is busy; the client may retry after this number of seconds.
    pub(super) fn again_in(seconds: u64, error: impl Into<Cow<'static, str>>) -> Self {
        let later = HeaderValue::from(seconds);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error).with(header::RETRY_AFTER, later)
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Also closes the connection, because nothing else that the client sends would be read.
    pub(super) fn closing(self) -> Self {
        self.with(header::CONNECTION, HeaderValue::from_static("close"))
    }
}

/// The scan does not exist (404), or the database cannot be read, which may pass (503).
impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if let StoreError::UnknownScan(_) = error {
            return Self::new(StatusCode::NOT_FOUND, format!("{error}; /v1/scans lists all scans"));
        }
        tracing::warn!(%error, "failed to read the database; answering 503");
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

/// The response for a path that does not exist.
pub(super) async fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is nothing at this path; / lists the paths")
}

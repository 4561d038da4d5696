//! /v1/openapi.json: the description of all routes (`OpenAPI` 3.1).

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::header::{self, HeaderValue};

use crate::http::routes::{Routes, route};

/// What the code describes, if `base_url` is the default. A test compares the two, and writes the file (CONTRIBUTING.md).
const DOCUMENT: &str = include_str!("openapi.json");

/// How the paths below `base_url` begin in [`DOCUMENT`], and nothing else there.
const BELOW_BASE: &str = "\"/portscan/";

/// `base` is a text without characters that JSON escapes.
pub(in crate::http) fn routes(base: &str) -> Routes {
    let below = format!("\"/{base}/");
    Routes::new().with(route!(document)).with_state(Arc::from(below))
}

/// Returns this description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "appliance", responses((status = 200, content_type = "application/json")))]
async fn document(State(below): State<Arc<str>>) -> Response {
    // Made for each request: few clients ask for it, and fewer of them on an appliance with another path.
    let text = match &*below {
        BELOW_BASE => Bytes::from_static(DOCUMENT.as_bytes()),
        other => Bytes::from(DOCUMENT.replace(BELOW_BASE, other)),
    };
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

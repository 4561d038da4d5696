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

/// What a hub adds to the description. Without characters that JSON escapes.
const AT_HUB: &str = "This is a hub: it answers from its copies of the databases of the sites. The lists /v1/hosts, \
    /v1/diff, /v1/changes, /v1/scans, /v1/expected and /v1/runs are those of all sites, each element with `site`; \
    `?site=NAME` chooses one, also for the other paths below /v1. A device that other sites know, too, has `elsewhere`, \
    with `site`, `address`, `presence`, `first_seen` and `last_seen` of each. GET /v1/sites lists the sites. What a hub \
    forwards to a site, and what only the site does, is in docs/http-api.md.";

/// Where the sentences of a hub belong, before those that are there.
const DESCRIPTION: &str = "\"description\":\"";

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
    answer(text)
}

/// The description at a hub's root: of the paths of a site, with what a hub adds.
pub(in crate::http) fn description_at_hub() -> Response {
    answer(DOCUMENT.replacen(DESCRIPTION, &format!("{DESCRIPTION}{AT_HUB} "), 1).into())
}

fn answer(text: Bytes) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

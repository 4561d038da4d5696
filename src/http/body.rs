//! How much a request may bring along.

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use hyper::{StatusCode, body::Body};

use super::{answer::Refusal, limits::Limits};

/// Where whole scans are handed in: it takes more than other paths, and counts for itself what is not announced.
pub(super) const UPLOAD: &str = "/v1/scan";

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

pub(super) fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "the body is larger than this path takes; send less at a time",
    )
    .closing()
}

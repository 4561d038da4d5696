//! What Prometheus scrapes.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{StatusCode, header};

use super::answer::Refusal;
use crate::{metrics, service::queries::Queries};

/// `/metrics`. Open to all, like every read: Prometheus scrapes without a token by default.
pub(super) fn routes(queries: Arc<Queries>) -> Router {
    Router::new().route("/metrics", get(page)).with_state(queries)
}

async fn page(State(queries): State<Arc<Queries>>) -> Result<Response, Refusal> {
    let page = metrics::encode(&queries.snapshot().await).map_err(|error| {
        tracing::error!(%error);
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    })?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response())
}

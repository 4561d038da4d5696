//! Which path is whose.

use std::sync::Arc;

use axum::{
    Extension, Router,
    middleware::{from_fn, from_fn_with_state},
    response::Response,
    routing::get,
};
use hyper::StatusCode;
use serde::Serialize;
use tokio::sync::watch;

use super::{
    answer::{json, not_found},
    auth::Gate,
    body, dashboard,
    finish::finish,
    host_allowlist::{self, HostAllowlist},
    lanscan,
    limits::Limits,
    metrics, portscan,
    rows::Desks,
    v1,
};
use crate::{
    clock::Clock,
    config::Config,
    net::mdns::Advertised,
    service::{health::Health, queries::Queries, runner::Runs},
};

/// What the appliance's paths answer from.
pub struct Site {
    /// The present configuration. The paths under `base_url` are those of the start.
    pub config: watch::Receiver<Arc<Config>>,
    /// The host names under which requests are answered.
    pub allowlist: HostAllowlist,
    /// Decides about writes, around every route that changes something.
    pub gate: Gate,
    /// The names that clients may find it by.
    pub advertised: watch::Receiver<Advertised>,
    /// Answers the questions.
    pub queries: Arc<Queries>,
    /// Starts and stops scans.
    pub runs: Runs,
    /// Paces what clients may ask for.
    pub clock: Arc<dyn Clock>,
    /// What a request may bring along.
    pub limits: Limits,
}

/// Every path of the appliance, with all layers around.
pub fn router(site: Site) -> Router {
    let base = site.config.borrow().base_url.clone();
    let queries = Arc::clone(&site.queries);
    let imports = v1::Imports::new(site.queries.importer(), site.limits.upload);
    let api = v1::Api {
        queries: Arc::clone(&site.queries),
        runs: site.runs,
        imports,
        advertised: site.advertised,
        clock: Arc::clone(&site.clock),
    };
    let original = portscan::routes(&base, Arc::clone(&site.queries), site.gate.clone(), site.clock)
        .merge(lanscan::routes(Arc::clone(&site.queries)));
    let routes = common(&base, move || queries.health())
        .merge(metrics::routes(Arc::clone(&site.queries)))
        .merge(v1::routes(api, &site.gate, original));
    with_layers(body::bounded(routes, site.limits).layer(Extension(Desks::default())), site.allowlist)
}

/// The paths that belong to no API.
pub(super) fn common<H>(base: &str, health: H) -> Router
where
    H: Fn() -> Health + Clone + Send + Sync + 'static,
{
    dashboard::routes(base, health.clone())
        .route("/healthz", get(async move || healthz(&health())))
        .fallback(not_found)
}

/// The layers that all requests pass. Around the router as a whole: a layer given to its routes would not
/// see the `Allow` that the router itself adds to a 405.
pub(super) fn with_layers(routes: Router, allowlist: HostAllowlist) -> Router {
    Router::new()
        .fallback_service(routes)
        .layer(from_fn_with_state(allowlist, host_allowlist::check))
        .layer(from_fn(finish))
}

#[derive(Serialize)]
struct HealthBody<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    notices: &'a [String],
}

fn healthz(health: &Health) -> Response {
    let (code, status) =
        if health.is_ok() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "failing") };
    let error = (!health.is_ok()).then(|| health.problems.join("; "));
    json(code, &HealthBody { status, error, notices: &health.notices })
}

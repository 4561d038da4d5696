//! Which path is whose.

use std::sync::Arc;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use serde::Serialize;
use tokio::sync::watch;

use super::{
    answer::{Refusal, finish, json},
    auth::Gate,
    body, lanscan,
    limits::Limits,
    metrics,
    names::{self, Names},
    portscan, v1,
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
    /// Whose requests are answered.
    pub names: Names,
    /// Decides about writes: for [`require_authority`](super::require_authority) around every route that
    /// changes something.
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
    let original = portscan::routes(&base, Arc::clone(&site.queries), site.clock)
        .merge(lanscan::routes(Arc::clone(&site.queries)));
    let routes = common(&base, move || queries.health())
        .merge(metrics::routes(Arc::clone(&site.queries)))
        .merge(v1::routes(api, &site.gate, original));
    dressed(body::bounded(routes, site.limits), site.names)
}

/// The paths that belong to no API.
pub(super) fn common<H>(base: &str, health: H) -> Router
where
    H: Fn() -> Health + Clone + Send + Sync + 'static,
{
    let (base, told) = (base.to_owned(), health.clone());
    Router::new()
        .route("/", get(async move || index(index_page(&base, &told()))))
        .route("/healthz", get(async move || healthz(&health())))
        .fallback(not_found)
}

/// The layers that all requests pass. Around the router as a whole: a layer given to its routes would not
/// see the `Allow` that the router itself adds to a 405.
pub(super) fn dressed(routes: Router, names: Names) -> Router {
    Router::new()
        .fallback_service(routes)
        .layer(from_fn_with_state(names, names::check))
        .layer(from_fn(finish))
}

async fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is nothing at this path; / lists what there is")
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

fn index(page: String) -> Response {
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
}

/// A signpost for somebody who typed the address into a browser, and what the owner should know.
fn index_page(base: &str, health: &Health) -> String {
    let base = escaped(base);
    let told = health.problems.iter().chain(&health.notices);
    let told: String = told.map(|sentence| format!("<p><b>{}</b>\n", escaped(sentence))).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>portscan</title>\n\
         <h1>portscan</h1>\n<p>What listens on this network.</p>\n{told}<ul>\n\
         <li><a href=\"/{base}/json\">/{base}/json</a>: the devices that have a result\n\
         <li>/{base}/MAC/json: one device's open ports\n\
         <li>/{base}/HOST/PORT/json: one port, looked at now\n\
         <li><a href=\"/lanscan/json\">/lanscan/json</a>: the devices that it has found itself, if it looks for any\n\
         <li><a href=\"/v1/info\">/v1</a>: scans, runs and hosts; \
         <a href=\"/v1/openapi.json\">its description</a>\n\
         <li><a href=\"/healthz\">/healthz</a>: whether the appliance is well\n\
         <li><a href=\"/metrics\">/metrics</a>: its figures, for Prometheus\n</ul>\n</html>\n"
    )
}

/// A text as HTML, also within quotes.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            _ => html.push(c),
        }
    }
    html
}

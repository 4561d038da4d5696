//! The routes of all paths.

use std::{path::Path, sync::Arc};

use axum::{
    Extension, Router,
    body::Body,
    middleware::{from_fn, from_fn_with_state},
    response::Response,
    routing::get,
};
use hyper::{Request, StatusCode, header};
use serde::Serialize;
use tokio::sync::watch;

use super::{
    answer::{json, not_found},
    auth::Gate,
    body, dashboard,
    finish::finish,
    host_allowlist::{self, HostAllowlist},
    lanscan,
    limits::ServerLimits,
    metrics, portscan,
    routes::Routes,
    rows::ResponseQueues,
    token::Token,
    v1,
};
use crate::{
    clock::Clock,
    config::Config,
    net::mdns::Advertised,
    resolve::Resolve,
    service::{
        alerts::{AlertParts, Alerts},
        differences::Differences,
        directory::DeviceDirectory,
        feeds::Inventory,
        health::Health,
        import::Importer,
        probe::PortProber,
        runner::Runs,
        scanner::Scanner,
        snapshot::SnapshotReader,
    },
    store::Store,
};

/// The dependencies of the appliance's routes.
pub struct ApplianceParts {
    /// The present configuration. The paths under `base_url` are those of the start.
    pub config: watch::Receiver<Arc<Config>>,
    /// The host names under which requests are answered.
    pub allowlist: HostAllowlist,
    /// Decides which requests may write, around every route that changes something.
    pub gate: Gate,
    /// The names under which clients find the appliance.
    pub advertised: watch::Receiver<Advertised>,
    /// The database.
    pub store: Store,
    /// Probes single ports, and counts all probes.
    pub scanner: Scanner,
    /// Resolves the hosts that clients name.
    pub resolver: Arc<dyn Resolve>,
    /// The devices that the feeds name.
    pub inventory: watch::Receiver<Inventory>,
    /// The health of the appliance.
    pub health: watch::Receiver<Health>,
    /// Judges the machine.
    pub diagnose: v1::Diagnose,
    /// Reports the state of the alerts, and tests channels.
    pub alerts: Alerts,
    /// Imports reports of other tools.
    pub importer: Importer,
    /// Starts and stops scans.
    pub runs: Runs,
    /// The clock for rate limits.
    pub clock: Arc<dyn Clock>,
    /// The bounds for requests.
    pub limits: ServerLimits,
}

/// What it takes to serve a database that no appliance works on.
pub struct StoredParts {
    /// The database.
    pub store: Store,
    /// The configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// The token that authorises changes.
    pub token: Token,
    /// Resolves the hosts that clients name.
    pub resolver: Arc<dyn Resolve>,
    /// Starts and stops nothing: its receiver is gone, or refuses.
    pub runs: Runs,
    /// The clock for rate limits.
    pub clock: Arc<dyn Clock>,
}

impl ApplianceParts {
    /// The dependencies of the routes over a database that no appliance works on: no feed is read, no name announced, and
    /// no port probed. Reports are spooled in `directory`.
    pub fn of_store(parts: StoredParts, directory: &Path) -> Self {
        let StoredParts { store, config, token, resolver, runs, clock } = parts;
        let alerts = Alerts::new(AlertParts {
            store: store.clone(),
            config: config.clone(),
            resolver: Arc::clone(&resolver),
            clock: Arc::clone(&clock),
            hostname: None,
            runs: runs.clone(),
            site: None,
        });
        let allowlist = HostAllowlist::new(None, config.clone());
        // The values never change: the senders end here.
        Self {
            alerts,
            gate: Gate::new(token, allowlist.clone(), config.clone(), Arc::clone(&clock)),
            allowlist,
            config,
            advertised: watch::channel(Advertised::default()).1,
            importer: Importer::new(store.clone(), Arc::clone(&clock), directory),
            store,
            // Nothing is probed: no engine, and no thread of a prober's, is started.
            scanner: Scanner::stopped(),
            resolver,
            inventory: watch::channel(Inventory::default()).1,
            health: watch::channel(Health::default()).1,
            diagnose: Arc::new(Vec::new),
            runs,
            clock,
            limits: ServerLimits::default(),
        }
    }
}

/// All routes of the appliance, with all layers.
pub fn router(parts: ApplianceParts) -> Router {
    let (allowlist, limits) = (parts.allowlist.clone(), parts.limits);
    let routes = body::bounded(routes(parts).into_router(), limits);
    with_layers(routes.layer(Extension(ResponseQueues::default())), allowlist)
}

/// All routes of the appliance, and their description.
pub(super) fn routes(parts: ApplianceParts) -> Routes {
    let ApplianceParts {
        config,
        allowlist: _,
        gate,
        advertised,
        store,
        scanner,
        resolver,
        inventory,
        health,
        diagnose,
        alerts,
        importer,
        runs,
        clock,
        limits,
    } = parts;
    let base = config.borrow().base_url.clone();
    let differences = Differences::new(store.clone(), config.clone());
    let directory = DeviceDirectory::new(store.clone(), config.clone(), inventory.clone());
    let prober = PortProber {
        scanner: scanner.clone(),
        resolver,
        config: config.clone(),
        inventory: inventory.clone(),
    };
    let snapshots = SnapshotReader {
        store: store.clone(),
        scanner,
        directory: directory.clone(),
        config,
        inventory,
        importer: importer.clone(),
        differences: differences.clone(),
        clock: Arc::clone(&clock),
        alerts: alerts.clone(),
    };
    let api = v1::ApiParts {
        store: store.clone(),
        differences,
        directory: directory.clone(),
        snapshots: snapshots.clone(),
        health: health.clone(),
        diagnoses: v1::Diagnoses::new(diagnose),
        alerts,
        runs,
        imports: v1::Imports::new(importer, limits.upload),
        advertised,
        clock: Arc::clone(&clock),
    };
    let undescribed = common(&base, move || health.borrow().clone()).merge(metrics::routes(snapshots));
    Routes::new()
        .beside(undescribed)
        .merge(v1::routes(api, &gate, &base))
        .merge(portscan::routes(&base, store, prober, gate, clock))
        .merge(lanscan::routes(directory))
}

/// The routes that belong to no API.
pub(super) fn common<H>(base: &str, health: H) -> Router
where
    H: Fn() -> Health + Clone + Send + Sync + 'static,
{
    dashboard::routes(base, health.clone())
        .route("/healthz", get(async move || healthz(&health())))
        .fallback(not_found)
}

/// Adds the layers that all requests pass. They are around the router as a whole: a layer of its routes would not see
/// the `Allow` that the router itself adds to a 405.
pub(super) fn with_layers(routes: Router, allowlist: HostAllowlist) -> Router {
    Router::new()
        .fallback_service(routes)
        .layer(from_fn_with_state(allowlist, host_allowlist::check))
        .layer(from_fn(finish))
}

/// A request that this process itself sends to its own routes, with the owner's authority.
///
/// # Errors
/// The method or the path is malformed.
pub fn owners_request(
    token: &Token,
    (method, path): (&str, &str),
    content_type: &str,
    body: Body,
) -> Result<Request<Body>, hyper::http::Error> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, content_type)
        .header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()))
        .body(body)
}

#[derive(Serialize)]
struct HealthzBody<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    notices: &'a [String],
}

pub(super) fn healthz(health: &Health) -> Response {
    let (code, status) =
        if health.is_ok() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "failing") };
    let error = (!health.is_ok()).then(|| health.problems.join("; "));
    json(code, &HealthzBody { status, error, notices: &health.notices })
}

//! Layer 4: what a hub serves: each site below a path, as its appliance would, and all of them together.
//!
//! | file | content |
//! |---|---|
//! | `site` | one site: its copy's answers, and what only the site itself can do |
//! | `forward` | sends what changes something to the site |
//! | `selection` | `?site=NAME` |
//! | `chosen` | the paths that are one site's, at the root |
//! | `device` | one device, of the site where it was seen last |
//! | `owners` | which sites know a device |
//! | `adopt` | lets another database take a site's place |
//! | `forget` | drops a site that does not report any more |
//! | `everywhere` | what is expected at all sites |
//! | `joined` | the lists of all sites as one |
//! | `splice` | adds the site's name to each element of a list, as it passes |
//! | `elsewhere` | the other sites that know a device |
//! | `overview` | /v1/sites |
//! | `read` | has a site's copy answer |
//! | `metrics`, `exposition` | the metrics of all sites as one page |
//!
//! A site's answers come from the routes of an appliance over the hub's copy of its database, called within the
//! process. Nothing is sent into a network for a client that reads, and nothing here probes.

mod adopt;
mod chosen;
mod device;
mod elsewhere;
mod everywhere;
mod exposition;
mod forget;
mod forward;
mod joined;
mod metrics;
mod overview;
mod owners;
mod read;
mod selection;
mod site;
mod splice;

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use futures_util::future::BoxFuture;
use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use tokio::sync::watch;

use super::{
    answer::{Refusal, not_found},
    appliance::{healthz, with_layers},
    auth::Gate,
    body, dashboard,
    host_allowlist::HostAllowlist,
    limits::ServerLimits,
    rows::ResponseQueues,
    sender::Sender,
    v1::description_at_hub,
};
use crate::{
    clock::Clock,
    fleet::{ForwardedAnswer, ForwardedRequest, SiteName, SiteStatus},
    service::health::Health,
    store::Store,
};

use self::selection::SiteSelection;
pub use self::{
    everywhere::{Everywhere, SiteBehind},
    forget::{ForgetError, ForgetSite},
};

/// All sites, by name.
type Sites = Arc<BTreeMap<SiteName, HubSite>>;

/// The dependencies of a hub's routes.
pub struct HubParts {
    /// The sites; replaced as a whole when one is enrolled or revoked.
    pub sites: watch::Receiver<Arc<BTreeMap<SiteName, HubSite>>>,
    /// Drops a site.
    pub forget: Arc<dyn ForgetSite>,
    /// The expectations for all sites.
    pub everywhere: Everywhere,
    /// The host names under which requests are answered.
    pub allowlist: HostAllowlist,
    /// Decides which requests may write, before any is forwarded.
    pub gate: Gate,
    /// The health of the hub itself.
    pub health: watch::Receiver<Health>,
    /// The clock for how long counts are kept.
    pub clock: Arc<dyn Clock>,
    /// The bounds for requests.
    pub limits: ServerLimits,
}

/// A site, as a hub serves it.
#[derive(Clone)]
pub struct HubSite {
    /// What the hub knows of its connection.
    pub status: watch::Receiver<SiteStatus>,
    /// The routes of an appliance over the hub's copy of the site's database. Only reads reach it, each under the host
    /// name `localhost`. Its gate must trust no network, its scanner must be stopped.
    pub router: Router,
    /// The copy.
    pub store: Store,
    /// Sends a request to the site itself.
    pub forward: Arc<dyn ForwardRequest>,
}

/// Sends requests to a site.
pub trait ForwardRequest: Send + Sync {
    /// Sends the request and waits for the answer; it must end within the server's time limit for requests.
    fn forward(&self, request: ForwardedRequest) -> BoxFuture<'_, Result<ForwardedAnswer, ForwardError>>;
}

/// Why a site has not answered a forwarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It was not sent.
    #[error(
        "it is not connected to the hub now, and nothing was changed; try again later, or do it at the site"
    )]
    Unreachable,
    /// It was sent, and no answer came in time.
    #[error("it has not answered in time, and may have done it nevertheless; look before you repeat it")]
    TimedOut,
}

/// The state of the handlers.
#[derive(Clone)]
struct Hub(Arc<HubState>);

struct HubState {
    sites: watch::Receiver<Arc<BTreeMap<SiteName, HubSite>>>,
    forget: Arc<dyn ForgetSite>,
    everywhere: Everywhere,
    gate: Gate,
    counts: overview::CountCache,
    elsewhere: elsewhere::ElsewhereCache,
}

impl Deref for Hub {
    type Target = HubState;

    fn deref(&self) -> &HubState {
        &self.0
    }
}

impl HubState {
    /// The sites at this moment.
    fn sites(&self) -> Sites {
        Arc::clone(&self.sites.borrow())
    }

    /// Returns the name of the site that a request of the hub's owner is about.
    async fn site_of_owner(&self, name: &str, sender: Sender, request: Request) -> Result<SiteName, Refusal> {
        let (parts, _) = request.into_parts();
        self.gate.check(sender, parts.extensions.get(), &parts.headers).await?;
        name.parse().map_err(|_| no_such_site())
    }
}

/// All routes of a hub, with all layers.
pub fn hub_router(parts: HubParts) -> Router {
    let HubParts { sites, forget, everywhere, allowlist, gate, health, clock, limits } = parts;
    let counts = overview::CountCache::new(Arc::clone(&clock));
    let elsewhere = elsewhere::ElsewhereCache::new(clock);
    let hub = Hub(Arc::new(HubState { sites, forget, everywhere, gate, counts, elsewhere }));
    let healthz = async move || healthz(&health.borrow());
    let routes = dashboard::hub_routes()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics::all))
        .route("/v1/openapi.json", get(described).fallback(chosen::serve))
        .route("/v1/sites", get(overview::sites))
        .route("/v1/sites/{name}", delete(forget::forget))
        .route("/v1/sites/{name}/adopt", post(adopt::adopt))
        .route(
            "/v1/expected",
            get(everywhere::list)
                .patch(everywhere::change)
                .delete(everywhere::change)
                .fallback(everywhere::other),
        );
    let routes = joined::PATHS
        .into_iter()
        .fold(routes, |routes, path| routes.route(path, get(joined::list).fallback(chosen::serve)))
        .fallback(other)
        .with_state(hub)
        .layer(Extension(ResponseQueues::default()));
    with_layers(body::bounded(routes, limits), allowlist)
}

/// The description of the paths that a hub shares with its sites; with `?site=NAME`, the site's.
async fn described(hub: State<Hub>, sender: Sender, request: Request) -> Response {
    match SiteSelection::of(request.uri().query(), &hub.sites()) {
        Ok(selection) if !selection.is_named => description_at_hub(),
        _ => chosen::serve(hub, sender, request).await.into_response(),
    }
}

/// Serves the paths that are a site's. They are no routes with parameters: a site's own router would take these for
/// its own.
async fn other(hub: State<Hub>, sender: Sender, request: Request) -> Response {
    let path = request.uri().path();
    // Whoever has shortened the path of a site gets the page of all sites. Relative, as a proxy may serve it elsewhere.
    if let "/sites" | "/sites/" = path {
        let target = HeaderValue::from_static(if path.ends_with('/') { "../" } else { "./" });
        return (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, target)]).into_response();
    }
    if path.starts_with("/sites/") {
        return site::serve(&hub, sender, request).await.into_response();
    }
    if path.starts_with("/v1/") {
        return chosen::serve(hub, sender, request).await.into_response();
    }
    not_found().await.into_response()
}

/// The refusal for a site that does not exist.
fn no_such_site() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is no such site; /v1/sites lists all sites")
}

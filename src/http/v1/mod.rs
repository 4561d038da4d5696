//! /v1: portmantool's API with this project's additions.
//!
//! One file for each resource, each with its `routes`. A handler is registered by its description ([`utoipa::path`]), so
//! that /v1/openapi.json never describes a route that does not exist. A handler that changes something is registered by
//! [`gated`], and by nothing else.

mod alerts;
mod backup;
mod changes;
mod diff;
mod doctor;
mod events;
mod expected;
mod export;
mod health;
mod hosts;
mod identified;
mod import;
mod info;
mod openapi;
mod ports;
mod runs;
mod scan_state;
mod scans;
mod shapes;

use std::{ops::Deref, sync::Arc};

use axum::{Router, middleware::from_fn_with_state, routing::any};
use tokio::sync::watch;

pub(super) use self::{
    changes::is_change_id,
    doctor::Diagnoses,
    expected::{COMMENT_MAX, ExpectedRow, expected_additions, expected_removals},
    import::Imports,
    openapi::description_at_hub,
};
pub use self::{
    doctor::{Diagnose, DiagnosisBody},
    expected::{additions_body, removals_body},
};
use super::{
    answer::Refusal,
    auth::{self, Gate},
    routes::{Route, Routes},
};
use crate::{
    clock::Clock,
    net::mdns::Advertised,
    service::{
        alerts::Alerts, differences::Differences, directory::DeviceDirectory, health::Health, runner::Runs,
        snapshot::SnapshotReader,
    },
    store::Store,
};

/// The state of the handlers, behind one pointer, because the router clones it for each request.
#[derive(Clone)]
pub(super) struct Api(Arc<ApiParts>);

pub(super) struct ApiParts {
    pub(super) store: Store,
    pub(super) differences: Differences,
    pub(super) directory: DeviceDirectory,
    pub(super) snapshots: SnapshotReader,
    pub(super) health: watch::Receiver<Health>,
    pub(super) diagnoses: Diagnoses,
    pub(super) alerts: Alerts,
    pub(super) runs: Runs,
    pub(super) imports: Imports,
    pub(super) advertised: watch::Receiver<Advertised>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Deref for Api {
    type Target = ApiParts;

    fn deref(&self) -> &ApiParts {
        &self.0
    }
}

/// Returns all routes under /v1, the description of all of the appliance's routes included.
pub(super) fn routes(parts: ApiParts, gate: &Gate, base: &str) -> Routes {
    let own = Routes::new()
        .merge(alerts::routes(gate))
        .merge(backup::routes(gate))
        .merge(changes::routes())
        .merge(diff::routes())
        .merge(doctor::routes())
        .merge(events::routes())
        .merge(expected::routes(gate))
        .merge(import::routes(gate))
        .merge(health::routes())
        .merge(hosts::routes(gate))
        .merge(info::routes())
        .merge(runs::routes(gate))
        .merge(scans::routes(gate));
    // A missing id is an error of its own, not a path that does not exist.
    let incomplete = ["/v1/diff/", "/v1/scan/", "/v1/scans/"]
        .into_iter()
        .fold(Router::new(), |routes, path| routes.route(path, any(without_id)));
    own.beside(incomplete).with_state(Api(Arc::new(parts))).merge(openapi::routes(base))
}

async fn without_id() -> Refusal {
    Refusal::bad_request("there is no scan's id behind the last slash; write one that /v1/scans lists")
}

/// Marks a route that changes state: only clients that the [gate](Gate) allows may use it, and its description says so.
fn gated(gate: &Gate, route: Route<Api>) -> Route<Api> {
    #[cfg(test)]
    let route = route.with_authority();
    route.map(|handlers| handlers.route_layer(from_fn_with_state(gate.clone(), auth::require)))
}

//! A greeting, and the counts of what is known.

use axum::{extract::State, response::Response, routing::any};
use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

use super::Api;
use crate::http::answer::{Refusal, json};

pub(super) fn routes() -> OpenApiRouter<Api> {
    // The document names the methods one by one; whatever else may come is greeted, too.
    let named: UtoipaMethodRouter<Api> = routes!(hello);
    OpenApiRouter::new().routes(routes!(info)).routes(named.map(|_| any(hello)))
}

/// What the appliance knows.
#[derive(Serialize, ToSchema)]
struct InfoBody {
    /// When the newest complete scan ended, own or imported, in Unix seconds; 0 before the first.
    last_successful_import: i64,
    /// Devices that have a complete result.
    devices: u32,
    /// Open ports by all that is known.
    open: u64,
    /// Of those, how many are not expected to be.
    rogue: u64,
    /// Ports that are expected to be open and were not seen to be.
    missing: u64,
    /// Whether anything was ever accepted: before that, nothing is alarming.
    baseline: bool,
    /// The same time as `last_successful_import`, for people; `null` before the first.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_scan: Option<Timestamp>,
    /// The names that it is found by on its network (mDNS), such as `portscan.local`; none while that is off.
    names: Vec<String>,
}

/// How much is known, and how new it is.
#[utoipa::path(get, path = "/v1/info", tag = "appliance", responses((status = 200, body = InfoBody)))]
async fn info(State(api): State<Api>) -> Result<Response, Refusal> {
    let totals = api.store.totals().await?;
    let tally = api.differences.tally().await?;
    let body = InfoBody {
        last_successful_import: totals.last_scan.map_or(0, Timestamp::as_second),
        devices: totals.devices,
        open: tally.open,
        rogue: tally.rogue,
        missing: tally.missing,
        baseline: api.store.has_baseline().await?,
        last_scan: totals.last_scan,
        names: api.advertised.borrow().names.clone(),
    };
    Ok(json(StatusCode::OK, &body))
}

/// Greets, whatever the method: a client's first sign that it has the right address.
#[utoipa::path(
    method(get, head, options, post, put, patch, delete, trace), path = "/v1/hello", tag = "appliance",
    responses((status = 200, body = String, content_type = "text/plain; charset=utf-8", example = "hello\n")),
)]
async fn hello() -> &'static str {
    "hello\n"
}

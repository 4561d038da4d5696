//! A greeting, and counts of devices and ports.

use axum::{extract::State, response::Response, routing::any};
use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::http::{
    answer::{Refusal, json},
    routes::{Routes, route},
};

pub(super) fn routes() -> Routes<Api> {
    // The document names the methods one by one; any other method is answered, too.
    Routes::new().with(route!(info)).with(route!(hello).map(|_| any(hello)))
}

/// Counts of what the appliance knows.
#[derive(Serialize, ToSchema)]
struct InfoBody {
    /// When the latest complete scan ended, own or imported, in Unix seconds; 0 before the first.
    last_successful_import: i64,
    /// Devices that have a complete result.
    devices: u32,
    /// Open ports in the current state.
    open: u64,
    /// Open ports that are not expected to be open.
    rogue: u64,
    /// Ports that are expected to be open and were not found open.
    missing: u64,
    /// Whether the expected state has ever been set; before that, no difference raises an alert.
    baseline: bool,
    /// The same time as `last_successful_import`, for people; `null` before the first.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_scan: Option<Timestamp>,
    /// The appliance's names on its network (mDNS), such as `portscan.local`; empty while mDNS is off.
    names: Vec<String>,
}

/// Returns how many devices and ports are known, and the time of the latest scan.
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

/// Answers any method with a greeting, by which a client can check that it has the right address.
#[utoipa::path(
    method(get, head, options, post, put, patch, delete, trace), path = "/v1/hello", tag = "appliance",
    responses((status = 200, body = String, content_type = "text/plain; charset=utf-8", example = "hello\n")),
)]
async fn hello() -> &'static str {
    "hello\n"
}

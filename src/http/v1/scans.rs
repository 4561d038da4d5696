//! What was looked at, and what each look found.

use axum::{
    extract::{Path, State},
    response::Response,
};
use futures_util::TryStreamExt;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Api;
use crate::{
    http::{
        answer::{ErrorBody, Refusal},
        rows,
    },
    model::{Address, PortState, Protocol},
    store::{ScanHost, ScanId},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(scans)).routes(routes!(scan))
}

/// A scan.
#[derive(Serialize, ToSchema)]
struct ScanRow {
    /// When it began, in Unix seconds; one more than that of the scan before where the clock was behind.
    id: i64,
}

/// A port that a scan listed.
#[derive(Serialize, ToSchema)]
struct PortRow {
    #[schema(value_type = String, example = "192.168.1.7")]
    address: Address,
    port: u16,
    #[schema(value_type = String, example = "tcp")]
    protocol: Protocol,
    #[schema(value_type = String, example = "open")]
    state: PortState,
    scan_id: i64,
}

/// Every scan, by id.
#[utoipa::path(get, path = "/v1/scans", tag = "scans", responses((status = 200, body = Vec<ScanRow>)))]
async fn scans(State(api): State<Api>) -> Result<Response, Refusal> {
    let pages = api.queries.scans().map_ok(|ids| ids.into_iter().map(|ScanId(id)| ScanRow { id }));
    rows::array(pages).await
}

/// What a scan listed: the ports in another state than most of their host's. None if there is no such scan.
#[utoipa::path(
    get, path = "/v1/scan/{id}", tag = "scans",
    params(("id" = i64, Path, description = "Unix seconds, as /v1/scans tells them")),
    responses((status = 200, body = Vec<PortRow>), (status = 400, body = ErrorBody)),
)]
async fn scan(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let id = scan_id(&id)?;
    let pages = api.queries.scan(id);
    rows::array(pages.map_ok(move |hosts| hosts.into_iter().flat_map(move |host| port_rows(host, id)))).await
}

fn port_rows(host: ScanHost, scan: ScanId) -> impl Iterator<Item = PortRow> {
    let ScanHost { address, protocol, listed } = host;
    let listed =
        listed.into_iter().flat_map(|(first, last, state)| (first..=last).map(move |port| (port, state)));
    listed.map(move |(port, state)| PortRow {
        address: address.clone(),
        port,
        protocol,
        state,
        scan_id: scan.0,
    })
}

/// A scan's id in a path.
pub(super) fn scan_id(text: &str) -> Result<ScanId, Refusal> {
    text.parse().map(ScanId).map_err(|_| {
        Refusal::bad_request("the scan's id is malformed; write one of those that /v1/scans lists")
    })
}

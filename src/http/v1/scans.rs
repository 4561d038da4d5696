//! The scans and their results.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, export, gated,
    ports::{PortRow, port_rows},
};
use crate::{
    http::{
        answer::{ErrorBody, Refusal, json},
        auth::Gate,
        extract::{Path, Query},
        routes::{Routes, route},
        rows::{self, ResponseQueue},
    },
    model::ScanId,
    service::pages::pages,
    store::Pruned,
};

pub(super) fn routes(gate: &Gate) -> Routes<Api> {
    Routes::new()
        .with(route!(scans))
        .with(route!(scan))
        .with(gated(gate, route!(prune_all)))
        .with(gated(gate, route!(prune)))
}

/// A scan.
#[derive(Serialize, ToSchema)]
struct ScanRow {
    /// When it began, in Unix seconds; if the clock was set back, one more than the previous scan's id.
    id: i64,
}

/// The format of a scan.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ScanQuery {
    /// json (the default), csv, or xml: nmap's format, with hosts that were down and ports that are not listed
    #[param(value_type = Option<String>, example = "xml", pattern = "^(json|csv|xml)$")]
    format: Option<String>,
}

/// Lists all scans by id.
#[utoipa::path(get, path = "/v1/scans", tag = "scans", responses((status = 200, body = Vec<ScanRow>)))]
async fn scans(State(api): State<Api>, queue: ResponseQueue) -> Result<Response, Refusal> {
    let ids = pages(move |after| {
        let store = api.store.clone();
        async move { store.scan_ids(after).await }
    });
    let pages = ids.map_ok(|ids| ids.into_iter().map(|ScanId(id)| ScanRow { id }));
    rows::array(&queue, pages).await
}

/// Lists a scan's ports in another state than most ports of their host; empty if there is no such scan.
#[utoipa::path(
    get, path = "/v1/scan/{id}", tag = "scans",
    params(("id" = i64, Path, description = "Unix seconds, as listed by /v1/scans"), ScanQuery),
    responses(
        (status = 200, content(
            (Vec<PortRow> = "application/json"), (String = "text/csv"), (String = "application/xml"),
        )),
        (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody, description = "There is no such scan; only with xml"),
    ),
)]
async fn scan(
    State(api): State<Api>,
    queue: ResponseQueue,
    Path(id): Path<String>,
    Query(query): Query<ScanQuery>,
) -> Result<Response, Refusal> {
    let id = scan_id(&id)?;
    match query.format.as_deref() {
        None | Some("json") => rows::array(&queue, port_rows(api.store.clone(), id)).await,
        Some("csv") => export::csv(&queue, &api, id).await,
        Some("xml") => export::xml(&queue, &api, id).await,
        Some(_) => Err(Refusal::bad_request("the format is unknown; write json, csv or xml")),
    }
}

/// Whether to prune, or only to report what would be pruned.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DryRun {
    /// 1: only reports what would be dropped.
    #[param(value_type = Option<u8>, maximum = 1)]
    dry_run: Option<String>,
}

/// What would be dropped.
#[derive(Serialize, ToSchema)]
struct PrunedBody {
    /// Scans that would be dropped as a whole.
    scans: u64,
    /// Results of single devices.
    looks: u64,
}

/// Drops results that no port's current state depends on. Keeps running scans.
#[utoipa::path(
    delete, path = "/v1/scans", tag = "scans", params(DryRun),
    responses(
        (status = 200, description = "With `dry_run=1`: what would be dropped", body = PrunedBody),
        (status = 204, description = "The results are dropped"),
        (status = 400, body = ErrorBody),
    ),
)]
async fn prune_all(State(api): State<Api>, Query(options): Query<DryRun>) -> Result<Response, Refusal> {
    drop_before(&api, None, &options).await
}

/// Drops results that no port's current state depends on and that are older than `keep`.
#[utoipa::path(
    delete, path = "/v1/scans/{keep}", tag = "scans",
    params(("keep" = i64, Path, description = "Unix seconds: keeps scans that began since then"), DryRun),
    responses(
        (status = 200, description = "With `dry_run=1`: what would be dropped", body = PrunedBody),
        (status = 204, description = "The results are dropped"),
        (status = 400, body = ErrorBody),
    ),
)]
async fn prune(
    State(api): State<Api>,
    Path(keep): Path<String>,
    Query(options): Query<DryRun>,
) -> Result<Response, Refusal> {
    drop_before(&api, Some(scan_id(&keep)?), &options).await
}

async fn drop_before(api: &Api, keep: Option<ScanId>, options: &DryRun) -> Result<Response, Refusal> {
    match options.dry_run.as_deref() {
        None | Some("0") => {
            api.store.prune(keep).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Some("1") => {
            let Pruned { scans, looks } = api.store.would_prune(keep).await?;
            Ok(json(StatusCode::OK, &PrunedBody { scans, looks }))
        }
        Some(_) => Err(Refusal::bad_request("`dry_run` is 1, or left out")),
    }
}

/// Parses a scan's id in a path.
pub(super) fn scan_id(text: &str) -> Result<ScanId, Refusal> {
    text.parse().map(ScanId).map_err(|_| {
        Refusal::bad_request("the scan's id is malformed; write one of those that /v1/scans lists")
    })
}

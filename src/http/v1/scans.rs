//! The scans, and what each of them found.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, export, gated,
    ports::{PortRow, port_rows},
};
use crate::{
    http::{
        answer::{ErrorBody, Refusal, json},
        auth::Gate,
        extract::{Path, Query},
        rows::{self, ResponseQueue},
    },
    model::ScanId,
    service::pages::pages,
    store::Pruned,
};

pub(super) fn routes(gate: &Gate) -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(scans))
        .routes(routes!(scan))
        .routes(gated(gate, routes!(prune_all)))
        .routes(gated(gate, routes!(prune)))
}

/// A scan.
#[derive(Serialize, ToSchema)]
struct ScanRow {
    /// When it began, in Unix seconds; one more than that of the scan before where the clock was behind.
    id: i64,
}

/// How a scan is told.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ScanQuery {
    /// json (the default), csv, or xml: nmap's, with the hosts that were down and the ports that are not listed
    #[param(value_type = Option<String>, example = "xml", pattern = "^(json|csv|xml)$")]
    format: Option<String>,
}

/// Every scan, by id.
#[utoipa::path(get, path = "/v1/scans", tag = "scans", responses((status = 200, body = Vec<ScanRow>)))]
async fn scans(State(api): State<Api>, queue: ResponseQueue) -> Result<Response, Refusal> {
    let ids = pages(move |after| {
        let store = api.store.clone();
        async move { store.scan_ids(after).await }
    });
    let pages = ids.map_ok(|ids| ids.into_iter().map(|ScanId(id)| ScanRow { id }));
    rows::array(&queue, pages).await
}

/// What a scan listed: the ports in another state than most of their host's. None if there is no such scan.
#[utoipa::path(
    get, path = "/v1/scan/{id}", tag = "scans",
    params(("id" = i64, Path, description = "Unix seconds, as /v1/scans tells them"), ScanQuery),
    responses(
        (status = 200, content(
            (Vec<PortRow> = "application/json"), (String = "text/csv"), (String = "application/xml"),
        )),
        (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody, description = "There is no such scan; told only of xml"),
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
    /// 1: only tells what would go.
    #[param(value_type = Option<u8>, maximum = 1)]
    dry_run: Option<String>,
}

/// What would go.
#[derive(Serialize, ToSchema)]
struct PrunedBody {
    /// Scans that would be gone altogether.
    scans: u64,
    /// Looks at single devices.
    looks: u64,
}

/// Drops whatever does not contribute to the present state of any port. What is running stays.
#[utoipa::path(
    delete, path = "/v1/scans", tag = "scans", params(DryRun),
    responses(
        (status = 200, description = "With `dry_run=1`: what would go", body = PrunedBody),
        (status = 204, description = "It is gone"),
        (status = 400, body = ErrorBody),
    ),
)]
async fn prune_all(State(api): State<Api>, Query(options): Query<DryRun>) -> Result<Response, Refusal> {
    drop_before(&api, None, &options).await
}

/// Drops what does not contribute to the present state of any port and is older than that.
#[utoipa::path(
    delete, path = "/v1/scans/{keep}", tag = "scans",
    params(("keep" = i64, Path, description = "Unix seconds: what was begun since then stays"), DryRun),
    responses(
        (status = 200, description = "With `dry_run=1`: what would go", body = PrunedBody),
        (status = 204, description = "It is gone"),
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

/// A scan's id in a path.
pub(super) fn scan_id(text: &str) -> Result<ScanId, Refusal> {
    text.parse().map(ScanId).map_err(|_| {
        Refusal::bad_request("the scan's id is malformed; write one of those that /v1/scans lists")
    })
}

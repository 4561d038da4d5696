//! Starts, watches and stops scans.

use axum::{extract::State, response::Response};
use hyper::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, gated, scans::scan_id, shapes::DeviceText};
use crate::{
    http::{
        answer::{ErrorBody, Refusal, json},
        auth::Gate,
        extract::{Path, Query, number},
        routes::{Routes, route},
    },
    model::{Address, Device, Mac, PortSet, ScanId},
    service::{
        agenda::{Order, OrderError},
        runner::{LookView, RunError, RunView, Started},
    },
    store::ScanSummary,
};

/// Most runs that are listed at once.
const MOST: u32 = 200;

pub(super) fn routes(gate: &Gate) -> Routes<Api> {
    Routes::new()
        .with(gated(gate, route!(start_all)))
        .with(gated(gate, route!(start)))
        .with(route!(runs))
        .with(route!(run))
        .with(gated(gate, route!(stop)))
}

/// Restricts the scan to one device.
#[derive(Deserialize, utoipa::IntoParams)]
// A typo must not start a scan of all devices.
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RunQuery {
    /// Only this device: its MAC or address. The device must be known.
    #[param(value_type = Option<DeviceText>, inline, example = "B8:27:EB:AC:14:3E")]
    host: Option<String>,
    /// Only these ports of that device, instead of the configured ones.
    #[param(example = "22,80,8000-8100", pattern = "^[1-5]?[0-9]{1,4}(,[1-5]?[0-9]{1,4})*$")]
    ports: Option<String>,
}

impl RunQuery {
    fn order(self, scanner: Option<String>) -> Result<Order, Refusal> {
        let bad = |error: &dyn std::fmt::Display| Refusal::bad_request(error.to_string());
        let ports = self.ports.map(|ports| ports.parse()).transpose().map_err(|error| bad(&error))?;
        match self.host {
            Some(host) => {
                Ok(Order::Device { key: host.parse().map_err(|error| bad(&error))?, scanner, ports })
            }
            None if ports.is_some() => {
                Err(Refusal::bad_request("`ports` is for one device; say which by `host`, too"))
            }
            None => Ok(Order::Scanner(scanner)),
        }
    }
}

/// The runs that were started or already running.
#[derive(Serialize, ToSchema)]
struct StartedBody {
    /// The id of the first run, which is also the id of its scan.
    id: i64,
    runs: Vec<StartedRun>,
}

/// One scanner's run.
#[derive(Serialize, ToSchema)]
struct StartedRun {
    id: i64,
    scanner: String,
}

/// A run, current or finished.
#[derive(Serialize, ToSchema)]
struct RunBody {
    /// The id of its scan.
    id: i64,
    scanner: String,
    /// `run`: scheduled; `seen`: of devices that were just seen; `manual`: requested; `confirm`: repeated to confirm
    /// changes; `import`: made by another tool.
    kind: String,
    /// `running`, `complete`, `partial`, `failed`
    status: String,
    /// By the appliance's clock at that time.
    #[schema(value_type = String, format = DateTime)]
    started: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished: Option<Timestamp>,
    /// The requested TCP ports.
    #[schema(value_type = String, example = "1-65535")]
    ports: PortSet,
    /// Devices that are finished, with their results stored, and devices in all.
    hosts: Share,
    /// `null` once the run has ended.
    progress: Option<ProgressBody>,
}

/// The part that is done, and the whole.
#[derive(Serialize, ToSchema)]
pub(super) struct Share {
    pub(super) done: u64,
    pub(super) total: u64,
}

/// The progress of a run.
#[derive(Serialize, ToSchema)]
struct ProgressBody {
    /// Ports with a verdict, and ports in all, over all devices.
    ports: Share,
    /// Ports a second since the run was started or resumed.
    rate: f64,
    /// Seconds since the run was started or resumed.
    seconds: f64,
    /// The remaining time at this rate; `null` before the first verdict.
    seconds_left: Option<f64>,
    /// The devices that are being scanned, and those with a result that is being stored.
    devices: Vec<LookBody>,
}

/// The progress of one device's scan.
#[derive(Serialize, ToSchema)]
struct LookBody {
    #[schema(value_type = String, example = "192.168.1.7")]
    address: Address,
    #[schema(value_type = Option<String>, example = "B8:27:EB:AC:14:3E")]
    mac: Option<Mac>,
    /// The name that a feed gives the device.
    name: Option<String>,
    ports: Share,
    /// Open ports found so far.
    open: u32,
    /// Their numbers, in the order in which they answered; at most 256. None of them is confirmed yet.
    open_ports: Vec<u16>,
}

impl LookBody {
    fn of(look: &LookView) -> Self {
        let Device { address, mac, name } = look.device.clone();
        let ports = Share { done: look.settled.into(), total: look.ports.into() };
        Self { address, mac, name, ports, open: look.open, open_ports: look.open_ports.clone() }
    }
}

impl RunBody {
    fn of(summary: ScanSummary, view: Option<&RunView>) -> Self {
        // The store may have closed it since the runner was asked.
        let view = view.filter(|_| summary.finished.is_none());
        let seen = summary.hosts.into();
        Self {
            id: summary.id.0,
            scanner: summary.scanner,
            kind: summary.kind,
            status: summary.status,
            started: summary.started,
            finished: summary.finished,
            ports: summary.ports,
            hosts: view.map_or(Share { done: seen, total: seen }, |view| Share {
                done: view.counts.hosts_done as u64,
                total: view.counts.hosts as u64,
            }),
            progress: view.map(|view| ProgressBody {
                ports: Share { done: view.counts.ports_done, total: view.counts.ports },
                rate: tenths(view.rate),
                seconds: tenths(view.elapsed.as_secs_f64()),
                seconds_left: view.left.map(|left| tenths(left.as_secs_f64())),
                devices: view.looks.iter().map(LookBody::of).collect(),
            }),
        }
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        let status = match &error {
            RunError::Order(OrderError::UnknownScanner { .. } | OrderError::UnknownDevice(_)) => {
                StatusCode::NOT_FOUND
            }
            RunError::Order(OrderError::Unwanted(_)) => StatusCode::FORBIDDEN,
            RunError::Order(OrderError::NoTargets | OrderError::Paused)
            | RunError::NoClock
            | RunError::Unopened
            | RunError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        let where_to_look = match &error {
            RunError::Order(OrderError::UnknownDevice(_)) => " (/v1/hosts lists them)",
            RunError::Order(OrderError::Paused) => "; /healthz says why",
            _ => "",
        };
        Self::new(status, format!("{error}{where_to_look}"))
    }
}

/// Starts a run of every scanner now, or a scan of one device. Runs that are already running continue unchanged.
#[utoipa::path(
    post, path = "/v1/run", tag = "runs", params(RunQuery),
    responses(
        (status = 202, body = StartedBody),
        (status = 400, body = ErrorBody),
        (status = 404, description = "The device is not known", body = ErrorBody),
    ),
)]
async fn start_all(State(api): State<Api>, Query(query): Query<RunQuery>) -> Result<Response, Refusal> {
    begin(&api, query.order(None)?).await
}

/// Starts a run of one scanner now, or a scan of one device with the scanner's ports and timing.
#[utoipa::path(
    post, path = "/v1/run/{name}", tag = "runs",
    params(("name" = String, Path, description = "A [[scanner]]'s", example = "lan"), RunQuery),
    responses(
        (status = 202, body = StartedBody),
        (status = 400, body = ErrorBody),
        (status = 404, description = "There is no such scanner, or the device is not known", body = ErrorBody),
    ),
)]
async fn start(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<RunQuery>,
) -> Result<Response, Refusal> {
    begin(&api, query.order(Some(name))?).await
}

async fn begin(api: &Api, order: Order) -> Result<Response, Refusal> {
    let started = api.runs.start(order).await?;
    let first = started.first().map(|run| run.id).ok_or(RunError::Unopened)?;
    let runs = started.into_iter().map(|Started { id: ScanId(id), scanner }| StartedRun { id, scanner });
    Ok(json(StatusCode::ACCEPTED, &StartedBody { id: first.0, runs: runs.collect() }))
}

/// Selects the latest runs instead of the current ones.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct RunsQuery {
    /// The number of runs to list, the latest first, current or finished; at most 200.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64, example = 50)]
    last: Option<String>,
    /// Only runs before the one with this id.
    #[param(value_type = Option<i64>)]
    before: Option<String>,
}

/// Lists the current runs, oldest first, or the latest of all runs.
#[utoipa::path(
    get, path = "/v1/runs", tag = "runs", params(RunsQuery),
    responses((status = 200, body = Vec<RunBody>), (status = 400, body = ErrorBody)),
)]
async fn runs(State(api): State<Api>, Query(query): Query<RunsQuery>) -> Result<Response, Refusal> {
    let last = query.last.map(|last| number("last", &last)).transpose()?;
    let before = query.before.map(|id| scan_id(&id)).transpose()?;
    let views = api.runs.under_way().await?;
    if last.is_some() || before.is_some() {
        let most = last.map_or(MOST, |last| last.min(MOST));
        let scans = api.store.latest_scans(before, most).await?;
        let body = |scan: ScanSummary| {
            let view = views.iter().find(|view| view.counts.id == scan.id);
            RunBody::of(scan, view)
        };
        return Ok(json(StatusCode::OK, &scans.into_iter().map(body).collect::<Vec<_>>()));
    }
    let mut bodies = Vec::new();
    for view in views {
        let summary = api.store.scan_summary(view.counts.id).await?;
        bodies.extend(summary.map(|summary| RunBody::of(summary, Some(&view))));
    }
    Ok(json(StatusCode::OK, &bodies))
}

/// Returns one run, current or finished.
#[utoipa::path(
    get, path = "/v1/runs/{id}", tag = "runs",
    params(("id" = i64, Path, description = "The id in the answer to its start")),
    responses((status = 200, body = RunBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
async fn run(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let id = scan_id(&id)?;
    let views = api.runs.under_way().await?;
    let summary = api.store.scan_summary(id).await?.ok_or_else(|| no_such_run(id))?;
    let view = views.iter().find(|view| view.counts.id == id);
    Ok(json(StatusCode::OK, &RunBody::of(summary, view)))
}

/// Stops a run and keeps its results so far. Does nothing if the run has ended.
#[utoipa::path(
    delete, path = "/v1/runs/{id}", tag = "runs",
    params(("id" = i64, Path, description = "The id in the answer to its start")),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
async fn stop(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let id = scan_id(&id)?;
    if !api.runs.stop(id).await? && api.store.scan_summary(id).await?.is_none() {
        return Err(no_such_run(id));
    }
    Ok(StatusCode::NO_CONTENT)
}

fn no_such_run(ScanId(id): ScanId) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no run {id}; /v1/runs lists those under way"))
}

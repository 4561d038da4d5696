//! Scans under way: start, watch, stop.

use axum::{extract::State, response::Response};
use hyper::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, gated, scans::scan_id, shapes::DeviceText};
use crate::{
    http::{
        answer::{ErrorBody, Refusal, json},
        auth::Gate,
        extract::{Path, Query, number},
    },
    model::{Address, Mac, PortSet, ScanId},
    service::{
        agenda::{Order, OrderError},
        runner::{LookView, RunError, RunView, Started},
    },
    store::ScanSummary,
};

/// Most runs that are listed at once.
const MOST: u32 = 200;

pub(super) fn routes(gate: &Gate) -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(gated(gate, routes!(start_all)))
        .routes(gated(gate, routes!(start)))
        .routes(routes!(runs))
        .routes(routes!(run))
        .routes(gated(gate, routes!(stop)))
}

/// What to look at, if not all.
#[derive(Deserialize, utoipa::IntoParams)]
// A typo must not start a scan of all devices.
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RunQuery {
    /// Just this device: its MAC or address. It has to be known.
    #[param(value_type = Option<DeviceText>, inline, example = "B8:27:EB:AC:14:3E")]
    host: Option<String>,
    /// Just these ports of that device, whatever is configured.
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

/// What was started, or was under way already.
#[derive(Serialize, ToSchema)]
struct StartedBody {
    /// The first one's id: that of its scan.
    id: i64,
    runs: Vec<StartedRun>,
}

/// One scanner's run.
#[derive(Serialize, ToSchema)]
struct StartedRun {
    id: i64,
    scanner: String,
}

/// A run, under way or over.
#[derive(Serialize, ToSchema)]
struct RunBody {
    /// That of its scan.
    id: i64,
    scanner: String,
    /// `run`: by schedule; `seen`: of devices just seen; `manual`: asked for; `confirm`: a second look; `import`:
    /// somebody else's.
    kind: String,
    /// `running`, `complete`, `partial`, `failed`
    status: String,
    /// By the clock of then.
    #[schema(value_type = String, format = DateTime)]
    started: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished: Option<Timestamp>,
    /// The TCP ports that were asked for.
    #[schema(value_type = String, example = "1-65535")]
    ports: PortSet,
    /// Devices that are through, and how many there are.
    hosts: Share,
    /// `null` when it is over.
    progress: Option<ProgressBody>,
}

/// How much of how many.
#[derive(Serialize, ToSchema)]
pub(super) struct Share {
    pub(super) done: u64,
    pub(super) total: u64,
}

/// How far a run is.
#[derive(Serialize, ToSchema)]
struct ProgressBody {
    /// Ports with a verdict, and how many there are on all devices together.
    ports: Share,
    /// Ports a second since it was begun or resumed.
    rate: f64,
    /// Since it was begun or resumed.
    seconds: f64,
    /// At this rate; `null` before the first verdict.
    seconds_left: Option<f64>,
    /// The devices that are being looked at.
    devices: Vec<LookBody>,
}

/// How far a look at one device is.
#[derive(Serialize, ToSchema)]
struct LookBody {
    #[schema(value_type = String, example = "192.168.1.7")]
    address: Address,
    #[schema(value_type = Option<String>, example = "B8:27:EB:AC:14:3E")]
    mac: Option<Mac>,
    /// What a feed calls it.
    name: Option<String>,
    ports: Share,
    /// Open ports found so far.
    open: u32,
    /// Their numbers, in the order in which they answered; at most 256. None of them is confirmed yet.
    open_ports: Vec<u16>,
}

impl LookBody {
    fn of(look: &LookView) -> Self {
        let LookView { device, is_confirming: _, ports, settled, open, open_ports } = look.clone();
        let ports = Share { done: settled.into(), total: ports.into() };
        Self { address: device.address, mac: device.mac, name: device.name, ports, open, open_ports }
    }
}

impl RunBody {
    fn of(summary: ScanSummary, view: Option<&RunView>) -> Self {
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
                done: view.hosts_done as u64,
                total: view.hosts as u64,
            }),
            progress: view.map(|view| ProgressBody {
                ports: Share { done: view.ports_done, total: view.ports },
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

/// Starts every scanner's run now, or a scan of one device. What is under way already goes on as it is.
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

/// Starts one scanner's run now, or a scan of one device with its ports and timing.
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

/// Which runs, if not those under way.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct RunsQuery {
    /// So many of the latest, the latest first, be they over or not; at most 200 are told.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64, example = 50)]
    last: Option<String>,
    /// The latest before the one with this id.
    #[param(value_type = Option<i64>)]
    before: Option<String>,
}

/// The runs under way, oldest first; or the latest of all.
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
            let view = views.iter().find(|view| view.id == scan.id);
            RunBody::of(scan, view)
        };
        return Ok(json(StatusCode::OK, &scans.into_iter().map(body).collect::<Vec<_>>()));
    }
    let mut bodies = Vec::new();
    for view in views {
        let summary = api.store.scan_summary(view.id).await?;
        bodies.extend(summary.map(|summary| RunBody::of(summary, Some(&view))));
    }
    Ok(json(StatusCode::OK, &bodies))
}

/// One run, under way or over.
#[utoipa::path(
    get, path = "/v1/runs/{id}", tag = "runs",
    params(("id" = i64, Path, description = "What its start was answered with")),
    responses((status = 200, body = RunBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
async fn run(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let id = scan_id(&id)?;
    let views = api.runs.under_way().await?;
    let summary = api.store.scan_summary(id).await?.ok_or_else(|| no_such_run(id))?;
    let view = views.iter().find(|view| view.id == id);
    Ok(json(StatusCode::OK, &RunBody::of(summary, view)))
}

/// Stops a run; what it found so far stays. One that is over stays as it is.
#[utoipa::path(
    delete, path = "/v1/runs/{id}", tag = "runs",
    params(("id" = i64, Path, description = "What its start was answered with")),
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

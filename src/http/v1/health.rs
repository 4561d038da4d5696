//! The health of the appliance in figures, for its page. `/healthz` is for load balancers, `/metrics` for Prometheus.

use axum::{extract::State, response::Response};
use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Api;
use crate::{
    http::answer::json,
    model::{FeedFacts, LimitFacts, MemoryFacts, ProbeFacts, ScanStatus, ScannerFacts, Snapshot, StoreFacts},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(health))
}

/// How the appliance is. What is counted is counted since it was started.
#[derive(Serialize, ToSchema)]
struct HealthBody {
    /// The version that runs.
    version: &'static str,
    /// What keeps it from its work, one sentence each with the remedy.
    problems: Vec<String>,
    /// What its owner may want to know, one sentence each.
    notices: Vec<String>,
    clock: ClockBody,
    /// When the newest complete scan ended; `null` before the first.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_scan: Option<Timestamp>,
    scanners: Vec<ScannerBody>,
    feeds: Vec<FeedBody>,
    database: DatabaseBody,
    /// `null` where the machine does not tell.
    memory: Option<MemoryBody>,
    probes: ProbesBody,
    /// Connects that this machine itself could not make; they were made again later.
    local_errors: Vec<LocalErrorBody>,
    /// `null` where the machine does not tell.
    limits: Option<LimitsBody>,
}

#[derive(Serialize, ToSchema)]
struct ClockBody {
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// Whether it has been set since boot, as far as the kernel knows. Scheduled scans wait for that, five minutes
    /// at most.
    synchronised: bool,
    /// Since the appliance was started.
    uptime_seconds: u64,
}

/// A configured scanner.
#[derive(Serialize, ToSchema)]
struct ScannerBody {
    name: String,
    /// From one start to the next.
    interval_seconds: u64,
    /// When its newest complete run ended; `null` before the first.
    #[schema(value_type = Option<String>, format = DateTime)]
    complete: Option<Timestamp>,
    /// How long its newest ended run took.
    took_seconds: Option<f64>,
    /// How that ended: `complete`, `partial` or `failed`.
    status: Option<&'static str>,
}

/// Where devices come from.
#[derive(Serialize, ToSchema)]
struct FeedBody {
    /// `hosts`, `discover:eth0` or a URL.
    source: String,
    /// Whether it is believed; one that is not is frozen.
    up: bool,
    /// Why not, or which of its entries are refused; empty when all is well.
    detail: String,
    /// Devices that it names, or named last.
    devices: usize,
    /// Entries that were refused.
    rejected: usize,
    /// Devices that are too many to be let in.
    held_back: usize,
}

/// The database and its log, on the disk.
#[derive(Serialize, ToSchema)]
struct DatabaseBody {
    /// Whether results reach the disk; if not, scanning waits.
    up: bool,
    bytes: u64,
    /// How large it was when the appliance was started.
    bytes_at_start: u64,
}

#[derive(Serialize, ToSchema)]
struct MemoryBody {
    /// That the appliance takes.
    resident_bytes: u64,
    /// The most that it took.
    peak_bytes: u64,
    /// That the machine can still give.
    available_bytes: u64,
    /// That the machine has.
    total_bytes: u64,
}

#[derive(Serialize, ToSchema)]
struct ProbesBody {
    accepted: u64,
    refused: u64,
    silent: u64,
    unreachable: u64,
    /// Not made because their moment had passed; others took their place.
    not_started: u64,
    /// Under way.
    in_flight: u32,
    /// Devices being looked at.
    hosts: u32,
    /// Sockets that may be open now: the limit, or less while this machine cannot keep up.
    window: u32,
}

#[derive(Serialize, ToSchema)]
struct LocalErrorBody {
    kind: &'static str,
    count: u64,
}

/// What the machine allows.
#[derive(Serialize, ToSchema)]
struct LimitsBody {
    /// File descriptors of the appliance.
    descriptors: u32,
    /// Sockets that probes may have open.
    sockets: u32,
    /// Local ports to connect from.
    local_ports: u32,
    /// A firewall's table of connections, where one is at work.
    conntrack: Option<TableBody>,
}

#[derive(Serialize, ToSchema)]
struct TableBody {
    /// Everybody's connections in it.
    entries: u32,
    max: u32,
    /// Probes that may stay without an answer, for its sake.
    silent_per_second: u32,
}

/// How the appliance is, in figures.
#[utoipa::path(get, path = "/v1/health", tag = "appliance", responses((status = 200, body = HealthBody)))]
async fn health(State(api): State<Api>) -> Response {
    let Snapshot { probes, local_errors, limits, memory, feeds, store, scanners, .. } =
        api.snapshots.own_facts().await;
    let health = api.health.borrow().clone();
    let clock = ClockBody {
        time: api.clock.wall(),
        synchronised: api.clock.is_synchronised(),
        uptime_seconds: api.clock.now().since_start().as_secs(),
    };
    let body = HealthBody {
        version: env!("CARGO_PKG_VERSION"),
        problems: health.problems,
        notices: health.notices,
        clock,
        last_scan: store.last_scan,
        scanners: scanners.into_iter().map(ScannerBody::of).collect(),
        feeds: feeds.into_iter().map(FeedBody::of).collect(),
        database: DatabaseBody::of(store),
        memory: memory.map(MemoryBody::of),
        probes: ProbesBody::of(probes),
        local_errors: local_errors.into_iter().map(|(kind, count)| LocalErrorBody { kind, count }).collect(),
        limits: limits.map(LimitsBody::of),
    };
    json(StatusCode::OK, &body)
}

impl ScannerBody {
    fn of(scanner: ScannerFacts) -> Self {
        let ScannerFacts { name, interval, complete, took, status } = scanner;
        Self {
            name,
            interval_seconds: interval.as_secs(),
            complete,
            took_seconds: took.map(|took| took.as_secs_f64()),
            status: status.map(ScanStatus::as_str),
        }
    }
}

impl FeedBody {
    fn of(feed: FeedFacts) -> Self {
        let FeedFacts { source, up, detail, devices, rejected, held_back } = feed;
        Self { source, up, detail, devices, rejected, held_back }
    }
}

impl DatabaseBody {
    const fn of(store: StoreFacts) -> Self {
        Self { up: store.up, bytes: store.bytes, bytes_at_start: store.opened_bytes }
    }
}

impl MemoryBody {
    const fn of(memory: MemoryFacts) -> Self {
        let MemoryFacts { resident, peak, available, total } = memory;
        Self { resident_bytes: resident, peak_bytes: peak, available_bytes: available, total_bytes: total }
    }
}

impl ProbesBody {
    const fn of(probes: ProbeFacts) -> Self {
        let ProbeFacts { accepted, refused, silent, unreachable, not_started, in_flight, hosts, window } =
            probes;
        Self { accepted, refused, silent, unreachable, not_started, in_flight, hosts, window }
    }
}

impl LimitsBody {
    fn of(limits: LimitFacts) -> Self {
        let LimitFacts { descriptors, sockets, local_ports, conntrack } = limits;
        let conntrack = conntrack.map(|table| TableBody {
            entries: table.entries,
            max: table.max,
            silent_per_second: table.silent_per_second,
        });
        Self { descriptors, sockets, local_ports, conntrack }
    }
}

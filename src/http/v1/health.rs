//! The health of the appliance in figures, for its page. `/healthz` is for load balancers, `/metrics` for Prometheus.

use axum::{extract::State, response::Response};
use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::{
    http::{
        answer::json,
        routes::{Routes, route},
    },
    model::{FeedFacts, LimitFacts, MemoryFacts, ProbeFacts, ScanStatus, ScannerFacts, Snapshot, StoreFacts},
};

pub(super) fn routes() -> Routes<Api> {
    Routes::new().with(route!(health))
}

/// The appliance's health. Counters start when the appliance starts.
#[derive(Serialize, ToSchema)]
struct HealthBody {
    /// The running version.
    version: &'static str,
    /// Problems that keep the appliance from working, one sentence each with the remedy.
    problems: Vec<String>,
    /// Notices for the owner, one sentence each.
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
    /// Connects that failed for a local reason; each was retried later.
    local_errors: Vec<LocalErrorBody>,
    /// `null` where the machine does not tell.
    limits: Option<LimitsBody>,
}

#[derive(Serialize, ToSchema)]
struct ClockBody {
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// Whether the kernel reports that the clock has been synchronised since boot. Scheduled scans wait for that,
    /// five minutes at most.
    synchronised: bool,
    /// Since the appliance was started.
    uptime_seconds: u64,
}

/// A configured scanner.
#[derive(Serialize, ToSchema)]
struct ScannerBody {
    name: String,
    /// The time from one start to the next.
    interval_seconds: u64,
    /// When its latest complete run ended; `null` before the first.
    #[schema(value_type = Option<String>, format = DateTime)]
    complete: Option<Timestamp>,
    /// How long its latest finished run took.
    took_seconds: Option<f64>,
    /// How that run ended: `complete`, `partial` or `failed`.
    status: Option<&'static str>,
}

/// A source of devices.
#[derive(Serialize, ToSchema)]
struct FeedBody {
    /// `hosts`, `discover:eth0` or a URL.
    source: String,
    /// Whether the source is up; the devices of one that is down stay as they were.
    up: bool,
    /// Why it is down, or which of its entries are refused; empty if there is no problem.
    detail: String,
    /// The number of devices in its last valid answer.
    devices: usize,
    /// The number of refused entries.
    rejected: usize,
    /// The number of devices that exceed its limit and are not accepted.
    held_back: usize,
}

/// The database and its log on the disk.
#[derive(Serialize, ToSchema)]
struct DatabaseBody {
    /// Whether results reach the disk; if not, scanning waits.
    up: bool,
    bytes: u64,
    /// Its size when the appliance was started.
    bytes_at_start: u64,
}

#[derive(Serialize, ToSchema)]
struct MemoryBody {
    /// Memory that the appliance uses.
    resident_bytes: u64,
    /// The most memory that it has used.
    peak_bytes: u64,
    /// Memory that the machine has available.
    available_bytes: u64,
    /// Memory of the machine.
    total_bytes: u64,
}

#[derive(Serialize, ToSchema)]
struct ProbesBody {
    accepted: u64,
    refused: u64,
    silent: u64,
    unreachable: u64,
    /// Probes that were not sent because they were late; others replaced them.
    not_started: u64,
    /// Probes in flight.
    in_flight: u32,
    /// Devices that are being scanned.
    hosts: u32,
    /// Sockets that may be open now: the limit, or fewer while this machine cannot keep up.
    window: u32,
}

#[derive(Serialize, ToSchema)]
struct LocalErrorBody {
    kind: &'static str,
    count: u64,
}

/// The machine's limits.
#[derive(Serialize, ToSchema)]
struct LimitsBody {
    /// File descriptors that the appliance may open.
    descriptors: u32,
    /// Sockets that probes may have open.
    sockets: u32,
    /// Local ports to connect from.
    local_ports: u32,
    /// The firewall's connection table, if one is active.
    conntrack: Option<TableBody>,
}

#[derive(Serialize, ToSchema)]
struct TableBody {
    /// All connections in it.
    entries: u32,
    max: u32,
    /// Unanswered probes a second that the table allows.
    silent_per_second: u32,
}

/// Returns the appliance's health in figures.
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

// The bodies leave out the facts that are metrics alone (`..`): a new metric does not change the API.

impl ScannerBody {
    fn of(scanner: ScannerFacts) -> Self {
        let ScannerFacts { name, interval, complete, took, status, .. } = scanner;
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
        let FeedFacts { source, up, detail, devices, rejected, held_back, .. } = feed;
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
        let MemoryFacts { resident, peak, available, total, .. } = memory;
        Self { resident_bytes: resident, peak_bytes: peak, available_bytes: available, total_bytes: total }
    }
}

impl ProbesBody {
    const fn of(probes: ProbeFacts) -> Self {
        let ProbeFacts {
            accepted, refused, silent, unreachable, not_started, in_flight, hosts, window, ..
        } = probes;
        Self { accepted, refused, silent, unreachable, not_started, in_flight, hosts, window }
    }
}

impl LimitsBody {
    fn of(limits: LimitFacts) -> Self {
        let LimitFacts { descriptors, sockets, local_ports, conntrack, .. } = limits;
        let conntrack = conntrack.map(|table| TableBody {
            entries: table.entries,
            max: table.max,
            silent_per_second: table.silent_per_second,
        });
        Self { descriptors, sockets, local_ports, conntrack }
    }
}

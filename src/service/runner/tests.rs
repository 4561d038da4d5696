//! The whole runner with a clock that starts in 2000, a real store and the real engine, on the loopback.
//!
//! Its time is tokio's, which stands still until the test advances it; the store and the scanner have threads of their
//! own and take real time.

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::{
    clock::SystemClock,
    config::Overrides,
    engine::Bounds,
    net::ConnectProber,
    resolve::{ResolveError, Resolving},
    service::{
        agenda::Order,
        feeds::{Known, SourceId},
    },
    store::FILE_NAME,
};

const SECOND: Duration = Duration::from_secs(1);

/// A machine without a battery, before the network sets its clock.
struct Boot {
    start: Instant,
    set: AtomicBool,
}

impl Clock for Boot {
    fn now(&self) -> Moment {
        Moment::from_start(self.start.elapsed())
    }

    fn wall(&self) -> Timestamp {
        let start = if self.is_synchronised() { "2026-06-01T00:00:00Z" } else { "2000-01-01T00:00:00Z" };
        start.parse::<Timestamp>().unwrap() + self.start.elapsed()
    }

    fn is_synchronised(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }
}

/// A resolver that knows no name.
struct NoNames;

impl Resolve for NoNames {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move { Err(ResolveError::Unknown(name.to_owned())) })
    }
}

struct Bench {
    dir: TempDir,
    store: Store,
    clock: Arc<Boot>,
    runs: Runs,
    /// Channels that keep the tasks going while they are open.
    _open: Box<dyn std::any::Any>,
    running: tokio::task::JoinHandle<Result<(), StoreError>>,
    stop: CancellationToken,
    /// While a blocking task is in progress, tokio's paused clock does not skip ahead.
    _still: std::sync::mpsc::Sender<()>,
}

const CONFIG: &str = "[feed]\nurl = []\n[[scanner]]\nname = \"lan\"\ninterval = \"1d\"\nports = \"1-20\"\n\
    [[device]]\nmatch = \"127.0.0.2-3\"\nscan = false\n";

fn known(address: &str, fresh: bool) -> Known {
    let device = Device { address: address.parse().unwrap(), mac: None, name: None };
    Known { device, source: SourceId::Hosts, fresh, since: Moment::ZERO }
}

impl Bench {
    /// Starts a runner on a machine that has just booted.
    fn start() -> Self {
        let (still, held) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || held.recv());
        let dir = tempfile::tempdir().unwrap();
        let system = SystemClock::start();
        let (store, writer) = Store::open(&dir.path().join(FILE_NAME), Arc::new(system)).unwrap();
        let prober = ConnectProber::start(NonZeroUsize::MIN, system).unwrap();
        let watch_links = prober.links().clone();
        let bounds = || Bounds { in_flight: 64, silent: None, full: false };
        let (scanner, thread) = Scanner::start(1, prober, system, bounds).unwrap();
        let file = Some((std::path::Path::new("test.toml"), CONFIG));
        let config = Config::load(&Overrides::default(), &|_| None, file).unwrap();
        let (config_sender, config) = watch::channel(Arc::new(config));
        let devices = vec![known("127.0.0.1", true), known("127.0.0.2", true), known("127.0.0.3", false)];
        let (inventory_sender, inventory) = watch::channel(Inventory { devices, ..Inventory::default() });
        let clock = Arc::new(Boot { start: Instant::now(), set: AtomicBool::new(false) });
        let stop = CancellationToken::new();
        let (runs, requests) = runs();
        let runner = Runner {
            store: store.clone(),
            scanner,
            watch: watch_links,
            clock: clock.clone(),
            resolver: Arc::new(NoNames),
            config,
            inventory,
            requests,
            leases: HostLeases::default(),
            recorded: crate::service::identify::recorded().0,
        };
        let running = tokio::spawn(runner.run(stop.clone()));
        let open = Box::new((config_sender, inventory_sender, thread, writer));
        Self { dir, store, clock, runs, _open: open, running, stop, _still: still }
    }

    async fn pass(&self, time: Duration) {
        for _ in 0..time.as_secs() {
            tokio::time::advance(SECOND).await;
            self.settle().await;
        }
    }

    /// Waits until both threads of the store have answered more requests than the runner can have sent since.
    async fn settle(&self) {
        for _ in 0..8 {
            self.store.ages().await.unwrap();
        }
        self.store.flush().await.unwrap();
    }

    fn count(&self, sql: &str) -> i64 {
        let database = Connection::open(self.dir.path().join(FILE_NAME)).unwrap();
        database.busy_timeout(Duration::from_secs(5)).unwrap();
        database.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Waits, with paused clocks, until the loopback has its result.
    async fn scanned(&self) {
        let key = known("127.0.0.1", true).device.key();
        for _ in 0..3000 {
            if self.store.latest(&key).await.unwrap().is_some() {
                return;
            }
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(10))).await.unwrap();
        }
        panic!("no result in half a minute");
    }

    async fn finish(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn waits_five_minutes_for_a_clock_that_is_never_set() {
    let bench = Bench::start();
    bench.pass(299 * SECOND).await;
    assert_eq!(bench.count("SELECT count(*) FROM scans"), 0);
    bench.pass(2 * SECOND).await;
    bench.scanned().await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn starts_when_the_clock_is_set_and_records_sightings() {
    let bench = Bench::start();
    bench.pass(10 * SECOND).await;
    assert_eq!(bench.count("SELECT count(*) FROM scans"), 0);
    bench.clock.set.store(true, Ordering::Relaxed);
    bench.pass(2 * SECOND).await;
    bench.scanned().await;
    assert_eq!(bench.count("SELECT count(*) FROM scans"), 1);
    let seen = |address| bench.count(&format!("SELECT count(*) FROM endpoints WHERE address = '{address}'"));
    assert_eq!(seen("127.0.0.2"), 1, "present, though it is never scanned");
    assert_eq!(seen("127.0.0.3"), 0, "a frozen source does not count as a sighting");
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_requested_run_waits_for_the_clock() {
    let bench = Bench::start();
    let order = Order::Scanner(None);
    let refused = bench.runs.start(order.clone()).await.unwrap_err();
    assert!(matches!(refused, RunError::NoClock), "{refused}");
    assert_eq!(bench.runs.under_way().await.unwrap(), []);
    bench.clock.set.store(true, Ordering::Relaxed);
    bench.pass(2 * SECOND).await;
    let started = bench.runs.start(order).await.unwrap();
    assert_eq!((started.len(), started[0].scanner.as_str()), (1, "lan"));
    bench.scanned().await;
    bench.finish().await;
}

#[test]
fn a_device_with_several_addresses_is_sighted_at_all_of_them() {
    let mac = "02:00:00:00:00:01".parse().ok();
    let with_mac = |address: &str| {
        let known = known(address, true);
        Known { device: Device { mac, ..known.device }, ..known }
    };
    let devices = vec![with_mac("10.0.0.5"), with_mac("10.0.0.9"), with_mac("fd00::5")];
    let (seen, reported) = sightings(&Inventory { devices, ..Inventory::default() }, &Config::default());
    assert_eq!(reported, []);
    let seen: Vec<_> = seen.iter().map(|device| (device.address.to_string(), device.mac)).collect();
    let expected = [("10.0.0.5", mac), ("10.0.0.9", mac), ("fd00::5", mac)];
    assert_eq!(seen, expected.map(|(address, mac)| (address.to_owned(), mac)));
}

//! The store's share of a finished host: a real file, committed as the appliance does, many hosts together.

use std::{fs, path::Path, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group};
use futures_util::future::join_all;
use portscan::{
    clock::{Clock, SystemClock},
    model::{
        Device, HostReport, HostStatus, Mac, PortFinding, PortSet, PortState, Protocol, Reason, ScanId,
        ScanKind, ScanStatus,
    },
    store::{DiskPace, FILE_NAME, Observation, Store, WriterThread},
};
use tokio::runtime::Runtime;

/// Finished in time for one commit: 16 are in progress at once, and a commit comes every 10 s.
const HOSTS: u8 = 32;
/// Commits when told to.
const PACE: DiskPace = DiskPace { commit: Duration::from_secs(3600), ..DiskPace::DEFAULT };
/// How many scans of each device are measured: some months of daily scans.
const SCANS: u16 = 100;

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(20);
    targets = hosts
}

fn hosts(criterion: &mut Criterion) {
    let clock = SystemClock::start();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (name, changes) in [("unchanged", false), ("changed", true)] {
        println!("store/{name} host: {:.0} bytes on disk", weigh(&runtime, changes));
        let dir = tempfile::tempdir().unwrap();
        let (store, threads) = open(dir.path());
        let mut scans = 0;
        criterion.bench_function(&format!("store/{name} host"), |bencher| {
            bencher.iter_custom(|times| {
                let start = clock.now();
                for _ in 0..times {
                    scans += 1;
                    runtime.block_on(scan(&store, if changes { scans } else { 0 }));
                }
                clock.now().since(start) / u32::from(HOSTS)
            });
        });
        threads.join().unwrap();
    }
}

/// The disk space of one more host, measured with the database closed and its log removed.
fn weigh(runtime: &Runtime, changes: bool) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let size_after = |scans: std::ops::Range<u16>| {
        let (store, threads) = open(dir.path());
        scans.for_each(|number| runtime.block_on(scan(&store, if changes { number } else { 0 })));
        threads.join().unwrap();
        fs::metadata(dir.path().join(FILE_NAME)).unwrap().len()
    };
    let first = size_after(0..1);
    let grown = u32::try_from(size_after(1..SCANS) - first).unwrap();
    f64::from(grown) / f64::from(SCANS - 1) / f64::from(HOSTS)
}

pub(super) fn open(dir: &Path) -> (Store, WriterThread) {
    Store::open_at_pace(&dir.join(FILE_NAME), Arc::new(SystemClock::start()), PACE).unwrap()
}

/// One scan of all hosts, from its begin, which is a commit of its own, to that of the last. Each change is one
/// port that no scan has seen before.
async fn scan(store: &Store, change: u16) {
    let scan = store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await.unwrap();
    let records = join_all((0..HOSTS).map(|host| store.record(observation(scan, host, change))));
    let ended = store.end_scan(scan, ScanStatus::Complete);
    // Requested after all of them, because it commits the earlier requests.
    let (recorded, ended, flushed) = tokio::join!(records, ended, store.flush());
    recorded.into_iter().chain([ended, flushed]).for_each(Result::unwrap);
}

fn observation(scan: ScanId, host: u8, change: u16) -> Observation {
    // No two hosts have the same result.
    let mut ports = vec![22, 80, 443, 8000 + u16::from(host)];
    ports.extend((change > 0).then_some(10_000 + change));
    look(scan, host.into(), &ports)
}

/// A whole look at a host that has these ports open.
pub(super) fn look(scan: ScanId, host: u16, ports: &[u16]) -> Observation {
    let [high, low] = host.to_be_bytes();
    let address = std::net::Ipv4Addr::new(198, 18, high, low).into();
    let device = Device { address, mac: Some(Mac::new([2, 0, 0, 0, high, low])), name: None };
    let open = |&port: &u16| PortFinding {
        port,
        state: PortState::Open,
        reason: Reason::SynAck,
        rtt: Some(Duration::from_micros(port.into())),
    };
    let report = HostReport {
        address: device.address.clone(),
        status: HostStatus::Up,
        coverage: PortSet::all(),
        default_state: PortState::Closed,
        default_reason: Reason::ConnRefused,
        findings: ports.iter().map(open).collect(),
        protocol: Protocol::Tcp,
        probes: 65_600,
        preparation: Duration::from_millis(12),
        scanning: Duration::from_millis(218_450),
        detail: String::new(),
    };
    let started = SystemClock::start().wall();
    Observation { scan, device, report, started, finished: started }
}

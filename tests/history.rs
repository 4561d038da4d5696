//! Writes a database as scans would leave it, without scanning.

use std::{net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use futures_util::future::join_all;
use portscan::{
    clock::{Clock, SystemClock},
    model::{
        Address, Device, HostReport, HostStatus, Mac, PortFinding, PortSet, PortState, Protocol, Reason,
        ScanId, ScanKind, ScanStatus,
    },
    store::{DiskPace, Observation, Store},
};

/// How many open ports each of [`devices`] has.
pub const OPEN: u16 = 10;

/// Looks that are stored at a time.
const AT_ONCE: usize = 256;

/// A device, and what every scan finds on it.
pub struct Found {
    pub mac: Mac,
    pub address: Address,
    /// All other ports are closed.
    pub open: Vec<u16>,
}

/// So many devices: `02:00:00:00:00:00` at 10.0.0.0 and those after it.
pub fn devices(count: u32) -> Vec<Found> {
    let device = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        let open = (0..OPEN).map(|index| 20 + index * 7 + (number % 97) as u16);
        Found { mac: Mac::new([2, 0, 0, a, b, c]), address: numbered(number), open: open.collect() }
    };
    (0..count).map(device).collect()
}

/// The address of this number in 10.0.0.0/8.
pub fn numbered(number: u32) -> Address {
    let [_, a, b, c] = number.to_be_bytes();
    Ipv4Addr::new(10, a, b, c).into()
}

/// Writes a database of so many complete scans of all ports, each of which has found this; the id of the last one.
pub fn write(path: &Path, scans: u32, found: &[Found]) -> ScanId {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pace = DiskPace { commit: Duration::ZERO, ..DiskPace::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let (store, writer) = Store::open_at_pace(path, Arc::clone(&clock), pace).unwrap();
    let last = runtime.block_on(async {
        let mut last = None;
        for _ in 0..scans {
            let scan = store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await.unwrap();
            for some in found.chunks(AT_ONCE) {
                let recorded = some.iter().map(|found| store.record(look(scan, found, clock.wall())));
                join_all(recorded).await.into_iter().for_each(Result::unwrap);
            }
            store.end_scan(scan, ScanStatus::Complete).await.unwrap();
            last = Some(scan);
        }
        last.expect("at least one scan")
    });
    drop(store);
    writer.join().unwrap();
    last
}

fn look(scan: ScanId, found: &Found, at: jiff::Timestamp) -> Observation {
    let finding = |&port| PortFinding { port, state: PortState::Open, reason: Reason::SynAck, rtt: None };
    let report = HostReport {
        address: found.address.clone(),
        status: HostStatus::Up,
        coverage: PortSet::all(),
        default_state: PortState::Closed,
        default_reason: Reason::ConnRefused,
        findings: found.open.iter().map(finding).collect(),
        protocol: Protocol::Tcp,
        probes: 65_535,
        preparation: Duration::ZERO,
        scanning: Duration::from_secs(200),
        detail: String::new(),
    };
    let device = Device { address: found.address.clone(), mac: Some(found.mac), name: None };
    Observation { scan, device, report, started: at, finished: at }
}

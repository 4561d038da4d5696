//! The store on real files: written data is stored, in order, and stays.

mod current_state;
mod damage;
mod device_presences;
mod disk;
mod events;
mod expected;
mod future_dates;
mod history;
mod identifications;
mod identity;
mod import_steps;
mod imports;
mod invented_devices;
mod names;
mod outboxes;
mod prune;
mod size;
mod snoozes;
mod told_findings;
mod upgrade;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    clock::Clock,
    model::{
        ChangeEvent, ChangeFilter, Device, DeviceKey, HostReport, HostStatus, Mac, Moment, PortFinding,
        PortSet, PortState, Protocol, Reason, ScanId, ScanKind, ScanStatus,
    },
};

/// A clock that the test sets.
pub(crate) struct SetClock(Mutex<(Moment, Timestamp)>);

impl SetClock {
    pub(crate) fn at(wall: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new((Moment::ZERO, wall.parse().unwrap()))))
    }

    fn set_wall(&self, wall: &str) {
        self.0.lock().unwrap().1 = wall.parse().unwrap();
    }

    /// Advances both clocks.
    pub(crate) fn pass(&self, time: Duration) {
        let mut clocks = self.0.lock().unwrap();
        clocks.0 += time;
        clocks.1 += time;
    }
}

impl Clock for SetClock {
    fn now(&self) -> Moment {
        self.0.lock().unwrap().0
    }

    fn wall(&self) -> Timestamp {
        self.0.lock().unwrap().1
    }

    fn is_synchronised(&self) -> bool {
        true
    }
}

/// Commits at once, so that a test need not wait.
const EAGER: DiskPace =
    DiskPace { commit: Duration::ZERO, retry: Duration::from_millis(5), ..DiskPace::DEFAULT };
/// Commits the first change at once and the others only when flushed or closed.
const LAZY: DiskPace =
    DiskPace { commit: Duration::from_secs(3600), retry: Duration::from_millis(5), ..DiskPace::DEFAULT };

/// A store in its own directory.
struct Bench {
    dir: TempDir,
    clock: Arc<SetClock>,
    pace: DiskPace,
}

impl Bench {
    fn new(pace: DiskPace) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: SetClock::at("2026-03-01T10:00:00Z"), pace }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(FILE_NAME)
    }

    fn open(&self) -> (Store, WriterThread) {
        Store::open_at_pace(&self.path(), self.clock.clone(), self.pace).unwrap()
    }

    /// A connection of another process, such as the `sqlite3` shell.
    fn outside(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }

    fn count(&self, sql: &str) -> i64 {
        count(&self.outside(), sql)
    }
}

fn count(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn join(threads: WriterThread) -> Result<()> {
    // `join` blocks, and these tests run on their runtime's only thread.
    std::thread::spawn(move || threads.join()).join().unwrap()
}

fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, last])
}

fn device(last: u8) -> Device {
    Device { address: format!("192.0.2.{last}").parse().unwrap(), mac: Some(mac(last)), name: None }
}

pub(crate) fn up(scan: ScanId, device: Device, open: &[u16]) -> Observation {
    let finding = |&port| PortFinding {
        port,
        state: PortState::Open,
        reason: Reason::SynAck,
        rtt: Some(Duration::from_micros(u64::from(port))),
    };
    let report = HostReport {
        address: device.address.clone(),
        status: HostStatus::Up,
        coverage: PortSet::all(),
        default_state: PortState::Closed,
        default_reason: Reason::ConnRefused,
        findings: open.iter().map(finding).collect(),
        protocol: Protocol::Tcp,
        probes: 65_535,
        preparation: Duration::from_millis(12),
        scanning: Duration::from_millis(218_450),
        detail: String::new(),
    };
    let started = "2026-03-01T10:00:00Z".parse().unwrap();
    Observation { scan, device, report, started, finished: started + Duration::from_secs(219) }
}

fn ended(scan: ScanId, device: Device, status: HostStatus) -> Observation {
    let mut observation = up(scan, device, &[]);
    observation.report.status = status;
    observation.report.coverage = PortSet::default();
    observation.report.detail = "vanished".to_owned();
    observation
}

/// The open TCP ports of a device, if it has a result.
async fn open_now(store: &Store, device: &Device) -> Option<String> {
    let page = store.host_states(0, 128).await.unwrap();
    let host = page.rows.into_iter().find(|host| host.device.key() == device.key())?;
    Some(host.standings.get(&Protocol::Tcp).map_or_else(String::new, |standing| standing.open().to_string()))
}

async fn run(store: &Store) -> ScanId {
    store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await.unwrap()
}

fn assert_sound(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let orphans = connection.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap();
    assert!(!orphans);
}

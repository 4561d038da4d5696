//! Imports are stored in short steps, between which other writes proceed, and an interrupted import is completed.

use std::{
    io,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use rstest::rstest;

use super::*;
use crate::store::{
    change::WriterState,
    import::{self, Arrival, Begun},
};

/// More hosts than are sent to the writer at once.
const MANY: u16 = 300;

const DIGEST: [u8; 32] = [7; 32];

fn report() -> Import {
    let started = "2026-03-01T09:00:00Z".parse().unwrap();
    let (scanner, ports) = ("nmap".to_owned(), PortSet::all());
    Import { scanner, digest: DIGEST, ports, status: ScanStatus::Complete, started, finished: started }
}

fn host(number: u16) -> ImportedHost {
    let [high, low] = number.to_be_bytes();
    let address: crate::model::Address = format!("10.0.{high}.{low}").parse().unwrap();
    let device = Device { address, mac: Some(Mac::new([2, 0, 0, 1, high, low])), name: None };
    let Observation { device, report, started, finished, .. } = up(ScanId(0), device, &[22]);
    ImportedHost { device, reports: vec![report], started, finished }
}

fn hosts(count: u16) -> impl Iterator<Item = io::Result<ImportedHost>> {
    (0..count).map(|number| Ok(host(number)))
}

/// Imports on a blocking thread, as required.
async fn import(
    store: &Store,
    hosts: impl Iterator<Item = io::Result<ImportedHost>> + Send + 'static,
) -> Result<Imported> {
    let store = store.clone();
    tokio::task::spawn_blocking(move || store.import(report(), hosts)).await.unwrap()
}

/// Hosts by an iterator that stops before the host with this number: a channel that reports it, and one that continues
/// it.
fn paused_at(
    number: u16,
) -> (impl Iterator<Item = io::Result<ImportedHost>>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (reached, at_it) = mpsc::channel();
    let (go_on, going_on) = mpsc::channel();
    let hosts = hosts(MANY).inspect(move |made| {
        if made.as_ref().unwrap().device == host(number).device {
            reached.send(()).unwrap();
            going_on.recv().unwrap();
        }
    });
    (hosts, at_it, go_on)
}

/// A clock that advances by ten milliseconds whenever it is read.
struct TickingClock(AtomicU64);

impl Clock for TickingClock {
    fn now(&self) -> Moment {
        Moment::from_start(Duration::from_millis(self.0.fetch_add(10, Ordering::Relaxed)))
    }

    fn wall(&self) -> Timestamp {
        report().started
    }

    fn is_synchronised(&self) -> bool {
        true
    }
}

#[test]
fn a_step_takes_no_further_host_after_its_time() {
    let bench = Bench::new(EAGER);
    let mut connection = schema::open_writer(&bench.path(), schema::LADDER).unwrap();
    let mut state = WriterState::read(&connection, Arc::new(TickingClock(AtomicU64::new(0)))).unwrap();
    let Begun::New(scan) = import::begin(&mut connection, &report()).unwrap() else { panic!("it is new") };
    let mut left: Vec<Arrival> =
        (0..20).map(|number| Arrival { host: host(number), is_alias: false }).collect();
    let mut steps = Vec::new();
    while !left.is_empty() {
        let before = left.len();
        left = import::store(&mut connection, &mut state, scan, left).unwrap();
        steps.push(before - left.len());
    }
    // 25 ms have passed at the third reading of the clock after the first.
    assert_eq!(steps, [3, 3, 3, 3, 3, 3, 2]);
    assert_eq!(count(&connection, "SELECT count(*) FROM observations"), 20);
}

#[tokio::test]
async fn other_writes_proceed_during_an_import() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let (hosts, at_it, go_on) = paused_at(280);
    let importing = tokio::spawn({
        let store = store.clone();
        async move { import(&store, hosts).await }
    });
    tokio::task::spawn_blocking(move || at_it.recv().unwrap()).await.unwrap();
    let own = run(&store).await;
    store.record(up(own, device(1), &[80])).await.unwrap();
    let ids = async || store.scan_ids(0).await.unwrap().rows;
    assert_eq!(ids().await, [own], "an import is listed once it is complete");
    go_on.send(()).unwrap();
    let imported = importing.await.unwrap().unwrap();
    assert_eq!(imported, Imported::New(ScanId(report().started.as_second())));
    assert_eq!(ids().await, [imported.scan(), own]);
    // The own scan that began during the import does not make the import's hosts old.
    assert_eq!(bench.count("SELECT count(*) FROM changes WHERE kind = 'new'"), i64::from(MANY) + 1);
    assert_eq!(bench.count("SELECT count(*) FROM devices WHERE presence = 'there'"), i64::from(MANY) + 1);
    assert_eq!(bench.count("SELECT count(DISTINCT seq) FROM observations"), i64::from(MANY) + 1);
}

#[tokio::test]
async fn an_interrupted_import_is_completed_by_the_same_report() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let fails = hosts(MANY).take(290).chain([Err(io::ErrorKind::Other.into())]);
    let error = import(&store, fails).await.unwrap_err();
    assert!(matches!(error, StoreError::Import(_)), "{error}");
    let state = || bench.count("SELECT count(*) FROM scans WHERE status = 'partial' AND finished IS NULL");
    let stored = bench.count("SELECT count(*) FROM observations");
    assert!(state() == 1 && stored > 0, "{stored} hosts are stored, and the scan has no end");
    drop(store);
    join(threads).unwrap();

    let (store, _threads) = bench.open();
    let scan = ScanId(report().started.as_second());
    assert_eq!(import(&store, hosts(MANY)).await.unwrap(), Imported::New(scan));
    assert_eq!(state(), 0);
    for table in ["observations", "devices", "changes"] {
        assert_eq!(bench.count(&format!("SELECT count(*) FROM {table}")), i64::from(MANY), "{table}");
    }
    assert_eq!(import(&store, hosts(MANY)).await.unwrap(), Imported::Known(scan));
    assert_sound(&bench.path());
}

#[tokio::test]
async fn an_import_interrupted_by_a_crash_is_completed_too() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let (hosts_until, at_it, go_on) = paused_at(280);
    let importing = thread::spawn({
        let store = store.clone();
        move || store.import(report(), hosts_until)
    });
    tokio::task::spawn_blocking(move || at_it.recv().unwrap()).await.unwrap();
    // The store ends in the middle, as if the process were killed.
    drop(store);
    join(threads).unwrap();
    go_on.send(()).unwrap();
    assert!(matches!(importing.join().unwrap(), Err(StoreError::Closed)));
    assert_eq!(bench.count("SELECT count(*) FROM scans WHERE status = 'running'"), 1);

    let (store, _threads) = bench.open();
    store.flush().await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM scans WHERE status = 'partial'"), 1, "no import is running");
    import(&store, hosts(MANY)).await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM scans WHERE status = 'complete'"), 1);
    assert_eq!(bench.count("SELECT count(*) FROM observations"), i64::from(MANY));
    assert_eq!(bench.count("SELECT count(*) FROM changes"), i64::from(MANY), "no change is reported twice");
}

/// A server with two addresses in one report: nmap starts both at once, or either first, and the server may have been
/// seen since.
#[rstest]
#[tokio::test]
async fn two_addresses_of_a_device_in_one_report_are_its_endpoints(
    #[values(0, 1, -1)] later: i64,
    #[values(false, true)] is_old: bool,
    #[values(false, true)] is_nameless: bool,
) {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let (first, second) = (host(1), host(2));
    if is_nameless {
        store
            .record_sightings(vec![Device { mac: None, ..second.device.clone() }], Vec::new())
            .await
            .unwrap();
    }
    if is_old {
        bench.clock.pass(Duration::from_secs(3600));
        store.record_sightings(vec![first.device.clone()], Vec::new()).await.unwrap();
    }
    let mut second = ImportedHost { device: Device { mac: first.device.mac, ..second.device }, ..second };
    second.started += jiff::SignedDuration::from_secs(later);
    second.reports[0].findings[0].port = 80;
    let key = first.device.key();
    import(&store, [Ok(first), Ok(second)].into_iter()).await.unwrap();
    let hosts = store.hosts(0, 128).await.unwrap().rows;
    assert_eq!(hosts.len(), 1, "{hosts:#?}");
    let open: Vec<String> =
        hosts[0].open_ports().into_iter().map(|open| format!("{} {:?}", open.port, open.addresses)).collect();
    assert_eq!(open, ["22 [10.0.0.1]", "80 [10.0.0.2]"]);
    assert_eq!(store.latest(&key).await.unwrap().unwrap().open, [22, 80]);
}

#[tokio::test]
async fn a_device_that_was_only_seen_exists_without_a_result() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let mut seen = host(1);
    seen.reports.clear();
    seen.device.name = Some("nas.lan".to_owned());
    import(&store, std::iter::once(Ok(seen.clone()))).await.unwrap();
    let states = store.host_states(0, 128).await.unwrap().rows;
    assert_eq!(states.iter().map(|state| &state.device).collect::<Vec<_>>(), [&seen.device]);
    assert!(states[0].standings.is_empty());
    assert_eq!(store.macs().await.unwrap(), []);
    assert_eq!(bench.count("SELECT count(*) FROM observations"), 0);
    assert_eq!(bench.count("SELECT count(*) FROM changes WHERE kind = 'new'"), 1);
}

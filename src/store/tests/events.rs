//! Change events, which are reported once they are confirmed.

use super::*;
use crate::model::unconfirmed::{PendingPorts, Unconfirmed, UnconfirmedEndpoint};

const MINUTE: Duration = Duration::from_secs(60);

/// A device of which ports 1 to 100 are scanned repeatedly.
struct Watched {
    bench: Bench,
    store: Store,
    _threads: WriterThread,
    scan: ScanId,
    device: Device,
}

impl Watched {
    async fn new() -> Self {
        let bench = Bench::new(EAGER);
        let (store, threads) = bench.open();
        let scan = run(&store).await;
        Self { bench, store, _threads: threads, scan, device: device(1) }
    }

    /// Scans these ports and returns the new events.
    async fn look(&self, covered: &str, open: &[u16]) -> Vec<String> {
        self.look_at(&self.device, covered, open).await
    }

    /// Scans these ports of any device and returns the new events.
    async fn look_at(&self, device: &Device, covered: &str, open: &[u16]) -> Vec<String> {
        let mut observation = up(self.scan, device.clone(), open);
        observation.report.coverage = covered.parse().unwrap();
        observation.finished = self.bench.clock.wall();
        self.record(observation).await
    }

    async fn record(&self, observation: Observation) -> Vec<String> {
        let after = *self.store.latest_event().borrow();
        self.store.record(observation).await.unwrap();
        let events =
            self.store.change_events(ChangeFilter { after, ..ChangeFilter::default() }).await.unwrap();
        assert_eq!(*self.store.latest_event().borrow(), events.rows.last().map_or(after, |last| last.id));
        events.rows.iter().map(describe).collect()
    }

    async fn accept(&self, open: &[u16]) {
        let update = |&port| ExpectationUpdate {
            device: self.device.key(),
            protocol: Protocol::Tcp,
            port,
            state: Some((PortState::Open, String::new())),
        };
        self.store.expect(open.iter().map(update).collect()).await.unwrap();
    }

    async fn unconfirmed(&self) -> Unconfirmed {
        let mut unconfirmed = self.store.unconfirmed_endpoints().await.unwrap();
        assert!(unconfirmed.len() <= 1);
        unconfirmed.pop().map(|endpoint| endpoint.unconfirmed).unwrap_or_default()
    }
}

fn describe(event: &ChangeEvent) -> String {
    let ports = event.kind.ports().map(|(_, ports)| format!(" {ports}")).unwrap_or_default();
    format!("{}{ports}{}", event.kind.as_str(), if event.alert { "!" } else { "" })
}

#[tokio::test]
async fn a_new_device_is_one_event_whatever_it_opens() {
    let watched = Watched::new().await;
    watched.accept(&[]).await;
    assert_eq!(watched.look("1-100", &[22, 80, 90]).await, ["new!"]);
    assert_eq!(watched.look("1-100", &[22, 80, 90]).await, [""; 0]);
    assert!(watched.unconfirmed().await.is_empty());
}

#[tokio::test]
async fn a_second_scan_reports_a_change_and_an_unexpected_one_alerts() {
    let watched = Watched::new().await;
    assert_eq!(watched.look("1-100", &[22]).await, ["new"], "no change alerts before the first accept");
    assert_eq!(watched.look("1-100", &[22, 70]).await, [""; 0]);
    assert_eq!(watched.look("70", &[70]).await, ["opened 70"]);
    watched.accept(&[22, 70]).await;
    assert_eq!(watched.look("1-100", &[22, 80]).await, [""; 0]);
    let unconfirmed = watched.unconfirmed().await;
    assert_eq!(
        (unconfirmed.openings[0].1.to_string(), unconfirmed.closings[0].1.to_string()),
        ("80".into(), "70".into())
    );
    assert_eq!(watched.look("80", &[80]).await, ["opened 80!"]);
    assert_eq!(watched.look("70", &[]).await, [""; 0], "less than a minute later");
    watched.bench.clock.pass(MINUTE);
    assert_eq!(watched.look("70", &[]).await, ["closed 70!"]);
    // Back to the expected state: an event, but no alert.
    assert_eq!(watched.look("70", &[70]).await, [""; 0]);
    assert_eq!(watched.look("70", &[70]).await, ["opened 70"]);
    assert!(watched.unconfirmed().await.is_empty());
}

#[tokio::test]
async fn the_first_look_at_further_ports_is_no_change_unless_the_owner_accepted_a_state_without_them() {
    let watched = Watched::new().await;
    assert_eq!(watched.look("1-50", &[22]).await, ["new"]);
    assert_eq!(watched.look("1-100", &[22, 80]).await, [""; 0]);
    assert!(watched.unconfirmed().await.is_empty(), "80 may have been open for long");

    watched.accept(&[22, 80, 150]).await;
    assert_eq!(watched.look("1-200", &[22, 80, 150, 170]).await, [""; 0]);
    let unconfirmed = watched.unconfirmed().await;
    assert_eq!(unconfirmed.openings[0].1.to_string(), "170", "150 is as expected");
    assert_eq!(watched.look("170", &[170]).await, ["opened 170!"]);
}

#[tokio::test]
async fn unconfirmed_changes_outlive_a_restart_and_down_hosts_confirm_nothing() {
    let watched = Watched::new().await;
    watched.look("1-100", &[22]).await;
    watched.look("1-100", &[]).await;
    let unconfirmed = watched.unconfirmed().await;
    for status in [HostStatus::Down, HostStatus::Partial] {
        let gone = ended(watched.scan, watched.device.clone(), status);
        assert_eq!(watched.record(gone).await, [""; 0]);
    }
    let Watched { bench, store, _threads, scan, device } = watched;
    drop(store);
    join(_threads).unwrap();
    let (store, _threads) = bench.open();
    let watched = Watched { bench, store, _threads, scan, device };
    assert_eq!(watched.unconfirmed().await, unconfirmed);
    watched.bench.clock.pass(MINUTE);
    assert_eq!(watched.look("22", &[]).await, ["closed 22"]);
}

#[tokio::test]
async fn the_unconfirmed_ports_of_each_device_are_read_together() {
    let watched = Watched::new().await;
    let other = device(2);
    let store = &watched.store;
    let both = async |ports: &str, open: &[u16]| {
        watched.bench.clock.pass(MINUTE);
        watched.look(ports, open).await;
        watched.look_at(&other, ports, open).await;
    };
    both("1-100", &[22, 70]).await;
    both("1-90", &[22, 80]).await;
    both("91-100", &[95]).await;
    let endpoints = store.unconfirmed_endpoints().await.unwrap();
    let told = |endpoint: &UnconfirmedEndpoint| {
        let texts =
            |pending: &PendingPorts| pending.iter().map(|(_, ports)| ports.to_string()).collect::<Vec<_>>();
        let Unconfirmed { openings, closings } = &endpoint.unconfirmed;
        (endpoint.device.clone(), texts(openings), texts(closings))
    };
    let both_open = || vec!["80".to_owned(), "95".to_owned()];
    let told: Vec<_> = endpoints.iter().map(told).collect();
    let closed = || vec!["70".to_owned()];
    assert_eq!(
        told,
        [(watched.device.clone(), both_open(), closed()), (other.clone(), both_open(), closed())]
    );
    let hosts = store.hosts(i64::MIN, 8).await.unwrap().rows;
    assert_eq!(hosts.iter().map(|host| host.unconfirmed.to_string()).collect::<Vec<_>>(), ["80,95", "80,95"]);
    both("1-100", &[22, 95]).await;
    let host = store.host(&watched.device.key()).await.unwrap().unwrap();
    assert_eq!(
        (host.unconfirmed.to_string(), open_now(store, &watched.device).await),
        ("".into(), Some("22,95".into()))
    );
}

#[tokio::test]
async fn the_ports_that_were_open_once_are_bounded() {
    let watched = Watched::new().await;
    watched.look("1-100", &[22, 70]).await;
    watched.bench.clock.pass(MINUTE);
    watched.look("1-100", &[22]).await;
    watched.bench.clock.pass(MINUTE);
    assert_eq!(watched.look("70", &[]).await, ["closed 70"]);
    let key = watched.device.key();
    let once_open = async |open: &str| {
        let open = open.parse().unwrap_or_default();
        watched.store.once_open(&key, open).await.unwrap().to_string()
    };
    assert_eq!(once_open("22").await, "22,70");
    assert_eq!(once_open("").await, "70");
    assert_eq!(once_open("1001-2000").await, "1001-2000", "the thousand are complete");
    assert_eq!(once_open("1001-2001").await, "70", "such a host answers everywhere");
}

#[tokio::test]
async fn a_thousand_ports_at_once_are_one_event() {
    let watched = Watched::new().await;
    watched.look("1-1000", &[]).await;
    let all: Vec<u16> = (1..=1000).collect();
    watched.look("1-1000", &all).await;
    assert_eq!(watched.look("1-1000", &all).await, ["opened 1-1000"]);
}

#[tokio::test]
async fn the_newest_import_is_reported_at_once() {
    let watched = Watched::new().await;
    watched.look("1-100", &[22]).await;
    let import = watched.store.begin_scan("import", ScanKind::Import, &PortSet::all()).await.unwrap();
    let mut later = up(import, watched.device.clone(), &[80]);
    later.started += MINUTE;
    assert_eq!(watched.record(later).await, ["opened 80", "closed 22"]);
    let mut earlier = up(import, watched.device.clone(), &[22, 90]);
    earlier.started -= MINUTE;
    assert_eq!(watched.record(earlier).await, [""; 0]);
    assert!(watched.unconfirmed().await.is_empty());
}

#[tokio::test]
async fn an_address_without_an_answer_is_no_device_until_it_answers() {
    let watched = Watched::new().await;
    let down = ended(watched.scan, watched.device.clone(), HostStatus::Down);
    assert_eq!(watched.record(down.clone()).await, [""; 0]);
    assert_eq!(watched.record(down).await, [""; 0]);
    watched.bench.clock.pass(MINUTE);
    watched.store.mark_absent_since(watched.bench.clock.wall()).await.unwrap();
    assert_eq!(watched.look("1-100", &[22]).await, ["new"]);
}

#[tokio::test]
async fn an_unseen_device_is_gone_once_and_back_when_seen_again() {
    let watched = Watched::new().await;
    watched.look("1-100", &[22]).await;
    watched.accept(&[22]).await;
    watched.bench.clock.pass(100 * MINUTE);
    watched.store.record_sightings(vec![device(2)], Vec::new()).await.unwrap();
    let since = watched.bench.clock.wall() - MINUTE;
    watched.store.mark_absent_since(since).await.unwrap();
    watched.store.mark_absent_since(since).await.unwrap();
    watched.store.record_sightings(vec![device(1)], Vec::new()).await.unwrap();
    let events = watched.store.change_events(ChangeFilter::default()).await.unwrap().rows;
    assert_eq!(events.iter().map(describe).collect::<Vec<_>>(), ["new", "new!", "gone!", "back"]);
    assert_eq!((events[2].device.clone(), events[3].device.clone()), (device(1).key(), device(1).key()));
}

#[tokio::test]
async fn a_move_is_reported_and_found_by_device_and_time() {
    let watched = Watched::new().await;
    watched.look("1-100", &[22]).await;
    watched.bench.clock.pass(MINUTE);
    let moved = Device { address: "192.0.2.77".parse().unwrap(), ..device(1) };
    watched.store.record_sightings(vec![moved, device(2)], Vec::new()).await.unwrap();
    let list = async |filter: ChangeFilter| {
        let page = watched.store.change_events(filter).await.unwrap();
        page.rows.iter().map(describe).collect::<Vec<_>>()
    };
    assert_eq!(list(ChangeFilter::default()).await, ["new", "moved", "new"]);
    let of_one = ChangeFilter { device: Some(device(1).key()), ..ChangeFilter::default() };
    assert_eq!(list(of_one).await, ["new", "moved"]);
    let since = ChangeFilter { since: Some(watched.bench.clock.wall()), ..ChangeFilter::default() };
    assert_eq!(list(since).await, ["moved", "new"]);
}

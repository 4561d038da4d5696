//! What is told to have changed, once it is certain.

use super::*;
use crate::model::unconfirmed::Unconfirmed;

const MINUTE: Duration = Duration::from_secs(60);

/// A device whose ports 1 to 100 are looked at again and again.
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

    /// What a look at these ports tells anew.
    async fn look(&self, covered: &str, open: &[u16]) -> Vec<String> {
        let mut observation = up(self.scan, self.device.clone(), open);
        observation.report.coverage = covered.parse().unwrap();
        observation.finished = self.bench.clock.wall();
        self.record(observation).await
    }

    async fn record(&self, observation: Observation) -> Vec<String> {
        let after = *self.store.latest_event().borrow();
        self.store.record(observation).await.unwrap();
        let news = self.store.change_events(ChangeFilter { after, ..ChangeFilter::default() }).await.unwrap();
        assert_eq!(*self.store.latest_event().borrow(), news.rows.last().map_or(after, |last| last.id));
        news.rows.iter().map(told).collect()
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

    async fn doubts(&self) -> Unconfirmed {
        let mut doubts = self.store.unconfirmed_endpoints().await.unwrap();
        assert!(doubts.len() <= 1);
        doubts.pop().map(|doubt| doubt.unconfirmed).unwrap_or_default()
    }
}

fn told(news: &ChangeEvent) -> String {
    let ports = news.kind.ports().map(|(_, ports)| format!(" {ports}")).unwrap_or_default();
    format!("{}{ports}{}", news.kind.as_str(), if news.alert { "!" } else { "" })
}

#[tokio::test]
async fn a_new_device_is_one_line_whatever_it_opens() {
    let watched = Watched::new().await;
    watched.accept(&[]).await;
    assert_eq!(watched.look("1-100", &[22, 80, 90]).await, ["new!"]);
    assert_eq!(watched.look("1-100", &[22, 80, 90]).await, [""; 0]);
    assert!(watched.doubts().await.is_empty());
}

#[tokio::test]
async fn a_change_is_told_by_the_second_look_and_alarms_where_it_is_not_expected() {
    let watched = Watched::new().await;
    assert_eq!(watched.look("1-100", &[22]).await, ["new"], "before the first accept nothing alarms");
    assert_eq!(watched.look("1-100", &[22, 70]).await, [""; 0]);
    assert_eq!(watched.look("70", &[70]).await, ["opened 70"]);
    watched.accept(&[22, 70]).await;
    assert_eq!(watched.look("1-100", &[22, 80]).await, [""; 0]);
    let doubts = watched.doubts().await;
    assert_eq!(
        (doubts.openings[0].1.to_string(), doubts.closings[0].1.to_string()),
        ("80".into(), "70".into())
    );
    assert_eq!(watched.look("80", &[80]).await, ["opened 80!"]);
    assert_eq!(watched.look("70", &[]).await, [""; 0], "less than a minute later");
    watched.bench.clock.pass(MINUTE);
    assert_eq!(watched.look("70", &[]).await, ["closed 70!"]);
    // Back to what is expected: worth a line, no alarm.
    assert_eq!(watched.look("70", &[70]).await, [""; 0]);
    assert_eq!(watched.look("70", &[70]).await, ["opened 70"]);
    assert!(watched.doubts().await.is_empty());
}

#[tokio::test]
async fn doubts_outlive_a_restart_and_hosts_that_are_down_settle_nothing() {
    let watched = Watched::new().await;
    watched.look("1-100", &[22]).await;
    watched.look("1-100", &[]).await;
    let doubts = watched.doubts().await;
    for status in [HostStatus::Down, HostStatus::Partial] {
        let gone = ended(watched.scan, watched.device.clone(), status);
        assert_eq!(watched.record(gone).await, [""; 0]);
    }
    let Watched { bench, store, _threads, scan, device } = watched;
    drop(store);
    join(_threads).unwrap();
    let (store, _threads) = bench.open();
    let watched = Watched { bench, store, _threads, scan, device };
    assert_eq!(watched.doubts().await, doubts);
    watched.bench.clock.pass(MINUTE);
    assert_eq!(watched.look("22", &[]).await, ["closed 22"]);
}

#[tokio::test]
async fn a_thousand_ports_at_once_are_one_line() {
    let watched = Watched::new().await;
    watched.look("1-1000", &[]).await;
    let all: Vec<u16> = (1..=1000).collect();
    watched.look("1-1000", &all).await;
    assert_eq!(watched.look("1-1000", &all).await, ["opened 1-1000"]);
}

#[tokio::test]
async fn an_import_that_is_the_newest_is_believed_at_once() {
    let watched = Watched::new().await;
    watched.look("1-100", &[22]).await;
    let import = watched.store.begin_scan("import", ScanKind::Import, &PortSet::all()).await.unwrap();
    let mut later = up(import, watched.device.clone(), &[80]);
    later.started += MINUTE;
    assert_eq!(watched.record(later).await, ["opened 80", "closed 22"]);
    let mut earlier = up(import, watched.device.clone(), &[22, 90]);
    earlier.started -= MINUTE;
    assert_eq!(watched.record(earlier).await, [""; 0]);
    assert!(watched.doubts().await.is_empty());
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_no_device_until_somebody_does() {
    let watched = Watched::new().await;
    let nobody = ended(watched.scan, watched.device.clone(), HostStatus::Down);
    assert_eq!(watched.record(nobody.clone()).await, [""; 0]);
    assert_eq!(watched.record(nobody).await, [""; 0]);
    watched.bench.clock.pass(MINUTE);
    watched.store.mark_absent_since(watched.bench.clock.wall()).await.unwrap();
    assert_eq!(watched.look("1-100", &[22]).await, ["new"]);
}

#[tokio::test]
async fn who_is_not_seen_for_long_is_gone_once_and_may_come_back() {
    let watched = Watched::new().await;
    watched.look("1-100", &[22]).await;
    watched.accept(&[22]).await;
    watched.bench.clock.pass(100 * MINUTE);
    watched.store.record_sightings(vec![device(2)], Vec::new()).await.unwrap();
    let since = watched.bench.clock.wall() - MINUTE;
    watched.store.mark_absent_since(since).await.unwrap();
    watched.store.mark_absent_since(since).await.unwrap();
    watched.store.record_sightings(vec![device(1)], Vec::new()).await.unwrap();
    let news = watched.store.change_events(ChangeFilter::default()).await.unwrap().rows;
    assert_eq!(news.iter().map(told).collect::<Vec<_>>(), ["new", "new!", "gone!", "back"]);
    assert_eq!((news[2].device.clone(), news[3].device.clone()), (device(1).key(), device(1).key()));
}

#[tokio::test]
async fn what_moves_is_told_and_found_by_device_and_time() {
    let watched = Watched::new().await;
    watched.look("1-100", &[22]).await;
    watched.bench.clock.pass(MINUTE);
    let moved = Device { address: "192.0.2.77".parse().unwrap(), ..device(1) };
    watched.store.record_sightings(vec![moved, device(2)], Vec::new()).await.unwrap();
    let ask = async |asked: ChangeFilter| {
        let page = watched.store.change_events(asked).await.unwrap();
        page.rows.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(ask(ChangeFilter::default()).await, ["new", "moved", "new"]);
    let of_one = ChangeFilter { device: Some(device(1).key()), ..ChangeFilter::default() };
    assert_eq!(ask(of_one).await, ["new", "moved"]);
    let since = ChangeFilter { since: Some(watched.bench.clock.wall()), ..ChangeFilter::default() };
    assert_eq!(ask(since).await, ["moved", "new"]);
}

//! The state of a port is that of the newest observation which covered it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::StateAge;
use crate::store::{change::DatabaseChange, record::RecordObservation, scans::BeginScan};

/// An observation of only these ports, of which these are open.
fn narrow(scan: ScanId, covered: &str, open: &[u16]) -> Observation {
    let mut observation = up(scan, device(1), open);
    observation.report.coverage = covered.parse().unwrap();
    observation
}

/// The number of observations that supply the current state.
fn contributors(bench: &Bench) -> i64 {
    bench.count("SELECT count(*) FROM current")
}

#[tokio::test]
async fn a_scan_of_fewer_ports_hides_nothing() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let key = device(1).key();
    let (full, part) = (run(&store).await, run(&store).await);
    store.record(up(full, device(1), &[22, 80, 8080])).await.unwrap();
    let mut later = narrow(part, "22,80,443", &[22, 443]);
    later.started += Duration::from_secs(3600);
    let began = later.started;
    for _ in 0..3 {
        store.record(later.clone()).await.unwrap();
        let host = store.latest(&key).await.unwrap().unwrap();
        assert_eq!(host.open, [22, 443, 8080], "80 is closed, 8080 was not scanned again");
        assert_eq!((host.scan, host.started), (part, began));
        assert_eq!(contributors(&bench), 2);
    }
    let ages = store.ages().await.unwrap();
    let all = PortSet::all();
    let oldest = "2026-03-01T10:00:00Z".parse().unwrap();
    assert_eq!(ages, [StateAge { device: device(1), oldest, coverage: all.clone() }]);
    // An observation that covers nothing new supersedes nothing, and neither does an incomplete one.
    store.record(ended(part, device(1), HostStatus::Partial)).await.unwrap();
    drop(store);
    join(threads).unwrap();
    let (store, _threads) = bench.open();
    assert_eq!(store.latest(&key).await.unwrap().unwrap().open, [22, 443, 8080]);

    let mut again = up(full, device(1), &[22]);
    again.started = began;
    store.record(again).await.unwrap();
    assert_eq!(store.latest(&key).await.unwrap().unwrap().open, [22]);
    assert_eq!(
        (contributors(&bench), store.ages().await.unwrap()),
        (1, vec![StateAge { device: device(1), oldest: began, coverage: all }])
    );
    assert_eq!(store.macs().await.unwrap(), [mac(1)]);
}

#[tokio::test]
async fn several_scans_together_supersede_one() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    for (covered, open, count) in [("1-100", 50, 1), ("1-60", 51, 2), ("61-200", 70, 2)] {
        store.record(narrow(scan, covered, &[open])).await.unwrap();
        assert_eq!(contributors(&bench), count, "{covered}");
    }
    assert_eq!(store.latest(&device(1).key()).await.unwrap().unwrap().open, [51, 70]);
}

#[tokio::test]
async fn each_protocol_has_its_own_ports() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    store.record(up(scan, device(1), &[22])).await.unwrap();
    for address in [1, 2] {
        let mut udp = up(scan, device(address), &[53]);
        udp.report.protocol = Protocol::Udp;
        store.record(udp).await.unwrap();
    }
    assert_eq!(store.latest(&device(1).key()).await.unwrap().unwrap().open, [22]);
    assert_eq!(store.latest(&device(2).key()).await.unwrap(), None);
    assert_eq!(store.macs().await.unwrap(), [mac(1)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Compares with a naive model, which keeps every observation and evaluates them all.
    #[test]
    fn the_state_is_that_of_all_observations_together(
        looks in prop::collection::vec(
            (prop::collection::vec((1..20_u16, 0..8_u16), 1..3), prop::collection::btree_set(1..28_u16, 0..6)),
            1..12,
        ),
    ) {
        let bench = Bench::new(EAGER);
        let connection = schema::open_writer(&bench.path(), schema::LADDER).unwrap();
        let transaction = connection.unchecked_transaction().unwrap();
        let (scan, started) = (ScanId(1), bench.clock.wall());
        let (scanner, ports) = ("lan".to_owned(), "1-27".to_owned());
        BeginScan { id: scan, scanner, kind: ScanKind::Run, ports, started }.apply(&transaction).unwrap();
        // For each port: the observation that covered it last, and whether the port was open.
        let mut naive: BTreeMap<u16, (i64, bool)> = BTreeMap::new();
        for ((ranges, open), seq) in looks.into_iter().zip(1..) {
            let coverage = PortSet::from_ranges(ranges.into_iter().map(|(at, more)| (at, at + more)));
            let open: Vec<u16> = coverage.iter().filter(|port| open.contains(port)).collect();
            naive.extend(coverage.iter().map(|port| (port, (seq, open.contains(&port)))));
            let observation = narrow(scan, &coverage.to_string(), &open);
            RecordObservation { seq, observation }.apply(&transaction).unwrap();

            let found = lookups::latest(&transaction, &device(1).key()).unwrap().unwrap().open;
            let expected: Vec<u16> =
                naive.iter().filter(|(_, (_, open))| *open).map(|(port, _)| *port).collect();
            prop_assert_eq!(found, expected);
            let kept: BTreeSet<i64> = transaction
                .prepare("SELECT seq FROM current").unwrap()
                .query_map([], |row| row.get(0)).unwrap()
                .collect::<rusqlite::Result<_>>().unwrap();
            prop_assert_eq!(kept, naive.values().map(|(seq, _)| *seq).collect());
        }
    }
}

/// Reading a device's state costs only reading its contributors.
#[tokio::test]
async fn reading_costs_the_same_after_any_number_of_scans() {
    let bench = Bench::new(LAZY);
    let (store, _threads) = bench.open();
    let scan_twice = async || {
        let (whole, part) = (run(&store).await, run(&store).await);
        let looks = (1..=30).flat_map(|last| {
            let mut narrow = up(part, device(last), &[22]);
            narrow.report.coverage = "22,80".parse().unwrap();
            [up(whole, device(last), &[22, 8080]), narrow]
        });
        let records = looks.map(|look| store.record(look));
        let (recorded, flushed) = tokio::join!(futures_util::future::join_all(records), store.flush());
        assert!(recorded.into_iter().all(|made| made.is_ok()) && flushed.is_ok());
    };
    scan_twice().await;
    let (once, states) = (contributors(&bench), store.host_states(0, 128).await.unwrap().rows);
    for _ in 0..20 {
        scan_twice().await;
    }
    assert_eq!((contributors(&bench), once), (60, 60));
    let open = |states: &[HostState]| -> Vec<PortSet> {
        states.iter().map(|host| host.standings[&Protocol::Tcp].open()).collect()
    };
    assert_eq!(open(&store.host_states(0, 128).await.unwrap().rows), open(&states));
    assert_eq!(bench.count("SELECT count(*) FROM unconfirmed"), 0);
    assert_eq!(bench.count("SELECT count(*) FROM changes"), 30, "30 new devices, and nothing else");
}

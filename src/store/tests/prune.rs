//! Pruning deletes only data that the current state does not need.

use proptest::prelude::*;

use super::*;

/// An observation of only these ports, of which these are open.
fn look(scan: ScanId, last: u8, covered: &str, open: &[u16]) -> Observation {
    let mut observation = up(scan, device(last), open);
    observation.report.coverage = covered.parse().unwrap();
    observation
}

async fn states(store: &Store) -> Vec<HostState> {
    store.host_states(0, 128).await.unwrap().rows
}

#[tokio::test]
async fn only_observations_that_supply_current_state_stay() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let mut scans = Vec::new();
    for (covered, open) in [("1-100", &[22, 80][..]), ("1-100", &[22]), ("80,443", &[443]), ("443", &[443])] {
        let scan = run(&store).await;
        store.record(look(scan, 1, covered, open)).await.unwrap();
        store.end_scan(scan, ScanStatus::Complete).await.unwrap();
        scans.push(scan);
        bench.clock.pass(Duration::from_secs(3600));
    }
    let running = run(&store).await;
    store.record(ended(running, device(2), HostStatus::Down)).await.unwrap();
    let before = states(&store).await;

    // The first scan of 1-100 is superseded; the scan of 80,443 still supplies port 80.
    let all = Pruned { looks: 1, scans: 1 };
    assert_eq!(store.would_prune(None).await.unwrap(), all);
    assert_eq!(
        store.would_prune(Some(scans[0])).await.unwrap(),
        Pruned::default(),
        "no other scan is as old"
    );
    assert_eq!(store.prune(Some(scans[0])).await.unwrap(), Pruned::default());
    assert_eq!(store.prune(Some(scans[1])).await.unwrap(), all);
    assert_eq!(store.prune(None).await.unwrap(), Pruned::default(), "a second run finds nothing");
    assert_eq!(states(&store).await, before);
    assert_eq!(bench.count("SELECT count(*) FROM results"), 3);
    assert_eq!(bench.count("SELECT count(*) FROM unanswered"), 1, "the running scan keeps its row");

    store.end_scan(running, ScanStatus::Partial).await.unwrap();
    assert_eq!(
        store.prune(None).await.unwrap(),
        Pruned { looks: 1, scans: 0 },
        "the newest scan keeps its id"
    );
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
}

#[tokio::test]
async fn a_device_is_forgotten_with_all_its_observations() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let scan = run(&store).await;
    for last in [1, 2] {
        store.record(look(scan, last, "1-100", &[22])).await.unwrap();
    }
    let host = store.host(&device(1).key()).await.unwrap().unwrap();
    assert!(store.forget(host.row.unwrap()).await.unwrap());
    assert!(!store.forget(host.row.unwrap()).await.unwrap());
    assert_eq!(store.host(&device(1).key()).await.unwrap(), None);
    assert_eq!(store.macs().await.unwrap(), [mac(2)]);
    // Seen again within the hour, the device is stored again all the same.
    store.record_sightings(vec![device(1)], Vec::new()).await.unwrap();
    assert!(store.host(&device(1).key()).await.unwrap().is_some());
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
}

#[tokio::test]
async fn lists_unseen_devices_unless_something_is_expected_of_them() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    assert_eq!(store.latest_date().await.unwrap(), None);
    store.record_sightings(vec![device(1), device(2)], Vec::new()).await.unwrap();
    bench.clock.pass(Duration::from_secs(40 * 86_400));
    store.record_sightings(vec![device(3)], Vec::new()).await.unwrap();
    let now = bench.clock.wall();
    assert_eq!(store.latest_date().await.unwrap(), Some(now));
    let unseen = || async { store.unseen_since(now - Duration::from_secs(30 * 86_400)).await.unwrap() };
    let keys: Vec<DeviceKey> = unseen().await.into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys, [device(1).key(), device(2).key()]);
    let update = |key: DeviceKey| ExpectationUpdate {
        device: key,
        protocol: Protocol::Tcp,
        port: 22,
        state: Some((PortState::Open, String::new())),
    };
    let by_address = DeviceKey::Address(device(2).address);
    store.expect(vec![update(device(1).key()), update(by_address)]).await.unwrap();
    assert_eq!(unseen().await, []);
}

#[tokio::test]
async fn annotations_stay_until_they_are_deleted() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    store.record_sightings(vec![device(1)], Vec::new()).await.unwrap();
    let row = store.host(&device(1).key()).await.unwrap().unwrap().row.unwrap();
    let annotate = |name: Option<Option<&str>>, note: Option<Option<&str>>| {
        let owned = |word: Option<Option<&str>>| word.map(|word| word.map(str::to_owned));
        store.annotate(
            row,
            AnnotationPatch { name: owned(name), note: owned(note), ..AnnotationPatch::default() },
        )
    };
    let words = || async { store.host(&device(1).key()).await.unwrap().unwrap().words };
    let both =
        Annotation { name: Some("nas".into()), note: Some("in the attic".into()), ..Annotation::default() };
    assert!(annotate(Some(Some("nas")), Some(Some("in the attic"))).await.unwrap());
    assert_eq!(words().await, both);
    annotate(None, None).await.unwrap();
    store
        .record_sightings(vec![Device { name: Some("feed".into()), ..device(1) }], Vec::new())
        .await
        .unwrap();
    assert_eq!(words().await, both);
    annotate(Some(None), None).await.unwrap();
    assert_eq!(words().await, Annotation { name: None, ..both });
    assert!(!store.annotate(row + 1, AnnotationPatch::default()).await.unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// For any observations in any order, pruning leaves the current state unchanged.
    #[test]
    fn pruning_does_not_change_current_state(
        looks in prop::collection::vec((0..4_usize, 1..4_u8, 1..8_u16, 0..8_u16, 0..8_u16), 1..30),
        before in prop::option::of(0..5_usize),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bench = Bench::new(EAGER);
        let (store, threads) = bench.open();
        let (was, is) = runtime.block_on(async {
            let mut scans = Vec::new();
            for _ in 0..4 {
                scans.push(run(&store).await);
            }
            for (scan, last, first, length, open) in looks {
                let covered = format!("{first}-{}", first + length);
                store.record(look(scans[scan], last, &covered, &[first + open.min(length)])).await.unwrap();
            }
            for scan in &scans {
                store.end_scan(*scan, ScanStatus::Complete).await.unwrap();
            }
            let was = states(&store).await;
            let would = store.would_prune(None).await.unwrap();
            let part = store.prune(before.and_then(|index| scans.get(index).copied())).await.unwrap();
            let rest = store.prune(None).await.unwrap();
            assert_eq!(part.looks + rest.looks, would.looks);
            assert_eq!(part.scans + rest.scans, would.scans);
            (was, states(&store).await)
        });
        prop_assert_eq!(was, is);
        prop_assert_eq!(
            bench.count("SELECT count(*) FROM observations"),
            bench.count("SELECT count(*) FROM current")
        );
        drop(store);
        join(threads).unwrap();
        assert_sound(&bench.path());
    }
}

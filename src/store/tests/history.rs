//! The history of devices, and its order.

use super::*;

async fn open_ports(store: &Store, key: &DeviceKey) -> Option<Vec<u16>> {
    store.latest(key).await.unwrap().map(|host| host.open)
}

#[tokio::test]
async fn a_finished_host_is_served() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    let named = Device { name: Some("nas".to_owned()), ..device(2) };
    store.record(up(scan, named.clone(), &[22, 80, 443])).await.unwrap();
    store.record(up(scan, device(1), &[])).await.unwrap();

    let host = store.latest(&named.key()).await.unwrap().unwrap();
    let expected = CachedHost {
        device: named,
        scan,
        started: "2026-03-01T10:00:00Z".parse().unwrap(),
        preparation: Duration::from_millis(12),
        scanning: Duration::from_millis(218_450),
        coverage: PortSet::all(),
        open: vec![22, 80, 443],
    };
    assert_eq!(host, expected);
    assert_eq!(store.macs().await.unwrap(), [mac(1), mac(2)]);
    assert_eq!(store.ages().await.unwrap().len(), 2);
    assert_eq!(store.latest(&device(3).key()).await.unwrap(), None);
}

#[tokio::test]
async fn a_host_that_is_down_or_partial_keeps_its_result() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    store.record(up(scan, device(1), &[22])).await.unwrap();
    for status in [HostStatus::Down, HostStatus::Partial] {
        store.record(ended(scan, device(1), status)).await.unwrap();
        store.record(ended(scan, device(2), status)).await.unwrap();
    }
    assert_eq!(open_ports(&store, &device(1).key()).await, Some(vec![22]));
    assert_eq!(store.macs().await.unwrap(), [mac(1)], "a device without a result is not listed");
    assert_eq!(bench.count("SELECT count(*) FROM observations WHERE result IS NULL"), 3);
    assert_eq!(
        bench.count("SELECT count(*) FROM unanswered"),
        1,
        "the second device had no row when it did not answer"
    );
}

#[tokio::test]
async fn the_last_recorded_observation_is_the_newest_despite_clock_jumps() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let first = run(&store).await;
    store.record(up(first, device(1), &[22])).await.unwrap();

    bench.clock.set_wall("2000-01-01T00:00:10Z");
    let second = run(&store).await;
    assert_eq!(second.0, first.0 + 1);
    let mut early = up(second, device(1), &[80]);
    early.started = "2000-01-01T00:00:10Z".parse().unwrap();
    early.finished = early.started;
    store.record(early).await.unwrap();
    assert_eq!(open_ports(&store, &device(1).key()).await, Some(vec![80]));

    // The same after a restart, with a scan that began before it and ends after it.
    drop(store);
    join(threads).unwrap();
    let (store, _threads) = bench.open();
    store.record(up(first, device(1), &[443])).await.unwrap();
    assert_eq!(open_ports(&store, &device(1).key()).await, Some(vec![443]));
    assert_eq!(run(&store).await.0, second.0 + 1);

    bench.clock.set_wall("2026-03-02T10:00:00Z");
    assert_eq!(run(&store).await.0, "2026-03-02T10:00:00Z".parse::<Timestamp>().unwrap().as_second());
}

#[tokio::test]
async fn a_device_keeps_its_history_at_a_new_address() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    store.record(up(scan, device(1), &[22])).await.unwrap();
    bench.clock.pass(Duration::from_secs(60));
    let moved = Device { address: "192.0.2.77".parse().unwrap(), ..device(1) };
    store.record_sightings(vec![moved.clone()], Vec::new()).await.unwrap();

    let host = store.latest(&moved.key()).await.unwrap().unwrap();
    assert_eq!((host.device, host.open), (moved, vec![22]));
    assert_eq!(bench.count("SELECT count(*) FROM devices"), 1);
    assert_eq!(bench.count("SELECT count(*) FROM endpoints"), 2);

    // Another MAC at the old address is another device; a report of the address without a MAC belongs to it.
    let heir = Device { mac: Some(mac(9)), ..device(1) };
    store.record(up(scan, heir.clone(), &[80])).await.unwrap();
    let nameless = Device { mac: None, ..device(1) };
    store.record(up(scan, nameless.clone(), &[443])).await.unwrap();
    assert_eq!(open_ports(&store, &device(1).key()).await, Some(vec![22]));
    assert_eq!(open_ports(&store, &heir.key()).await, Some(vec![443]));
    assert_eq!(open_ports(&store, &nameless.key()).await, None);
    assert_eq!(store.macs().await.unwrap(), [mac(1), mac(9)]);
    assert_eq!(store.ages().await.unwrap().len(), 2);
}

#[tokio::test]
async fn equal_results_are_stored_once() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    for rtt in 0..5 {
        let scan = run(&store).await;
        for last in 1..=4 {
            let mut same = up(scan, device(last), &[22, 80]);
            same.report.findings[0].rtt = Some(Duration::from_millis(rtt));
            store.record(same).await.unwrap();
        }
    }
    assert_eq!(bench.count("SELECT count(*) FROM results"), 1);
    assert_eq!(bench.count("SELECT count(*) FROM observations"), 20);
}

#[tokio::test]
async fn last_seen_is_written_hourly_and_changes_at_once() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let last_seen = || bench.count("SELECT last_seen FROM endpoints");
    store.record_sightings(vec![device(1)], Vec::new()).await.unwrap();
    let first = last_seen();
    for _ in 0..59 {
        bench.clock.pass(Duration::from_secs(60));
        store.record_sightings(vec![device(1)], Vec::new()).await.unwrap();
        assert_eq!(last_seen(), first);
    }
    bench.clock.pass(Duration::from_secs(60));
    store.record_sightings(vec![device(1)], Vec::new()).await.unwrap();
    assert_eq!(last_seen(), first + 3_600_000);

    bench.clock.pass(Duration::from_secs(1));
    store
        .record_sightings(vec![Device { name: Some("nas".to_owned()), ..device(1) }], Vec::new())
        .await
        .unwrap();
    assert_eq!(last_seen(), first + 3_601_000);
    // A source without the name reports no change and deletes nothing.
    bench.clock.pass(Duration::from_secs(1));
    store.record_sightings(vec![device(1)], Vec::new()).await.unwrap();
    assert_eq!(last_seen(), first + 3_601_000);
    assert_eq!(bench.count("SELECT name = 'nas' FROM devices"), 1);
}

#[tokio::test]
async fn a_crash_leaves_runs_to_resume() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let finished = run(&store).await;
    store.end_scan(finished, ScanStatus::Complete).await.unwrap();
    let open = run(&store).await;
    let seen = store.begin_scan("lan", ScanKind::Seen, &PortSet::all()).await.unwrap();
    store.record(up(open, device(1), &[22])).await.unwrap();
    store.record(ended(open, device(2), HostStatus::Down)).await.unwrap();
    store.record(ended(open, device(3), HostStatus::Partial)).await.unwrap();
    store.record(up(seen, device(4), &[22])).await.unwrap();
    let schedule = Schedule { since_start: Duration::from_millis(90_061_001), started: bench.clock.wall() };
    store.save_schedule("lan", Schedule { since_start: Duration::ZERO, ..schedule }).await.unwrap();
    store.save_schedule("lan", schedule).await.unwrap();
    drop(store);
    join(threads).unwrap();

    let (store, _threads) = bench.open();
    let expected = OpenScan {
        id: open,
        scanner: "lan".to_owned(),
        started: "2026-03-01T10:00:00Z".parse().unwrap(),
        done: vec![Device { mac: None, ..device(2) }, device(1)],
    };
    assert_eq!(store.open_scans().await.unwrap(), [expected]);
    assert_eq!(store.schedule("lan").await.unwrap(), Some(schedule));
    assert_eq!(store.schedule("dmz").await.unwrap(), None);
    store.flush().await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM scans WHERE kind = 'seen' AND status = 'partial'"), 1);
}

#[tokio::test]
async fn a_failing_change_does_not_affect_others() {
    let bench = Bench::new(LAZY);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    let unknown = ScanId(7);
    let (good, bad, end, flushed) = tokio::join!(
        store.record(up(scan, device(1), &[22])),
        store.record(up(unknown, device(2), &[22])),
        store.end_scan(unknown, ScanStatus::Complete),
        store.flush(),
    );
    good.unwrap();
    assert!(matches!(bad, Err(StoreError::UnknownScan(id)) if id == unknown));
    assert!(matches!(end, Err(StoreError::UnknownScan(id)) if id == unknown));
    flushed.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM devices"), 1);
}

/// The trigger makes SQLite fail as after a bug in portscan: neither because of the disk nor on a constraint.
#[tokio::test]
async fn a_change_that_always_fails_blocks_no_other() {
    let bench = Bench::new(LAZY);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    bench
        .outside()
        .execute_batch(
            "CREATE TRIGGER poison BEFORE INSERT ON schedules WHEN new.scanner = 'poison'
             BEGIN SELECT abs(new.since_start - 9223372036854775807 - 1); END",
        )
        .unwrap();
    let schedule = Schedule { since_start: Duration::ZERO, started: bench.clock.wall() };
    let (before, poison, after, flushed) = tokio::join!(
        store.record(up(scan, device(1), &[22])),
        store.save_schedule("poison", schedule),
        store.save_schedule("lan", schedule),
        store.flush(),
    );
    assert!(matches!(poison, Err(StoreError::Sqlite(_))), "{poison:?}");
    before.and(after).and(flushed).unwrap();
    assert_eq!(*store.health().borrow(), StoreHealth::Ok);
    assert_eq!(store.macs().await.unwrap(), [mac(1)]);
    assert_eq!(store.schedule("lan").await.unwrap(), Some(schedule));
    assert_eq!(store.schedule("poison").await.unwrap(), None);
}

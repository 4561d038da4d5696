//! Dates in the future, left by a clock that was once ahead, are repaired.

use proptest::prelude::*;

use super::*;
use crate::clock::EARLIEST_SANE;

/// Records an observation of a device at the clock's present time.
async fn look(store: &Store, bench: &Bench, last: u8, open: &[u16]) -> ScanId {
    let scan = run(store).await;
    let now = bench.clock.wall();
    let observation = Observation { started: now, finished: now, ..up(scan, device(last), open) };
    store.record_sightings(vec![device(last)], Vec::new()).await.unwrap();
    store.record(observation).await.unwrap();
    store.end_scan(scan, ScanStatus::Complete).await.unwrap();
    bench.clock.pass(Duration::from_secs(1));
    scan
}

fn seconds(wall: &str) -> i64 {
    wall.parse::<Timestamp>().unwrap().as_second()
}

/// Two scans in March, one in 2100, two on the following day.
async fn after_2100(bench: &Bench) -> (Store, WriterThread, Vec<i64>) {
    let (store, threads) = bench.open();
    let mut ids = Vec::new();
    ids.push(look(&store, bench, 1, &[22]).await.0);
    ids.push(look(&store, bench, 1, &[22]).await.0);
    bench.clock.set_wall("2100-01-01T00:00:00Z");
    ids.push(look(&store, bench, 2, &[80]).await.0);
    bench.clock.set_wall("2026-03-02T10:00:00Z");
    ids.push(look(&store, bench, 1, &[22]).await.0);
    ids.push(look(&store, bench, 1, &[22, 443]).await.0);
    (store, threads, ids)
}

#[tokio::test]
async fn a_scan_is_as_old_as_its_start_after_the_clock_was_ahead() {
    let bench = Bench::new(EAGER);
    let (store, threads, ids) = after_2100(&bench).await;
    assert_eq!(ids[3..], [seconds("2100-01-01T00:00:01Z"), seconds("2100-01-01T00:00:02Z")]);
    let cutoff = |wall| Some(ScanId(seconds(wall)));
    // All observations of the first device but the latest supply nothing; the second device's observation does.
    let pruned = Pruned { looks: 3, scans: 3 };
    assert_eq!(store.would_prune(cutoff("2026-03-05T00:00:00Z")).await.unwrap(), pruned);
    assert_eq!(
        store.would_prune(Some(ScanId(ids[3]))).await.unwrap(),
        Pruned { looks: 2, scans: 2 },
        "an id as the limit"
    );
    assert_eq!(store.prune(cutoff("2026-03-05T00:00:00Z")).await.unwrap(), pruned);
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
    assert_eq!(EARLIEST_SANE.as_millisecond(), 1_767_225_600_000, "the SQL statements contain this value");
}

#[tokio::test]
async fn a_scan_that_starts_before_the_clock_is_set_is_not_old() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    look(&store, &bench, 1, &[22]).await;
    bench.clock.set_wall("2000-01-01T00:00:00Z");
    look(&store, &bench, 1, &[23]).await;
    look(&store, &bench, 1, &[24]).await;
    let cutoff = Some(ScanId(seconds("2026-02-01T00:00:00Z")));
    assert_eq!(store.would_prune(cutoff).await.unwrap(), Pruned::default());
}

#[tokio::test]
async fn future_ids_and_dates_are_set_back_in_order() {
    let bench = Bench::new(EAGER);
    let (store, threads, ids) = after_2100(&bench).await;
    let before = (open_now(&store, &device(1)).await, open_now(&store, &device(2)).await);
    let now = bench.clock.wall();
    assert!(bench.count("SELECT max(last_seen) FROM endpoints") > now.as_millisecond());

    let repaired = store.repair_dates(now).await.unwrap();
    assert!(repaired.scans == 3 && repaired.dates >= 5, "{repaired:?}");
    assert_eq!(store.repair_dates(now).await.unwrap(), Repaired::default(), "a second repair finds nothing");
    let after = store.scan_ids(i64::MIN).await.unwrap().rows;
    let second = |wall| ScanId(seconds(wall));
    let expected = [
        ScanId(ids[0]),
        ScanId(ids[1]),
        ScanId(ids[1] + 1),
        second("2026-03-02T10:00:00Z"),
        second("2026-03-02T10:00:01Z"),
    ];
    assert_eq!(after, expected);
    assert_eq!((open_now(&store, &device(1)).await, open_now(&store, &device(2)).await), before);
    for dates in [
        "SELECT max(max(started), max(finished)) FROM scans",
        "SELECT max(max(started), max(finished)) FROM observations",
        "SELECT max(max(first_seen), max(last_seen)) FROM endpoints",
        "SELECT max(first_seen) FROM devices",
        "SELECT max(at) FROM changes",
    ] {
        assert!(bench.count(dates) <= now.as_millisecond(), "{dates}");
    }
    // Later ids continue from there, by the clock.
    bench.clock.pass(Duration::from_secs(3600));
    let next = look(&store, &bench, 1, &[22]).await;
    assert_eq!(next, ScanId((now + Duration::from_secs(3600)).as_second()));
    // A device that was seen at that time only can be missed and forgotten.
    let later = now + Duration::from_secs(10);
    assert_eq!(store.unseen_since(later).await.unwrap().len(), 1);
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
}

#[tokio::test]
async fn a_running_scan_keeps_its_id() {
    let bench = Bench::new(EAGER);
    let (store, _threads, _) = after_2100(&bench).await;
    let running = run(&store).await;
    assert_eq!(store.repair_dates(bench.clock.wall()).await.unwrap(), Repaired::default());
    store.record(up(running, device(1), &[22])).await.unwrap();
    store.end_scan(running, ScanStatus::Complete).await.unwrap();
    assert_eq!(store.repair_dates(bench.clock.wall()).await.unwrap().scans, 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// For any jumps of the clock: after the repair ids ascend, none is in the future, and the state is unchanged.
    #[test]
    fn repairs_any_clock_jumps(years in prop::collection::vec(2000_u16..2110, 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new(EAGER);
            let (store, threads) = bench.open();
            for (number, year) in (1..).zip(&years) {
                bench.clock.set_wall(&format!("{year}-01-01T00:00:00Z"));
                look(&store, &bench, number % 3, &[number.into()]).await;
            }
            bench.clock.set_wall("2026-06-01T00:00:00Z");
            let before = store.host_states(0, 1000).await.unwrap().rows;
            store.repair_dates(bench.clock.wall()).await.unwrap();
            let ids = store.scan_ids(i64::MIN).await.unwrap().rows;
            let limit = bench.clock.wall().as_second() + 86_400;
            assert!(ids.is_sorted() && ids.len() == years.len() && ids.iter().all(|id| id.0 <= limit), "{ids:?}");
            let open = |rows: &[HostState]| -> Vec<_> {
                rows.iter().map(|row| (row.device.clone(), row.standings[&Protocol::Tcp].open().to_string())).collect()
            };
            assert_eq!(open(&store.host_states(0, 1000).await.unwrap().rows), open(&before));
            drop(store);
            join(threads).unwrap();
            assert_sound(&bench.path());
        });
    }
}

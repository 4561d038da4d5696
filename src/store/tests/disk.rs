//! When and how the disk is written, and what happens while it accepts no writes.

use std::{collections::HashSet, fs, os::unix::fs::PermissionsExt};

use super::*;

/// The bytes of a page and of its frame in the log (SQLite, "WAL File Format").
const PAGE: usize = 4096;
const LOG_HEADER: usize = 32;
const FRAME: usize = 24 + PAGE;

/// The frames in the log, each with whether it ends a commit: its second word is then not 0.
fn frames(bench: &Bench) -> Vec<bool> {
    let log = fs::read(bench.path().with_extension("db-wal")).unwrap();
    log[LOG_HEADER..].chunks_exact(FRAME).map(|frame| frame[4..8] != [0; 4]).collect()
}

fn commits(bench: &Bench) -> usize {
    frames(bench).into_iter().filter(|&ends| ends).count()
}

#[tokio::test]
async fn hosts_that_finish_together_share_a_commit() {
    let bench = Bench::new(LAZY);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    store.record(up(scan, device(21), &[22])).await.unwrap();
    let before = commits(&bench);
    let records = (1..=20).map(|last| store.record(up(scan, device(last), &[22])));
    let flush = store.flush();
    let (recorded, flushed) = tokio::join!(futures_util::future::join_all(records), flush);
    assert!(recorded.into_iter().all(|made| made.is_ok()) && flushed.is_ok());
    assert_eq!(commits(&bench), before + 1);
}

/// The pace is an hour and the clock does not advance, so a host that waited would never be committed.
#[tokio::test]
async fn the_first_host_of_a_scan_is_committed_at_once() {
    let bench = Bench::new(LAZY);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    let recorded = store.record(up(scan, device(1), &[22]));
    tokio::time::timeout(Duration::from_secs(30), recorded).await.expect("committed at once").unwrap();
    assert_eq!(store.macs().await.unwrap(), [mac(1)]);
}

#[tokio::test]
async fn a_lone_host_waits_no_longer_than_the_pace() {
    // The clock does not advance: only the pace can end the wait.
    let bench = Bench::new(DiskPace { commit: Duration::from_millis(30), ..LAZY });
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    store.record(up(scan, device(1), &[22])).await.unwrap();
    store.record(up(scan, device(2), &[22])).await.unwrap();
    assert_eq!(store.macs().await.unwrap().len(), 2);
}

/// The life of the card depends on this limit.
#[tokio::test]
async fn an_unchanged_host_costs_two_pages_of_log_and_one_short_row() {
    const HOSTS: u8 = 40;
    const SCANS: i64 = 50;
    let bench = Bench::new(LAZY);
    let (store, threads) = bench.open();
    let scan_all = async |store: &Store| {
        let scan = run(store).await;
        let records = (1..=HOSTS).map(|last| store.record(up(scan, device(last), &[22, 80, 443])));
        let (recorded, flushed) = tokio::join!(futures_util::future::join_all(records), store.flush());
        assert!(recorded.into_iter().all(|made| made.is_ok()) && flushed.is_ok());
        scan
    };
    let scan = scan_all(&store).await;
    let before = frames(&bench).len();
    let (recorded, flushed) = tokio::join!(store.record(up(scan, device(7), &[22, 80, 443])), store.flush());
    assert!(recorded.is_ok() && flushed.is_ok());
    let alone = frames(&bench).len() - before;
    assert!(alone <= 2, "{alone} pages for one host on its own");

    let size = |store: Store, threads| {
        drop(store);
        join(threads).unwrap();
        fs::metadata(bench.path()).unwrap().len()
    };
    let first = size(store, threads);
    let (store, threads) = bench.open();
    for _ in 0..SCANS {
        scan_all(&store).await;
    }
    let grown = size(store, threads) - first;
    let row = grown / (u64::from(HOSTS) * SCANS.unsigned_abs());
    println!("an unchanged host: {row} bytes of database, {} bytes of log when alone", alone * FRAME);
    assert!(row <= 100, "{row} bytes a row");
}

fn start(writer: Connection, bench: &Bench) -> (Store, WriterThread) {
    let reader = schema::open_reader(&bench.path()).unwrap();
    Store::start(Some(writer), reader, &bench.path(), bench.clock.clone(), bench.pace).unwrap()
}

/// `max_page_count` makes SQLite return `SQLITE_FULL`, as it does when write(2) fails with `ENOSPC`.
#[tokio::test]
async fn a_full_disk_loses_nothing_and_the_store_recovers() {
    let bench = Bench::new(EAGER);
    let connection = schema::open_writer(&bench.path(), schema::LADDER).unwrap();
    let outside = bench.outside();
    outside
        .execute_batch("CREATE TABLE ballast (x BLOB); INSERT INTO ballast VALUES (zeroblob(2000000));")
        .unwrap();
    let pages = count(&outside, "PRAGMA page_count");
    connection.pragma_update(None, "max_page_count", pages).unwrap();
    let (store, threads) = start(connection, &bench);
    let mut health = store.health();
    let scan = run(&store).await;

    // More hosts than the batch and the queue hold, so that the last ones have to wait for a place.
    let hosts = 400_u16;
    let ports = |host: u16| (0..200).map(|n| host + 150 * n).collect::<Vec<u16>>();
    let mac_of = |host: u16| Mac::new([2, 0, 0, 0, host.to_be_bytes()[0], host.to_be_bytes()[1]]);
    let records = async {
        let records = (1..=hosts).map(|host| {
            store.record(up(scan, Device { mac: Some(mac_of(host)), ..device(1) }, &ports(host)))
        });
        futures_util::future::join_all(records).await
    };
    let relief = async {
        health.wait_for(|health| *health == StoreHealth::Full).await.unwrap();
        // Reads continue and see complete data.
        let served = store.macs().await.unwrap();
        assert!(served.len() < usize::from(hosts), "the disk was not full");
        outside.execute_batch("DROP TABLE ballast").unwrap();
        health.wait_for(|health| *health == StoreHealth::Ok).await.unwrap();
    };
    let (recorded, ()) = tokio::join!(records, relief);
    assert!(recorded.iter().all(Result::is_ok));
    for host in 1..=hosts {
        let found = store.latest(&DeviceKey::Mac(mac_of(host))).await.unwrap().unwrap();
        assert_eq!(found.open, ports(host));
    }
    drop((store, outside));
    join(threads).unwrap();
    assert_sound(&bench.path());
}

#[tokio::test]
async fn closing_on_a_full_disk_reports_the_lost_records() {
    let bench = Bench::new(EAGER);
    let connection = schema::open_writer(&bench.path(), schema::LADDER).unwrap();
    let path = bench.path();
    connection.pragma_update(None, "max_page_count", count(&connection, "PRAGMA page_count")).unwrap();
    let (store, threads) = start(connection, &bench);
    let scan = run(&store).await;
    let ports: Vec<u16> = (0..20_000).map(|n| n * 2 + 1).collect();
    let mut health = store.health();
    let full = async {
        health.wait_for(|health| *health == StoreHealth::Full).await.unwrap();
        join(threads)
    };
    let (recorded, closed) = tokio::join!(store.record(up(scan, device(1), &ports)), full);
    assert!(matches!(recorded, Err(StoreError::Closed)));
    assert!(matches!(closed, Err(StoreError::Unwritten { count: 1, .. })));
    assert_sound(&path);
}

#[tokio::test]
async fn reads_do_not_wait_for_the_writer() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    store.record(up(scan, device(1), &[22])).await.unwrap();
    let outside = bench.outside();
    outside.execute_batch("BEGIN IMMEDIATE").unwrap();
    let record = store.record(up(scan, device(1), &[80]));
    let read = async {
        let committed = store.latest(&device(1).key()).await.unwrap().unwrap();
        assert_eq!(committed.open, [22]);
        outside.execute_batch("COMMIT").unwrap();
    };
    let (recorded, ()) = tokio::join!(record, read);
    recorded.unwrap();
    assert_eq!(store.latest(&device(1).key()).await.unwrap().unwrap().open, [80]);
}

#[tokio::test]
async fn closing_commits_what_is_queued() {
    let bench = Bench::new(LAZY);
    let (store, threads) = bench.open();
    let scan = run(&store).await;
    // The next change waits for others.
    store.record(up(scan, device(2), &[22])).await.unwrap();
    let recorded = tokio::spawn({
        let store = store.clone();
        async move { store.record(up(scan, device(1), &[22])).await }
    });
    // A read behind it on the same runtime: when it is answered, the record has been queued.
    tokio::task::yield_now().await;
    store.macs().await.unwrap();
    join(threads).unwrap();
    recorded.await.unwrap().unwrap();
    assert!(matches!(store.macs().await, Err(StoreError::Closed)));
    assert!(matches!(store.flush().await, Err(StoreError::Closed)));
    let (store, _threads) = bench.open();
    assert_eq!(store.macs().await.unwrap(), [mac(1), mac(2)]);
}

/// Simulates a power cut: the files at some moment in the middle of writing.
#[tokio::test]
async fn a_copy_made_at_any_moment_has_every_acknowledged_host() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let scan = run(&store).await;
    let images = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(Mutex::new(HashSet::new()));
    let writing = tokio::spawn({
        let (store, acknowledged) = (store.clone(), acknowledged.clone());
        async move {
            for round in 0_u16.. {
                for last in 1..=200 {
                    // Distinct results, so that the log fills and is copied back every now and then.
                    let open: Vec<u16> =
                        (1..500).map(|n| n * 100 + round * 7 + u16::from(last) % 90).collect();
                    if store.record(up(scan, device(last), &open)).await.is_err() {
                        return;
                    }
                    acknowledged.lock().unwrap().insert(mac(last));
                }
            }
        }
    });
    let mut seen_some = false;
    for image in 0..20 {
        let dir = images.path().join(image.to_string());
        fs::create_dir(&dir).unwrap();
        let (path, copy) = (bench.path(), dir.join(FILE_NAME));
        let acknowledged = acknowledged.lock().unwrap().clone();
        let outside = bench.outside();
        let copied = tokio::task::spawn_blocking(move || {
            // Copying two files takes time, a power cut none. A reader keeps the log from being restarted in between,
            // so a power cut could have left this copy.
            outside.execute_batch("BEGIN; SELECT count(*) FROM scans;").unwrap();
            fs::copy(&path, &copy).unwrap();
            fs::copy(path.with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
            copy
        });
        let copy = copied.await.unwrap();
        assert_sound(&copy);
        let (image, image_threads) = Store::open(&copy, bench.clock.clone()).unwrap();
        let there: HashSet<Mac> = image.macs().await.unwrap().into_iter().collect();
        assert!(acknowledged.is_subset(&there));
        assert_eq!(image.open_scans().await.unwrap().len(), 1);
        seen_some |= !acknowledged.is_empty();
        drop(image);
        join(image_threads).unwrap();
    }
    assert!(seen_some);
    join(threads).unwrap();
    writing.await.unwrap();
}

#[tokio::test]
async fn the_files_are_private_and_stay_small() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let scan = run(&store).await;
    for round in 0..40 {
        let open: Vec<u16> = (1..5000).map(|n| n * 13 + round).collect();
        store.record(up(scan, device(1), &open)).await.unwrap();
    }
    for file in fs::read_dir(bench.dir.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
    let log = fs::metadata(bench.path().with_extension("db-wal")).unwrap().len();
    assert!(log > 0 && log < 1_500_000, "{log} bytes of log");
    assert_eq!(store.bytes(), log + fs::metadata(bench.path()).unwrap().len());
    drop(store);
    join(threads).unwrap();
    assert!(!bench.path().with_extension("db-wal").exists(), "closing removes the log");
}

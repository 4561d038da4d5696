//! A file that is damaged, deleted or replaced is reported, and so is its repair.

use std::{fs, os::unix::fs::FileExt};

use super::*;
use crate::clock::SystemClock;

const PAGE: usize = 4096;

/// Checks the file's name and content as often as possible.
const WATCHFUL: DiskPace = DiskPace {
    look: Duration::from_millis(5),
    check: Duration::from_millis(5),
    recheck: Duration::from_millis(5),
    ..EAGER
};

/// Overwrites the first page of a table, as a card that lost a block does; returns a function that restores it.
fn damage(path: &Path, table: &str) -> impl Fn() + use<> {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let sql = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{table}'");
    let at = (u64::try_from(count(&connection, &sql)).unwrap() - 1) * PAGE as u64;
    drop(connection);
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut before = [0; PAGE];
    file.read_exact_at(&mut before, at).unwrap();
    file.write_all_at(&[0xA5; PAGE], at).unwrap();
    move || file.write_all_at(&before, at).unwrap()
}

async fn filled(bench: &Bench) {
    let (store, threads) = bench.open();
    let scan = run(&store).await;
    store.record(up(scan, device(1), &[22])).await.unwrap();
    drop(store);
    join(threads).unwrap();
}

async fn until(store: &Store, wanted: impl Fn(&StoreHealth) -> bool) -> StoreHealth {
    let mut health = store.health();
    let found = tokio::time::timeout(Duration::from_secs(60), health.wait_for(|health| wanted(health))).await;
    found.expect("in time").unwrap().clone()
}

#[tokio::test]
async fn the_check_finds_a_damaged_page_and_its_repair() {
    let bench = Bench::new(WATCHFUL);
    filled(&bench).await;
    // A table that no query of this test reads.
    let mend = damage(&bench.path(), "names");
    let (store, threads) = bench.open();
    let message = until(&store, |health| matches!(health, StoreHealth::Damaged(_))).await.to_string();
    assert!(message.contains("restore a backup") && message.lines().count() == 1, "{message}");
    assert_eq!(store.macs().await.unwrap(), [mac(1)], "what can be read is served");
    mend();
    until(&store, |health| *health == StoreHealth::Ok).await;
    drop(store);
    join(threads).unwrap();
}

#[tokio::test]
async fn a_query_that_meets_damage_reports_it_at_once() {
    let bench = Bench::new(EAGER);
    filled(&bench).await;
    let (store, threads) = bench.open();
    drop(damage(&bench.path(), "names"));
    assert!(store.names().await.is_err());
    assert!(matches!(*store.health().borrow(), StoreHealth::Damaged(_)));
    drop(store);
    join(threads).unwrap();
}

#[tokio::test]
async fn a_sound_file_stays_healthy_after_many_checks() {
    let bench = Bench::new(WATCHFUL);
    let (store, threads) = bench.open();
    let health = store.health();
    let scan = run(&store).await;
    for round in 0..200_u16 {
        store.record(up(scan, device(1), &[round + 1])).await.unwrap();
    }
    assert!(!health.has_changed().unwrap(), "{:?}", *health.borrow());
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
}

#[tokio::test]
async fn writes_wait_while_the_file_is_missing() {
    let bench = Bench::new(WATCHFUL);
    filled(&bench).await;
    let (store, threads) = bench.open();
    let aside = bench.dir.path().join("aside.db");
    fs::rename(bench.path(), &aside).unwrap();
    until(&store, |health| *health == StoreHealth::Replaced(bench.path())).await;
    let recorded = {
        let store = store.clone();
        tokio::spawn(async move {
            let scan = run(&store).await;
            store.record(up(scan, device(2), &[80])).await
        })
    };
    assert!(store.prune(None).await.is_err(), "a change that would be lost must not succeed");
    let mut copy = tempfile::NamedTempFile::new().unwrap();
    std::io::copy(&mut store.backup().await.unwrap(), &mut copy).unwrap();
    let saved = Connection::open(copy.path()).unwrap();
    assert_eq!(count(&saved, "SELECT count(*) FROM devices"), 1);
    assert!(!recorded.is_finished());
    assert_eq!(store.macs().await.unwrap(), [mac(1)]);
    fs::rename(&aside, bench.path()).unwrap();
    recorded.await.unwrap().unwrap();
    until(&store, |health| *health == StoreHealth::Ok).await;
    assert_eq!(store.macs().await.unwrap(), [mac(1), mac(2)]);
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
}

/// The log keeps its name, and SQLite would merge it into any database with the name of its own.
#[tokio::test]
async fn a_replacement_file_is_not_damaged_by_the_old_log() {
    let bench = Bench::new(WATCHFUL);
    filled(&bench).await;
    let backup = bench.dir.path().join("backup.db");
    fs::copy(bench.path(), &backup).unwrap();
    let (store, threads) = bench.open();
    let scan = run(&store).await;
    for last in 2..50 {
        store.record(up(scan, device(last), &[u16::from(last)])).await.unwrap();
    }
    fs::rename(&backup, bench.path()).unwrap();
    until(&store, |health| *health == StoreHealth::Replaced(bench.path())).await;
    // Whichever thread noticed it first, the writer notices it, too, and merges the log into its own file.
    let log = bench.path().with_extension("db-wal");
    let emptied = async {
        while fs::metadata(&log).unwrap().len() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), emptied).await.expect("in time");
    // The state after a kill: the present file is opened, while the processes with the other file close nothing.
    let images = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("{FILE_NAME}{suffix}");
        fs::copy(bench.dir.path().join(&name), images.path().join(&name)).unwrap();
    }
    let image = images.path().join(FILE_NAME);
    assert_sound(&image);
    assert_eq!(count(&Connection::open(&image).unwrap(), "SELECT count(*) FROM devices"), 1);
    drop(store);
    join(threads).unwrap();
    let (store, threads) = bench.open();
    assert_eq!(store.macs().await.unwrap(), [mac(1)]);
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
}

/// On a Pi's card, reading the file takes a minute or more; the stop does not wait for that.
#[tokio::test]
async fn a_running_check_does_not_delay_the_stop() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    drop(store);
    join(threads).unwrap();
    let outside = bench.outside();
    outside
        .execute_batch(
            "CREATE TABLE ballast (x BLOB); INSERT INTO ballast
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000)
             SELECT randomblob(1000) FROM n;",
        )
        .unwrap();
    drop(outside);
    let (store, threads) = bench.open();
    let clock = SystemClock::start();
    drop(store);
    join(threads).unwrap();
    let took = clock.now().since_start();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

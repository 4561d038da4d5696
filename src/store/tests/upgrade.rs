//! Upgrades from every older version to this one, and refuses later ones.

use std::fs;

use rstest::rstest;

use super::*;
use crate::alerts::SavedSummary;

/// A database as version 1 left it: a device that moved, and one that is down.
fn version_1(path: &Path) {
    let connection = schema::open_writer(path, &schema::LADDER[..1]).unwrap();
    connection
        .execute_batch(
            "INSERT INTO scans VALUES (100, 'lan', 'run', '1-65535', 'complete', 100000, 160000);
             INSERT INTO scans VALUES (200, 'lan', 'run', '1-65535', 'running', 200000, NULL);
             INSERT INTO devices (id, mac, address, first_seen, last_seen) VALUES
                 (1, '02:00:00:00:00:01', '192.0.2.7', 100000, 230000), (2, NULL, '192.0.2.2', 90000, 95000);
             -- Of ports 1-65535 21 and 79 are open; of port 21 alone it is closed.
             INSERT INTO results VALUES (1, x'00', x'01010101fdff0302150000390000'), (2, x'01', x'010101150000');
             INSERT INTO observations VALUES
                 (100, 1, 1, '192.0.2.1', 'tcp', 'up', 1, 'conn-refused', 9, 110000, 120000, 1, 2, NULL),
                 (100, 2, 2, '192.0.2.2', 'tcp', 'down', NULL, NULL, 9, 110000, 114000, 1, 2, 'no answer'),
                 (200, 3, 1, '192.0.2.7', 'tcp', 'up', 2, 'conn-refused', 9, 220000, 230000, 1, 2, NULL);
             UPDATE devices SET latest_scan = 200, latest_seq = 3 WHERE id = 1;",
        )
        .unwrap();
}

fn beside(bench: &Bench, suffix: &str) -> PathBuf {
    let mut name = bench.path().into_os_string();
    name.push(suffix);
    name.into()
}

#[tokio::test]
async fn upgrading_version_1_copies_it_first_and_keeps_its_data() {
    let bench = Bench::new(EAGER);
    version_1(&bench.path());
    let (store, threads) = bench.open();
    let host = store.latest(&DeviceKey::Mac(mac(1))).await.unwrap().unwrap();
    assert_eq!((host.scan, host.open), (ScanId(200), vec![79]));
    let open = store.open_scans().await.unwrap();
    assert_eq!((open[0].id, open[0].done.len()), (ScanId(200), 1));
    let next = run(&store).await;
    store.record(up(next, device(1), &[22])).await.unwrap();
    assert_eq!(store.latest(&DeviceKey::Mac(mac(1))).await.unwrap().unwrap().open, [22]);

    let outside = bench.outside();
    let addresses: Vec<(i64, String, i64, i64)> = outside
        .prepare(
            "SELECT device, address, first_seen, last_seen FROM endpoints
             WHERE last_seen < 1000000 ORDER BY device, address",
        )
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    let expected = [(1, "192.0.2.7", 220_000, 230_000), (2, "192.0.2.2", 90_000, 95_000)];
    assert_eq!(addresses, expected.map(|(device, at, first, last)| (device, at.to_owned(), first, last)));
    drop((store, outside));
    join(threads).unwrap();
    assert_sound(&bench.path());

    let copy = beside(&bench, ".v1");
    assert_sound(&copy);
    let copied = Connection::open(&copy).unwrap();
    assert_eq!(count(&copied, "PRAGMA user_version"), 1);
    assert_eq!(count(&copied, "SELECT count(*) FROM observations"), 3);
    assert!(!beside(&bench, ".partial").exists());
}

/// Writes a database of this version in which a device has two rows: one at 192.0.2.5 that is known by the address
/// alone, with an observation and, from version 4 on, a note; and one with the MAC that was found there later. From
/// version 3 on, two addresses that never answered have rows; one of them has the owner's note from version 4 on.
fn one_device_twice(path: &Path, version: usize) {
    let connection = schema::open_writer(path, &schema::LADDER[..version]).unwrap();
    connection
        .execute_batch(
            "INSERT INTO scans (id, scanner, kind, ports, status, started, finished) VALUES
                 (100, 'lan', 'run', '1-65535', 'complete', 100000, 160000),
                 (200, 'lan', 'run', '1-65535', 'running', 200000, NULL);
             INSERT INTO devices (id, mac, address, name, first_seen, last_seen) VALUES
                 (1, NULL, '192.0.2.5', 'nas', 100000, 120000),
                 (2, '02:00:00:00:00:05', '192.0.2.5', NULL, 210000, 230000),
                 (3, '02:00:00:00:00:06', '192.0.2.6', NULL, 100000, 230000);
             -- Of ports 1-65535 21 and 79 are open; of port 21 alone it is closed.
             INSERT INTO results VALUES (1, x'00', x'01010101fdff0302150000390000'), (2, x'01', x'010101150000');
             INSERT INTO observations (scan, seq, device, address, protocol, status, result, reason, probes, started,
                                       finished, preparation, scanning, detail) VALUES
                 (100, 1, 1, '192.0.2.5', 'tcp', 'up', 1, 'conn-refused', 9, 110000, 120000, 1, 2, NULL),
                 (200, 2, 2, '192.0.2.5', 'tcp', 'up', 2, 'conn-refused', 9, 220000, 230000, 1, 2, NULL);
             UPDATE devices SET latest_scan = 100, latest_seq = 1 WHERE id = 1;
             UPDATE devices SET latest_scan = 200, latest_seq = 2 WHERE id = 2;",
        )
        .unwrap();
    if version >= 2 {
        let sql = "INSERT INTO addresses SELECT id, address, first_seen, last_seen FROM devices;
                   INSERT INTO addresses VALUES (3, '192.0.2.66', 50000, 60000);";
        connection.execute_batch(sql).unwrap();
    }
    if version >= 3 {
        let sql = "INSERT INTO changes (at, device, address, kind, alert) VALUES
                       (1, '192.0.2.5', '192.0.2.5', 'new', 0);
                   INSERT INTO devices (id, mac, address, first_seen, last_seen, presence) VALUES
                       (4, NULL, '192.0.2.7', 210000, 210000, 'sought'), (5, NULL, '192.0.2.8', 1, 1, 'sought');
                   INSERT INTO observations (scan, seq, device, address, protocol, status, probes, started, finished,
                                             preparation, scanning) VALUES
                       (200, 3, 4, '192.0.2.7', 'tcp', 'down', 1, 210000, 214000, 0, 0),
                       (100, 4, 5, '192.0.2.8', 'tcp', 'down', 1, 110000, 114000, 0, 0);";
        connection.execute_batch(sql).unwrap();
    }
    if version >= 4 {
        let sql = "UPDATE devices SET note = 'in the attic' WHERE id = 1;
                   UPDATE devices SET note = 'not there yet' WHERE id = 5;";
        connection.execute_batch(sql).unwrap();
    }
    if version >= 5 {
        connection.execute("INSERT INTO names VALUES ('192.0.2.5', 'dns', 'nas.lan', 1)", []).unwrap();
    }
}

#[rstest]
#[tokio::test]
async fn upgrading_any_older_version_leaves_one_row_per_device(#[values(1, 2, 3, 4, 5, 6)] version: usize) {
    let bench = Bench::new(EAGER);
    one_device_twice(&bench.path(), version);
    let (store, threads) = bench.open();
    let hosts = store.hosts(0, 128).await.unwrap().rows;
    let keys: Vec<String> = hosts.iter().map(|host| host.device.key().to_string()).collect();
    let annotated = if version >= 4 { vec!["192.0.2.8"] } else { Vec::new() };
    assert_eq!(keys, [vec!["02:00:00:00:00:05", "02:00:00:00:00:06"], annotated].concat());
    let host = &hosts[0];
    assert_eq!(host.device.name.as_deref(), Some("nas"));
    assert_eq!(host.words.note.as_deref(), (version >= 4).then_some("in the attic"));
    assert_eq!((host.first_seen.as_second(), host.last_seen.as_second()), (100, 230));
    assert_eq!(host.names.len(), if version >= 5 { 2 } else { 1 });
    // The open ports of each of the two rows; the newer observation closes 21.
    let open: Vec<u16> = host.open_ports().iter().map(|open| open.port).collect();
    assert_eq!(open, [79]);
    let latest = store.latest(&host.device.key()).await.unwrap().unwrap();
    assert_eq!((latest.scan, latest.open), (ScanId(200), vec![79]));
    let lived: Vec<String> = hosts[1].addresses.iter().map(|record| record.address.to_string()).collect();
    assert_eq!(lived, if version >= 2 { vec!["192.0.2.6", "192.0.2.66"] } else { vec!["192.0.2.6"] });
    let changes = store.change_events(ChangeFilter::default()).await.unwrap().rows;
    assert!(changes.iter().all(|change| change.device == host.device.key()), "{changes:?}");
    // The resumed run knows the addresses without an answer.
    let done: Vec<String> =
        store.open_scans().await.unwrap()[0].done.iter().map(|done| done.address.to_string()).collect();
    assert_eq!(done, if version >= 3 { vec!["192.0.2.7", "192.0.2.5"] } else { vec!["192.0.2.5"] });
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
}

#[tokio::test]
async fn upgrading_version_7_keeps_devices_and_changes() {
    let bench = Bench::new(EAGER);
    let old = schema::open_writer(&bench.path(), &schema::LADDER[..7]).unwrap();
    let sql = "INSERT INTO devices (id, mac, note, first_seen, presence) VALUES
                   (1, '02:00:00:00:00:01', 'in the attic', 1, 'there');
               INSERT INTO endpoints (device, address, held, first_seen, last_seen) VALUES (1, '192.0.2.1', 'now', 1, 1);
               INSERT INTO changes (at, device, address, kind, was, alert) VALUES
                   (1, '02:00:00:00:00:01', '192.0.2.1', 'moved', '192.0.2.2', 0);";
    old.execute_batch(sql).unwrap();
    drop(old);
    let (store, threads) = bench.open();
    let hosts = store.hosts(0, 128).await.unwrap().rows;
    assert_eq!(hosts[0].words.note.as_deref(), Some("in the attic"));
    assert_eq!(store.silenced(&hosts[0].device.key()).await.unwrap(), None);
    let changes = store.change_events(ChangeFilter::default()).await.unwrap().rows;
    assert_eq!(changes[0].kind.previous_address(), Some(&"192.0.2.2".parse().unwrap()));
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
}

#[rstest]
#[tokio::test]
async fn upgrading_versions_with_channels_keeps_these_and_their_messages(#[values(9, 10)] version: usize) {
    let bench = Bench::new(EAGER);
    let old = schema::open_writer(&bench.path(), &schema::LADDER[..version]).unwrap();
    let sql =
        "INSERT INTO alert_channels (name, cursor, attempts, retry_in, failing) VALUES ('phone', 7, 0, 0, 0);
               INSERT INTO alert_messages (channel, first, last, title, state, at)
                   VALUES ('phone', 3, 7, 'port 23 opened', 'delivered', 1);
               INSERT INTO changes (at, device, address, kind, alert)
                   VALUES (1, '02:00:00:00:00:01', '192.0.2.1', 'gone', 1);";
    old.execute_batch(sql).unwrap();
    drop(old);
    let (store, threads) = bench.open();
    assert_eq!(store.outbox("phone").await.unwrap().cursor, 7);
    assert_eq!(store.alert_messages(9).await.unwrap()[0].title, "port 23 opened");
    assert_eq!(store.snoozes().await.unwrap(), []);
    assert_eq!(store.summary_state("phone").await.unwrap(), SavedSummary::default());
    assert_eq!(store.change_events(ChangeFilter::default()).await.unwrap().rows.len(), 1);
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
}

#[tokio::test]
async fn a_new_database_needs_no_copy() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    drop(store);
    join(threads).unwrap();
    let files: Vec<_> =
        fs::read_dir(bench.dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, [FILE_NAME]);
    assert_eq!(bench.count("PRAGMA user_version"), i64::try_from(schema::LADDER.len()).unwrap());
}

#[test]
fn a_failing_upgrade_step_leaves_the_old_version_usable() {
    let bench = Bench::new(EAGER);
    version_1(&bench.path());
    let broken = [schema::LADDER[0], "DROP TABLE observations; CREATE TABLE x (a) STRICT;"];
    let error = schema::open_writer(&bench.path(), &broken).unwrap_err();
    assert!(matches!(error, StoreError::Migrate { from: 1, .. }), "{error}");

    let old = schema::open_writer(&bench.path(), &schema::LADDER[..1]).unwrap();
    assert_eq!(count(&old, "SELECT count(*) FROM observations"), 3);
    drop(old);
    bench.open();
}

#[test]
fn a_failing_copy_stops_the_upgrade() {
    let bench = Bench::new(EAGER);
    version_1(&bench.path());
    fs::create_dir(beside(&bench, ".v1")).unwrap();
    let error = Store::open(&bench.path(), bench.clock.clone()).unwrap_err();
    assert!(matches!(error, StoreError::Copy { .. }), "{error}");
    assert_eq!(bench.count("PRAGMA user_version"), 1);
}

#[test]
fn a_later_version_is_refused_unchanged() {
    let bench = Bench::new(EAGER);
    let later = [schema::LADDER, &["CREATE TABLE later (x INTEGER) STRICT"]].concat();
    drop(schema::open_writer(&bench.path(), &later).unwrap());
    let before = fs::read(bench.path()).unwrap();
    let error = Store::open(&bench.path(), bench.clock.clone()).unwrap_err();
    let own = i64::try_from(schema::LADDER.len()).unwrap();
    let is_newer =
        matches!(error, StoreError::Newer { found, known, .. } if (found, known) == (own + 1, own));
    assert!(is_newer, "{error}");
    assert!(error.to_string().contains("install the newer version"), "{error}");
    assert_eq!(fs::read(bench.path()).unwrap(), before);
}

#[test]
fn other_files_are_refused() {
    let bench = Bench::new(EAGER);
    bench.outside().execute_batch("CREATE TABLE photos (x)").unwrap();
    let error = Store::open(&bench.path(), bench.clock.clone()).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");

    fs::write(bench.path(), "this is a letter to my aunt, and quite a long one at that".repeat(30)).unwrap();
    let error = Store::open(&bench.path(), bench.clock.clone()).unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");

    let error = Store::open(&bench.dir.path().join("none/here.db"), bench.clock.clone()).unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error}");
}

/// Otherwise SQLite 3.40 returns their values as missing (`src/store/v6.sql`).
#[test]
fn tables_without_rowids_begin_with_their_key() {
    let bench = Bench::new(EAGER);
    bench.open();
    let of_keys = "FROM pragma_table_list tables, pragma_table_info(tables.name) columns
        WHERE tables.schema = 'main' AND tables.wr AND columns.pk > 0";
    assert!(bench.count(&format!("SELECT count(*) {of_keys}")) > 0);
    assert_eq!(bench.count(&format!("SELECT count(*) {of_keys} AND columns.pk <> columns.cid + 1")), 0);
}

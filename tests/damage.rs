//! /healthz and the metrics report a damaged, deleted or replaced database, with the remedy.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use rusqlite::Connection;

use crate::{
    harness::{LONG, Portscan, Running, eventually},
    lab::Lab,
};

/// No device is scanned.
const QUIET: &str = "[feed]\nurl = []\nhosts = []\n";

fn set_expected(portscan: &Portscan, running: &Running, port: &str) {
    let set = portscan.run(&["expected", "set", "192.0.2.7", port, "--url", running.base()], LONG);
    assert!(set.status.success(), "{set:?}");
}

/// Waits until /healthz answers with this status and this word.
fn wait_for_health(running: &Running, status: u16, word: &str) {
    eventually(LONG, &format!("{status} {word}\n{}", running.log()), || {
        let health = running.get("/healthz");
        (health.status == status && health.body.contains(word)).then_some(())
    });
    let up = if status == 200 { "portscan_store_up 1" } else { "portscan_store_up 0" };
    assert!(running.get("/metrics").body.lines().any(|line| line == up), "{up}");
}

#[test]
fn a_damaged_page_is_reported_soon_after_the_start_and_the_rest_is_served() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, QUIET);
    let running = portscan.start();
    set_expected(&portscan, &running, "80");
    wait_for_health(&running, 200, "ok");
    running.stop();
    let database = Connection::open(portscan.database()).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'names'";
    let page: i64 = database.query_row(sql, [], |row| row.get(0)).unwrap();
    let at = u64::try_from((page - 1) * 4096).unwrap();
    drop(database);
    let file = File::options().write(true).open(portscan.database()).unwrap();
    file.write_all_at(&[0; 4096], at).unwrap();

    let running = portscan.start();
    wait_for_health(&running, 503, "restore a backup");
    let expected = running.get("/v1/expected");
    assert!(expected.status == 200 && expected.body.contains("192.0.2.7"), "{expected:?}");
    let status = portscan.run(&["status", "--url", running.base()], LONG);
    assert!(status.stdout.contains("the database is damaged"), "{status:?}");
    running.stop();
}

#[test]
fn a_deleted_database_is_reported_and_can_still_be_backed_up() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, QUIET);
    let running = portscan.start();
    set_expected(&portscan, &running, "80");
    fs::remove_file(portscan.database()).unwrap();
    wait_for_health(&running, 503, "was deleted or replaced");
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.db");
    let backup = portscan.run(&["backup", saved.to_str().unwrap(), "--url", running.base()], LONG);
    assert!(backup.status.success(), "{backup:?}");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait(LONG);

    fs::copy(&saved, portscan.database()).unwrap();
    let running = portscan.start();
    wait_for_health(&running, 200, "ok");
    assert!(running.get("/v1/expected").body.contains("192.0.2.7"));
    running.stop();
}

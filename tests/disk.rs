//! A full disk is reported, loses nothing, and is used again when there is room.

use std::{fs, path::Path, time::Duration};

use rusqlite::Connection;

use crate::{
    harness::{LONG, Portscan, Running, disk::SmallDisk, eventually, feed_of, scanner, static_feed},
    lab::Lab,
};

const NO_DEVICES: &str = "[feed]\nurl = []\nhosts = []\n";

/// The lab's devices, scanned all the time.
fn scanned(lab: &Lab) -> String {
    static_feed(lab) + &scanner("lan", "1s", "20-90,443,8080")
}

/// An appliance whose data directory is on a disk of so many octets.
fn on_small_disk(lab: &Lab, octets: u64, config: &str) -> (SmallDisk, Portscan) {
    let disk = SmallDisk::new(octets);
    let portscan = Portscan::new(lab, config).data_dir(&disk.path().join("data"));
    (disk, portscan)
}

#[test]
fn a_full_disk_stops_scanning_until_there_is_room() {
    let lab = Lab::enter("near");
    let (disk, portscan) = on_small_disk(&lab, 4 << 20, &scanned(&lab));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    assert_eq!(running.get("/healthz").status, 200);

    let ballast = disk.fill();
    // A changed host needs new rows.
    lab.host("10.77.0.5").open(33);
    let ill = eventually(LONG, "the health reports the full disk", || {
        Some(running.get("/healthz")).filter(|answer| answer.status == 503)
    });
    assert!(ill.body.contains("full") || ill.body.contains("space"), "{ill:?}");
    let status = portscan.run(&["status", "--url", running.base()], LONG);
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    let why = status.stdout.lines().find(|line| line.starts_with("error: "));
    assert!(why.is_some_and(|why| why.contains("full") || why.contains("space")), "{status:?}");
    let file = portscan.write_config().display().to_string();
    let address = running.base().trim_start_matches("http://");
    let checked = portscan.run(&["check-config", "--config", &file, "--listen", address], LONG);
    assert!(checked.status.success(), "the running appliance's port does not count as taken: {checked:?}");
    assert!(running.open_ports("02:00:00:00:00:06").is_some(), "results are still served");
    // The scans in progress end within seconds; then nothing is scanned that could not be stored.
    let host = lab.host("10.77.0.5");
    eventually(LONG, "scanning has stopped", || {
        let idle = lab.now().since(host.stats().last_syn?);
        (idle > Duration::from_secs(5)).then_some(())
    });

    drop(ballast);
    eventually(LONG, "the appliance recovers by itself", || {
        (running.get("/healthz").status == 200).then_some(())
    });
    eventually(LONG, "the change made in between is recorded", || {
        running.open_ports("02:00:00:00:00:05").filter(|ports| ports.contains(33))
    });
    running.stop();
    assert_sound(&portscan);
}

/// Asserts what an owner sees of a start: the appliance listens, serves what it has, and reports the fault.
fn assert_starts_and_serves(portscan: &Portscan, devices: &[String], word: &str, what: &str) -> Running {
    let running = portscan.start();
    assert_eq!(running.macs(), devices, "{what}");
    let ill = eventually(LONG, &format!("{what}: the health reports it"), || {
        Some(running.get("/healthz")).filter(|answer| answer.status == 503)
    });
    assert!(ill.body.contains(word), "{what}: {ill:?}");
    assert!(!running.log().contains("restore"), "{what}: {}", running.log());
    let up = running.get("/metrics").body;
    assert!(up.lines().any(|line| line == "portscan_store_up 0"), "{what}: {up}");
    running
}

/// The log's index alone takes 32 KB, the first commit some pages: each `left` fails at another of these steps.
#[test]
fn a_start_on_a_full_disk_serves_stored_results_and_resumes_when_there_is_room() {
    let lab = Lab::enter("near");
    let (disk, portscan) = on_small_disk(&lab, 4 << 20, &scanned(&lab));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    let devices = running.macs();
    running.stop();
    for (round, left) in [0, 4, 28, 36].into_iter().enumerate() {
        for is_killed in [false, true] {
            let what = format!("{left} KB left, killed: {is_killed}");
            let ballast = disk.fill_but(left << 10);
            let port = 33 + u16::try_from(round).unwrap() * 2 + u16::from(is_killed);
            lab.host("10.77.0.5").open(port);
            let running = assert_starts_and_serves(&portscan, &devices, "disk is full", &what);
            drop(ballast);
            eventually(LONG, &what, || (running.get("/healthz").status == 200).then_some(()));
            eventually(LONG, &what, || {
                running.open_ports("02:00:00:00:00:05").filter(|ports| ports.contains(port))
            });
            if is_killed { drop(running.kill()) } else { running.stop() }
        }
    }
    assert_sound(&portscan);
}

/// As the kernel mounts a card that fails.
#[test]
fn a_start_on_a_read_only_disk_serves_stored_results_and_resumes_when_it_is_writable() {
    let lab = Lab::enter("near");
    let (disk, portscan) = on_small_disk(&lab, 4 << 20, &scanned(&lab));
    portscan.start().stop();
    for (round, is_killed) in [false, true].into_iter().enumerate() {
        let running = portscan.start();
        running.wait_for_devices(3, LONG);
        let devices = running.macs();
        if is_killed {
            drop(running.kill());
        } else {
            running.stop();
        }
        disk.set_read_only(true);
        let what = format!("killed before: {is_killed}");
        let port = 33 + u16::try_from(round).unwrap();
        lab.host("10.77.0.5").open(port);
        let running = assert_starts_and_serves(&portscan, &devices, "mounted read-only", &what);
        disk.set_read_only(false);
        eventually(LONG, &what, || (running.get("/healthz").status == 200).then_some(()));
        eventually(LONG, &what, || {
            running.open_ports("02:00:00:00:00:05").filter(|ports| ports.contains(port))
        });
        running.stop();
        let running = portscan.start();
        assert!(running.open_ports("02:00:00:00:00:05").is_some_and(|ports| ports.contains(port)), "{what}");
        running.stop();
    }
    assert_sound(&portscan);
}

/// Writes a database of the first version, large enough that a copy takes a megabyte.
fn write_old_database(path: &Path) {
    let old = Connection::open(path).unwrap();
    old.execute_batch(include_str!("../src/store/v1.sql")).unwrap();
    // "pscn", as in src/store/schema.rs.
    old.execute_batch(
        "PRAGMA application_id = 0x7073636e; PRAGMA user_version = 1; PRAGMA journal_mode = WAL",
    )
    .unwrap();
    for number in 0..1024 {
        let sql = "INSERT INTO results VALUES (?1, randomblob(32), randomblob(900))";
        old.execute(sql, [number]).unwrap();
    }
}

#[test]
fn an_upgrade_without_disk_space_fails_with_the_remedy_and_changes_nothing() {
    let lab = Lab::enter("near");
    let (disk, portscan) = on_small_disk(&lab, 8 << 20, NO_DEVICES);
    let config = portscan.write_config().display().to_string();
    write_old_database(&portscan.database());
    let before = fs::read(portscan.database()).unwrap();
    // Room for: neither the log's index nor the copy; the index; the copy, but not the changes.
    for left in [0, 64 << 10, before.len() + (80 << 10)] {
        let ballast = disk.fill_but(left);
        let refused = portscan.run(&["serve", "--config", &config], LONG);
        assert_eq!(refused.status.code(), Some(1), "{left}: {refused:?}");
        assert!(refused.stderr.contains("free some space"), "{left}: {refused:?}");
        assert!(refused.stderr.contains("unchanged") || refused.stderr.contains("nothing was changed"));
        assert!(fs::read(portscan.database()).unwrap() == before, "{left}: the file is unchanged");
        drop(ballast);
    }
    portscan.start().stop();
    assert_sound(&portscan);
}

#[test]
fn a_command_on_a_full_disk_fails_at_once_and_names_the_cause() {
    let lab = Lab::enter("near");
    let (disk, portscan) = on_small_disk(&lab, 1 << 20, NO_DEVICES);
    portscan.start().stop();
    let config = portscan.write_config().display().to_string();
    let run = |words: &[&str]| {
        portscan.run(&[words, &["--config", &config, "--listen", "127.0.0.1:9999"]].concat(), LONG)
    };
    let ballast = disk.fill();
    let refused = run(&["expected", "set", "192.0.2.7", "80"]);
    assert!(!refused.status.success() && refused.stderr.contains("the disk is full"), "{refused:?}");
    assert!(run(&["expected", "list"]).status.success());
    drop(ballast);
    assert!(run(&["expected", "set", "192.0.2.7", "80"]).status.success());
}

#[test]
fn a_first_start_on_a_full_disk_names_the_cause() {
    let lab = Lab::enter("near");
    let (disk, portscan) = on_small_disk(&lab, 1 << 20, NO_DEVICES);
    let config = portscan.write_config().display().to_string();
    for left in [0, 16, 40, 48] {
        let ballast = disk.fill_but(left << 10);
        let refused = portscan.run(&["serve", "--config", &config], LONG);
        assert_eq!(refused.status.code(), Some(1), "{left}: {refused:?}");
        assert!(refused.stderr.contains("the disk is full; free some space"), "{left}: {refused:?}");
        drop(ballast);
    }
    portscan.start().stop();
}

fn assert_sound(portscan: &Portscan) {
    let database = Connection::open(portscan.database()).unwrap();
    let integrity: String = database.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

/// The daily write limit of a card, in octets: for a hundred unchanged devices that are scanned every hour.
pub(crate) const DAY: u64 = 20_000_000;

#[test]
fn scanning_a_hundred_unchanged_devices_for_a_day_writes_little() {
    let lab = Lab::enter("big");
    // Three times as many as are in progress at once, and so slowly that each third has a commit of its own, as when
    // all 65,535 ports take four minutes.
    let devices = 48;
    let slowly = scanner("lan", "1d", "20-47") + "timing = \"T2\"\n";
    let running = Portscan::new(&lab, &(feed_of(lab.hosts().take(devices)) + &slowly)).start();
    let portscan = Portscan::new(&lab, "");
    let run = || {
        let run = portscan.run(&["run", "--wait", "--url", running.base()], LONG * 2);
        assert!(run.status.success(), "{}", run.stderr);
    };
    // The first run, which starts with the appliance, creates all rows; the second finds nothing new.
    run();
    let before = running.written();
    run();
    let once = running.written() - before;
    let day = once * 24 * 100 / devices as u64;
    eprintln!("{devices} devices scanned again: {once} bytes written; 100 of them hourly: {day} a day");
    assert!(once > 0 && day <= DAY, "{day} bytes a day");
    running.stop();
}

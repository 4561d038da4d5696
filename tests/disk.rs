//! A disk that is full is said so, loses nothing, and is used again when there is room.

use std::time::Duration;

use rusqlite::Connection;

use crate::{
    harness::{LONG, Portscan, disk::SmallDisk, eventually, feed_of, scanner, static_feed},
    lab::Lab,
};

#[test]
fn a_full_disk_stops_scanning_until_there_is_room() {
    let lab = Lab::enter("near");
    let disk = SmallDisk::new(4 << 20);
    let config = static_feed(&lab) + &scanner("lan", "1s", "20-90,443,8080");
    let portscan = Portscan::new(&lab, &config).data_dir(&disk.path().join("data"));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    assert_eq!(running.get("/healthz").status, 200);

    let ballast = disk.fill();
    // A changed host makes rows that are not there yet.
    lab.host("10.77.0.5").open(33);
    let ill = eventually(LONG, "the health says so", || {
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
    assert!(checked.status.success(), "its port is its own: {checked:?}");
    assert!(running.open_ports("02:00:00:00:00:06").is_some(), "results are still served");
    // What was in progress ends within seconds; then nothing is scanned that could not be stored.
    let host = lab.host("10.77.0.5");
    eventually(LONG, "scanning has stopped", || {
        let idle = lab.now().since(host.stats().last_syn?);
        (idle > Duration::from_secs(5)).then_some(())
    });

    drop(ballast);
    eventually(LONG, "it recovers by itself", || (running.get("/healthz").status == 200).then_some(()));
    eventually(LONG, "what changed meanwhile is seen", || {
        running.open_ports("02:00:00:00:00:05").filter(|ports| ports.contains(33))
    });
    running.stop();
    let database = Connection::open(portscan.database()).unwrap();
    let integrity: String = database.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

/// What a card is to bear, in octets a day: of a hundred devices that are scanned every hour and do not change.
const DAY: u64 = 20_000_000;

#[test]
fn a_day_of_a_hundred_unchanged_devices_writes_little() {
    let lab = Lab::enter("big");
    // Three times as many as are in progress at once, and so slowly that each third has a commit of its own, as it has
    // where all 65,535 ports take four minutes.
    let devices = 48;
    let slowly = scanner("lan", "1d", "20-47") + "timing = \"T2\"\n";
    let running = Portscan::new(&lab, &(feed_of(lab.hosts().take(devices)) + &slowly)).start();
    let portscan = Portscan::new(&lab, "");
    let run = || {
        let run = portscan.run(&["run", "--wait", "--url", running.base()], LONG * 2);
        assert!(run.status.success(), "{}", run.stderr);
    };
    // The one that begins with the appliance makes all the rows there are; the next finds nothing new.
    run();
    let before = running.written();
    run();
    let once = running.written() - before;
    let day = once * 24 * 100 / devices as u64;
    eprintln!("{devices} devices scanned again: {once} bytes written; 100 of them hourly: {day} a day");
    assert!(once > 0 && day <= DAY, "{day} bytes a day");
    running.stop();
}

//! Killed at any moment, the appliance restarts with everything that it reported as finished.

use std::{collections::BTreeSet, time::Duration};

use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use crate::{
    harness::{
        LONG, NO_IDENTIFICATION, Portscan, Running, disk::SmallDisk, field, is_stored, scanner, static_feed,
    },
    lab::Lab,
};

/// The number of kills of each kind; `make siege` sets a thousand in all.
fn kills(variable: &str, every_day: usize) -> usize {
    std::env::var(variable).map_or(every_day, |text| text.parse().expect("a number of kills"))
}

const DEVICES: &str = r#"
    [[host]]
    address = "10.77.0.10-21"
    mac = "02:00:00:00:00:10+"
    open = "22,80"
    spread = 1
    rtt = "1ms"
    "#;

#[test]
fn kills_lose_nothing_that_was_finished_or_acknowledged() {
    let lab = Lab::describe(DEVICES);
    let portscan = Portscan::new(&lab, &(static_feed(&lab) + &scanner("lan", "1s", "20-40,80-92")));
    survive(&lab, &portscan, kills("PORTSCAN_TEST_KILLS", 50), |_| None::<()>);
}

/// The disk is full, or nearly so, from a random moment before every other kill and during the start that follows.
#[test]
fn kills_on_a_full_disk_lose_nothing_that_was_finished_or_acknowledged() {
    let lab = Lab::describe(DEVICES);
    let disk = SmallDisk::new(4 << 20);
    let config = static_feed(&lab) + &scanner("lan", "1s", "20-40,80-92");
    let portscan = Portscan::new(&lab, &config).data_dir(&disk.path().join("data"));
    let ballast = |kill: usize| kill.is_multiple_of(2).then(|| disk.fill_but((kill * 7 % 80) << 10));
    survive(&lab, &portscan, kills("PORTSCAN_TEST_FULL_DISK_KILLS", 10), ballast);
}

/// Kills the appliance this many times, at random moments, while a client writes expectations. Before each kill
/// `burden` may put a load on the machine, which is removed once the appliance runs again.
fn survive<T>(lab: &Lab, portscan: &Portscan, kills: usize, burden: impl Fn(usize) -> Option<T>) {
    let mut moments = fastrand::Rng::with_seed(7);
    let mut finished = BTreeSet::new();
    let mut acknowledged = BTreeSet::new();
    let mut laid = None;
    for kill in 0..kills {
        let running = portscan.start();
        let served: BTreeSet<String> = running.macs().into_iter().collect();
        assert!(finished.is_subset(&served), "logged as finished: {finished:?}, served: {served:?}");
        let kept = expected_ports(&running);
        assert!(acknowledged.is_subset(&kept), "acknowledged: {acknowledged:?}, kept: {kept:?}");
        drop(laid.take());
        // Every fourth kill waits for a stored result, even on a slow machine: no moment is more delicate.
        if kill % 4 == 0 {
            running.wait_for_line(LONG, |line| line.contains("finished"));
        }
        let until = lab.now() + Duration::from_millis(moments.u64(0..2000));
        while lab.now() < until {
            write_one_more(&running, &mut acknowledged);
            if laid.is_none() && moments.u8(..20) == 0 {
                laid = burden(kill);
            }
        }
        finished.extend(running.kill().iter().filter_map(|line| finished_mac(line)));
        // The integrity check needs free space.
        assert!(laid.is_some() || integrity(portscan) == "ok");
    }
    drop(laid);
    assert_eq!(integrity(portscan), "ok");
    let running = portscan.start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    assert!(acknowledged.is_subset(&expected_ports(&running)));
    for host in lab.hosts() {
        assert_eq!(running.open_ports(&host.mac().to_string()), Some(host.open_ports()));
    }
    eprintln!(
        "{kills} kills: {} devices finished, {} writes acknowledged",
        finished.len(),
        acknowledged.len()
    );
    assert!(!finished.is_empty() && !acknowledged.is_empty());
    running.stop();
}

/// Writes one more expected port, and notes it only if the write was acknowledged.
fn write_one_more(running: &Running, acknowledged: &mut BTreeSet<u64>) {
    let port = acknowledged.last().map_or(1, |last| last % 65_535 + 1);
    let row = json!([{ "address": "198.51.100.7", "port": port, "protocol": "tcp", "state": "open" }]);
    let answer = running.patch("/v1/expected", &row);
    match answer.status {
        204 => _ = acknowledged.insert(port),
        503 | 507 => {}
        _ => panic!("{answer:?}"),
    }
}

fn expected_ports(running: &Running) -> BTreeSet<u64> {
    let rows = running.get("/v1/expected").json();
    rows.as_array().unwrap().iter().filter_map(|row| row["port"].as_u64()).collect()
}

/// The MAC in a log line about a stored result, in the API's spelling.
fn finished_mac(line: &str) -> Option<String> {
    is_stored(line).then(|| field(line, "mac").map(str::to_uppercase)).flatten()
}

/// The result of `PRAGMA integrity_check`, after the recovery that opening the file entails.
fn integrity(portscan: &Portscan) -> String {
    let database = Connection::open_with_flags(portscan.database(), OpenFlags::SQLITE_OPEN_READ_WRITE)
        .unwrap_or_else(|e| panic!("{}: {e}", portscan.database().display()));
    database.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap()
}

#[test]
fn a_stop_in_the_middle_of_a_run_resumes_only_the_rest() {
    let lab = Lab::describe(
        r#"
        [[host]]
        address = "10.77.0.10-45"
        mac = "02:00:00:00:00:10+"
        open = "22"
        rtt = "1ms"
        "#,
    );
    let config = static_feed(&lab) + NO_IDENTIFICATION + &scanner("lan", "1d", "1-2500");
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    // After the quick scans sixteen at a time take some 10 s; finished results are committed within 10 s more, and on
    // SIGTERM.
    running.wait_for_complete(1, LONG);
    running.stop();
    let before: Vec<usize> = lab.hosts().map(|host| host.stats().syns).collect();
    let running = portscan.start();
    let done: BTreeSet<String> = running.complete_macs().into_iter().collect();
    assert!((1..lab.hosts().count()).contains(&done.len()), "stopped in the middle: {done:?}");
    running.wait_for_complete(lab.hosts().count(), LONG);
    for (host, before) in lab.hosts().zip(before) {
        let resumed = host.stats().syns > before;
        assert_eq!(resumed, !done.contains(&host.mac().to_string()), "{}", host.address());
    }
    running.stop();
}

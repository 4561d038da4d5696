//! Killed at any moment, it restarts with everything that it said was finished.

use std::{collections::BTreeSet, time::Duration};

use nix::sys::signal::Signal;
use rusqlite::{Connection, OpenFlags};

use crate::{
    harness::{LONG, Portscan, eventually, field, scanner, static_feed},
    lab::Lab,
};

const KILLS: usize = 50;

#[test]
fn fifty_kills_lose_nothing_that_was_finished() {
    let lab = Lab::describe(
        r#"
        [[host]]
        address = "10.77.0.10-21"
        mac = "02:00:00:00:00:10+"
        open = "22,80"
        spread = 1
        rtt = "1ms"
        "#,
    );
    let config = static_feed(&lab) + &scanner("lan", "1s", "20-40,80-92");
    let portscan = Portscan::new(&lab, &config);
    let mut moments = fastrand::Rng::with_seed(7);
    let mut finished = BTreeSet::new();
    for kill in 0..KILLS {
        let running = portscan.start();
        let served: BTreeSet<String> = running.macs().into_iter().collect();
        assert!(finished.is_subset(&served), "said to be finished: {finished:?}, served: {served:?}");
        // Some are sure to have got as far, however slow the machine; and no moment is more delicate.
        if kill % 4 == 0 {
            running.wait_for_line(LONG, |line| line.contains("finished"));
        } else {
            std::thread::sleep(Duration::from_millis(moments.u64(0..2000)));
        }
        finished.extend(running.kill().iter().filter_map(|line| finished_mac(line)));
        assert_eq!(integrity(&portscan), "ok");
    }
    let running = portscan.start();
    assert_eq!(finished.len(), lab.hosts().count(), "there was time to finish all of them: {finished:?}");
    for host in lab.hosts() {
        assert_eq!(running.open_ports(&host.mac().to_string()), Some(host.open_ports()));
    }
    running.stop();
}

/// Whom a line of the log says to have finished, in the API's spelling.
fn finished_mac(line: &str) -> Option<String> {
    line.contains("finished").then(|| field(line, "mac").map(str::to_uppercase)).flatten()
}

/// What `PRAGMA integrity_check` says, after the recovery that opening the file means.
fn integrity(portscan: &Portscan) -> String {
    let database = Connection::open_with_flags(portscan.database(), OpenFlags::SQLITE_OPEN_READ_WRITE)
        .unwrap_or_else(|e| panic!("{}: {e}", portscan.database().display()));
    database.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap()
}

#[test]
fn stopped_in_the_middle_of_a_run_it_resumes_the_rest() {
    let lab = Lab::describe(
        r#"
        [[host]]
        address = "10.77.0.10-45"
        mac = "02:00:00:00:00:10+"
        open = "22"
        rtt = "1ms"
        "#,
    );
    let config = static_feed(&lab) + &scanner("lan", "1d", "1-2500");
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    // Sixteen at a time take some 10 s; what is finished is committed within 10 s more, and on SIGTERM.
    running.wait_for_devices(1, LONG);
    running.stop();
    let before: Vec<usize> = lab.hosts().map(|host| host.stats().syns).collect();
    let running = portscan.start();
    let done: BTreeSet<String> = running.macs().into_iter().collect();
    assert!((1..lab.hosts().count()).contains(&done.len()), "stopped in the middle: {done:?}");
    running.wait_for_devices(lab.hosts().count(), LONG);
    for (host, before) in lab.hosts().zip(before) {
        let resumed = host.stats().syns > before;
        assert_eq!(resumed, !done.contains(&host.mac().to_string()), "{}", host.address());
    }
    running.stop();
}

#[test]
fn a_reload_during_the_start_is_not_the_end() {
    let lab = Lab::alone("near");
    let portscan = Portscan::new(&lab, "[feed]\nurl = []\n");
    portscan.start().stop();
    // Opening the database waits for whoever has it to himself, which makes the start last.
    let held = Connection::open(portscan.database()).unwrap();
    held.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let running = portscan.spawn();
    eventually(Duration::from_secs(4), "it catches SIGHUP", || running.catches(Signal::SIGHUP).then_some(()));
    running.signal(Signal::SIGHUP);
    assert!(!running.log().contains("listening on"), "it was still starting");
    drop(held);
    running.wait_for_line(LONG, |line| line.contains("has been reloaded"));
    running.listening().stop();
}

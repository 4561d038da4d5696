//! What happens during the start, which lasts for seconds only.

use std::time::Duration;

use nix::sys::signal::Signal;
use rusqlite::Connection;

use crate::{
    harness::{LONG, Portscan, eventually},
    lab::Lab,
};

#[test]
fn sighup_during_the_start_reloads_after_it() {
    let lab = Lab::alone("near");
    let portscan = Portscan::new(&lab, "[feed]\nurl = []\n");
    portscan.start().stop();
    // Opening the database waits for the exclusive lock, which makes the start last.
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

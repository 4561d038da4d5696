//! Daily summaries, with the real binary, a receiver that records, and a clock that the test sets.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use serde_json::Value;

use super::{LONG, channels::channel, command};
use crate::{
    harness::{
        Portscan, Running, eventually,
        receiver::{HttpReceiver, Reception},
        scanner, static_feed,
    },
    lab::Lab,
};

/// Waits until a channel's stored summaries are so.
fn stored(portscan: &Portscan, what: &str, is_so: impl Fn(&Value) -> bool) {
    eventually(LONG, what, || {
        let database = rusqlite::Connection::open(portscan.database()).ok()?;
        let sql = "SELECT summary FROM alert_channels";
        let text: Option<String> = database.query_row(sql, [], |row| row.get(0)).ok()?;
        let summary = serde_json::from_str(&text?).ok()?;
        is_so(&summary).then_some(())
    });
}

fn open_unexpected(lab: &Lab, portscan: &Portscan, running: &Running) {
    lab.host("10.77.0.5").open(99);
    command(portscan, running, &["run", "--host", "10.77.0.5", "--wait"]);
    eventually(LONG, "the port counts", || (running.get("/v1/info").json()["rogue"] == 1).then_some(()));
}

#[test]
fn one_comes_each_day_and_a_missed_one_once_whatever_is_killed() {
    let lab = Lab::enter("near");
    let status = Arc::new(AtomicU16::new(200));
    let answered = Arc::clone(&status);
    let receiver = HttpReceiver::start(move |_| Reception::Answers(answered.load(Ordering::SeqCst)));
    let home = tempfile::tempdir().unwrap();
    let clock = home.path().join("clock");
    let set = |clock: &Path, time: &str| {
        let written = clock.with_extension("new");
        fs::write(&written, time).unwrap();
        fs::rename(written, clock).unwrap();
    };
    set(&clock, "2026-12-01 07:59:50");
    let rule = "[[alert]]\nevents = [\"certificate\"]\n";
    let config = static_feed(&lab)
        + &scanner("lan", "1d", "20-100")
        + &channel("hook", "webhook", &receiver, "summary = \"08:00\"\n")
        + rule;
    let portscan = Portscan::new(&lab, &config).with_clock(&clock).env("TZ", "UTC");
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    command(&portscan, &running, &["expected", "accept", "--all"]);
    stored(&portscan, "the summaries begin", |it| it["done"] == "2026-11-30");
    assert_eq!(receiver.requests().len(), 0);
    let summaries = || receiver.requests().iter().map(|request| request.json()).collect::<Vec<_>>();

    set(&clock, "2026-12-01 08:00:05");
    stored(&portscan, "the first is sent", |it| it["done"] == "2026-12-01" && it["waiting"].is_null());
    let [first] = &summaries()[..] else { panic!("{:?}", summaries()) };
    let title = first["title"].as_str().unwrap();
    assert!(title.starts_with("portscan: all as expected: 3 devices, "), "{first}");
    assert!(first["key"].as_str().unwrap().ends_with("-summary-2026-12-01T08:00"), "{first}");
    open_unexpected(&lab, &portscan, &running);
    running.kill();

    // The clock is not synchronised: no summary is written.
    set(&clock, "2000-01-01 09:00:00");
    let running = portscan.start();
    running.wait_for_line(LONG, |line| line.contains("the clock has not been set yet"));
    running.kill();
    stored(&portscan, "nothing has changed", |it| it["done"] == "2026-12-01" && it["waiting"].is_null());

    // It was off for days, and the receiver fails while the appliance is killed again and again.
    status.store(503, Ordering::SeqCst);
    set(&clock, "2026-12-04 10:00:00");
    for round in 0..3 {
        let running = portscan.start();
        eventually(LONG, "an attempt fails", || (summaries().len() > 1 + round).then_some(()));
        running.kill();
    }
    status.store(200, Ordering::SeqCst);
    let running = portscan.start();
    stored(&portscan, "the missed one is sent", |it| it["done"] == "2026-12-04" && it["waiting"].is_null());
    running.stop();
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    running.stop();
    let all = summaries();
    let (_, later) = all.split_first().unwrap();
    assert!(later.iter().all(|message| message == &later[0]), "the same content: {all:#?}");
    assert_eq!(later[0]["title"], "portscan: 1 unexpected port");
    assert!(later[0]["key"].as_str().unwrap().ends_with("-summary-2026-12-04T08:00"), "{}", later[0]);
    let text = later[0]["text"].as_str().unwrap();
    assert!(text.contains("10.77.0.5") && text.ends_with("port 99/tcp unexpected"), "{text}");
    let taken = receiver.requests().iter().filter(|request| request.is_taken()).count();
    assert_eq!(taken, 2, "each once");
}

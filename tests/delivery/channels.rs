//! Alerts to the owner's own channels, with the real binary and a receiver that records.

use std::{collections::BTreeSet, fs};

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::{
    LONG, NOTHING, begin, command,
    kills::{Arrivals, FaultRounds},
    rounds,
};
use crate::{
    harness::{
        Portscan, Running, eventually,
        receiver::{HttpReceiver, ReceivedRequest, Reception},
        scanner, static_feed,
    },
    lab::Lab,
};

/// The `[[channel]]` of a receiver, with further lines.
pub(super) fn channel(name: &str, kind: &str, receiver: &HttpReceiver, more: &str) -> String {
    let url = format!("http://{}/topic", receiver.address());
    format!("[[channel]]\nname = \"{name}\"\ntype = \"{kind}\"\nurl = \"{url}\"\ngroup = \"1s\"\n{more}")
}

pub(super) fn willing() -> HttpReceiver {
    HttpReceiver::start(|_| Reception::Answers(200))
}

fn only_after(receiver: &HttpReceiver, count: usize) -> ReceivedRequest {
    eventually(LONG, "a message arrives", || receiver.requests().get(count).cloned())
}

#[test]
fn a_port_that_opens_and_closes_is_one_message_and_its_update() {
    let lab = Lab::enter("near");
    let (phone, hook) = (willing(), willing());
    let secret = tempfile::tempdir().unwrap();
    let token = secret.path().join("token");
    fs::write(&token, "tk_s3cret\n").unwrap();
    let files = format!("token_file = {token:?}\n");
    let config = static_feed(&lab)
        + &scanner("lan", "1d", "20-100")
        + &channel("phone", "ntfy", &phone, &files)
        + &channel("hook", "webhook", &hook, &format!("{files}sign_file = {token:?}\n"));
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    command(&portscan, &running, &["expected", "accept", "--all"]);

    let host = lab.host("10.77.0.5");
    let opened_at = lab.now();
    host.open(99);
    command(&portscan, &running, &["run", "--host", "10.77.0.5", "--wait"]);
    let opened = only_after(&phone, 0);
    let passed = lab.now().since(opened_at).as_secs_f32();
    eprintln!(
        "from the opening of a known device's port, scanned at once at T3, to the message: {passed:.1} s"
    );
    assert_eq!((opened.path.as_str(), opened.headers["authorization"].as_str()), ("/", "Bearer tk_s3cret"));
    let message = opened.json();
    assert_eq!((&message["topic"], &message["priority"]), (&json!("topic"), &json!(4)), "{message}");
    assert!(message["title"].as_str().unwrap().contains("port 99/tcp opened"), "{message}");
    assert_eq!(message["sequence_id"], opened.headers["idempotency-key"].as_str());

    let generic = only_after(&hook, 0);
    let change = &generic.json()["changes"][0];
    assert_eq!(
        (&change["event"], &change["ports"], &change["address"], &change["mac"]),
        (&json!("unexpected"), &json!("99"), &json!("10.77.0.5"), &json!(host.mac().to_string()))
    );
    assert!(generic.headers["x-portscan-signature"].starts_with("sha256="), "{generic:?}");

    host.close(99);
    command(&portscan, &running, &["run", "--host", "10.77.0.5", "--wait"]);
    let closed = only_after(&phone, 1).json();
    assert!(closed["title"].as_str().unwrap().contains("port 99/tcp is closed again"), "{closed}");
    assert_eq!((&closed["sequence_id"], &closed["priority"]), (&message["sequence_id"], &json!(2)));
    assert_eq!(only_after(&hook, 1).json()["resolved"], true);

    let listed = eventually(LONG, "both are delivered", || {
        let alerts = running.get("/v1/alerts").json();
        (alerts["history"].as_array().unwrap().len() == 4 && alerts["pending"] == 0).then_some(alerts)
    });
    assert_eq!(listed["parked"], json!([]), "{listed}");
    assert!(!running.log().contains("s3cret"), "{}", running.log());
    running.stop();
    assert_eq!(
        (phone.requests().len(), hook.requests().len()),
        (2, 2),
        "before the baseline nothing is sent"
    );
}

#[test]
fn a_test_shows_what_the_receivers_answer() {
    let lab = Lab::enter("near");
    let (good, bad) = (willing(), HttpReceiver::start(|_| Reception::Answers(403)));
    let config = static_feed(&lab)
        + &channel("good", "webhook", &good, "shape = \"gotify\"\n")
        + &channel("bad", "webhook", &bad, "shape = \"slack\"\n")
        + "[[channel]]\nname = \"away\"\ntype = \"syslog\"\nurl = \"tcp://127.0.0.1:1\"\n";
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    let test = |words: &[&str]| {
        portscan.run(&[&["alert", "test"], words, &["--url", running.base()]].concat(), LONG)
    };
    let one = test(&["good"]);
    assert_eq!(
        (one.status.code(), one.stdout.as_str()),
        (Some(0), "good: delivered: ok\n"),
        "{}",
        one.stderr
    );
    assert_eq!(good.requests()[0].json()["title"], "portscan: test");
    let all = test(&[]);
    assert_eq!(all.status.code(), Some(1), "{}", all.stdout);
    assert!(all.stdout.contains("bad: failed: the answer is 403 Forbidden: ok\n"), "{}", all.stdout);
    assert!(all.stdout.contains("away: failed: 127.0.0.1:1: Connection refused"), "{}", all.stdout);
    let unknown = test(&["phone"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(unknown.stderr.contains("no channel has the name \"phone\""), "{}", unknown.stderr);

    let list = portscan.run(&["alert", "list", "--url", running.base()], LONG);
    assert!(list.stdout.contains("good") && list.stdout.contains("idle"), "{}", list.stdout);
    running.stop();
}

#[test]
fn a_snoozed_device_is_told_of_at_the_end_and_an_acknowledged_message_is_not_followed_up() {
    let lab = Lab::enter("near");
    let hook = willing();
    let config = static_feed(&lab) + &scanner("lan", "1d", "20-100") + &channel("hook", "webhook", &hook, "");
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    command(&portscan, &running, &["expected", "accept", "--all"]);
    let open = |running: &Running, address: &str, port| {
        lab.host(address).open(port);
        command(&portscan, running, &["run", "--host", address, "--wait"]);
    };
    let (quiet, other) = ("10.77.0.5", "10.77.0.6");
    command(&portscan, &running, &["alert", "snooze", quiet, "--for", "8h"]);
    open(&running, quiet, 99);
    open(&running, other, 98);
    let first = only_after(&hook, 0).json();
    assert!(first["title"].as_str().unwrap().contains(other), "only the other device is told of: {first}");
    let listed = running.get("/v1/alerts").json();
    assert_eq!(listed["snoozes"][0]["device"], lab.host(quiet).mac().to_string().as_str(), "{listed}");

    running.stop();
    let running = portscan.start();
    command(&portscan, &running, &["alert", "snooze", quiet, "--end"]);
    let second = only_after(&hook, 1).json();
    assert!(second["title"].as_str().unwrap().contains("port 99/tcp opened, unexpected"), "{second}");
    assert_eq!(second["changes"][0]["address"], quiet, "{second}");

    let history = eventually(LONG, "both are delivered", || {
        let alerts = running.get("/v1/alerts").json();
        (alerts["history"].as_array().unwrap().len() == 2).then(|| alerts["history"].clone())
    });
    let id = history[0]["id"].as_i64().unwrap().to_string();
    command(&portscan, &running, &["alert", "ack", &id]);
    lab.host(quiet).close(99);
    command(&portscan, &running, &["run", "--host", quiet, "--wait"]);
    eventually(LONG, "the port is confirmed closed", || {
        let changes = running.get("/v1/changes").json();
        let closed = |change: &Value| change["kind"] == "closed" && change["port"] == 99;
        changes.as_array().unwrap().iter().any(closed).then_some(())
    });
    open(&running, quiet, 97);
    let third = only_after(&hook, 2).json();
    assert_eq!(third["changes"].as_array().unwrap().len(), 1, "{third}");
    assert!(third["title"].as_str().unwrap().contains("port 97/tcp opened"), "{third}");
    running.stop();
}

#[test]
fn a_port_that_calls_for_action_is_told_once() {
    let lab = Lab::enter("near");
    let hook = willing();
    let rule = "[[alert]]\nevents = [\"advice\"]\ndevices = [\"tag:office\"]\n\
                [[device]]\nmatch = \"10.77.0.5\"\ntags = [\"office\"]\n";
    let config =
        static_feed(&lab) + &scanner("lan", "1d", "20-100") + &channel("hook", "webhook", &hook, "") + rule;
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    command(&portscan, &running, &["expected", "accept", "--all"]);
    for address in ["10.77.0.5", "10.77.0.6"] {
        lab.host(address).open(23);
        command(&portscan, &running, &["run", "--host", address, "--wait"]);
    }
    eventually(LONG, "both ports are confirmed", || {
        let changes = running.get("/v1/changes").json();
        let opened = |change: &&Value| change["kind"] == "opened" && change["port"] == 23;
        (changes.as_array().unwrap().iter().filter(opened).count() == 2).then_some(())
    });
    // The appliance checks a minute after a change, and when it starts.
    running.stop();
    let running = portscan.start();
    let told = only_after(&hook, 0).json();
    let changes = told["changes"].as_array().unwrap();
    assert_eq!((changes.len(), &changes[0]["event"]), (1, &json!("advice")), "{told}");
    assert!(told["title"].as_str().unwrap().contains("port 23/tcp: usually Telnet"), "{told}");
    running.stop();
    // The next start checks again, and finds nothing new.
    let running = portscan.start();
    let changes = eventually(LONG, "the changes are listed", || {
        let changes = running.get("/v1/changes").json().as_array().unwrap().clone();
        (!changes.is_empty()).then_some(changes)
    });
    let advice = changes.iter().filter(|change| change["kind"] == "advice" && change["port"] == 23);
    assert_eq!(advice.count(), 2, "one of each device: {changes:?}");
    running.stop();
}

/// Kills of the appliance.
const ROUNDS: i64 = 8;

/// New events of one kill.
pub(super) const EVENTS: i64 = 25;

/// Writes events as scans would have, while no appliance runs.
pub(crate) fn happen(portscan: &Portscan, round: i64) {
    let mut database = Connection::open(portscan.database()).unwrap();
    let transaction = database.transaction().unwrap();
    for number in 0..EVENTS {
        let sql = "INSERT INTO changes (at, device, address, kind, protocol, ports, alert)
                   VALUES (?1, ?2, '10.77.0.5', 'opened', 'tcp', ?3, 1)";
        let mac = format!("02:00:00:00:00:{:02X}", number % 3);
        let port = (round * EVENTS + number + 1).to_string();
        transaction.execute(sql, params![1_780_000_000_000_i64, mac, port]).unwrap();
    }
    transaction.commit().unwrap();
}

/// The ids of all events that were written.
pub(super) fn all_events(portscan: &Portscan) -> Vec<i64> {
    let database = Connection::open(portscan.database()).unwrap();
    let mut statement = database.prepare("SELECT id FROM changes WHERE alert = 1 ORDER BY id").unwrap();
    let ids = statement.query_map([], |row| row.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

/// The ids in a text that the template [`IDS`](super::mail::IDS) has written.
pub(super) fn events_of(text: &str) -> Vec<i64> {
    text.split_whitespace().map(|id| id.parse().unwrap_or_else(|_| panic!("no ids: {text}"))).collect()
}

pub(super) fn ids(message: &Value) -> Vec<i64> {
    message["changes"].as_array().unwrap().iter().map(|change| change["id"].as_i64().unwrap()).collect()
}

fn parked(running: &Running) -> BTreeSet<i64> {
    let alerts = running.get("/v1/alerts").json();
    let ranges = alerts["parked"].as_array().unwrap().iter().map(|message| {
        let end = |index: usize| message["changes"][index].as_i64().unwrap();
        end(0)..=end(1)
    });
    ranges.flatten().collect()
}

#[test]
fn kills_and_a_failing_receiver_lose_no_alert() {
    let lab = Lab::enter("near");
    let mut luck = fastrand::Rng::with_seed(11);
    let receiver = HttpReceiver::start(move |_| match luck.u8(..20) {
        0..=1 => Reception::Answers(500),
        2 => Reception::Answers(400),
        3 => Reception::Answers(429),
        4..=6 => Reception::TakesAndHangsUp,
        7 => Reception::HangsUp,
        _ => Reception::Answers(200),
    });
    let config = NOTHING.to_owned() + &channel("hook", "webhook", &receiver, "burst = 1000\n");
    let mut faults = FaultRounds::new(7);
    let portscan = faults.on(Portscan::new(&lab, &config));
    begin(&portscan, 1);
    faults.run_all(rounds(ROUNDS), &lab, &portscan, 4000, || {});
    let all = all_events(&portscan);
    let running = portscan.start();
    let taken = || receiver.requests().into_iter().filter(ReceivedRequest::is_taken).collect::<Vec<_>>();
    let ended = || {
        let arrived = taken().iter().flat_map(|request| ids(&request.json())).collect::<BTreeSet<_>>();
        let parked = parked(&running);
        let alerts = running.get("/v1/alerts").json();
        let is_done =
            all.iter().all(|id| arrived.contains(id) || parked.contains(id)) && alerts["pending"] == 0;
        is_done.then_some(parked)
    };
    // The receiver fails a third of the attempts, and each message then waits again, one after the other.
    let patience = LONG * u32::try_from(2 + rounds(ROUNDS) / 8).unwrap();
    let parked = eventually(patience, "every event is delivered or parked", ended);
    running.stop();

    let taken = taken();
    let arrivals = Arrivals::of(taken.iter().map(|request| {
        let (message, key) = (request.json(), request.headers["idempotency-key"].clone());
        assert_eq!(message["key"], key.as_str());
        (key, ids(&message))
    }));
    arrivals.report(rounds(ROUNDS));
    eprintln!("{} events are parked", parked.len());
}

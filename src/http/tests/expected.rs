//! /v1/expected, /v1/diff, /v1/changes and /v1/events with the real store behind them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    portscan::{TestAppliance, appliance, remember},
    v1::SLOW,
    *,
};
use crate::model::ScanId;

/// A registered MAC, so that accepted rows are stored under it.
const MAC: &str = "B8:27:EB:AC:14:3E";

const NOTHING: [Value; 0] = [];

impl TestAppliance {
    /// Sends this body with the token and these headers.
    pub(super) async fn send(&self, method: &str, path: &str, body: &str, kind: &str) -> Answer {
        let length = format!("Content-Length: {}\r\nContent-Type: {kind}\r\n", body.len());
        let token = format!("Authorization: Bearer {}", self.token.reveal());
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n{token}\r\n{length}\r\n");
        self.served.ask(&format!("{head}{body}")).await
    }

    async fn patch(&self, rows: &Value) -> Answer {
        self.send("PATCH", "/v1/expected", &rows.to_string(), "application/json; charset=utf-8").await
    }

    async fn rows(&self, path: &str) -> Vec<Value> {
        let answer = self.served.get(path).await.json();
        answer.as_array().unwrap().clone()
    }
}

fn row(address: &str, port: u16, state: &str) -> Value {
    json!({"address": address, "port": port, "protocol": "tcp", "state": state, "comment": "why"})
}

fn when(scan: ScanId) -> String {
    Timestamp::from_second(scan.0).unwrap().to_string()
}

#[tokio::test]
async fn expectations_are_read_back_as_written() {
    let appliance = appliance();
    assert_eq!(appliance.rows("/v1/expected").await, NOTHING);
    let rows = json!([row("192.168.1.7", 22, "open"), row(MAC, 53, "open|filtered")]);
    let patched = appliance.patch(&rows).await;
    assert_eq!((patched.status, patched.body.as_str()), (204, ""));
    assert_eq!(json!(appliance.rows("/v1/expected").await), rows);
    // As printed; without a comment, with an unknown key, and in another spelling.
    assert_eq!(appliance.patch(&json!(appliance.rows("/v1/expected").await)).await.status, 204);
    let lower =
        json!([{"address": MAC.to_lowercase(), "port": 53, "protocol": "tcp", "state": "closed", "x": 1}]);
    assert_eq!(appliance.patch(&lower).await.status, 204);
    let last = appliance.rows("/v1/expected").await.pop().unwrap();
    assert_eq!(
        last,
        json!({"address": MAC, "port": 53, "protocol": "tcp", "state": "closed", "comment": ""})
    );
    assert_eq!(appliance.patch(&json!([])).await.status, 204);

    let gone = json!([{"address": MAC, "port": 53, "protocol": "tcp"}, {"address": MAC, "port": 1, "protocol": "udp"}]);
    let deleted = appliance.send("DELETE", "/v1/expected", &gone.to_string(), "application/json").await;
    assert_eq!(deleted.status, 204);
    assert_eq!(appliance.rows("/v1/expected").await, [row("192.168.1.7", 22, "open")]);
}

#[tokio::test]
async fn one_wrong_row_changes_nothing_and_is_named() {
    let appliance = appliance();
    for (row, hint) in [
        (json!({"address": "x y", "port": 1, "protocol": "tcp", "state": "open"}), "neither a MAC"),
        (json!({"address": "10.0.0.1", "port": 1, "protocol": "tpc", "state": "open"}), "ip, tcp, udp, sctp"),
        (json!({"address": "10.0.0.1", "port": 1, "protocol": "tcp", "state": "ajar"}), "open|filtered"),
        (
            json!({"address": "10.0.0.1", "port": 1, "protocol": "tcp", "state": "open", "comment": "x".repeat(1001)}),
            "1000",
        ),
        (
            json!({"address": "10.0.0.1", "port": 65536, "protocol": "tcp", "state": "open"}),
            "65536 is not a port",
        ),
        (json!({"address": "10.0.0.1", "port": -1, "protocol": "tcp", "state": "open"}), "-1 is not a port"),
        (json!({"address": "10.0.0.1", "protocol": "tcp", "state": "open"}), "port"),
        (json!("10.0.0.1"), "expected struct"),
    ] {
        let both = json!([self::row("10.0.0.2", 2, "open"), row]);
        let answer = appliance.patch(&both).await;
        assert_eq!(answer.status, 400, "{row}");
        assert!(answer.error().contains(hint), "{answer:?}");
    }
    let marked = appliance.send("PATCH", "/v1/expected", "\u{feff}[]", "application/json").await;
    assert_eq!(marked.status, 204, "a byte order mark is skipped: {marked:?}");
    let kind = appliance.send("PATCH", "/v1/expected", "[]", "text/plain").await;
    assert_eq!(kind.status, 415);
    assert!(kind.error().contains("application/json"), "{kind:?}");
    assert_eq!(appliance.send("PATCH", "/v1/expected", "[", "application/json").await.status, 400);
    assert_eq!(appliance.rows("/v1/expected").await, NOTHING);
    for method in ["PATCH", "DELETE"] {
        assert_eq!(appliance.served.request(method, "/v1/expected", &[]).await.status, 401, "{method}");
    }
    assert_eq!(appliance.served.request("POST", "/v1/expected", &[]).await.status, 405);
}

#[tokio::test]
async fn differences_have_portmantools_form() {
    let appliance = appliance();
    let scan = remember(&appliance.store, MAC, &[22, 80]).await;
    let rows = json!([row(MAC, 22, "open"), row("192.168.1.7", 443, "open"), row("192.168.1.9", 1, "open")]);
    assert_eq!(appliance.patch(&rows).await.status, 204);
    let rogue = json!({"address": "192.168.1.7", "port": 80, "protocol": "tcp", "expected_state": "",
                       "actual_state": "open", "scan_id": when(scan), "comment": ""});
    let missing = json!({"address": "192.168.1.7", "port": 443, "protocol": "tcp", "expected_state": "open",
                         "actual_state": "closed", "scan_id": when(scan), "comment": "why"});
    let unseen = json!({"address": "192.168.1.9", "port": 1, "protocol": "tcp", "expected_state": "open",
                        "actual_state": "", "scan_id": "0001-01-01T00:00:00Z", "comment": "why"});
    assert_eq!(appliance.rows("/v1/diff").await, [rogue.clone(), missing.clone(), unseen]);
    // By device: the rows in the form that lasts when they are accepted.
    let lasting = appliance.rows("/v1/diff?by=device").await;
    assert_eq!(lasting[0]["address"], MAC);
    assert_eq!(appliance.served.get("/v1/diff?by=port").await.status, 400);
    for (host, count) in [("192.168.1.7", 2), ("b827.ebac.143e", 2), ("192.168.1.9", 1), ("192.168.1.8", 0)] {
        assert_eq!(appliance.rows(&format!("/v1/diff?host={host}")).await.len(), count, "{host}");
    }
    assert_eq!(appliance.served.get("/v1/diff?host=printer").await.status, 400);

    let with_sides = |row: &Value| {
        let mut row = row.clone();
        row["state_a"] = row["actual_state"].clone();
        row["state_b"] = row["expected_state"].clone();
        row["scan_a"] = json!(when(scan));
        row["scan_b"] = json!("0001-01-01T00:00:00Z");
        row
    };
    let by_scan = appliance.rows(&format!("/v1/diff/{}", scan.0)).await;
    assert_eq!(by_scan, [with_sides(&rogue), with_sides(&missing)]);
}

#[tokio::test]
async fn two_scans_and_the_present_are_compared() {
    let appliance = appliance();
    let first = remember(&appliance.store, MAC, &[22, 80]).await;
    let second = remember(&appliance.store, MAC, &[22, 81]).await;
    let row = |port: u16, a: &str, b: &str| {
        json!({"address": "192.168.1.7", "port": port, "protocol": "tcp", "state_a": a, "state_b": b,
               "scan_a": when(first), "scan_b": when(second)})
    };
    let expected = [row(80, "open", "closed"), row(81, "closed", "open")];
    assert_eq!(appliance.rows(&format!("/v1/diff/{}/{}", first.0, second.0)).await, expected);
    assert_eq!(appliance.rows(&format!("/v1/diff/{}/current", first.0)).await, expected);
    assert_eq!(appliance.rows(&format!("/v1/diff/{}/current", second.0)).await, NOTHING);
    assert_eq!(appliance.rows(&format!("/v1/diff/{0}/{0}", first.0)).await, NOTHING);
    // A device that only one of them found.
    let third = remember(&appliance.store, "B8:27:EB:AC:14:3F", &[25]).await;
    let rows = appliance.rows(&format!("/v1/diff/{}/{}", second.0, third.0)).await;
    let sides: Vec<_> = rows
        .iter()
        .map(|row| (row["port"].clone(), row["state_a"].clone(), row["state_b"].clone()))
        .collect();
    let expected = [(22, "open", ""), (81, "open", ""), (25, "", "open")];
    assert_eq!(sides, expected.map(|(port, a, b)| (json!(port), json!(a), json!(b))));
    assert_eq!(rows[2]["scan_a"], "0001-01-01T00:00:00Z");

    for unknown in ["/v1/diff/7", "/v1/diff/7/current", &format!("/v1/diff/{}/7", first.0)] {
        let answer = appliance.served.get(unknown).await;
        assert_eq!(answer.status, 404, "{unknown}: an empty list would be wrong");
        assert!(answer.error().contains("/v1/scans"), "{answer:?}");
    }
    for malformed in ["/v1/diff/x", "/v1/diff/1/x", "/v1/diff/1/", "/v1/diff/1/2/3"] {
        let status = appliance.served.get(malformed).await.status;
        assert!([400, 404].contains(&status), "{malformed}: {status}");
    }
}

#[tokio::test]
async fn changes_are_listed_and_streamed_from_the_last_event_on() {
    let appliance = appliance();
    remember(&appliance.store, MAC, &[22]).await;
    let mut listener = appliance.served.connect().await;
    let ask = |last: &str| format!("GET /v1/events HTTP/1.1\r\nHost: pi\r\n{last}\r\n");
    listener.write_all(ask("").as_bytes()).await.unwrap();
    let begun = read_until(&mut listener, "retry: 5000\n\n").await;
    assert!(
        begun.contains("content-type: text/event-stream") && begun.contains("x-accel-buffering: no"),
        "{begun}"
    );

    appliance.patch(&json!([row(MAC, 22, "open")])).await;
    remember(&appliance.store, MAC, &[22, 80]).await;
    let scan = remember(&appliance.store, MAC, &[22, 80]).await;
    let event = read_until(&mut listener, "\n\n").await;
    assert!(event.contains("id: 2\nevent: change\ndata: {\"id\":2,"), "{event}");
    let changes = appliance.rows("/v1/changes").await;
    assert_eq!((changes.len(), &changes[0]["kind"], &changes[0]["alert"]), (2, &json!("new"), &json!(false)));
    let mut opened = changes[1].clone();
    assert!(opened["time"].take().as_str().unwrap().parse::<Timestamp>().is_ok());
    let expected = json!({"id": 2, "time": null, "scan_id": scan.0, "kind": "opened", "address": "192.168.1.7",
                          "mac": MAC, "protocol": "tcp", "port": 80, "alert": true});
    assert_eq!(opened, expected);
    assert_eq!(appliance.rows("/v1/changes?since=1").await, changes[1..]);
    assert_eq!(appliance.rows("/v1/changes?since=2").await, NOTHING);
    assert_eq!(appliance.rows("/v1/changes?since=2026-01-01T00:00:00Z").await, changes);
    assert_eq!(appliance.rows("/v1/changes?since=4000000000").await, NOTHING);
    assert_eq!(appliance.rows("/v1/changes?mac=b827.ebac.143e").await, changes);
    assert_eq!(appliance.rows("/v1/changes?mac=B8:27:EB:AC:14:00").await, NOTHING);
    for malformed in ["since=yesterday", "mac=printer"] {
        assert_eq!(
            appliance.served.get(&format!("/v1/changes?{malformed}")).await.status,
            400,
            "{malformed}"
        );
    }

    let mut again = appliance.served.connect().await;
    again.write_all(ask("Last-Event-ID: 1\r\n").as_bytes()).await.unwrap();
    let replayed = read_until(&mut again, "}\n\n").await;
    assert!(replayed.contains("id: 2\n") && !replayed.contains("id: 1\n"), "{replayed}");
    let malformed = appliance.served.request("GET", "/v1/events", &["Last-Event-ID: x"]).await;
    assert_eq!(malformed.status, 400);
}

/// Progress is sent every five seconds, so this takes that long.
#[tokio::test]
async fn progress_of_a_scan_is_sent_when_it_changes_and_ends() {
    let mut appliance = appliance();
    appliance.start_scanning(&format!("exclude = [\"127.0.0.9\"]\n{SLOW}"), &["127.0.0.1"]);
    let mut listener = appliance.served.connect().await;
    listener.write_all(b"GET /v1/events HTTP/1.1\r\nHost: pi\r\n\r\n").await.unwrap();
    read_until(&mut listener, "retry: 5000\n\n").await;
    let started = appliance.authorised("POST", "/v1/run/lan").await;
    let started: Value = serde_json::from_str(&started.body).unwrap();
    let id = &started["id"];
    let mut received = String::new();
    let mut progress = async || loop {
        while let Some((event, rest)) = received.split_once("\n\n") {
            // After the length of a chunk, or after another event.
            let data = event.split_once("event: scan\ndata: ").map(|(_, data)| data);
            let scan = data.map(|data| serde_json::from_str::<Value>(data).unwrap());
            received = rest.to_owned();
            if let Some(scan) = scan.filter(|scan| scan["scan_id"] == *id) {
                return scan;
            }
        }
        received += &read_until(&mut listener, "\n\n").await;
    };
    let moves = progress().await;
    let of_it = |key: &str| moves[key].clone();
    assert_eq!([of_it("running"), of_it("hosts_done"), of_it("hosts")], [json!(true), json!(0), json!(1)]);
    assert!(of_it("ports") == 300 && of_it("ports_done").as_u64() < Some(300), "{moves}");
    assert_eq!(appliance.authorised("DELETE", &format!("/v1/runs/{id}")).await.status, 204);
    while progress().await["running"] == true {}
}

#[tokio::test]
async fn event_streams_are_limited_to_32() {
    let appliance = appliance();
    let mut listeners = Vec::new();
    for _ in 0..32 {
        let mut listener = appliance.served.connect().await;
        listener.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        read_until(&mut listener, "retry: 5000\n\n").await;
        listeners.push(listener);
    }
    let refused = appliance.served.get("/v1/events").await;
    assert_eq!(refused.status, 503);
    assert!(refused.error().contains("too many"), "{refused:?}");
}

/// Reads until this text has arrived.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut piece = [0; 4096];
        let read = timeout(AT_MOST, stream.read(&mut piece)).await.expect("something comes").unwrap();
        assert_ne!(read, 0, "the stream ended with {text:?}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    text
}

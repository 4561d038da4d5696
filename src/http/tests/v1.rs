//! /v1 with the real store behind it.

use serde_json::{Value, json};

use super::{
    portscan::{TestAppliance, appliance, appliance_at_pace, remember},
    *,
};
use crate::{
    advice::uses,
    model::{Protocol, ScanKind, ScanStatus},
    service::feeds::{SourceId, SourceStatus},
    store::DiskPace,
};

impl Answer {
    pub(super) fn json(&self) -> Value {
        assert_eq!((self.status, self.header("content-type")), (200, Some("application/json")), "{self:?}");
        assert!(self.body.ends_with('\n'), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[tokio::test]
async fn hello_answers_every_method() {
    let appliance = appliance();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let answer = appliance.served.request(method, "/v1/hello", &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"), "{method}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    assert_eq!(appliance.served.request("HEAD", "/v1/hello", &[]).await.body, "");
}

#[tokio::test]
async fn info_shows_the_latest_complete_scan() {
    let appliance = appliance();
    let before = appliance.served.get("/v1/info").await.json();
    assert_eq!(
        before,
        json!({"last_successful_import": 0, "devices": 0, "open": 0, "rogue": 0, "missing": 0, "baseline": false, "last_scan": null, "names": []})
    );
    let scan = remember(&appliance.store, "B8:27:EB:AC:14:3E", &[22]).await;
    appliance.advertised.send_modify(|advertised| advertised.names.push("portscan.local".to_owned()));
    assert_eq!(appliance.served.get("/v1/info").await.json()["names"], json!(["portscan.local"]));
    assert_eq!(appliance.served.get("/v1/info").await.json()["last_successful_import"], 0);
    appliance.store.end_scan(scan, ScanStatus::Complete).await.unwrap();
    let after = appliance.served.get("/v1/info").await.json();
    assert!(after["last_successful_import"].as_i64().unwrap() >= scan.0, "{after}");
    assert_eq!((&after["devices"], &after["open"], &after["rogue"]), (&json!(1), &json!(1), &json!(1)));
    let last_scan: jiff::Timestamp = after["last_scan"].as_str().unwrap().parse().unwrap();
    assert_eq!(after["last_successful_import"], last_scan.as_second());
}

#[tokio::test]
async fn scans_are_listed_with_their_rows() {
    let appliance = appliance();
    let served = &appliance.served;
    assert_eq!(served.get("/v1/scans").await.json(), json!([]));
    let first = remember(&appliance.store, "B8:27:EB:AC:14:3E", &[22, 80]).await.0;
    let second = remember(&appliance.store, "B8:27:EB:AC:14:3F", &[]).await.0;
    assert_eq!(served.get("/v1/scans").await.json(), json!([{"id": first}, {"id": second}]));
    let row = |port: u16| json!({"address": "192.168.1.7", "port": port, "protocol": "tcp", "state": "open", "scan_id": first});
    assert_eq!(served.get(&format!("/v1/scan/{first}")).await.json(), json!([row(22), row(80)]));
    for nothing in [second.to_string(), "1".to_owned(), "-7".to_owned(), i64::MAX.to_string()] {
        assert_eq!(served.get(&format!("/v1/scan/{nothing}")).await.json(), json!([]), "{nothing}");
    }
    for malformed in ["x", "1.5", "99999999999999999999", "%00", "1%20"] {
        let answer = served.get(&format!("/v1/scan/{malformed}")).await;
        assert_eq!(answer.status, 400, "{malformed}");
        assert!(answer.error().contains("/v1/scans"), "{answer:?}");
    }
}

/// 65,535 rows take many frames, and the list of scans has more than one page.
#[tokio::test]
async fn long_arrays_arrive_complete() {
    let appliance = appliance();
    let ports = "1".parse().unwrap();
    let scans = (0..1003).map(|_| appliance.store.begin_scan("lan", ScanKind::Manual, &ports));
    let begun = futures_util::future::join_all(scans).await.len();
    let all: Vec<u16> = (1..=u16::MAX).collect();
    let scan = remember(&appliance.store, "B8:27:EB:AC:14:3E", &all).await.0;
    let scans = appliance.served.get("/v1/scans").await;
    assert_eq!(dechunked(&scans.body).as_array().unwrap().len(), begun + 1);
    let ports = appliance.served.get(&format!("/v1/scan/{scan}")).await;
    assert_eq!(ports.header("transfer-encoding"), Some("chunked"));
    let rows = dechunked(&ports.body);
    let listed: Vec<u64> = rows.as_array().unwrap().iter().map(|row| row["port"].as_u64().unwrap()).collect();
    assert!(listed.iter().copied().eq(1..=65_535));
}

/// The document within a chunked body (RFC 9112, 7.1), or within one that is not.
fn dechunked(body: &str) -> Value {
    let mut rest = body;
    let mut document = String::new();
    if body.starts_with('[') {
        return serde_json::from_str(body).unwrap();
    }
    loop {
        let (size, after) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return serde_json::from_str(&document).unwrap();
        }
        document.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").unwrap();
    }
}

#[tokio::test]
async fn a_path_without_its_id_is_refused() {
    let appliance = appliance();
    for path in ["/v1/diff/", "/v1/scan/", "/v1/scans/"] {
        for method in ["GET", "DELETE"] {
            let answer = appliance.served.request(method, path, &[]).await;
            assert_eq!(answer.status, 400, "{method} {path}");
            assert!(answer.error().contains("/v1/scans"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn wrong_methods_get_the_list_of_methods() {
    let appliance = appliance();
    for path in ["/v1/info", "/v1/scans", "/v1/scan/1", "/v1/openapi.json"] {
        let post = appliance.served.request("PUT", path, &[]).await;
        assert_eq!(post.status, 405, "{path}");
        assert!(post.header("allow").unwrap().starts_with("GET, HEAD, "), "{post:?}");
        assert_eq!(appliance.served.request("OPTIONS", path, &[]).await.status, 204, "{path}");
        assert_eq!(appliance.served.request("HEAD", path, &[]).await.status, 200, "{path}");
    }
    assert_eq!(appliance.served.get("/v1").await.status, 404);
    assert_eq!(appliance.served.get("/v1/nothing").await.status, 404);
}

#[tokio::test]
async fn a_backup_needs_the_token() {
    let appliance = appliance();
    remember(&appliance.store, "B8:27:EB:AC:14:3E", &[22]).await;
    let refused = appliance.served.get("/v1/backup").await;
    assert_eq!(refused.status, 401);
    assert!(refused.error().contains("portscan token"), "{refused:?}");
    // The copy is a file beside the database for a short time.
    let touched = || std::fs::metadata(appliance.dir.path()).unwrap().modified().unwrap();
    let before = touched();
    let head = appliance.authorised("HEAD", "/v1/backup").await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/vnd.sqlite3")));
    assert_eq!((head.header("content-length"), touched()), (None, before), "HEAD copies nothing");
    let mut stream = appliance.served.connect().await;
    let ask = format!(
        "GET /v1/backup HTTP/1.1\r\nHost: pi\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        appliance.token.reveal()
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(AT_MOST, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let (head, body) = (String::from_utf8_lossy(&answer[..head]).into_owned(), &answer[head + 4..]);
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    assert!(body.starts_with(b"SQLite format 3\0"), "{head}");
}

/// Slow enough to be watched: 300 probes at one in 0.4 s are two minutes.
pub(super) const SLOW: &str = "[feed]\nurl = []\n[[scanner]]\nname = \"lan\"\ninterval = \"1d\"\nports = \"1-300\"\n\
    timing = \"T2\"\n[[scanner]]\nname = \"never\"\ntargets = [\"127.0.0.9\"]\n";

/// A configuration without devices to scan.
const NO_DEVICES: &str = "[feed]\nurl = []\n";

#[tokio::test]
async fn a_run_is_started_watched_and_stopped() {
    let mut appliance = appliance();
    appliance.start_scanning(&format!("exclude = [\"127.0.0.9\"]\n{SLOW}"), &["127.0.0.1"]);
    let refused = appliance.served.request("POST", "/v1/run", &[]).await;
    assert_eq!(refused.status, 401);
    let started = appliance.authorised("POST", "/v1/run/lan").await;
    assert_eq!(started.status, 202, "{started:?}");
    let started: Value = serde_json::from_str(&started.body).unwrap();
    let id = started["id"].as_i64().unwrap();
    assert_eq!(started["runs"], json!([{"id": id, "scanner": "lan"}]));
    let again: Value = serde_json::from_str(&appliance.authorised("POST", "/v1/run").await.body).unwrap();
    assert_eq!(again["id"], id, "the same run, and the other scanner has no devices");

    let runs = appliance.served.get("/v1/runs").await.json();
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
    assert_eq!(appliance.served.get("/v1/runs?last=5").await.json()[0]["id"], id);
    let run = appliance.served.get(&format!("/v1/runs/{id}")).await.json();
    assert_eq!(
        (&run["status"], &run["kind"], &run["scanner"]),
        (&json!("running"), &json!("run"), &json!("lan"))
    );
    assert_eq!(run["hosts"], json!({"done": 0, "total": 1}));
    assert_eq!(run["progress"]["ports"]["total"], 300, "{run}");
    assert_eq!(run["ports"], "1-300");
    let device = &run["progress"]["devices"][0];
    assert_eq!((&device["address"], &device["ports"]["total"]), (&json!("127.0.0.1"), &json!(300)), "{run}");

    assert_eq!(appliance.served.request("DELETE", &format!("/v1/runs/{id}"), &[]).await.status, 401);
    let stopped = appliance.authorised("DELETE", &format!("/v1/runs/{id}")).await;
    assert_eq!((stopped.status, stopped.body.as_str()), (204, ""));
    let over = async {
        loop {
            let run = appliance.served.get(&format!("/v1/runs/{id}")).await.json();
            if run["status"] != "running" {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let over = timeout(AT_MOST, over).await.expect("it stops");
    assert_eq!((&over["status"], &over["progress"]), (&json!("partial"), &Value::Null));
    assert!(over["finished"].is_string(), "{over}");
    assert_eq!(appliance.authorised("DELETE", &format!("/v1/runs/{id}")).await.status, 204, "over already");
}

#[tokio::test]
async fn the_latest_runs_are_listed_a_page_at_a_time() {
    let mut appliance = appliance();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let scan = remember(&appliance.store, "B8:27:EB:AC:14:3E", &[22]).await;
        appliance.store.end_scan(scan, ScanStatus::Complete).await.unwrap();
        ids.insert(0, scan.0);
    }
    // The appliance's own first run may have started; its id is higher than all these.
    appliance.start_scanning(NO_DEVICES, &[]);
    let listed = async |path: &str| -> Vec<i64> {
        let runs = appliance.served.get(path).await.json();
        runs.as_array().unwrap().iter().map(|run| run["id"].as_i64().unwrap()).collect()
    };
    assert!(!listed("/v1/runs").await.iter().any(|id| ids.contains(id)), "none of them is running");
    assert!(listed("/v1/runs?last=4").await.ends_with(&ids));
    assert_eq!(listed(&format!("/v1/runs?last=2&before={}", ids[0] + 1)).await, ids[..2]);
    assert_eq!(listed(&format!("/v1/runs?last=2&before={}", ids[1])).await, ids[2..]);
    assert_eq!(listed(&format!("/v1/runs?before={}", ids[0])).await, ids[1..]);
    let run = &appliance.served.get(&format!("/v1/runs?last=1&before={}", ids[0] + 1)).await.json()[0];
    assert_eq!((&run["status"], &run["hosts"]), (&json!("complete"), &json!({"done": 1, "total": 1})));
    assert_eq!(*run, appliance.served.get(&format!("/v1/runs/{}", ids[0])).await.json());
    assert_eq!(appliance.served.get("/v1/runs?last=many").await.status, 400);
}

#[tokio::test]
async fn health_reports_counts_and_problems() {
    let mut appliance = appliance();
    appliance.served.health.send_modify(|health| health.notices.push("the printer is on fire".to_owned()));
    let source = |up, detail: &str| SourceStatus {
        source: SourceId::Hosts,
        name: "hosts".to_owned(),
        up,
        asked: true,
        detail: detail.to_owned(),
        devices: 4,
        rejected: 1,
        held_back: None,
        remarks: Vec::new(),
        last_success: None,
    };
    appliance.inventory.send_modify(|inventory| inventory.sources = vec![source(false, "silent")]);
    let health = appliance.served.get("/v1/health").await.json();
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&health["problems"], &health["notices"]), (&json!([]), &json!(["the printer is on fire"])));
    assert!(health["clock"]["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{health}");
    assert!(health["clock"]["uptime_seconds"].is_u64() && health["clock"]["synchronised"].is_boolean());
    let feed = json!({"source": "hosts", "up": false, "detail": "silent", "devices": 4, "rejected": 1, "held_back": 0});
    assert_eq!(health["feeds"], json!([feed]));
    let database = &health["database"];
    assert_eq!(database["up"], true);
    assert!(database["bytes"].as_u64() >= database["bytes_at_start"].as_u64(), "{database}");
    assert!(database["bytes_at_start"].as_u64() > Some(0), "{database}");
    assert!(health["memory"]["peak_bytes"].as_u64() >= health["memory"]["resident_bytes"].as_u64());
    assert_eq!(health["probes"]["in_flight"], 0);
    assert!(health["local_errors"].as_array().unwrap().contains(&json!({"kind": "ports", "count": 0})));
    assert!(health["limits"]["sockets"].as_u64() > Some(0), "{health}");
    assert_eq!(health["last_scan"], Value::Null);

    appliance.start_scanning(NO_DEVICES, &[]);
    let scan = remember(&appliance.store, "B8:27:EB:AC:14:3E", &[22]).await;
    appliance.store.end_scan(scan, ScanStatus::Complete).await.unwrap();
    let health = appliance.served.get("/v1/health").await.json();
    assert!(health["last_scan"].is_string(), "{health}");
    let scanner = &health["scanners"][0];
    assert_eq!((&scanner["name"], &scanner["interval_seconds"]), (&json!("lan"), &json!(86_400)), "{health}");
}

#[tokio::test]
async fn the_machine_is_judged() {
    let document = appliance().served.get("/v1/doctor").await.json();
    let finding = json!({
        "subject": "clock", "state": "ok", "essential": false, "detail": "it is right", "mend": null,
    });
    let expected = json!({"version": env!("CARGO_PKG_VERSION"), "works": true, "findings": [finding]});
    assert_eq!(document, expected);
}

#[tokio::test]
async fn a_run_that_cannot_start_is_refused_with_the_reason() {
    let mut appliance = appliance();
    appliance.start_scanning(&format!("exclude = [\"127.0.0.9\"]\n{SLOW}"), &["127.0.0.1", "127.0.0.9"]);
    for (path, status, why) in [
        ("/v1/run/iot", 404, "no scanner \"iot\""),
        ("/v1/run/never", 503, "no device to scan"),
        ("/v1/run?host=127.0.0.7", 404, "not known"),
        ("/v1/run?host=127.0.0.9", 403, "`exclude`"),
        ("/v1/run?host=nas", 400, "neither a MAC"),
        ("/v1/run?host=127.0.0.1&ports=x", 400, "not a port"),
        ("/v1/run?ports=22", 400, "`host`"),
        ("/v1/run?hots=127.0.0.1", 400, "hots"),
    ] {
        let answer = appliance.authorised("POST", path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.error().contains(why), "{path}: {answer:?}");
    }
    for method in ["GET", "DELETE"] {
        assert_eq!(appliance.authorised(method, "/v1/runs/7").await.status, 404, "{method}");
        assert_eq!(appliance.authorised(method, "/v1/runs/x").await.status, 400, "{method}");
    }
    let device = appliance.authorised("POST", "/v1/run?host=127.0.0.1&ports=1-3").await;
    assert_eq!(device.status, 202, "{device:?}");
}

impl TestAppliance {
    /// Annotates a device.
    pub(super) async fn describe(&self, path: &str, words: &str) -> Answer {
        self.send("PATCH", path, words, "application/json").await
    }
}

#[tokio::test]
async fn advice_depends_on_the_port_and_the_maker_and_is_null_where_nothing_is_known() {
    let appliance = appliance();
    remember(&appliance.store, "00:11:32:00:00:01", &[4, 23, 445]).await;
    let ports = appliance.served.get("/v1/hosts/00:11:32:00:00:01").await.json()["ports"].clone();
    assert_eq!(ports[0]["advice"], Value::Null);
    assert!(ports[0].as_object().unwrap().contains_key("advice"), "{ports}");
    assert_eq!(ports[1]["advice"]["level"], "act");
    assert_eq!(ports[2]["advice"]["what"], "probably Windows file sharing");
}

#[tokio::test]
async fn a_device_with_advice_on_every_port_is_written_in_small_pieces() {
    let appliance = appliance();
    let ports: Vec<u16> = (1..1000).filter(|port| uses(Protocol::Tcp, *port).count() > 0).collect();
    assert!(ports.len() > 40, "they fill several pieces: {ports:?}");
    remember(&appliance.store, "B8:27:EB:AC:14:3E", &ports).await;
    remember(&appliance.store, "B8:27:EB:AC:14:3F", &ports).await;
    remember(&appliance.store, "B8:27:EB:AC:14:40", &ports).await;
    let hosts = appliance.served.get("/v1/hosts").await;
    let sizes = hosts.body.split("\r\n").step_by(2).map(|size| usize::from_str_radix(size, 16).unwrap_or(0));
    let sizes: Vec<usize> = sizes.collect();
    assert!(sizes.iter().all(|size| *size < 24 * 1024), "{sizes:?}");
    for host in dechunked(&hosts.body).as_array().unwrap() {
        let listed: Vec<u64> =
            host["ports"].as_array().unwrap().iter().map(|port| port["port"].as_u64().unwrap()).collect();
        assert_eq!(listed, ports.iter().map(|port| u64::from(*port)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_device_is_listed_annotated_and_forgotten() {
    let appliance = appliance();
    let served = &appliance.served;
    let scan = remember(&appliance.store, "B8:27:EB:AC:14:3E", &[22, 80]).await.0;
    let hosts = served.get("/v1/hosts").await.json();
    let host = hosts[0].clone();
    assert_eq!(hosts, json!([host]));
    assert_eq!((&host["mac"], &host["address"]), (&json!("B8:27:EB:AC:14:3E"), &json!("192.168.1.7")));
    assert_eq!((&host["name"], &host["note"]), (&Value::Null, &Value::Null));
    assert_eq!((&host["names"], &host["name_source"]), (&json!([]), &Value::Null));
    assert_eq!(
        (&host["vendor"], &host["locally_administered"]),
        (&json!("Raspberry Pi Foundation"), &json!(false))
    );
    assert_eq!(host["addresses"][0]["address"], "192.168.1.7");
    assert_eq!(host["ports"].as_array().unwrap().len(), 2);
    let since = &host["first_seen"];
    let advice = &host["ports"][1]["advice"];
    assert_eq!(
        host["ports"][1],
        json!({"port": 80, "protocol": "tcp", "service": "http", "since": since, "scan_id": scan, "unconfirmed": false,
            "advice": advice})
    );
    assert_eq!((&advice["level"], &advice["what"]), (&json!("fine"), &json!("usually a web page")));
    assert!(advice["why"].as_str().unwrap().starts_with("Such a page is normal. "), "{advice}");
    assert!(advice["remedy"].as_str().unwrap().starts_with("Set a password of your own"), "{advice}");
    assert_eq!((&host["presence"], &host["scanning"]), (&json!("online"), &Value::Null));
    let scanned = &host["scanned"];
    assert_eq!((&scanned["ports"], &scanned["complete"]), (&json!(1000), &json!(false)), "of 65,535");
    for path in ["b8-27-eb-ac-14-3e", "192.168.1.7", "::ffff:192.168.1.7"] {
        assert_eq!(served.get(&format!("/v1/hosts/{path}")).await.json(), host, "{path}");
    }

    let path = "/v1/hosts/192.168.1.7";
    assert_eq!(served.request("PATCH", path, &[]).await.status, 401);
    assert_eq!(appliance.describe(path, r#"{"name": "nas", "note": "attic\nleft"}"#).await.status, 204);
    assert_eq!(appliance.describe(path, r#"{"unknown": 1}"#).await.status, 204);
    let named = served.get(path).await.json();
    assert_eq!(
        (&named["name"], &named["own_name"], &named["note"]),
        (&json!("nas"), &json!("nas"), &json!("attic\nleft"))
    );
    assert_eq!(named["name_source"], "owner");
    assert_eq!(named["names"], json!([{"name": "nas", "source": "owner", "time": null}]));
    assert_eq!(appliance.describe(path, r#"{"name": null}"#).await.status, 204);
    assert_eq!(served.get(path).await.json()["name"], Value::Null);
    for (body, why) in [
        (r#"{"name": "a\nb"}"#, "control"),
        (&format!(r#"{{"name": "{}"}}"#, "x".repeat(65)), "64"),
        (r#"{"name": 7}"#, "expected a string"),
        ("[]", "not what it should be"),
    ] {
        let refused = appliance.describe(path, body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.error().contains(why), "{refused:?}");
    }

    assert_eq!(served.request("DELETE", path, &[]).await.status, 401);
    assert_eq!(appliance.authorised("DELETE", path).await.status, 204);
    assert_eq!(appliance.authorised("DELETE", path).await.status, 404);
    assert_eq!(appliance.describe(path, "{}").await.status, 404);
    assert_eq!(served.get("/v1/hosts").await.json(), json!([]));
    for (unknown, status) in [("192.168.1.8", 404), ("nas", 400), ("10.0.0.0%2F8", 400)] {
        assert_eq!(served.get(&format!("/v1/hosts/{unknown}")).await.status, status, "{unknown}");
    }
}

#[tokio::test]
async fn old_scans_are_pruned_on_request() {
    let appliance = appliance();
    let mut scans = Vec::new();
    for _ in 0..3 {
        let scan = remember(&appliance.store, "B8:27:EB:AC:14:3E", &[22]).await;
        appliance.store.end_scan(scan, ScanStatus::Complete).await.unwrap();
        scans.push(scan.0);
    }
    assert_eq!(appliance.served.request("DELETE", "/v1/scans", &[]).await.status, 401);
    let dry_run = appliance.authorised("DELETE", "/v1/scans?dry_run=1").await;
    assert_eq!(dry_run.json(), json!({"scans": 2, "looks": 2}));
    let older = appliance.authorised("DELETE", &format!("/v1/scans/{}?dry_run=1", scans[1])).await;
    assert_eq!(older.json(), json!({"scans": 1, "looks": 1}));
    for wrong in ["/v1/scans?dry_run=2", "/v1/scans?dryrun=1", "/v1/scans/x"] {
        assert_eq!(appliance.authorised("DELETE", wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(appliance.authorised("DELETE", &format!("/v1/scans/{}", scans[1])).await.status, 204);
    assert_eq!(appliance.served.get("/v1/scans").await.json(), json!([{"id": scans[1]}, {"id": scans[2]}]));
    assert_eq!(appliance.authorised("DELETE", "/v1/scans").await.status, 204);
    assert_eq!(appliance.served.get("/v1/scans").await.json(), json!([{"id": scans[2]}]));
    assert_eq!(appliance.served.get("/v1/hosts").await.json()[0]["ports"][0]["port"], 22);
}

/// The HTTP layer adds to the error of a lower layer which path lists the valid ids.
#[tokio::test]
async fn errors_about_unknown_ids_name_the_path_that_lists_them() {
    let mut appliance = appliance();
    appliance.start_scanning(NO_DEVICES, &[]);
    for (request, why) in [
        ("GET /v1/diff/7", "there is no scan 7; /v1/scans lists all scans"),
        (
            "POST /v1/run?host=192.0.2.77",
            "192.0.2.77 is not known; a device is once a feed names it or it has a result (/v1/hosts lists them)",
        ),
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        let answer = appliance.authorised(method, path).await;
        assert_eq!((answer.status, answer.error().as_str()), (404, why), "{request}");
    }
}

/// Errors about a path or a query name the remedy, and do not come from a library.
#[tokio::test]
async fn wrong_paths_and_queries_get_errors_that_name_the_remedy() {
    const ID: &str = "the scan's id is malformed; write one of those that /v1/scans lists";
    const LAST: &str = "`last` is not a number from 0 to 4294967295; write last=50";
    const SINCE: &str =
        "`since` is malformed; write the id of a change, Unix seconds, or a time as 2026-03-01T10:00:00Z";
    let mut appliance = appliance();
    appliance.start_scanning(NO_DEVICES, &[]);
    for (request, why) in [
        ("GET /v1/scan/xyz", ID),
        ("GET /v1/scan/99999999999999999999", ID),
        ("GET /v1/scan/1.5", ID),
        ("GET /v1/runs/xyz", ID),
        ("DELETE /v1/runs/99999999999999999999", ID),
        ("GET /v1/diff/1/99999999999999999999", ID),
        ("GET /v1/diff/xyz/current", ID),
        ("DELETE /v1/scans/99999999999999999999", ID),
        ("GET /v1/runs?before=abc", ID),
        ("GET /v1/runs?before=99999999999999999999", ID),
        ("GET /v1/runs?last=abc", LAST),
        ("GET /v1/runs?last=-1", LAST),
        ("GET /v1/runs?last=", LAST),
        ("GET /v1/runs?last=%2B5", LAST),
        ("GET /v1/runs?last=4294967296", LAST),
        ("GET /v1/runs?last=5&last=6", "`last` is there twice; write it once"),
        ("GET /v1/changes?since=abc", SINCE),
        ("GET /v1/changes?since=99999999999999999999", SINCE),
        ("GET /v1/changes?since=9223372036854775807", SINCE),
        ("POST /v1/run?limit=-1", "there is no parameter `limit` here; there is `host`, `ports`"),
        ("POST /v1/run?host=10.0.0.1&host=10.0.0.2", "`host` is there twice; write it once"),
        ("DELETE /v1/scans?dry-run=1", "there is no parameter `dry-run` here; there is `dry_run`"),
        ("GET /v1/hosts/%FF", "the path has escapes that are not UTF-8; write é as %C3%A9"),
        ("GET /portscan/%FF/80/json", "the path has escapes that are not UTF-8; write é as %C3%A9"),
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        let answer = appliance.authorised(method, path).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, why), "{request}");
    }
    for path in [
        "/v1/runs?last=0",
        "/v1/runs?last=4294967295&before=-1",
        "/v1/runs?limit=-1",
        "/v1/changes?since=0&x=1",
    ] {
        assert_eq!(appliance.served.get(path).await.status, 200, "{path}");
    }
}

/// Scans these ports at one probe in 0.4 s.
fn slow_scan(ports: &str) -> String {
    let scanner = "[[scanner]]\nname = \"lan\"\ninterval = \"1d\"\ntiming = \"T2\"";
    format!("[feed]\nurl = []\n{scanner}\nports = \"{ports}\"\n")
}

/// What is said of a port of a device.
fn port_of(device: &Value, port: u16) -> Option<&Value> {
    device["ports"].as_array()?.iter().find(|open| open["port"] == port)
}

impl TestAppliance {
    /// Reads the device of the loopback until this is there.
    async fn wait_for(&self, what: &str, is_there: impl Fn(&Value) -> bool) {
        let waited = async { while !is_there(&self.loopback().await) {} };
        timeout(AT_MOST, waited).await.unwrap_or_else(|_| panic!("not there: {what}"));
    }

    async fn loopback(&self) -> Value {
        self.served.get("/v1/hosts/127.0.0.1").await.json()
    }
}

/// A port is shown from its verdict on: while the look runs, while its result waits for the commit, and afterwards.
#[tokio::test]
async fn an_open_port_stays_shown_until_the_result_is_stored() {
    // The first result is committed at once, and the next one an hour later.
    let mut appliance =
        appliance_at_pace(DiskPace { commit: Duration::from_secs(3600), ..DiskPace::default() });
    let first = remember(&appliance.store, "B8:27:EB:AC:14:3E", &[22]).await;
    let (ended, flushed) =
        tokio::join!(appliance.store.end_scan(first, ScanStatus::Complete), appliance.store.flush());
    ended.and(flushed).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    appliance.start_scanning(&slow_scan(&format!("1-6,{open}")), &["127.0.0.1"]);
    appliance.wait_for("the port", |device| port_of(device, open).is_some()).await;
    let look = async {
        while appliance.scanner.stats().jobs > 0 {
            assert!(port_of(&appliance.loopback().await, open).is_some());
        }
    };
    timeout(AT_MOST, look).await.expect("the look ends");
    for _ in 0..50 {
        let device = appliance.loopback().await;
        let port = port_of(&device, open).expect("the port is shown before its result is stored");
        assert_eq!((&port["unconfirmed"], &device["scanned"]), (&json!(true), &Value::Null), "{device}");
        assert_eq!(device["scanning"]["total"], 7, "{device}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let runs = appliance.served.get("/v1/runs").await.json();
    let run = &runs[0];
    assert_eq!(
        (&run["status"], &run["hosts"]),
        (&json!("running"), &json!({"done": 0, "total": 1})),
        "{runs}"
    );
    assert_eq!(run["progress"]["ports"], json!({"done": 7, "total": 7}), "{runs}");
    assert_eq!(run["progress"]["devices"][0]["open_ports"], json!([open]), "{runs}");

    appliance.store.flush().await.unwrap();
    let device = appliance.loopback().await;
    assert_eq!(port_of(&device, open).expect("the stored port")["unconfirmed"], false, "{device}");
    assert_eq!(device["scanned"]["ports"], 7, "{device}");
    appliance.wait_for("the end", |device| device["scanning"].is_null()).await;
    // Closing the scan shares the next commit, too.
    let over = async {
        while appliance.served.get("/v1/runs").await.json() != json!([]) {
            appliance.store.flush().await.unwrap();
        }
    };
    timeout(AT_MOST, over).await.expect("the run is over");
}

#[tokio::test]
async fn what_a_stopped_look_has_found_is_shown_no_longer() {
    let mut appliance = appliance();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    appliance.start_scanning(&slow_scan(&format!("1-300,{open}")), &["127.0.0.1"]);
    let started = appliance.authorised("POST", &format!("/v1/run?host=127.0.0.1&ports=1-30,{open}")).await;
    let started: Value = serde_json::from_str(&started.body).unwrap();
    appliance.wait_for("the port", |device| port_of(device, open).is_some()).await;
    for run in appliance.served.get("/v1/runs").await.json().as_array().unwrap() {
        let stopped = appliance.authorised("DELETE", &format!("/v1/runs/{}", run["id"])).await;
        assert_eq!(stopped.status, 204, "{started}");
    }
    appliance.wait_for("the end", |device| device["scanning"].is_null()).await;
    assert_eq!(port_of(&appliance.loopback().await, open), None);
}

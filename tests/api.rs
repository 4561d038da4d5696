//! /v1 and the commands that use it, with the real binary in a network of its own.

use std::{path::Path, process::Command, time::Duration};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    harness::{Portscan, Running, eventually, scanner, static_feed},
    lab::Lab,
};

const LONG: Duration = Duration::from_secs(120);

/// A configuration with the lab's devices and one scanner.
fn config(lab: &Lab) -> String {
    static_feed(lab) + &scanner("lan", "1d", "20-90")
}

fn get(running: &Running, path: &str) -> Value {
    let answer = running.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// The options with which a command finds the running appliance.
fn at(portscan: &Portscan, running: &Running) -> Vec<String> {
    let listen = running.base().trim_start_matches("http://").to_owned();
    vec!["--config".into(), portscan.write_config().display().to_string(), "--listen".into(), listen]
}

fn run(portscan: &Portscan, options: &[String], arguments: &[&str]) -> crate::harness::Finished {
    let all: Vec<&str> = arguments.iter().copied().chain(options.iter().map(String::as_str)).collect();
    portscan.run(&all, LONG)
}

#[test]
fn a_run_by_command_is_listed_with_its_results() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, &config(&lab));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    let options = at(&portscan, &running);
    let host = lab.hosts().next().unwrap();
    let (mac, address) = (host.mac().to_string(), host.address().to_string());

    let ran = run(&portscan, &options, &["run", "--host", &address, "--ports", "22", "--wait", "--json"]);
    let ran = ran.json();
    assert_eq!((&ran[0]["status"], &ran[0]["kind"]), (&json!("complete"), &Value::Null), "{ran}");
    let id = ran[0]["id"].as_i64().unwrap();
    assert_eq!(get(&running, &format!("/v1/runs/{id}"))["kind"], "manual");
    assert_eq!(get(&running, "/v1/runs"), json!([]));
    let scans = get(&running, "/v1/scans");
    assert!(scans.as_array().unwrap().contains(&json!({"id": id})), "{scans}");
    let found = get(&running, &format!("/v1/scan/{id}"));
    let row = json!({"address": address, "port": 22, "protocol": "tcp", "state": "open", "scan_id": id});
    // One scanned port is the majority of the ports: its state is the default, so the row may be left out.
    assert!(found == json!([]) || found == json!([row]), "{found}");

    let device = get(&running, &format!("/v1/hosts/{address}"));
    assert_eq!(device["mac"], mac.as_str());
    let by_command = run(&portscan, &options, &["hosts", &mac, "--json"]).json();
    assert_eq!(by_command, json!([device]));
    let open: Vec<u64> =
        device["ports"].as_array().unwrap().iter().map(|open| open["port"].as_u64().unwrap()).collect();
    let truth = host.open_ports();
    let scanned = truth.iter().filter(|port| (20..=90).contains(port)).map(u64::from);
    assert!(open.iter().copied().eq(scanned), "{device}");
    let refused = run(&portscan, &options, &["run", "--host", "10.77.0.250"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("not known"), "{}", refused.stderr);
    running.stop();

    // The same commands on the database of a stopped appliance.
    let offline = run(&portscan, &options, &["hosts", &mac, "--json"]).json();
    assert_eq!(offline, by_command);
    let refused_offline = run(&portscan, &options, &["run"]);
    assert!(refused_offline.stderr.contains("portscan serve"), "{}", refused_offline.stderr);
}

#[test]
fn a_backup_is_complete_with_and_without_a_running_appliance() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, &config(&lab));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    let options = at(&portscan, &running);
    let dir = tempfile::tempdir().unwrap();
    let devices = |file: &Path| -> i64 {
        let copy = Connection::open(file).unwrap();
        let sound: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        copy.query_row(
            "SELECT count(DISTINCT device) FROM endpoints WHERE latest_seq IS NOT NULL",
            [],
            |row| row.get(0),
        )
        .unwrap()
    };
    let (first, second) = (dir.path().join("first.db"), dir.path().join("second.db"));
    let made = run(&portscan, &options, &["backup", first.to_str().unwrap()]);
    assert!(made.status.success(), "{}", made.stderr);
    assert_eq!(devices(&first), 3);
    running.stop();
    let made = run(&portscan, &options, &["backup", second.to_str().unwrap()]);
    assert!(made.status.success(), "{}", made.stderr);
    assert_eq!(devices(&second), 3);

    // A backup restored into an empty directory is served.
    let restored = tempfile::tempdir().unwrap();
    std::fs::copy(&first, restored.path().join(portscan::store::FILE_NAME)).unwrap();
    let other = Portscan::new(&lab, "[feed]\nurl = []\n").data_dir(restored.path());
    let running = other.start();
    assert_eq!(running.macs().len(), 3);
    running.stop();
}

/// A client that generates valid and invalid requests from the description alone and checks the responses against it;
/// `make setup` installs it. In the lab's network no probed host is real.
#[test]
fn responses_conform_to_the_openapi_description() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, &config(&lab));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    eventually(LONG, "the run is over", || (get(&running, "/v1/runs") == json!([])).then_some(()));
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/schemathesis");
    let output = Command::new(&program)
        .args(["--config-file", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis.toml"), "run"])
        .arg(format!("{}/v1/openapi.json", running.base()))
        // Without the phase that follows links in responses: it takes a date in one for the id of another.
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", "12", "--seed", "7", "--request-timeout", "60", "--no-color"])
        // Events have no end, and a run of everything would keep the appliance busy for the rest of the test.
        .args(["--exclude-path", "/v1/events"])
        .current_dir(portscan.database().parent().unwrap())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; `make setup` installs it", program.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    running.stop();
}

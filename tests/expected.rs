//! Importing the expected state: from a file, and from another portmantool-compatible service.

use std::fs;

use serde_json::{Value, json};

use crate::{
    harness::{
        Finished, LONG, Portscan,
        feed::{FeedServer, Says},
    },
    lab::Lab,
};

const QUIET: &str = "[feed]\nurl = []\n";

fn row(address: &str, port: u16, protocol: &str, state: &str) -> Value {
    json!({"address": address, "port": port, "protocol": protocol, "state": state, "comment": "why"})
}

/// Runs a command on the database of an appliance that is not running.
fn resting(portscan: &Portscan, words: &[&str]) -> Finished {
    let config = portscan.write_config();
    portscan.run(&[words, &["--config", config.to_str().unwrap()]].concat(), LONG)
}

#[test]
fn an_expected_state_is_imported_completely_and_repeatedly() {
    let lab = Lab::enter("near");
    let expected = json!([
        row("B8:27:EB:AC:14:3E", 22, "tcp", "open"),
        row("B8:27:EB:AC:14:3E", 53, "udp", "open|filtered"),
        row("192.168.1.9", 80, "tcp", "closed"),
    ]);
    let (old, new) = (Portscan::new(&lab, QUIET), Portscan::new(&lab, QUIET));
    let running = old.start();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, expected.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    let set = old.run(&["expected", "set", "--file", path, "--url", running.base()], LONG);
    assert!(set.status.success() && set.stdout.is_empty(), "{set:?}");
    assert_eq!(running.get("/v1/expected").json(), expected);

    for from in [running.base().to_owned(), format!("{}/v1/expected", running.base())] {
        let taken = resting(&new, &["import-expected", &from]);
        assert_eq!(taken.stdout, "took over 3 ports of 2 devices\n", "{}", taken.stderr);
        assert_eq!(resting(&new, &["expected", "list", "--json"]).json(), expected);
    }
    let both = resting(&new, &["expected", "set", "192.168.1.9", "80", "--file", path]);
    assert_eq!(both.status.code(), Some(2), "{}", both.stderr);
    running.stop();
}

#[test]
fn importing_anything_else_changes_nothing() {
    let lab = Lab::enter("near");
    let new = Portscan::new(&lab, QUIET);
    let other = FeedServer::start(Says::Status("404 Not Found"));
    let from = other.url().replace("/lanscan/json", "");
    let wrong = |row: &Value| json!([{"address": "192.168.1.9", "port": 22, "protocol": "tcp", "state": "open"}, row]);
    for (says, why) in [
        (Says::Status("404 Not Found"), "is the path right?"),
        (Says::Body("<html>".into()), "not what is expected as portmantool"),
        (Says::Body(r#"{"macs":["B8:27:EB:AC:14:3E"]}"#.into()), "not what is expected as portmantool"),
        (Says::Body(wrong(&row("printer", 22, "tcp", "open")).to_string()), "row 2: "),
        (Says::Body(wrong(&row("192.168.1.9", 22, "icmp", "open")).to_string()), "row 2: "),
        (Says::Body(wrong(&row("192.168.1.9", 22, "tcp", "ajar")).to_string()), "row 2: "),
    ] {
        other.set(says.clone());
        let refused = resting(&new, &["import-expected", &from]);
        assert_eq!(refused.status.code(), Some(1), "{says:?}");
        assert!(refused.stderr.contains(why), "{says:?}: {}", refused.stderr);
    }
    other.set(Says::Body("[]".into()));
    let nothing = resting(&new, &["import-expected", &from]);
    assert!(nothing.status.success() && nothing.stderr.contains("nothing is expected there"), "{nothing:?}");
    let listed = resting(&new, &["expected", "list", "--json"]);
    assert!(!listed.status.success() && listed.stderr.contains("there is no database"), "{listed:?}");
    assert!(!new.database().exists(), "nothing was ever stored");
}

//! From a port that opens to its change event, with the real binary, and the commands about changes.

use std::{net::TcpListener, time::Duration};

use serde_json::{Value, json};

use crate::{
    harness::{Finished, Portscan, Running, eventually, scanner},
    lab::Lab,
};

/// A scan every few seconds, a commit every ten, a second look a minute later; doubled for a busy machine.
const LONG: Duration = Duration::from_secs(180);

fn changes(running: &Running, kind: &str) -> Vec<Value> {
    let all = running.get("/v1/changes").json();
    all.as_array().unwrap().iter().filter(|change| change["kind"] == kind).cloned().collect()
}

fn assert_alerted(running: &Running, kind: &str, port: u16) {
    let change = eventually(LONG, &format!("port {port} has {kind}"), || changes(running, kind).pop());
    assert_eq!((&change["port"], &change["address"]), (&json!(port), &json!("127.0.0.1")), "{change}");
    assert_eq!(change["alert"], true, "{change}");
}

#[test]
fn opened_and_closed_ports_alert_after_they_are_confirmed() {
    let lab = Lab::enter("near");
    let (open, free) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let [accepted, rogue] = [&open, &free].map(|listener| listener.local_addr().unwrap().port());
    drop(free);
    let lan = scanner("lan", "3s", &format!("{accepted},{rogue}"));
    let portscan =
        Portscan::new(&lab, &format!("[feed]\nurl = []\nhosts = [{{ address = \"127.0.0.1\" }}]\n{lan}"));
    let running = portscan.start();
    let url = running.base().to_owned();
    let ask = |words: &[&str]| -> Finished { portscan.run(&[words, &["--url", &url]].concat(), LONG) };
    let differing = || running.get("/v1/diff").json().as_array().unwrap().len();
    eventually(LONG, "the open port is found", || (differing() == 1).then_some(()));

    let accept = ask(&["expected", "accept", "--all"]);
    assert_eq!(accept.stdout, "accepted 1 port of 1 device\n", "{}", accept.stderr);
    assert_eq!(ask(&["diff", "--exit-code"]).status.code(), Some(0));
    assert_eq!(changes(&running, "opened").len(), 0, "it was open when the device was first seen");
    let _rogue = TcpListener::bind(("127.0.0.1", rogue)).unwrap();
    assert_alerted(&running, "opened", rogue);
    let differs = ask(&["diff", "--exit-code"]);
    assert_eq!(differs.status.code(), Some(1), "{}", differs.stderr);
    assert!(differs.stdout.contains(&format!("{rogue}/tcp")), "{}", differs.stdout);
    drop(open);
    assert_alerted(&running, "closed", accepted);
    let listed = ask(&["changes", "--since", "1h", "--json"]).json();
    assert_eq!(listed, running.get("/v1/changes").json());
    running.stop();

    // With no appliance running the same commands open the database.
    let config = portscan.write_config();
    let offline =
        |words: &[&str]| portscan.run(&[words, &["--config", config.to_str().unwrap()]].concat(), LONG);
    assert_eq!(offline(&["changes", "--json"]).json(), listed);
    let delete = offline(&["expected", "delete", "127.0.0.1", &accepted.to_string()]);
    assert!(delete.status.success(), "{}", delete.stderr);
    assert_eq!(offline(&["expected", "list", "--json"]).json(), json!([]));
    let differs = offline(&["diff", "--json"]).json();
    assert_eq!((differs.as_array().unwrap().len(), &differs[0]["port"]), (1, &json!(rogue)));
}

//! The messages as real receivers parse them, compared with those of another sender.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use super::{LONG, NOTHING};
use crate::{
    harness::{
        Portscan, Running, eventually,
        prometheus::Alertmanager,
        receiver::{HttpReceiver, ReceivedRequest, Reception},
        rsyslog::Rsyslog,
    },
    lab::Lab,
};

fn test(portscan: &Portscan, running: &Running) {
    let finished = portscan.run(&["alert", "test", "--url", running.base()], LONG);
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
}

#[test]
fn rsyslog_understands_both_formats_over_udp_and_tcp() {
    let lab = Lab::enter("near");
    let server = Rsyslog::start(&lab);
    let mut config = NOTHING.to_owned();
    for (scheme, format) in [("udp", "rfc5424"), ("tcp", "rfc5424"), ("udp", "rfc3164"), ("tcp", "rfc3164")] {
        let address = server.address();
        config += &format!(
            "[[channel]]\nname = \"{scheme}-{format}\"\ntype = \"syslog\"\nurl = \"{scheme}://{address}\"\n\
             format = \"{format}\"\n"
        );
    }
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    test(&portscan, &running);
    let lines =
        eventually(LONG, "four lines arrive", || Some(server.lines()).filter(|lines| lines.len() == 4));
    for line in &lines {
        let parts: Vec<_> = line.split('|').collect();
        assert_eq!((parts[0], parts[2]), ("daemon.warning", "portscan"), "{line}");
        assert!(parts[4].contains("portscan: test: This is a test of the channel"), "{line}");
    }
    let structured = lines.iter().filter(|line| line.contains("[portscan@32473 key=\"")).count();
    assert_eq!(structured, 2, "{lines:#?}");
    running.stop();
}

#[test]
fn alertmanager_takes_what_it_is_sent() {
    let lab = Lab::enter("near");
    let server = Alertmanager::start(&lab);
    let config = format!(
        "{NOTHING}[[channel]]\nname = \"am\"\ntype = \"webhook\"\nurl = {:?}\nshape = \"alertmanager\"\n",
        server.url()
    );
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    test(&portscan, &running);
    let alert = eventually(LONG, "the alert is on", || server.alerts().pop());
    assert_eq!(alert["labels"]["alertname"], "test", "{alert}");
    assert_eq!(alert["annotations"]["summary"], "portscan: test", "{alert}");
    running.stop();
}

/// No servers of ntfy, Gotify, Slack and Discord are available here, so the messages are compared with those of a
/// widely used sender.
#[test]
fn requests_are_those_that_apprise_sends() {
    let lab = Lab::enter("near");
    let willing = || HttpReceiver::start(|_| Reception::Answers(200));
    let (theirs, ours) = (willing(), willing());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sent = Command::new(root.join("target/venv/bin/python"))
        .arg(root.join("tests/delivery/reference_sender.py"))
        .arg(theirs.address().to_string())
        .output()
        .unwrap_or_else(|error| panic!("apprise: {error}; `make setup` gets it"));
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));

    let secret = tempfile::tempdir().unwrap();
    let token = secret.path().join("token");
    fs::write(&token, "tk_s3cret\n").unwrap();
    let mut config = NOTHING.to_owned();
    for (kind, path, more) in [
        ("ntfy", "topic", format!("token_file = {token:?}")),
        ("webhook", "message", format!("shape = \"gotify\"\ntoken_file = {token:?}")),
        ("webhook", "services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "shape = \"slack\"".to_owned()),
        ("webhook", "api/webhooks/4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "shape = \"discord\"".to_owned()),
    ] {
        let (name, url) = (path.len(), format!("http://{}/{path}", ours.address()));
        config += &format!("[[channel]]\nname = \"c{name}\"\ntype = \"{kind}\"\nurl = \"{url}\"\n{more}\n");
    }
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    test(&portscan, &running);
    running.stop();

    let by_path = |requests: Vec<ReceivedRequest>| {
        let mut requests = requests;
        requests.sort_by(|a, b| a.path.cmp(&b.path));
        requests
    };
    let (theirs, ours) = (by_path(theirs.requests()), by_path(ours.requests()));
    assert_eq!((theirs.len(), ours.len()), (4, 4));
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(ours.path, theirs.path);
        let kind =
            |request: &ReceivedRequest| request.headers["content-type"].split(';').next().unwrap().to_owned();
        assert_eq!(kind(ours), kind(theirs), "{}", ours.path);
        for header in ["authorization", "x-gotify-key"] {
            assert_eq!(ours.headers.get(header), theirs.headers.get(header), "{}: {header}", ours.path);
        }
        // Compares the texts of the keys that both have; ours may contain more.
        for key in ["topic", "title"] {
            let (ours, theirs) = (ours.json(), theirs.json());
            if !theirs[key].is_null() {
                assert_eq!(ours[key], theirs[key]);
            }
        }
    }
    let at = |path: &str| ours.iter().find(|request| request.path.starts_with(path)).unwrap().json();
    assert_eq!(at("/message")["priority"], json!(5));
    assert!(at("/services")["text"].as_str().unwrap().starts_with("*portscan: test*\n"));
    assert_eq!(at("/api")["embeds"][0]["title"], "portscan: test");
}

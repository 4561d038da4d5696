//! A fault of a channel is reported clearly, nothing is lost in the meantime, and everything arrives once it is
//! corrected.

use std::{collections::BTreeMap, fs, path::Path};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    LONG, NOTHING, begin,
    channels::{all_events, events_of, happen},
    command,
    mail::IDS,
};
use crate::{
    harness::{
        Portscan, Running, eventually,
        http_server::HttpServer,
        mosquitto::{Mosquitto, Subscriber, USER},
        rsyslog::Rsyslog,
        tls_front::TlsFront,
    },
    lab::Lab,
};

const TOKEN: &str = "tk_s3cret";

fn channel(name: &str, kind: &str, url: &str, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"{name}\"\ntype = \"{kind}\"\nurl = \"{url}\"\ngroup = \"1s\"\n{IDS}{more}\n"
    )
}

/// The channel's state as the page shows it, too.
fn shown(running: &Running, name: &str) -> Value {
    let alerts = running.get("/v1/alerts").json();
    alerts["channels"].as_array().unwrap().iter().find(|known| known["name"] == name).unwrap().clone()
}

/// Waits until the channel shows this as the reason of its latest failure.
fn fails(running: &Running, name: &str, reason: &str) {
    let channel = eventually(LONG, &format!("{name} fails"), || {
        Some(shown(running, name)).filter(|channel| channel["error"].is_string())
    });
    let error = channel["error"].as_str().unwrap();
    assert!(error.contains(reason), "{name}: {error}");
}

/// The events that arrived, by the last part of the path or the topic: each in the order of its first arrival.
fn arrived(server: &HttpServer) -> BTreeMap<String, Vec<i64>> {
    let mut arrived: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for request in server.requests().into_iter().filter(|request| request.status == 200) {
        let (name, text) = match request.body["topic"].as_str() {
            Some(topic) => (topic, &request.body["message"]),
            None => (request.path.trim_start_matches('/'), &request.body["text"]),
        };
        arrived.entry(name.to_owned()).or_default().extend(events_of(text.as_str().unwrap()));
    }
    arrived
}

#[test]
fn a_wrong_token_is_told_and_once_it_is_right_all_arrives() {
    let lab = Lab::enter("near");
    let server = HttpServer::start(&lab, Some(TOKEN));
    let home = tempfile::tempdir().unwrap();
    let (wrong, missing) = (home.path().join("wrong"), home.path().join("missing"));
    fs::write(&wrong, "tk_0ld\n").unwrap();
    let at = |path: &str| format!("http://{}/{path}", server.address());
    let token = |file: &Path| format!("token_file = {file:?}");
    let config = NOTHING.to_owned()
        + &channel("hook", "webhook", &at("hook"), &token(&wrong))
        + &channel("phone", "ntfy", &at("phone"), &token(&wrong))
        + &channel("nofile", "webhook", &at("nofile"), &token(&missing));
    let portscan = Portscan::new(&lab, &config);
    let checked =
        portscan.run(&["check-config", "--config", &portscan.write_config().display().to_string()], LONG);
    assert!(checked.stdout.contains("channel nofile: token_file"), "{}", checked.stdout);
    begin(&portscan, 3);
    happen(&portscan, 0);
    let running = portscan.start();
    for name in ["hook", "phone"] {
        fails(&running, name, "the answer is 401 Unauthorized: no; token_file is missing or wrong");
    }
    fails(&running, "nofile", "token_file: cannot read ");
    happen(&portscan, 1);
    let alerts = running.get("/v1/alerts").json();
    assert_eq!((&alerts["parked"], &alerts["history"]), (&Value::from([0; 0]), &Value::from([0; 0])));

    for file in [&wrong, &missing] {
        fs::write(file, format!("{TOKEN}\n")).unwrap();
    }
    eventually(LONG, "all is delivered", || {
        let channels = ["hook", "phone", "nofile"].map(|name| shown(&running, name));
        channels.iter().all(|channel| channel["error"].is_null() && channel["pending"] == 0).then_some(())
    });
    assert!(!running.log().contains("tk_"), "{}", running.log());
    running.stop();
    // The events that were written beside the appliance are known to it when it starts.
    let running = portscan.start();
    let all = all_events(&portscan);
    for name in ["hook", "phone", "nofile"] {
        eventually(LONG, &format!("{name} has all"), || {
            (arrived(&server).get(name) == Some(&all)).then_some(())
        });
    }
    running.stop();
}

#[test]
#[allow(clippy::too_many_lines, reason = "one appliance, with all channels at once")]
fn each_fault_of_a_receiver_is_told_and_once_it_is_mended_all_arrives() {
    let lab = Lab::enter("near");
    let server = HttpServer::start(&lab, None);
    let front = TlsFront::before(&lab, server.address());
    let (collector, broker) = (Rsyslog::start(&lab), Mosquitto::start(&lab));
    let listener = broker.subscribe("home/#", "watcher");
    let trusted = format!("ca_file = {:?}", front.ca_file());
    let login = format!(
        "topic = \"home/p\"\ndiscovery = \"\"\nuser = \"{}\"\npassword_file = {:?}",
        USER,
        broker.password_file()
    );
    // Each channel: its type, a wrong URL, the expected report, the right URL, and further lines.
    let at = |path: &str| format!("http://{}/{path}", server.address());
    let secure = |certificate: &str, path: &str| format!("{}/{path}", front.url(certificate));
    let faults = [
        ("path", "webhook", at("missing/x"), "404 Not Found: no; is the url right?", at("path"), ""),
        (
            "away",
            "ntfy",
            "http://127.0.0.1:1/away".into(),
            "no connection: Connection refused",
            at("away"),
            "",
        ),
        ("nowhere", "ntfy", "https://ntfy.invalid/nowhere".into(), "ntfy.invalid", at("nowhere"), ""),
        (
            "expired",
            "webhook",
            secure("expired", "expired"),
            "no connection: invalid peer certificate: certificate expired",
            secure("server", "expired"),
            trusted.as_str(),
        ),
        (
            "misnamed",
            "webhook",
            secure("misnamed", "misnamed"),
            "no connection: invalid peer certificate: certificate not valid for name",
            secure("server", "misnamed"),
            &trusted,
        ),
        (
            "untrusted",
            "webhook",
            secure("server", "untrusted"),
            "no connection: invalid peer certificate: UnknownIssuer",
            at("untrusted"),
            "",
        ),
        (
            "log",
            "syslog",
            "tcp://log.invalid".into(),
            "log.invalid",
            format!("tcp://{}", collector.address()),
            "",
        ),
        (
            "closed",
            "syslog",
            "udp://127.0.0.1:1".into(),
            "127.0.0.1:1: Connection refused",
            format!("udp://{}", collector.address()),
            "",
        ),
        ("broker", "mqtt", "mqtt://broker.invalid".into(), "broker.invalid", broker.url(), &login),
    ];
    let config = |is_right: bool| {
        let channel = |(name, kind, wrong, _, right, more): &(&str, &str, String, &str, String, &str)| {
            channel(name, kind, if is_right { right } else { wrong }, more)
        };
        NOTHING.to_owned() + &faults.each_ref().map(channel).concat()
    };
    let mut portscan = Portscan::new(&lab, &config(false));
    begin(&portscan, i64::try_from(faults.len()).unwrap());
    happen(&portscan, 0);
    let running = portscan.start();
    for (name, _, _, reason, ..) in &faults {
        fails(&running, name, reason);
    }
    let alerts = running.get("/v1/alerts").json();
    let parked: Vec<_> =
        alerts["parked"].as_array().unwrap().iter().map(|message| &message["channel"]).collect();
    assert_eq!(parked, ["path"], "only what an answer refuses is parked: {alerts}");
    let id = alerts["parked"][0]["id"].to_string();

    portscan.set_config(&config(true));
    portscan.write_config();
    running.signal(Signal::SIGHUP);
    eventually(LONG, "the URLs are right", || {
        shown(&running, "closed")["url"].as_str().unwrap().contains(collector.address()).then_some(())
    });
    command(&portscan, &running, &["alert", "retry", &id]);
    eventually(LONG, "all is delivered", || {
        let alerts = running.get("/v1/alerts").json();
        let is_delivered = alerts["history"].as_array().unwrap().len() == faults.len();
        (is_delivered && alerts["pending"] == 0).then_some(())
    });
    let all = all_events(&portscan);
    for name in ["path", "away", "nowhere", "expired", "misnamed", "untrusted"] {
        assert_eq!(arrived(&server).get(name), Some(&all), "{name}");
    }
    assert_logged_and_published(&all, &collector, &listener);
    running.stop();
}

/// Asserts that these events arrive in two lines of syslog and one message of the broker.
fn assert_logged_and_published(events: &[i64], collector: &Rsyslog, listener: &Subscriber) {
    let ids: Vec<String> = events.iter().map(ToString::to_string).collect();
    let ids = ids.join(" ");
    let lines = eventually(LONG, "both lines are written", || {
        Some(collector.lines()).filter(|lines| lines.len() == 2)
    });
    assert!(lines.iter().all(|line| line.contains(&ids)), "{lines:?}");
    let message = eventually(LONG, "the broker passes it on", || listener.of("home/p/alerts").pop());
    assert!(message.payload.contains(&ids), "{message:?}");
}

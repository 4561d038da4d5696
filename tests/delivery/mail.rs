//! Alerts by mail, with a real mail server.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    LONG, NOTHING, begin,
    channels::{EVENTS, all_events, happen},
    kills::{Arrivals, FaultRounds},
    rounds,
};
use crate::{
    harness::{
        Finished, Portscan, Running, eventually,
        postfix::{CLEAR, EXPIRED, MISNAMED, PASSWORD, Postfix, STARTTLS, TLS},
    },
    lab::Lab,
};

/// Kills of the appliance and of the mail server.
const ROUNDS: i64 = 4;

/// A template that writes the ids of a message's events.
pub(super) const IDS: &str =
    "text = \"{% for change in changes %}{{ change.id }} {% else %}none{% endfor %}\"\n";

/// A directory with the password, and one that is wrong.
fn secrets() -> TempDir {
    let secrets = TempDir::new().unwrap();
    fs::write(secrets.path().join("right"), format!("{PASSWORD}\n")).unwrap();
    fs::write(secrets.path().join("wrong"), "no secret\n").unwrap();
    secrets
}

fn channel(name: &str, url: &str, to: &str, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"{name}\"\ntype = \"email\"\nurl = \"{url}\"\nfrom = \"portscan@example.test\"\n\
         to = [{to}]\ngroup = \"1s\"\n{more}\n"
    )
}

fn login(server: &Postfix, password: &Path) -> String {
    format!("ca_file = {:?}\nuser = \"me\"\npassword_file = {password:?}\n", server.ca_file())
}

fn test(portscan: &Portscan, running: &Running, name: &str) -> Finished {
    portscan.run(&["alert", "test", name, "--url", running.base()], LONG)
}

#[test]
fn mails_arrive_over_each_kind_of_connection_and_errors_are_clear() {
    let lab = Lab::enter("near");
    let Some(server) = Postfix::start(&lab) else { return };
    let secrets = secrets();
    let (right, wrong) = (secrets.path().join("right"), secrets.path().join("wrong"));
    let (right, wrong) = (login(&server, &right), login(&server, &wrong));
    let trusted = format!("ca_file = {:?}\n", server.ca_file());
    let at = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
    let me = "\"me@example.test\"";
    let config = NOTHING.to_owned()
        + &channel("tls", &at("smtps", TLS), me, &right)
        + &channel("starttls", &format!("smtp+starttls://localhost:{STARTTLS}"), me, &right)
        + &channel("clear", &at("smtp", CLEAR), "\"me@example.test\", \"you@example.test\"", "")
        + &channel("password", &at("smtps", TLS), me, &wrong)
        + &channel("nologin", &at("smtps", TLS), me, &trusted)
        + &channel("untrusted", &at("smtps", TLS), me, "")
        + &channel("expired", &at("smtps", EXPIRED), me, &trusted)
        + &channel("misnamed", &at("smtps", MISNAMED), me, &trusted)
        + &channel("plain", &at("smtp+starttls", CLEAR), me, &trusted)
        + &channel("unknown", &at("smtp", CLEAR), "\"nobody@example.test\"", "")
        + &channel("away", "smtp://127.0.0.1:1", me, "")
        + &channel("nowhere", "smtps://mail.invalid", me, "");
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    for name in ["tls", "starttls", "clear"] {
        let tested = test(&portscan, &running, name);
        assert!(
            tested.stdout.contains("delivered: 250 2.0.0 Ok: queued as"),
            "{}{}",
            tested.stdout,
            server.log()
        );
    }
    for (name, expected) in [
        ("password", "login: the answer is 535 5.7.8 Error: authentication failed"),
        ("password", "user or password_file is wrong"),
        ("nologin", "554 5.7.1"),
        ("untrusted", "no connection: invalid peer certificate: UnknownIssuer"),
        ("expired", "no connection: invalid peer certificate: certificate expired"),
        ("misnamed", "no connection: invalid peer certificate: certificate not valid for name"),
        ("plain", "the server offers no STARTTLS"),
        ("unknown", "recipient: the answer is 550 5.1.1 <nobody@example.test>"),
        ("away", "no connection: 127.0.0.1:1: Connection refused"),
        ("nowhere", "mail.invalid"),
    ] {
        let tested = test(&portscan, &running, name);
        assert_eq!(tested.status.code(), Some(1), "{}", tested.stdout);
        assert!(tested.stdout.contains(expected), "{name}: {}", tested.stdout);
    }
    assert!(!running.log().contains(PASSWORD) && !server.log().contains(PASSWORD));
    let mails = eventually(LONG, "three mails are in the mailbox", || {
        Some(server.mails("me")).filter(|mails| mails.len() == 3)
    });
    for mail in &mails {
        let headers = &mail["headers"];
        assert_eq!(headers["subject"], "portscan: test");
        assert_eq!(headers["from"], "portscan <portscan@example.test>");
        assert_eq!(headers["auto-submitted"], "auto-generated");
        assert!(headers["message-id"].as_str().unwrap().ends_with("@example.test>"), "{headers}");
        for body in ["plain", "html"] {
            let body = mail["bodies"][body].as_str().unwrap();
            assert!(body.contains("This is a test of the channel"), "{body}");
        }
    }
    eventually(LONG, "the second recipient has one, too", || {
        Some(server.mails("you")).filter(|mails| mails.len() == 1)
    });
    running.stop();
}

#[test]
fn a_full_mailbox_delays_a_mail_and_an_unknown_recipient_parks_it() {
    let lab = Lab::enter("near");
    let Some(server) = Postfix::start(&lab) else { return };
    let url = format!("smtp://127.0.0.1:{CLEAR}");
    let config = NOTHING.to_owned()
        + &channel(
            "full",
            &url,
            "\"full@example.test\", \"you@example.test\"",
            "title = \"{{ severity }}: {{ title }}\"",
        )
        + &channel("gone", &url, "\"nobody@example.test\"", "")
        // The template fails only for this many changes, which no sample has.
        + &channel("words", &url, "\"me@example.test\"", "text = \"{{ 100 // (changes|length - 25) }}\"");
    let portscan = Portscan::new(&lab, &config);
    begin(&portscan, 3);
    server.limit_full(1);
    happen(&portscan, 0);
    let running = portscan.start();
    let channel = |name: &str| {
        let alerts = running.get("/v1/alerts").json();
        alerts["channels"].as_array().unwrap().iter().find(|known| known["name"] == name).unwrap().clone()
    };
    let failing = eventually(LONG, "the mailbox is full", || {
        Some(channel("full")).filter(|channel| channel["failed"] == 1)
    });
    let error = failing["error"].as_str().unwrap();
    assert!(
        error.contains("full@example.test: 552 5.2.2") && error.ends_with("; the others have it"),
        "{error}"
    );
    let parked = eventually(LONG, "a message is parked", || {
        running.get("/v1/alerts").json()["parked"].as_array().unwrap().first().cloned()
    });
    assert_eq!(parked["channel"], "gone", "{parked}");
    assert!(parked["reason"].as_str().unwrap().contains("550 5.1.1"), "{parked}");

    let words = eventually(LONG, "the template fails", || {
        Some(channel("words")).filter(|channel| channel["delivered"] == 1)
    });
    assert!(words["template_error"].as_str().unwrap().contains("text: line 1 of the template: "), "{words}");
    let built_in = eventually(LONG, "the mail is there", || server.mails("me").pop());
    assert!(
        built_in["bodies"]["plain"].as_str().unwrap().contains("port 1/tcp opened, unexpected"),
        "{built_in}"
    );

    server.limit_full(100_000_000);
    let mails = eventually(LONG, "the mailbox is emptied", || {
        Some(server.mails("full")).filter(|mails| !mails.is_empty())
    });
    let subject = mails[0]["headers"]["subject"].as_str().unwrap();
    assert!(subject.starts_with("high: 25 changes on 3 devices"), "{subject}");
    let plain = mails[0]["bodies"]["plain"].as_str().unwrap();
    assert!(plain.contains("    1/tcp: usually") || plain.contains("    7/tcp: usually"), "{plain}");
    eventually(LONG, "all is delivered", || (channel("full")["pending"] == 0).then_some(()));
    assert_eq!(server.mails("you").len(), 1, "the other recipient has it once");
    running.stop();
}

#[test]
fn kills_of_the_appliance_and_of_the_mail_server_lose_no_mail() {
    let lab = Lab::enter("near");
    let Some(mut server) = Postfix::start(&lab) else { return };
    let secrets = secrets();
    let config = NOTHING.to_owned()
        + &channel(
            "office",
            &format!("smtps://127.0.0.1:{TLS}"),
            "\"me@example.test\"",
            &(login(&server, &secrets.path().join("right")) + IDS + "burst = 1000\n"),
        );
    let mut faults = FaultRounds::new(7);
    let portscan = faults.on(Portscan::new(&lab, &config));
    begin(&portscan, 1);
    faults.run_all(rounds(ROUNDS), &lab, &portscan, 4500, || {
        server.kill();
        server.start_again();
    });
    let all: BTreeSet<i64> = all_events(&portscan).into_iter().collect();
    assert_eq!(i64::try_from(all.len()).unwrap(), rounds(ROUNDS) * EVENTS);
    let running = portscan.start();
    let contents = eventually(2 * LONG, "every event is in the mailbox", || {
        let contents = contents(&server.mails("me"));
        let arrived: BTreeSet<i64> = contents.values().flatten().copied().collect();
        let pending = running.get("/v1/alerts").json()["pending"] == 0;
        (arrived == all && pending).then_some(contents)
    });
    running.stop();

    // The server's log may lack what it took just before it was killed; its mailbox does not.
    let taken = server.taken().into_iter().filter_map(|id| {
        let events = contents.get(&id)?.clone();
        Some((id, events))
    });
    let arrivals = Arrivals::of(taken);
    let arrived: Vec<i64> = contents.values().flatten().copied().collect();
    assert_eq!(arrived.len(), all.len(), "an event under two ids");
    arrivals.report(rounds(ROUNDS));
}

/// The events of each mail, by its Message-ID; a mail that arrives twice has the same content.
fn contents(mails: &[Value]) -> BTreeMap<String, Vec<i64>> {
    let mut contents: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for mail in mails {
        let id = mail["headers"]["message-id"].as_str().unwrap().trim_matches(['<', '>']).to_owned();
        let plain = mail["bodies"]["plain"].as_str().unwrap();
        let mut numbers =
            plain.lines().filter_map(|line| line.split_whitespace().map(|word| word.parse().ok()).collect());
        let numbers = numbers.find(|numbers: &Vec<i64>| !numbers.is_empty()).expect("the template's line");
        if let Some(earlier) = contents.insert(id, numbers.clone()) {
            assert_eq!(earlier, numbers, "another content under the same id");
        }
    }
    contents
}

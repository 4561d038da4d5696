//! Alerts and Home Assistant's entities over MQTT, with a real broker.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    thread,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    LONG, NOTHING, begin, channels, command,
    kills::{Arrivals, FaultRounds},
    rounds,
};
use crate::{
    harness::{
        Portscan, eventually, feed_of,
        mosquitto::{Mosquitto, Subscriber, USER},
        scanner, static_feed,
    },
    lab::Lab,
};

/// Kills of the appliance, and half as many of the broker.
const ROUNDS: i64 = 4;

/// The `[[channel]]` of a broker, with further lines.
fn channel(name: &str, url: &str, broker: &Mosquitto, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"{name}\"\ntype = \"mqtt\"\nurl = \"{url}\"\ngroup = \"1s\"\nuser = \"{USER}\"\n\
         password_file = {:?}\n{more}",
        broker.password_file()
    )
}

/// Waits until a topic has this as its latest message.
fn becomes(subscriber: &Subscriber, topic: &str, payload: &str) {
    eventually(LONG, &format!("{topic} becomes {payload:?}"), || {
        subscriber.of(topic).last().filter(|message| message.payload == payload).map(|_| ())
    });
}

#[test]
fn a_test_arrives_in_both_versions_over_tls_and_says_why_where_it_does_not() {
    let lab = Lab::enter("near");
    let broker = Mosquitto::start(&lab);
    let listener = broker.subscribe("home/#", "watcher");
    let ca = format!("ca_file = {:?}\n", broker.ca_file());
    let url = broker.encrypted_url();
    let no_entities = "discovery = \"\"\n";
    let config = NOTHING.to_owned()
        + &channel(
            "five",
            &url,
            &broker,
            &format!("{ca}{no_entities}version = \"5\"\ntopic = \"home/five\"\n"),
        )
        + &channel(
            "older",
            &url,
            &broker,
            &format!("{ca}{no_entities}version = \"3.1.1\"\ntopic = \"home/older\"\n"),
        )
        + &channel("clear", &broker.url(), &broker, &format!("{no_entities}topic = \"home/clear\"\n"))
        + &channel("stranger", &url, &broker, no_entities)
        + &format!("[[channel]]\nname = \"nobody\"\ntype = \"mqtt\"\nurl = \"{}\"\n", broker.url());
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    let finished = portscan.run(&["alert", "test", "--url", running.base()], LONG);
    let said = &finished.stdout;
    for name in ["five", "older", "clear"] {
        assert!(
            said.contains(&format!("{name}: delivered: the broker has it\n")),
            "{said}{}",
            finished.stderr
        );
        let topic = format!("home/{name}/alerts");
        let message = eventually(LONG, "the test arrives", || listener.of(&topic).pop());
        let body: Value = serde_json::from_str(&message.payload).unwrap();
        assert_eq!(
            (&body["title"], &body["event_type"]),
            (&"portscan: test".into(), &"test".into()),
            "{body}"
        );
        assert!(!message.is_retained);
    }
    assert!(said.contains("stranger: failed: no connection: invalid peer certificate"), "{said}");
    assert!(said.contains("nobody: failed: the broker refuses the connection: "), "{said}");
    for name in ["five", "older", "clear"] {
        becomes(&listener, &format!("home/{name}/availability"), "online");
    }
    let log = running.kill().join("\n");
    for name in ["five", "older", "clear"] {
        becomes(&listener, &format!("home/{name}/availability"), "offline");
    }
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn kills_of_the_appliance_and_of_the_broker_lose_no_alert() {
    let lab = Lab::enter("near");
    let mut broker = Mosquitto::start(&lab);
    let listener = broker.subscribe("home/#", "watcher");
    let more =
        format!("ca_file = {:?}\nburst = 1000\ntopic = \"home/p\"\ndiscovery = \"\"\n", broker.ca_file());
    let config = NOTHING.to_owned() + &channel("ha", &broker.encrypted_url(), &broker, &more);
    let mut faults = FaultRounds::new(5);
    let portscan = faults.on(Portscan::new(&lab, &config));
    begin(&portscan, 1);
    for round in 0..rounds(ROUNDS) {
        faults.run(&lab, &portscan, 3000, || {
            if round % 2 == 0 {
                broker.kill();
            }
        });
        // What a killed broker has taken for a subscriber that is not there is lost with it, so the subscriber is there
        // before the appliance is.
        broker.start_again();
        let probe = format!("home/probe/{round}");
        eventually(LONG, "the subscriber is back", || {
            broker.publish(&probe, "here", false);
            listener.of(&probe).pop()
        });
    }
    faults.end();
    let all = channels::all_events(&portscan);
    let running = portscan.start();
    let bodies = || {
        let messages = listener.of("home/p/alerts");
        messages.iter().map(|message| serde_json::from_str(&message.payload).unwrap()).collect::<Vec<Value>>()
    };
    eventually(2 * LONG, "every event arrives", || {
        let arrived: BTreeSet<_> = bodies().iter().flat_map(channels::ids).collect();
        let is_done = all.iter().all(|id| arrived.contains(id));
        (is_done && running.get("/v1/alerts").json()["pending"] == 0).then_some(())
    });
    running.stop();
    let arrivals = Arrivals::of(bodies().iter().map(|body| (body["key"].to_string(), channels::ids(body))));
    assert_eq!(arrivals.order, all, "all events");
    arrivals.report(rounds(ROUNDS));
}

#[test]
fn home_assistant_has_a_device_with_a_button_until_the_channel_is_removed() {
    let lab = Lab::enter("near");
    let broker = Mosquitto::start(&lab);
    let listener = broker.subscribe("#", "watcher");
    let quiet = static_feed(&lab) + &scanner("lan", "1d", "20-100");
    let mut portscan = Portscan::new(
        &lab,
        &(quiet.clone() + &channel("ha", &broker.url(), &broker, "topic = \"home/p\"\n")),
    );
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    becomes(&listener, "home/p/availability", "online");
    let config_topic = |message: &crate::harness::mosquitto::Published| {
        message.topic.starts_with("homeassistant/device/portscan_") && message.topic.ends_with("/config")
    };
    let announced = || listener.messages().into_iter().filter(config_topic).collect::<Vec<_>>();
    let device = eventually(LONG, "the device is announced", || announced().pop());
    let body: Value = serde_json::from_str(&device.payload).unwrap();
    assert_eq!(body["cmps"]["scan"]["command_topic"], "home/p/scan", "{body}");
    let state = eventually(LONG, "the state is told", || {
        let state: Value = serde_json::from_str(&listener.of("home/p/state").pop()?.payload).unwrap();
        (state["devices"] == 3).then_some(state)
    });
    assert_eq!(state["unexpected"], running.get("/v1/info").json()["rogue"], "{state}");

    // The appliance is announced again after Home Assistant has started.
    let before = announced().len();
    broker.publish("homeassistant/status", "online", false);
    eventually(LONG, "it is announced again", || (announced().len() > before).then_some(()));

    // An unknown payload does nothing; a press starts a scan.
    let scans = || running.log().matches("scanning, as asked for by MQTT").count();
    for (topic, payload) in [("home/p/accept", "PRESS"), ("home/p/scan", "ACCEPT"), ("home/p/scan", "{}")] {
        broker.publish(topic, payload, false);
    }
    broker.publish("homeassistant/status", "online", false);
    eventually(LONG, "what came before is read", || (announced().len() > before + 1).then_some(()));
    assert_eq!(scans(), 0);
    broker.publish("home/p/scan", "PRESS", false);
    eventually(LONG, "a scan begins", || (scans() == 1).then_some(()));
    for _ in 0..20 {
        broker.publish("home/p/scan", "PRESS", false);
    }
    broker.publish("homeassistant/status", "online", false);
    eventually(LONG, "they are read", || (announced().len() > before + 2).then_some(()));
    assert_eq!(scans(), 1, "a button is not pressed for a minute after a press");

    portscan.set_config(&quiet);
    portscan.write_config();
    running.signal(Signal::SIGHUP);
    for topic in [device.topic.as_str(), "home/p/state", "home/p/availability"] {
        becomes(&listener, topic, "");
    }
    assert_eq!(broker.retained(), []);
    assert_eq!(running.get("/v1/info").json()["baseline"], false, "nothing was accepted");
    running.stop();
}

#[test]
fn each_device_has_entities_until_it_is_forgotten_or_they_are_turned_off() {
    let lab = Lab::enter("near");
    let broker = Mosquitto::start(&lab);
    let listener = broker.subscribe("#", "watcher");
    let lan = scanner("lan", "1d", "20-100");
    let mqtt = |more: &str| channel("ha", &broker.url(), &broker, &format!("topic = \"home/p\"\n{more}"));
    let devices = mqtt("entities = \"devices\"\n");
    let mut portscan = Portscan::new(&lab, &(static_feed(&lab) + &lan + &devices));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    command(&portscan, &running, &["expected", "accept", "--all"]);
    let (host, mac) = (lab.host("10.77.0.5"), lab.host("10.77.0.5").mac().to_string());
    let id = mac.replace(':', "").to_lowercase();
    let state = format!("home/p/devices/{id}");
    let is_so = |what: &str, is_so: &dyn Fn(&Value) -> bool| {
        eventually(LONG, what, || {
            let shown: Value = serde_json::from_str(&listener.of(&state).pop()?.payload).ok()?;
            is_so(&shown).then_some(())
        });
    };
    is_so("the device is shown", &|shown| shown["present"] == true && shown["unexpected"] == 0);
    let config = eventually(LONG, "the device is announced", || {
        let ours = |topic: &str| topic.starts_with("homeassistant/device/") && topic.contains(&id);
        listener.messages().into_iter().find(|message| ours(&message.topic))
    });
    let body: Value = serde_json::from_str(&config.payload).unwrap();
    assert_eq!(body["cmps"]["presence"]["state_topic"], state.as_str(), "{body}");
    host.open(99);
    command(&portscan, &running, &["run", "--host", "10.77.0.5", "--wait"]);
    is_so("the port is shown", &|shown| shown["unexpected_ports"] == serde_json::json!([99]));
    running.kill();

    // No feed names it any more, and its owner forgets it.
    let others = feed_of(lab.hosts().filter(|host| host.mac().to_string() != mac));
    portscan.set_config(&(others.clone() + &lan + &devices));
    let running = portscan.start();
    assert_eq!(running.delete(&format!("/v1/hosts/{mac}")), 204);
    becomes(&listener, &config.topic, "");
    becomes(&listener, &state, "");
    running.kill();

    // Turned off while the appliance is.
    portscan.set_config(&(others + &lan + &mqtt("")));
    let running = portscan.start();
    becomes(&listener, "home/p/devices", "");
    becomes(&listener, "home/p/availability", "online");
    running.stop();
    let mut topics: Vec<_> = broker.retained().into_iter().map(|kept| kept.topic).collect();
    topics.sort();
    let appliance = config.topic.replace(&format!("_{id}/"), "/");
    assert_eq!(topics, ["home/p/availability", "home/p/state", appliance.as_str()]);
}

#[test]
fn a_broker_that_sends_nonsense_harms_nothing_but_its_channel() {
    let lab = Lab::enter("near");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut luck = fastrand::Rng::with_seed(3);
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // The test's broker reads CONNECT, and sometimes answers it correctly.
            let mut greeting = [0; 512];
            let _ = stream.read(&mut greeting);
            let mut nonsense = if luck.bool() { vec![0x20, 3, 0, 0, 0] } else { Vec::new() };
            nonsense.extend(std::iter::repeat_with(|| luck.u8(..)).take(100_000));
            let _ = stream.write_all(&nonsense);
        }
    });
    let config =
        format!("{NOTHING}[[channel]]\nname = \"bad\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\n");
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    for _ in 0..10 {
        let finished = portscan.run(&["alert", "test", "--url", running.base()], LONG);
        assert!(finished.stdout.starts_with("bad: failed: "), "{}{}", finished.stdout, finished.stderr);
    }
    command(&portscan, &running, &["status"]);
    running.stop();
}

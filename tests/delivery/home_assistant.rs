//! The appliance in a real Home Assistant: `make home-assistant`.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::repository;

use super::{LONG, command};
use crate::{
    harness::{
        Portscan,
        browser::{Browser, Screen},
        eventually,
        home_assistant::HomeAssistant,
        mosquitto::{Mosquitto, USER},
        scanner, static_feed,
    },
    lab::Lab,
};

const ENTITIES: [&str; 8] = [
    "binary_sensor.portscan_problem",
    "button.portscan_scan_now",
    "event.portscan_alert",
    "sensor.portscan_devices",
    "sensor.portscan_last_scan",
    "sensor.portscan_missing_ports",
    "sensor.portscan_open_ports",
    "sensor.portscan_unexpected_ports",
];

/// An MQTT channel to this broker.
fn channel(broker: &Mosquitto, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"ha\"\ntype = \"mqtt\"\nurl = {:?}\nuser = \"{USER}\"\npassword_file = {:?}\n{more}",
        broker.url(),
        broker.password_file()
    )
}

/// Waits until an entity has this state, and returns it with its attributes.
fn becomes(home: &HomeAssistant, entity: &str, wanted: &str) -> Value {
    eventually(LONG, &format!("{entity} becomes {wanted}"), || {
        home.state(entity).filter(|state| state["state"] == wanted)
    })
}

#[test]
#[ignore = "installs Home Assistant: `make home-assistant`"]
fn it_shows_the_appliance_presses_its_button_and_forgets_it() {
    let lab = Lab::enter("near");
    let broker = Mosquitto::start(&lab);
    let home = HomeAssistant::start(&broker);
    let without = static_feed(&lab) + &scanner("lan", "1d", "20-100");
    let mut portscan = Portscan::new(&lab, &(without.clone() + &channel(&broker, "group = \"1s\"\n")));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    command(&portscan, &running, &["expected", "accept", "--all"]);
    let becomes = |entity: &str, wanted: &str| becomes(&home, entity, wanted);
    becomes("sensor.portscan_devices", "3");
    becomes("sensor.portscan_unexpected_ports", "0");
    becomes("binary_sensor.portscan_problem", "off");
    let mut entities = home.entities("portscan");
    entities.sort_unstable();
    assert_eq!(entities, ENTITIES);
    // A time, and nothing before the first alert.
    let last_scan = home.state("sensor.portscan_last_scan").unwrap();
    assert!(last_scan["state"].as_str().unwrap().starts_with("20"), "{last_scan}");
    assert_eq!(home.state("event.portscan_alert").unwrap()["state"], "unknown");

    lab.host("10.77.0.5").open(99);
    command(&portscan, &running, &["run", "--host", "10.77.0.5", "--wait"]);
    let fired = || home.state("event.portscan_alert").filter(|state| state["state"] != "unknown");
    let event = eventually(LONG, "the event fires", fired);
    let attributes = &event["attributes"];
    assert_eq!(attributes["event_type"], "unexpected", "{event}");
    assert!(attributes["title"].as_str().unwrap().contains("port 99/tcp opened"), "{event}");
    becomes("sensor.portscan_unexpected_ports", "1");
    picture(&lab, &home);

    home.press("button.portscan_scan_now");
    eventually(LONG, "a scan begins", || {
        running.log().contains("scanning, as asked for by MQTT").then_some(())
    });

    running.kill();
    for entity in ENTITIES {
        becomes(entity, "unavailable");
    }
    let running = portscan.start();
    becomes("sensor.portscan_unexpected_ports", "1");
    let again: Value = eventually(LONG, "the event is there again", fired);
    assert_eq!(again["state"], event["state"], "the event has fired once");

    portscan.set_config(&without);
    portscan.write_config();
    running.signal(Signal::SIGHUP);
    eventually(LONG, "nothing is left of it", || home.entities("portscan").is_empty().then_some(()));
    running.stop();
    assert!(!home.log().contains("portscan_"), "Home Assistant complains: {}", home.log());
}

/// Makes a picture of what Home Assistant shows of the appliance without any work of its owner.
fn picture(lab: &Lab, home: &HomeAssistant) {
    let browser = Browser::start(lab);
    browser.show(Screen::Desktop, "light");
    home.show_overview(&browser, &["Unexpected ports", "1 ports", "Scan now"]);
    let folder = repository("target/home-assistant");
    fs::create_dir_all(&folder).unwrap();
    browser.screenshot(&folder.join("overview.png"));
    browser.end();
}

#[test]
#[ignore = "installs Home Assistant: `make home-assistant`"]
fn it_shows_each_device_and_nothing_is_left_after_the_removal() {
    let lab = Lab::enter("near");
    let broker = Mosquitto::start(&lab);
    let home = HomeAssistant::start(&broker);
    let without = static_feed(&lab) + &scanner("lan", "1d", "20-100");
    let with = |entities: &str| without.clone() + &channel(&broker, &format!("entities = \"{entities}\"\n"));
    let mut portscan = Portscan::new(&lab, &with("devices"));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    command(&portscan, &running, &["expected", "accept", "--all"]);
    // A device without a name is called by its address.
    let of = |address: &str| home.entities(&address.replace('.', "_"));
    for host in lab.hosts() {
        let address = host.address().to_string();
        let node = address.replace('.', "_");
        let entities = eventually(LONG, &format!("{address} has its entities"), || {
            Some(of(&address)).filter(|entities| entities.len() == 3)
        });
        for entity in [
            format!("binary_sensor.{node}_presence"),
            format!("sensor.{node}_missing_ports"),
            format!("sensor.{node}_unexpected_ports"),
        ] {
            assert!(entities.contains(&entity), "{entities:?}");
        }
    }
    let becomes = |entity: &str, wanted: &str| becomes(&home, entity, wanted);
    becomes("binary_sensor.10_77_0_5_presence", "on");
    lab.host("10.77.0.5").open(99);
    command(&portscan, &running, &["run", "--host", "10.77.0.5", "--wait"]);
    let unexpected = becomes("sensor.10_77_0_5_unexpected_ports", "1");
    assert_eq!(unexpected["attributes"]["ports"], serde_json::json!([99]), "{unexpected}");
    running.kill();

    // Turned off while the appliance is.
    portscan.set_config(&with("appliance"));
    let running = portscan.start();
    eventually(LONG, "no device is left", || home.entities("10_77_0").is_empty().then_some(()));
    becomes("sensor.portscan_unexpected_ports", "1");
    portscan.set_config(&without);
    portscan.write_config();
    running.signal(Signal::SIGHUP);
    eventually(LONG, "nothing is left", || home.entities("portscan").is_empty().then_some(()));
    running.stop();
    let retained = broker.retained();
    let ours = retained.iter().filter(|message| message.topic.contains("portscan"));
    assert_eq!(ours.count(), 0, "the broker keeps nothing of it: {retained:?}");
    assert!(!home.log().contains("portscan_"), "Home Assistant complains: {}", home.log());
}

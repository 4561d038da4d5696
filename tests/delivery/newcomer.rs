//! From a new device with an open port to the message about it.

use serde_json::json;

use super::{LONG, channels::willing, command};
use crate::{
    harness::{
        Portscan, eventually,
        feed::{FeedServer, Says},
        receiver::HttpReceiver,
        scanner,
    },
    lab::{Host, Lab},
};

/// How often a feed is asked, in seconds (docs/discovery.md).
const POLL: f32 = 60.0;

/// A thousand ports at no more than 300 SYNs a second, twice, because an open port gets a second look.
const SCAN: f32 = 8.0;

/// How long a message waits for further events, unless the channel says otherwise.
const GROUP: f32 = 30.0;

fn names(hosts: &[Host<'_>]) -> Vec<(String, String)> {
    hosts.iter().map(|host| (host.address().to_string(), host.mac().to_lower())).collect()
}

#[test]
fn a_new_device_is_told_of_within_two_minutes() {
    let lab = Lab::enter("near");
    let hosts: Vec<Host<'_>> = lab.hosts().collect();
    let [new, known @ ..] = &hosts[..] else { panic!("the scenario has hosts") };
    let feed = FeedServer::start(Says::Devices(names(known)));
    let (soon, usual) = (willing(), willing());
    let channel = |name: &str, receiver: &HttpReceiver, more: &str| {
        let url = format!("http://{}/hook", receiver.address());
        format!("[[channel]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"{url}\"\n{more}")
    };
    let config = format!("[feed]\nurl = [{:?}]\n", feed.url())
        + &scanner("lan", "1d", "common")
        + &channel("soon", &soon, "group = \"1s\"\n")
        + &channel("usual", &usual, "");
    new.vanish();
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    running.wait_for_devices(known.len(), LONG);
    command(&portscan, &running, &["expected", "accept", "--all"]);

    let appeared = lab.now();
    new.appear();
    feed.set(Says::Devices(names(&hosts)));
    let arrives = |receiver: &HttpReceiver| {
        let request = eventually(LONG, "a message arrives", || receiver.requests().first().cloned());
        (lab.now().since(appeared).as_secs_f32(), request.json())
    };
    let (soonest, message) = arrives(&soon);
    let (usually, same) = arrives(&usual);
    eprintln!(
        "from a new device, whose feed is asked each {POLL} s, to the message at T3: {soonest:.1} s with group = \"1s\", \
         {usually:.1} s by default"
    );
    for message in [&message, &same] {
        let change = &message["changes"][0];
        assert_eq!(
            (&change["event"], &change["address"], &change["mac"]),
            (&json!("new-device"), &json!(new.address().to_string()), &json!(new.mac().to_string())),
            "{message}"
        );
    }
    // Doubled for a busy machine.
    assert!(
        soonest < 2.0 * (POLL + SCAN) && usually < 2.0 * (POLL + SCAN) + GROUP,
        "{soonest} s, {usually} s"
    );
    running.stop();
}

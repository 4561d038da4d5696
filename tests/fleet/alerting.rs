//! The hub's alert channels: what changes at any site is told once, with the site's name.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{COMMAND, DEVICES, Fleet, NatsVersion, STILL};
use crate::{
    harness::{
        LONG, Portscan, eventually,
        receiver::{HttpReceiver, Reception},
    },
    lab::Lab,
};

/// The configuration of a hub with a channel to this receiver.
pub(super) fn hub_with_channel(receiver: &HttpReceiver) -> String {
    let url = format!("http://{}/hook", receiver.address());
    format!(
        "[feed]\nurl = []\nhosts = []\n{STILL}[[channel]]\nname = \"office\"\ntype = \"webhook\"\nurl = \"{url}\"\ngroup = \
         \"1s\"\n"
    )
}

/// Opens a port at a device, and has a site find it.
fn open_port(fleet: &Fleet<'_>, place: usize, address: &str, port: u16) {
    fleet.lab.host(address).open(port);
    fleet.scan(place);
}

/// Waits for the message that this port of this address is open, and returns it.
fn told(receiver: &HttpReceiver, site: &str, address: &str, port: u16) -> Value {
    let ports = port.to_string();
    let is_it = |change: &Value| {
        change["kind"] == "opened" && change["address"] == address && change["ports"] == ports.as_str()
    };
    eventually(LONG, &format!("the hub tells of port {port} of {address} at {site}"), || {
        let messages = receiver.requests().into_iter().map(|request| request.json());
        messages
            .filter(|message| message["site"] == site)
            .find(|message| message["changes"].as_array().is_some_and(|changes| changes.iter().any(is_it)))
    })
}

#[test]
fn a_change_at_a_site_is_told_by_the_hub_with_the_sites_name() {
    let lab = Lab::describe(DEVICES);
    let receiver = HttpReceiver::start(|_| Reception::Answers(200));
    let mut fleet = Fleet::prepare(&lab, NatsVersion::Newest);
    fleet.hub = Portscan::new(&lab, &hub_with_channel(&receiver));
    let mut fleet = fleet.begin(2);
    for place in 0..2 {
        fleet.site(place).wait_for_complete(6, LONG);
        let accept = ["expected", "accept", "--all", "--url", fleet.site(place).base()];
        let accepted = fleet.sites[place].appliance.run(&accept, COMMAND);
        assert!(accepted.status.success(), "{}", accepted.stderr);
    }
    fleet.wait_until_equal();

    open_port(&fleet, 0, "10.77.0.10", 25);
    let message = told(&receiver, "house-1", "10.77.0.10", 25);
    assert_eq!(message["title"], "house-1: 10.77.0.10: port 25/tcp opened, unexpected");
    assert!(message["url"].as_str().unwrap().contains("/sites/house-1/#/device/"), "{message}");

    // The receiver has it before the hub has noted so: killed in between, the hub would send it again.
    eventually(LONG, "the hub has noted that it told this", || {
        let alerts = fleet.at_hub("/sites/house-1/v1/alerts");
        let messages = alerts["history"].as_array().unwrap();
        messages.iter().any(|message| message["state"] == "delivered").then_some(())
    });
    // What happens while the hub is down is told once it is back.
    fleet.running.take().unwrap().kill();
    open_port(&fleet, 1, "10.77.0.11", 24);
    fleet.start_hub();
    told(&receiver, "house-2", "10.77.0.11", 24);
    let keys: Vec<String> =
        receiver.requests().iter().map(|request| request.json()["key"].to_string()).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "each is told once: {keys:?}");
}

#[test]
fn a_hub_refuses_channels_that_belong_to_sites() {
    let lab = Lab::describe(DEVICES);
    let mqtt = "[[channel]]\nname = \"ha\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1\"\n";
    let hub = Portscan::new(&lab, &format!("[feed]\nurl = []\nhosts = []\n{STILL}{mqtt}"));
    let refused = hub.run(&["hub", "serve", "--config", hub.write_config().to_str().unwrap()], COMMAND);
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("channel ha: a hub has no channels of type mqtt"), "{}", refused.stderr);
}

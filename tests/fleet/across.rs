//! A device that moves between sites: the hub's lists and alerts say where else it is known.

use serde_json::{Value, json};

use super::{COMMAND, DEVICES, Fleet, NatsVersion, alerting::hub_with_channel};
use crate::{
    harness::{
        LONG, Portscan, eventually,
        receiver::{HttpReceiver, Reception},
    },
    lab::Lab,
};

/// In the lab, and so at both sites.
const MAC: &str = "02:00:00:00:00:10";

/// What another site's element has for this device at the site of this element.
fn presence(host: &Value) -> Value {
    let members = ["site", "address", "presence", "first_seen", "last_seen"];
    members.into_iter().map(|member| (member.to_owned(), host[member].clone())).collect()
}

#[test]
fn a_device_of_two_sites_is_one_at_the_hub_and_its_alert_says_where_it_is_known() {
    let lab = Lab::describe(DEVICES);
    let receiver = HttpReceiver::start(|_| Reception::Answers(200));
    let mut fleet = Fleet::prepare(&lab, NatsVersion::Newest);
    fleet.hub = Portscan::new(&lab, &hub_with_channel(&receiver));
    let fleet = fleet.begin(2);
    for place in 0..2 {
        fleet.site(place).wait_for_complete(6, LONG);
        let accept = ["expected", "accept", "--all", "--url", fleet.site(place).base()];
        let accepted = fleet.sites[place].appliance.run(&accept, COMMAND);
        assert!(accepted.status.success(), "{}", accepted.stderr);
    }
    fleet.wait_until_equal();
    let mut last = Value::Null;
    eventually(LONG, "each device of a site has the other site", || {
        last = fleet.at_hub("/v1/hosts");
        let hosts = last.as_array().unwrap();
        let has_other = |host: &Value| {
            let other =
                hosts.iter().find(|other| other["mac"] == host["mac"] && other["site"] != host["site"]);
            other.is_some_and(|other| host["elsewhere"] == json!([presence(other)]))
        };
        (hosts.len() == 12 && hosts.iter().all(has_other)).then_some(())
    });

    let device = fleet.at_hub(&format!("/v1/hosts/{MAC}"));
    let other = if device["site"] == "house-1" { "house-2" } else { "house-1" };
    assert_eq!((&device["mac"], &device["elsewhere"][0]["site"]), (&json!(MAC), &json!(other)), "{device}");
    assert!(device["last_seen"].as_str() >= device["elsewhere"][0]["last_seen"].as_str(), "{device}");
    let own = fleet.at_hub(&format!("/v1/hosts/{MAC}?site={other}"));
    assert_eq!(own["site"], other);
    let described = fleet.at_hub("/v1/openapi.json");
    assert!(described["info"]["description"].as_str().unwrap().starts_with("This is a hub"), "{described}");

    // At the second site it becomes a new device, which the first one knows.
    assert_eq!(fleet.site(1).delete(&format!("/v1/hosts/{MAC}")), 204);
    fleet.scan(1);
    let message = eventually(LONG, "the hub tells of a new device", || {
        let is_it = |change: &Value| change["kind"] == "new" && change["mac"] == MAC;
        let messages = receiver.requests().into_iter().map(|request| request.json());
        messages
            .filter(|message| message["site"] == "house-2")
            .find(|message| message["changes"].as_array().is_some_and(|changes| changes.iter().any(is_it)))
    });
    let changes = message["changes"].as_array().unwrap();
    let known = &changes.iter().find(|change| change["kind"] == "new").unwrap()["elsewhere"][0];
    assert_eq!((&known["site"], &known["address"]), (&json!("house-1"), &json!("10.77.0.10")), "{message}");
    let seen = known["last_seen"].as_str().unwrap();
    let said = format!(
        "new device, {MAC}, known at house-1, last seen there {} {} UTC",
        seen.get(..10).unwrap(),
        seen.get(11..16).unwrap()
    );
    let words = format!("{}\n{}", message["title"].as_str().unwrap(), message["text"].as_str().unwrap());
    assert!(words.contains(&said), "{said:?}: {message}");
}

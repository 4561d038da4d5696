//! What happens is seen as it happens.

use std::time::Duration;

use serde_json::json;

use super::{LONG, appliance, visit};
use crate::{
    harness::{
        browser::{Browser, Scope},
        eventually,
    },
    lab::Lab,
};

/// From the moment that the appliance tells of it.
const SHOWN: Duration = Duration::from_secs(2);

#[test]
fn a_port_that_opens_is_seen_accepted_and_seen_again() {
    let lab = Lab::enter("near");
    let running = appliance(&lab);
    let browser = Browser::start(&lab);
    visit(&browser, running.base());
    let host = lab.host("10.77.0.5");
    host.open(53);
    assert_eq!(running.post("/v1/run?host=10.77.0.5").status, 202);
    eventually(LONG, "the port is told of", || {
        let changes = running.get("/v1/changes").json();
        let opened = |change: &serde_json::Value| change["kind"] == "opened" && change["port"] == json!(53);
        changes.as_array().unwrap().iter().any(opened).then_some(())
    });
    let told = lab.now();
    browser.find_reading("row", &["10.77.0.5", "53"]);
    let took = lab.now().since(told);
    eprintln!("shown {took:.1?} after it was told");
    assert!(took < SHOWN, "{took:?}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let seen = browser.end();
    let foreign: Vec<_> = seen.requests.iter().filter(|url| !url.starts_with(running.base())).collect();
    assert!(foreign.is_empty() && seen.requests.len() > 5, "{:?}", seen.requests);
    running.stop();
}

//! A link of the appliance that goes down in the middle of a run: that costs time, never a verdict.

use std::{collections::BTreeMap, thread, time::Duration};

use rstest::rstest;
use serde_json::Value;
use testkit::Ports;

use crate::{
    harness::{LONG, Portscan, Running, eventually, feed_of, scanner, static_feed},
    lab::{
        Lab,
        namespace::{INTERFACE, ip},
    },
};

/// Sixty devices; some drop packets to closed ports.
const SIXTY: &str = r#"
[[host]]
address = "10.77.0.10-54"
mac = "02:00:00:00:00:10+"
open = "22,80,443"
spread = 2
rtt = "500us"

[[host]]
address = "10.77.0.60-74"
mac = "02:00:00:00:01:00+"
open = "53,139,445"
default = "filtered"
rtt = "500us"
"#;

const PORTS: &str = "1-900";

/// How long the link is down.
const OUTAGE: Duration = Duration::from_secs(3);

/// Asserts that the served open ports of each device are the true ones.
fn assert_all_right(lab: &Lab, running: &Running) {
    let scanned: Ports = PORTS.parse().unwrap();
    let among = |open: Ports| open.iter().filter(|&port| scanned.contains(port)).collect();
    let truth: BTreeMap<String, Ports> =
        lab.hosts().map(|host| (host.mac().to_string(), among(host.open_ports()))).collect();
    let served: BTreeMap<String, Ports> =
        truth.keys().map(|mac| (mac.clone(), running.open_ports(mac).unwrap_or_default())).collect();
    assert_eq!(served, truth);
    assert_eq!(running.macs().len(), 60);
}

/// Waits for the end of the only run and returns its status.
fn run_status(running: &Running) -> String {
    eventually(LONG, "the run is over", || {
        let health = running.get("/v1/health").json();
        health["scanners"][0]["status"].as_str().map(str::to_owned)
    })
}

fn notices(running: &Running) -> Vec<String> {
    let health = running.get("/v1/health").json();
    let notices = health["notices"].as_array().cloned().unwrap_or_default();
    notices.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Breaks the link when the first device of the first run has a result, and mends it.
#[rstest]
#[case::link(&["link set lan0 down"], &["link set lan0 up"], "has no link")]
#[case::address(&["addr del 10.77.0.1/16 dev lan0"], &["addr add 10.77.0.1/16 broadcast 10.77.255.255 dev lan0"], "lost its address")]
fn a_link_that_is_down_for_three_seconds_costs_no_verdict(
    #[case] breaks: &[&str],
    #[case] mends: &[&str],
    #[case] cause: &str,
) {
    let lab = Lab::describe(SIXTY);
    let config = format!("{}{}", static_feed(&lab), scanner("lan", "1d", PORTS));
    let running = Portscan::new(&lab, &config).start();
    running.wait_for_line(LONG, |line| line.contains("finished"));
    let run = |line: &&str| ip(&line.split(' ').collect::<Vec<_>>());
    breaks.iter().for_each(run);
    let warned = running.wait_for_line(LONG, |line| line.contains(cause));
    assert!(warned.contains(INTERFACE), "{warned}");
    eventually(LONG, "the health names the link", || {
        notices(&running)
            .iter()
            .any(|notice| notice.contains(INTERFACE) && notice.contains(cause))
            .then_some(())
    });
    assert!(running.get("/healthz").body.contains(INTERFACE));
    // This sleep is the length of the outage; it waits for no event.
    thread::sleep(OUTAGE);
    mends.iter().for_each(run);
    running.wait_for_line(LONG, |line| line.contains("a link is back") && line.contains("lan0"));
    assert_eq!(run_status(&running), "complete");
    assert_all_right(&lab, &running);
    assert!(notices(&running).iter().all(|notice| !notice.contains(INTERFACE)));
    let wrong: Vec<String> = running
        .lines()
        .into_iter()
        .filter(|line| line.contains("hosts down") || line.contains("scan incomplete"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    running.stop();
}

#[test]
fn an_address_without_a_route_is_left_out_of_the_run_and_delays_no_other() {
    let lab = Lab::enter("near");
    let feed = feed_of(lab.hosts()).replacen("hosts = [", "hosts = [{ address = \"203.0.113.9\" }, ", 1);
    let running = Portscan::new(&lab, &format!("{feed}{}", scanner("lan", "1d", "20-90"))).start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    let line = running.wait_for_line(LONG, |line| line.contains("no route"));
    assert!(line.contains("203.0.113.9") && line.contains("left out of this run"), "{line}");
    assert_eq!(run_status(&running), "partial");
    let lines: Vec<String> =
        running.lines().into_iter().filter(|line| line.contains("203.0.113.9")).collect();
    assert_eq!(lines, [line], "no verdict");
    running.stop();
}

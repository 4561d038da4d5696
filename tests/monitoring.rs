//! The files of `monitoring/`, checked with Prometheus's and Alertmanager's own tools; and from a port that opens to the
//! alert that names it, with a real Prometheus that scrapes the appliance.

use std::time::Duration;

use crate::{
    harness::{
        Portscan, Running, eventually,
        prometheus::{Prometheus, amtool, promtool},
        scanner, static_feed,
    },
    lab::Lab,
};

/// A closed port is confirmed by a second look, at least a minute later.
const LONG: Duration = Duration::from_secs(180);

/// Runs a subcommand on the appliance.
fn command(portscan: &Portscan, running: &Running, arguments: &[&str]) {
    let finished = portscan.run(&[arguments, &["--url", running.base()]].concat(), LONG);
    assert!(finished.status.success(), "{arguments:?}: {}\n{}", finished.status, finished.stderr);
}

#[test]
fn the_alerting_rules_pass_their_unit_tests() {
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["check", "rules", "portscan.rules.yml"], "");
    promtool(&["test", "rules", "portscan.rules.test.yml"], "");
}

#[test]
fn the_alertmanager_configuration_is_valid() {
    amtool(&["check-config", "alertmanager.yml"]);
}

#[test]
fn an_unexpected_port_raises_an_alert_until_it_closes() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, &(static_feed(&lab) + &scanner("lan", "1d", "20-100")));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    command(&portscan, &running, &["expected", "accept", "--all"]);
    let prometheus = Prometheus::watching(running.base());
    eventually(LONG, "Prometheus has scraped", || prometheus.value("portscan_host_up", "10.77.0.5"));
    assert!(prometheus.firing("RoguePort").is_empty() && prometheus.firing("NewDevice").is_empty());

    let host = lab.host("10.77.0.5");
    host.open(99);
    command(&portscan, &running, &["run", "--host", "10.77.0.5", "--wait"]);
    let alert = eventually(LONG, "the alert fires", || prometheus.firing("RoguePort").pop());
    let label = |name: &str| alert[name].clone();
    let named = ["host", "mac", "port", "protocol"].map(label);
    assert_eq!(named, ["10.77.0.5", &host.mac().to_string(), "99", "tcp"]);

    host.close(99);
    command(&portscan, &running, &["run", "--host", "10.77.0.5", "--wait"]);
    eventually(LONG, "the alert is over", || prometheus.firing("RoguePort").is_empty().then_some(()));
    running.stop();
}

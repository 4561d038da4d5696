//! The files of `monitoring/`, checked with Prometheus's and Alertmanager's own tools.

use crate::harness::prometheus::{amtool, promtool};

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

//! The files of `monitoring/`, by the programs that read them.

use crate::harness::prometheus::{amtool, promtool};

#[test]
fn the_rules_fire_when_they_should_and_only_then() {
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["check", "rules", "portscan.rules.yml"], "");
    promtool(&["test", "rules", "portscan.rules.test.yml"], "");
}

#[test]
fn alerts_find_their_way() {
    amtool(&["check-config", "alertmanager.yml"]);
}

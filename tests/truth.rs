//! `portscan scan` finds the truth: every open port, no other, on every kind of device.

use std::{net::Ipv4Addr, thread, time::Duration};

use portscan::model::Timing;
use rstest::rstest;
use serde_json::Value;
use testkit::Ports;

use crate::{
    harness::{Portscan, found},
    lab::Lab,
};

/// Scans all devices of the lab; fails if the scan harmed one or touched other addresses.
fn scan(lab: &Lab, portscan: &Portscan, scanned: &Ports, options: &[&str]) -> Value {
    let targets: Vec<String> = lab.hosts().map(|host| host.address().to_string()).collect();
    let scanned = scanned.to_string();
    let mut arguments = vec!["scan", "-n", "--json", "-p", &scanned];
    arguments.extend(options);
    arguments.extend(targets.iter().map(String::as_str));
    let document = portscan.run(&arguments, Duration::from_secs(240)).json();
    let timing: Timing =
        options.iter().find_map(|option| option.strip_prefix('-')?.parse().ok()).unwrap_or_default();
    for host in lab.hosts() {
        let (stats, address) = (host.stats(), host.address());
        assert_eq!((stats.payload, stats.left_open), (0, 0), "{address}: {stats:?}");
        let paced = timing <= Timing::T3;
        assert!(stats.reboots <= lab.bound().reboots(paced), "{address}: {stats:?}");
        assert!(!paced || (stats.peak_100ms <= 30 && stats.peak_1s <= 300), "{address}: {stats:?}");
    }
    assert_eq!(lab.outside(), Default::default(), "no packet went to other addresses");
    document
}

fn host(document: &Value, address: &str) -> Value {
    let hosts = document["hosts"].as_array().unwrap();
    hosts.iter().find(|host| host["address"] == address).unwrap_or_else(|| panic!("{address}")).clone()
}

#[test]
fn forty_devices_are_found_with_their_true_states() {
    let lab = Lab::enter("forty");
    let scanned = lab.ports_to_scan(1200);
    let portscan = Portscan::new(&lab, "");
    let document = scan(&lab, &portscan, &scanned, &[]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
    assert_eq!(document["scan"]["status"], "complete");
    for (address, default) in [
        ("10.77.0.10", "closed"),
        ("10.77.0.19", "closed"),
        ("10.77.0.20", "filtered"),
        ("10.77.0.30", "filtered"),
        ("10.77.0.34", "filtered"),
        ("10.77.0.40", "closed"),
        ("10.77.0.60", "closed"),
    ] {
        assert_eq!(host(&document, address)["default_state"], default, "{address}");
    }
}

#[test]
fn with_64_descriptors_every_port_is_found() {
    let lab = Lab::enter("descriptors");
    let scanned = lab.ports_to_scan(1000);
    let portscan = Portscan::new(&lab, "");
    let document = scan(&lab, &portscan, &scanned, &["-T4"]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
}

#[rstest]
#[case("loss-1", "-T3")]
#[case("bursts", "-T3")]
#[case("wifi", "-T4")]
fn a_bad_link_hides_nothing(#[case] name: &str, #[case] timing: &str) {
    let lab = Lab::enter(name);
    let scanned = lab.ports_to_scan(1000);
    let document = scan(&lab, &Portscan::new(&lab, ""), &scanned, &[timing]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
}

#[test]
fn ports_rejected_by_icmp_are_filtered() {
    let lab = Lab::enter("rejecting");
    let scanned = lab.ports_to_scan(1500);
    let document = scan(&lab, &Portscan::new(&lab, ""), &scanned, &["-T4"]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
    for address in ["10.77.0.30", "10.77.0.31"] {
        assert_eq!(host(&document, address)["default_state"], "filtered", "{address}");
    }
}

#[test]
fn probes_that_a_policer_drops_are_retried() {
    let lab = Lab::enter("policer");
    let scanned = lab.ports_to_scan(1500);
    let document = scan(&lab, &Portscan::new(&lab, ""), &scanned, &["-T4"]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
    assert_eq!(host(&document, "10.77.0.45")["default_state"], "closed");
}

#[test]
fn a_service_with_a_full_backlog_is_found() {
    let lab = Lab::enter("backlog");
    let scanned = lab.ports_to_scan(500);
    let document = scan(&lab, &Portscan::new(&lab, ""), &scanned, &["-T4"]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
}

#[test]
fn hosts_are_found_among_many_dead_addresses() {
    let lab = Lab::enter("absent");
    let scanned = lab.ports_to_scan(200);
    let document = scan(&lab, &Portscan::new(&lab, ""), &scanned, &[]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
}

#[rstest]
#[case("-T3", 3000)]
#[case("-T2", 40)]
fn a_feeble_gadget_survives(#[case] timing: &str, #[case] last: u16) {
    let lab = Lab::enter("gadget-45");
    let scanned = lab.ports_to_scan(last);
    let document = scan(&lab, &Portscan::new(&lab, ""), &scanned, &[timing]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
}

#[test]
fn open_ports_of_a_host_that_drops_are_found() {
    let lab = Lab::enter("silent");
    let scanned = lab.ports_to_scan(3000);
    let document = scan(&lab, &Portscan::new(&lab, ""), &scanned, &[]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
    assert_eq!(host(&document, "10.77.0.20")["default_state"], "filtered");
}

#[test]
fn open_ports_of_sleeping_devices_are_found() {
    let lab = Lab::enter("wake");
    let scanned = lab.ports_to_scan(500);
    let document = scan(&lab, &Portscan::new(&lab, ""), &scanned, &[]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
}

#[test]
fn every_host_of_a_large_network_is_found() {
    let lab = Lab::enter("big");
    let scanned = "20-29,80-89,443,8443".parse().unwrap();
    let document = scan(&lab, &Portscan::new(&lab, ""), &scanned, &[]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
}

/// Every host's verdicts, without the times, which may differ between scans.
fn verdicts(document: &Value) -> Vec<String> {
    let listed = |port: &Value| format!("{}:{}:{}", port["port"], port["state"], port["reason"]);
    let of = |host: &Value| {
        let ports: Vec<String> = host["ports"].as_array().unwrap().iter().map(listed).collect();
        format!("{} {} {} {}", host["address"], host["status"], host["default_state"], ports.join(" "))
    };
    document["hosts"].as_array().unwrap().iter().map(of).collect()
}

/// Two scans by default; `make acceptance` sets more.
#[rstest]
#[case("rst-limited", 2000)]
#[case("mixed", 1000)]
fn a_scan_says_the_same_every_time(#[case] name: &str, #[case] last: u16) {
    let runs = std::env::var("PORTSCAN_TEST_RUNS").map_or(2, |text| text.parse().unwrap());
    let scan_anew = || {
        let lab = Lab::enter(name);
        let scanned = lab.ports_to_scan(last);
        let document = scan(&lab, &Portscan::new(&lab, ""), &scanned, &["-T4"]);
        assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
        verdicts(&document)
    };
    // Each scan has a network of its own, and thus a thread.
    let apart = |_| thread::scope(|scope| scope.spawn(scan_anew).join().unwrap());
    let said: Vec<_> = (0..runs).map(apart).collect();
    assert!(said.len() > 1);
    said.iter().for_each(|again| assert_eq!(again, &said[0]));
    eprintln!("{name}: the same in {runs} of {runs} scans");
}

#[test]
fn a_host_with_every_port_open_is_found_as_such() {
    let lab = Lab::describe(
        r#"
        [[host]]
        address = "10.77.0.5"
        mac = "02:00:00:00:00:05"
        default = "open"
        filtered = "25"
        rtt = "1ms"
        "#,
    );
    let scanned = "1-800".parse().unwrap();
    let document = scan(&lab, &Portscan::new(&lab, ""), &scanned, &["-T4"]);
    assert_eq!(found(&document, &scanned)[&Ipv4Addr::new(10, 77, 0, 5)].to_string(), "1-24,26-800");
}

#[test]
fn an_absent_host_is_down_and_has_no_ports() {
    let lab = Lab::enter("near");
    let arguments = ["scan", "-n", "--json", "-p", "1-1000", "10.77.0.5", "10.77.9.9"];
    let document = Portscan::new(&lab, "").run(&arguments, Duration::from_secs(240)).json();
    let absent = host(&document, "10.77.9.9");
    assert_eq!((&absent["status"], &absent["ports"]), (&"down".into(), &Value::Array(Vec::new())));
    assert_eq!(host(&document, "10.77.0.5")["status"], "up");
    let outside = lab.outside();
    assert_eq!(outside.asked.into_keys().collect::<Vec<_>>(), [Ipv4Addr::new(10, 77, 9, 9)]);
    assert!(outside.sent.is_empty(), "nothing but ARP");
}

#[test]
fn a_host_that_vanishes_is_left_alone_and_partial() {
    let lab = Lab::enter("vanish");
    let arguments = ["scan", "-n", "--json", "-p", "1-6000", "10.77.0.5", "10.77.0.6"];
    let finished = Portscan::new(&lab, "").run(&arguments, Duration::from_secs(240));
    let document = finished.json();
    assert_eq!(host(&document, "10.77.0.5")["status"], "partial");
    assert_eq!(host(&document, "10.77.0.6")["status"], "up");
    let gone = lab.host("10.77.0.5");
    // 400 before it vanished, and 300 a second for 10 s at most.
    assert!(gone.stats().ports < 4000, "{:?}", gone.stats());
    // Which of its open ports are listed depends on when it vanished; no other port may be listed.
    let listed = host(&document, "10.77.0.5")["ports"].clone();
    let mut open = listed.as_array().unwrap().iter().filter(|port| port["state"] == "open");
    assert!(open.all(|port| [22, 80, 900].contains(&port["port"].as_u64().unwrap())), "{listed}");
}

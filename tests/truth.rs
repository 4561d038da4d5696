//! `portscan scan` sees what is there: every open port, no other, on every kind of device.

use std::{collections::BTreeMap, net::Ipv4Addr, thread, time::Duration};

use portscan::model::{PortSet, Timing};
use rstest::rstest;
use serde_json::Value;

use crate::{
    harness::{Portscan, found},
    lab::Lab,
};

/// A reduced port space for every day: these, and what is open beyond.
fn ports(lab: &Lab, last: u16) -> PortSet {
    let open = lab.hosts().flat_map(|host| host.open_ports().ranges().to_vec());
    PortSet::from_ranges(open.chain([(1, last)]))
}

/// What a scan of these ports finds if it finds the truth.
fn truth(lab: &Lab, asked: &PortSet) -> BTreeMap<Ipv4Addr, PortSet> {
    let seen = |open: PortSet| open.iter().filter(|&port| asked.contains(port)).collect();
    lab.truth().into_iter().map(|(address, open)| (address, seen(open))).collect()
}

/// Scans all devices of the lab; what is wrong about the way it went fails here.
fn scan(lab: &Lab, portscan: &Portscan, asked: &PortSet, options: &[&str]) -> Value {
    let targets: Vec<String> = lab.hosts().map(|host| host.address().to_string()).collect();
    let asked = asked.to_string();
    let mut arguments = vec!["scan", "-n", "--json", "-p", &asked];
    arguments.extend(options);
    arguments.extend(targets.iter().map(String::as_str));
    let document = portscan.run(&arguments, Duration::from_secs(240)).json();
    let timing = options.iter().find_map(|option| option.strip_prefix('-')?.parse().ok()).unwrap_or_default();
    for host in lab.hosts() {
        let (stats, address) = (host.stats(), host.address());
        assert_eq!((stats.payload, stats.left_open), (0, 0), "{address}: {stats:?}");
        assert!(stats.reboots <= lab.bound().reboots(timing), "{address}: {stats:?}");
        let paced = timing <= Timing::T3;
        assert!(!paced || (stats.peak_100ms <= 30 && stats.peak_1s <= 300), "{address}: {stats:?}");
    }
    assert_eq!(lab.outside(), Default::default(), "nobody else was bothered");
    document
}

fn host(document: &Value, address: &str) -> Value {
    let hosts = document["hosts"].as_array().unwrap();
    hosts.iter().find(|host| host["address"] == address).unwrap_or_else(|| panic!("{address}")).clone()
}

#[test]
fn forty_devices_are_seen_as_they_are() {
    let lab = Lab::enter("forty");
    let asked = ports(&lab, 1200);
    let portscan = Portscan::new(&lab, "");
    let document = scan(&lab, &portscan, &asked, &[]);
    assert_eq!(found(&document, &asked), truth(&lab, &asked));
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
fn sixty_four_descriptors_are_enough() {
    let lab = Lab::enter("descriptors");
    let asked = ports(&lab, 1000);
    let portscan = Portscan::new(&lab, "");
    let document = scan(&lab, &portscan, &asked, &["-T4"]);
    assert_eq!(found(&document, &asked), truth(&lab, &asked));
}

#[rstest]
#[case("loss-1", "-T3")]
#[case("bursts", "-T3")]
#[case("wifi", "-T4")]
fn a_bad_link_hides_nothing(#[case] name: &str, #[case] timing: &str) {
    let lab = Lab::enter(name);
    let asked = ports(&lab, 1000);
    let document = scan(&lab, &Portscan::new(&lab, ""), &asked, &[timing]);
    assert_eq!(found(&document, &asked), truth(&lab, &asked));
}

#[test]
fn who_rejects_by_icmp_is_filtered() {
    let lab = Lab::enter("rejecting");
    let asked = ports(&lab, 1500);
    let document = scan(&lab, &Portscan::new(&lab, ""), &asked, &["-T4"]);
    assert_eq!(found(&document, &asked), truth(&lab, &asked));
    for address in ["10.77.0.30", "10.77.0.31"] {
        assert_eq!(host(&document, address)["default_state"], "filtered", "{address}");
    }
}

#[test]
fn what_a_policer_drops_is_asked_again() {
    let lab = Lab::enter("policer");
    let asked = ports(&lab, 1500);
    let document = scan(&lab, &Portscan::new(&lab, ""), &asked, &["-T4"]);
    assert_eq!(found(&document, &asked), truth(&lab, &asked));
    assert_eq!(host(&document, "10.77.0.45")["default_state"], "closed");
}

#[test]
fn a_service_that_serves_one_at_a_time_is_found() {
    let lab = Lab::enter("backlog");
    let asked = ports(&lab, 500);
    let document = scan(&lab, &Portscan::new(&lab, ""), &asked, &["-T4"]);
    assert_eq!(found(&document, &asked), truth(&lab, &asked));
}

#[test]
fn a_few_are_found_among_many_dead_addresses() {
    let lab = Lab::enter("absent");
    let asked = ports(&lab, 200);
    let document = scan(&lab, &Portscan::new(&lab, ""), &asked, &[]);
    assert_eq!(found(&document, &asked), truth(&lab, &asked));
}

#[rstest]
#[case("-T3", 3000)]
#[case("-T2", 40)]
fn a_feeble_gadget_survives(#[case] timing: &str, #[case] last: u16) {
    let lab = Lab::enter("gadget-45");
    let asked = ports(&lab, last);
    let document = scan(&lab, &Portscan::new(&lab, ""), &asked, &[timing]);
    assert_eq!(found(&document, &asked), truth(&lab, &asked));
}

#[test]
fn a_host_that_drops_is_seen_through() {
    let lab = Lab::enter("silent");
    let asked = ports(&lab, 3000);
    let document = scan(&lab, &Portscan::new(&lab, ""), &asked, &[]);
    assert_eq!(found(&document, &asked), truth(&lab, &asked));
    assert_eq!(host(&document, "10.77.0.20")["default_state"], "filtered");
}

#[test]
fn sleepers_are_woken_up() {
    let lab = Lab::enter("wake");
    let asked = ports(&lab, 500);
    let document = scan(&lab, &Portscan::new(&lab, ""), &asked, &[]);
    assert_eq!(found(&document, &asked), truth(&lab, &asked));
}

#[test]
fn a_whole_network_is_seen() {
    let lab = Lab::enter("big");
    let asked = "20-29,80-89,443,8443".parse().unwrap();
    let document = scan(&lab, &Portscan::new(&lab, ""), &asked, &[]);
    assert_eq!(found(&document, &asked), truth(&lab, &asked));
}

/// Every host's verdicts, without what may differ from scan to scan: times.
fn verdicts(document: &Value) -> Vec<String> {
    let listed = |port: &Value| format!("{}:{}:{}", port["port"], port["state"], port["reason"]);
    let of = |host: &Value| {
        let ports: Vec<String> = host["ports"].as_array().unwrap().iter().map(listed).collect();
        format!("{} {} {} {}", host["address"], host["status"], host["default_state"], ports.join(" "))
    };
    document["hosts"].as_array().unwrap().iter().map(of).collect()
}

/// Twice every day; `make acceptance` asks for more.
#[rstest]
#[case("rst-limited", 2000)]
#[case("mixed", 1000)]
fn a_scan_says_the_same_every_time(#[case] name: &str, #[case] last: u16) {
    let runs = std::env::var("PORTSCAN_TEST_RUNS").map_or(2, |text| text.parse().unwrap());
    let look = || {
        let lab = Lab::enter(name);
        let asked = ports(&lab, last);
        let document = scan(&lab, &Portscan::new(&lab, ""), &asked, &["-T4"]);
        assert_eq!(found(&document, &asked), truth(&lab, &asked));
        verdicts(&document)
    };
    // A network for each, and so a thread.
    let apart = |_| thread::scope(|scope| scope.spawn(look).join().unwrap());
    let said: Vec<_> = (0..runs).map(apart).collect();
    assert!(said.len() > 1);
    said.iter().for_each(|again| assert_eq!(again, &said[0]));
    eprintln!("{name}: the same in {runs} of {runs} scans");
}

#[test]
fn everything_open_is_everything_open() {
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
    let asked = "1-800".parse().unwrap();
    let document = scan(&lab, &Portscan::new(&lab, ""), &asked, &["-T4"]);
    assert_eq!(found(&document, &asked)[&Ipv4Addr::new(10, 77, 0, 5)].to_string(), "1-24,26-800");
}

#[test]
fn nobody_is_one_fact_and_no_ports() {
    let lab = Lab::enter("near");
    let arguments = ["scan", "-n", "--json", "-p", "1-1000", "10.77.0.5", "10.77.9.9"];
    let document = Portscan::new(&lab, "").run(&arguments, Duration::from_secs(240)).json();
    let nobody = host(&document, "10.77.9.9");
    assert_eq!((&nobody["status"], &nobody["ports"]), (&"down".into(), &Value::Array(Vec::new())));
    assert_eq!(host(&document, "10.77.0.5")["status"], "up");
    let outside = lab.outside();
    assert_eq!(outside.asked.into_keys().collect::<Vec<_>>(), [Ipv4Addr::new(10, 77, 9, 9)]);
    assert!(outside.sent.is_empty(), "nothing but ARP");
}

#[test]
fn a_host_that_goes_away_is_left_alone_and_said_to_be_partial() {
    let lab = Lab::enter("vanish");
    let arguments = ["scan", "-n", "--json", "-p", "1-6000", "10.77.0.5", "10.77.0.6"];
    let finished = Portscan::new(&lab, "").run(&arguments, Duration::from_secs(240));
    let document = finished.json();
    assert_eq!(host(&document, "10.77.0.5")["status"], "partial");
    assert_eq!(host(&document, "10.77.0.6")["status"], "up");
    let gone = lab.host("10.77.0.5");
    // 400 before it went away, and 300 a second for 10 s at most.
    assert!(gone.stats().ports < 4000, "{:?}", gone.stats());
    // Which of them depends on what was asked before it went away; no other, in any case.
    let listed = host(&document, "10.77.0.5")["ports"].clone();
    let mut open = listed.as_array().unwrap().iter().filter(|port| port["state"] == "open");
    assert!(open.all(|port| [22, 80, 900].contains(&port["port"].as_u64().unwrap())), "{listed}");
}

//! `scan -sS` and `method = "auto"`: SYNs ask where they get through, and what is found is what connects find.

use std::{collections::BTreeMap, fs, net::TcpListener, process::Command, thread, time::Duration};

use rstest::rstest;
use serde_json::Value;
use testkit::Ports;

use crate::{
    harness::{Finished, LONG, NO_IDENTIFICATION, Portscan, eventually, found, scanner, static_feed},
    lab::{KernelHost, Lab, Node, Switch, namespace, sockets_in_state, tcp_counter},
};

const WITHIN: Duration = Duration::from_secs(240);

/// Connects that this network's kernel has begun (RFC 4022, `tcpActiveOpens`): bare SYNs are none.
fn connects() -> u64 {
    tcp_counter(&fs::read_to_string("/proc/thread-self/net/snmp").unwrap(), "ActiveOpens")
}

fn run(portscan: &Portscan, options: &[&str], scanned: &Ports, hosts: &[String]) -> Finished {
    let scanned = scanned.to_string();
    let mut arguments = vec!["scan", "-v", "-n", "--json", "-p", &scanned];
    arguments.extend(options);
    arguments.extend(hosts.iter().map(String::as_str));
    portscan.run(&arguments, WITHIN)
}

/// Scans all devices of the lab; fails if the scan harmed one or touched other addresses.
fn scan(lab: &Lab, scanned: &Ports, options: &[&str]) -> (Value, String) {
    let hosts: Vec<String> = lab.hosts().map(|host| host.address().to_string()).collect();
    let ended = run(&Portscan::new(lab, ""), options, scanned, &hosts);
    for host in lab.hosts() {
        let (stats, address) = (host.stats(), host.address());
        assert_eq!((stats.payload, stats.left_open), (0, 0), "{address}: {stats:?}");
        let paced = !options.iter().any(|option| ["-T4", "-T5"].contains(option));
        assert!(!paced || (stats.peak_100ms <= 30 && stats.peak_1s <= 300), "{address}: {stats:?}");
    }
    assert_eq!(lab.outside(), Default::default(), "no packet went to other addresses");
    (ended.json(), ended.stderr)
}

/// Probes that were made, of all hosts.
fn syns(lab: &Lab) -> usize {
    lab.hosts().map(|host| host.stats().syns).sum()
}

#[test]
fn a_mixed_lan_is_seen_as_it_is() {
    let lab = Lab::enter("forty");
    let scanned = lab.ports_to_scan(1200);
    let before = connects();
    let (document, _) = scan(&lab, &scanned, &["-sS"]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
    assert_eq!(document["scan"]["status"], "complete");
    let (connects, syns) = (connects() - before, syns(&lab) as u64);
    assert!(connects * 3 < syns, "{connects} connects, {syns} SYNs");
}

/// `make acceptance` makes twenty scans by each method.
#[test]
fn every_scan_by_each_method_says_the_same() {
    let runs = std::env::var("PORTSCAN_TEST_RUNS").map_or(1, |text| text.parse().unwrap());
    let lab = Lab::enter("forty");
    let scanned = lab.ports_to_scan(600);
    for run in 0..runs {
        for method in ["-sS", "-sT"] {
            let (document, _) = scan(&lab, &scanned, &[method, "-T4"]);
            assert_eq!(found(&document, &scanned), lab.truth_among(&scanned), "run {run}, {method}");
        }
    }
}

#[rstest]
#[case("loss-1", "-T3")]
#[case("wifi", "-T4")]
#[case("rejecting", "-T4")]
#[case("policer", "-T4")]
#[case("backlog", "-T4")]
#[case("gadget-45", "-T3")]
fn no_kind_of_host_hides_an_open_port(#[case] name: &str, #[case] timing: &str) {
    let lab = Lab::enter(name);
    let scanned = lab.ports_to_scan(1000);
    let (document, _) = scan(&lab, &scanned, &["-sS", timing]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
}

#[test]
fn small_packets_get_through_a_small_mtu() {
    let lab = Lab::enter("near");
    namespace::ip(&["link", "set", namespace::INTERFACE, "mtu", "576"]);
    let scanned = lab.ports_to_scan(1000);
    let before = connects();
    let (document, _) = scan(&lab, &scanned, &["-sS"]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
    assert!(connects() - before < 200);
}

/// A host that is a kernel: its own count of half-open connections is the judge.
#[test]
fn a_kernel_is_left_without_half_open_connections() {
    let open: Ports = "22,80,443,8080".parse().unwrap();
    let host = KernelHost::enter(&open);
    let before = connects();
    let scanned: Ports = (1..=20_000).collect();
    let ended =
        run(&Portscan::beside_kernel(&host, ""), &["-sS", "-T5"], &scanned, &[host.address().to_string()]);
    assert_eq!(found(&ended.json(), &scanned), BTreeMap::from([(host.address(), open)]));
    let connects = connects() - before;
    // The liveness check, what left before a SYN was answered, and the confirmations.
    assert!(connects < 500, "{connects} connects");
    // 03: SYN_RECV. A kernel that gets no RST keeps it for a minute.
    assert_eq!(host.in_state("03"), 0);
}

#[test]
fn without_the_capability_syns_are_an_error_and_auto_connects() {
    let lab = Lab::enter("near");
    let scanned = lab.ports_to_scan(300);
    let hosts: Vec<String> = lab.hosts().map(|host| host.address().to_string()).collect();
    let portscan = Portscan::new(&lab, "").unprivileged();
    let refused = run(&portscan, &["-sS"], &scanned, &hosts);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("setcap cap_net_raw+p"), "{}", refused.stderr);
    assert_eq!(syns(&lab), 0, "nothing is probed otherwise than asked");
    let ended = run(&portscan, &["--method", "auto"], &scanned, &hosts);
    assert_eq!(found(&ended.json(), &scanned), lab.truth_among(&scanned));
    assert_eq!(ended.stderr.matches("probing by connects").count(), 1, "{}", ended.stderr);
}

#[test]
fn this_machine_is_probed_by_connects() {
    let lab = Lab::enter("near");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let scanned: Ports = [port, port - 1].into_iter().collect();
    let ended = run(&Portscan::new(&lab, ""), &["-sS"], &scanned, &["127.0.0.1".to_owned()]);
    assert_eq!(
        found(&ended.json(), &scanned),
        [("127.0.0.1".parse().unwrap(), [port].into_iter().collect())].into()
    );
}

/// Has the firewall of the calling thread's network drop packets of a bare SYN's length, 44 octets: a connect's is longer.
fn drop_bare_syns(chain: &str) {
    let arguments = ["-A", chain, "-p", "tcp", "-m", "length", "--length", "44", "-j", "DROP"];
    let status = Command::new("iptables").args(arguments).status().expect("iptables is installed");
    assert!(status.success(), "iptables {arguments:?}");
}

const SYNS_LOST: &str = "SYNs stay unanswered where connects are answered";

#[test]
fn a_firewall_that_refuses_to_send_bare_syns_hides_nothing() {
    let lab = Lab::enter("near");
    drop_bare_syns("OUTPUT");
    let scanned = lab.ports_to_scan(1000);
    let (document, log) = scan(&lab, &scanned, &["-sS"]);
    assert_eq!(found(&document, &scanned), lab.truth_among(&scanned));
    assert_eq!(log.matches(SYNS_LOST).count(), 1, "{log}");
}

#[test]
fn a_firewall_that_swallows_bare_syns_hides_nothing() {
    let lan = Switch::enter("10.78.0.254/24");
    let node = lan.plug("10.78.0.5/24");
    // Where it stands makes no difference: they leave and are never answered.
    node.within(|| drop_bare_syns("INPUT"));
    let _listener = node.within(|| TcpListener::bind("0.0.0.0:8080").unwrap());
    let scanned: Ports = (1..=3000).chain([8080]).collect();
    let ended =
        run(&Portscan::on(&node, "127.0.0.1", ""), &["-sS", "-T4"], &scanned, &["10.78.0.5".to_owned()]);
    assert_eq!(
        found(&ended.json(), &scanned),
        [("10.78.0.5".parse().unwrap(), "8080".parse().unwrap())].into()
    );
    assert_eq!(ended.json()["hosts"][0]["default_state"], "closed");
}

#[test]
fn a_bridge_carries_syns() {
    let lan = Switch::enter("10.78.0.254/24");
    Target::plug(&lan, "10.78.0.5/24").assert_found_at("10.78.0.5");
}

/// A machine on the LAN with these two ports open, and what a scan of it must find.
struct Target {
    node: Node,
    _listeners: [TcpListener; 2],
    scanned: Ports,
}

impl Target {
    fn plug(lan: &Switch, address: &str) -> Self {
        let node = lan.plug(address);
        let listeners = node.within(|| [22, 8080].map(|port| TcpListener::bind(("0.0.0.0", port)).unwrap()));
        Self { node, _listeners: listeners, scanned: (1..=1000).chain([8080]).collect() }
    }

    /// Scans it by this address, mostly by SYNs, and finds the truth.
    fn assert_found_at(&self, address: &str) {
        let before = connects();
        let portscan = Portscan::on(&self.node, "127.0.0.1", "");
        let ended = run(&portscan, &["-sS", "-T4"], &self.scanned, &[address.to_owned()]);
        let expected = [(address.parse().unwrap(), "22,8080".parse().unwrap())].into();
        assert_eq!(found(&ended.json(), &self.scanned), expected, "{}", ended.stderr);
        assert_eq!(ended.json()["hosts"][0]["default_state"], "closed");
        let connects = connects() - before;
        assert!(connects < 300, "{connects} connects");
    }
}

/// As Docker and podman have it: the container's host translates addresses, and drops what belongs to no connection.
#[test]
fn syns_leave_a_container_by_its_bridge() {
    let lan = Switch::enter("10.78.0.254/24");
    let target = Target::plug(&lan, "10.78.0.5/24");
    let container = lan.plug("172.17.0.2/16");
    namespace::ip(&["addr", "add", "172.17.0.1/16", "dev", "switch"]);
    container.ip(&["route", "add", "default", "via", "172.17.0.1"]);
    // Both networks are on one bridge here, which the host would tell the container.
    for (setting, value) in
        [("ip_forward", "1"), ("conf/all/send_redirects", "0"), ("conf/switch/send_redirects", "0")]
    {
        fs::write(format!("/proc/sys/net/ipv4/{setting}"), value).unwrap();
    }
    for rule in [
        "-t nat -A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE",
        "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
    ] {
        assert!(Command::new("iptables").args(rule.split(' ')).status().unwrap().success());
    }
    container.within(|| target.assert_found_at("10.78.0.5"));
    let sockets = target.node.within(|| fs::read_to_string("/proc/thread-self/net/tcp").unwrap());
    assert_eq!(sockets_in_state(&sockets, "03"), 0, "{sockets}");
}

/// An answer may arrive at the interface that the SYN did not leave by.
#[test]
fn two_interfaces_in_one_subnet_carry_syns() {
    let lan = Switch::enter("10.78.0.254/24");
    let target = Target::plug(&lan, "10.78.0.5/24");
    namespace::ip(&["link", "add", "second", "type", "veth", "peer", "name", "to-second"]);
    namespace::ip(&["addr", "add", "10.78.0.253/24", "dev", "second"]);
    namespace::ip(&["link", "set", "to-second", "master", "switch", "up"]);
    namespace::ip(&["link", "set", "second", "up"]);
    target.assert_found_at("10.78.0.5");
    // The route by the other one is preferred.
    namespace::ip(&["route", "add", "10.78.0.5/32", "dev", "second", "src", "10.78.0.253"]);
    target.assert_found_at("10.78.0.5");
}

/// The kernel's RST to a SYN-ACK belongs to no connection that it tracks, so such a firewall keeps it.
#[test]
fn a_firewall_that_drops_what_is_invalid_leaves_no_half_open_connections() {
    let open: Ports = "22,80,443,8080".parse().unwrap();
    let host = KernelHost::enter(&open);
    for chain in ["INPUT", "OUTPUT"] {
        let rule = ["-A", chain, "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"];
        assert!(Command::new("iptables").args(rule).status().expect("iptables is installed").success());
    }
    let scanned: Ports = (1..=3000).chain([8080]).collect();
    let address = host.address().to_string();
    let ended = run(&Portscan::beside_kernel(&host, ""), &["-sS", "-T4"], &scanned, &[address]);
    assert_eq!(found(&ended.json(), &scanned), BTreeMap::from([(host.address(), open)]));
    assert_eq!(host.in_state("03"), 0, "in SYN_RECV");
}

/// An interface that goes in the middle of a scan ends it, by a reason, and what was found until then is true.
#[test]
fn an_interface_that_vanishes_leaves_no_wrong_verdict() {
    let lan = Switch::enter("10.78.0.254/24");
    let target = Target::plug(&lan, "10.78.0.5/24");
    namespace::ip(&["addr", "flush", "dev", "switch"]);
    namespace::ip(&["link", "add", "card", "type", "veth", "peer", "name", "to-card"]);
    namespace::ip(&["link", "set", "to-card", "master", "switch", "up"]);
    namespace::ip(&["addr", "add", "10.78.0.253/24", "dev", "card"]);
    namespace::ip(&["link", "set", "card", "up"]);
    let sent = || {
        let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let counts = text.lines().find_map(|line| line.trim().strip_prefix("card:"));
        // Those that were received come first.
        counts.and_then(|counts| counts.split_whitespace().nth(9)?.parse::<u64>().ok()).unwrap_or_default()
    };
    let portscan = Portscan::on(&target.node, "127.0.0.1", "");
    let ended = thread::scope(|scope| {
        let scan = || run(&portscan, &["-sS", "-T3"], &target.scanned, &["10.78.0.5".to_owned()]);
        let scanning = scope.spawn(scan);
        eventually(LONG, "the scan is under way", || (sent() > 200).then_some(()));
        namespace::ip(&["link", "del", "card"]);
        scanning.join().unwrap()
    });
    let document = ended.json();
    let host = &document["hosts"][0];
    assert_eq!((&document["scan"]["status"], &host["status"]), (&"partial".into(), &"partial".into()));
    assert!(host["detail"].as_str().is_some_and(|detail| detail.contains("no route")), "{host}");
    let open = &found(&document, &target.scanned)[&target.node.address()];
    assert!(open.is_subset(&"22,8080".parse().unwrap()), "{open}");
    assert!(!host.to_string().contains("filtered"), "silence of this machine's is no verdict: {host}");
    assert!(!ended.stderr.contains("something on the way"), "{}", ended.stderr);
}

#[test]
fn the_appliance_scans_by_syns_if_told_to() {
    let lab = Lab::enter("near");
    let scanners = scanner("lan", "1d", "1-2000") + "method = \"auto\"\n";
    let config = static_feed(&lab) + NO_IDENTIFICATION + &scanners;
    let before = connects();
    let running = Portscan::new(&lab, &config).start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    for host in lab.hosts() {
        let found = running.open_ports(&host.mac().to_string()).unwrap_or_default();
        let open: Ports = host.open_ports().iter().filter(|&port| port <= 2000).collect();
        assert!(open.is_subset(&found), "{}: {found}", host.address());
        let stats = host.stats();
        assert!(stats.peak_100ms <= 30 && stats.peak_1s <= 300, "{stats:?}");
        assert_eq!((stats.payload, stats.left_open), (0, 0), "{stats:?}");
    }
    running.stop();
    let (connects, syns) = (connects() - before, syns(&lab) as u64);
    assert!(connects * 2 < syns, "{connects} connects, {syns} SYNs");
}

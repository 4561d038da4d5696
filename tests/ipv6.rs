//! IPv6 neighbours: their MACs come from the kernel's table, as for IPv4.

use std::{
    fs,
    net::{Ipv6Addr, TcpListener},
};

use serde_json::Value;
use testkit::Ports;

use crate::{
    harness::{Finished, LONG, Portscan, Running, eventually, scanner, server::Server},
    lab::{Node, PORT, Switch, tcp_counter},
};

const MAC: &str = "02:00:00:00:00:05";
const GLOBAL: &str = "fd00:79::5";
const LINK_LOCAL: &str = "fe80::5%eth0";
const ABSENT: [&str; 2] = ["fd00:79::77", "fe80::77%eth0"];

/// Two machines on a LAN: the appliance's, and one that listens on ports 22 and 80 by IPv6.
struct Lan {
    _switch: Switch,
    here: Node,
    there: Node,
    _listeners: Vec<TcpListener>,
}

impl Lan {
    fn enter() -> Self {
        let switch = Switch::enter("10.79.0.254/24");
        let [here, there] = ["10.79.0.2/24", "10.79.0.5/24"].map(|address| switch.plug(address));
        for (node, number) in [(&here, 2), (&there, 5)] {
            let mac = format!("02:00:00:00:00:0{number}");
            node.ip(&["link", "set", PORT, "down"]);
            node.ip(&["link", "set", PORT, "address", &mac, "addrgenmode", "none", "up"]);
            for address in [format!("fd00:79::{number}/64"), format!("fe80::{number}/64")] {
                node.ip(&["-6", "addr", "add", &address, "dev", PORT, "nodad"]);
            }
        }
        let listen = |port| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
        let listeners = there.within(|| [22, 80].map(listen).into());
        Self { _switch: switch, here, there, _listeners: listeners }
    }

    /// The number of TCP segments that the other machine received.
    fn segments(&self) -> u64 {
        let text = self.there.within(|| fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
        tcp_counter(&text, "InSegs")
    }

    fn portscan(&self, config: &str) -> Portscan {
        Portscan::on(&self.here, "10.79.0.2", config)
    }

    fn start(&self, config: &str) -> Running {
        // The debug level logs each host that is down on a line of its own.
        let portscan = self.portscan(config).env("RUST_LOG", "debug");
        self.here.within(|| portscan.start()).reached_at(self.here.address())
    }

    fn scan(&self, arguments: &[&str]) -> Finished {
        self.scan_by(&self.portscan(""), arguments)
    }

    fn scan_by(&self, portscan: &Portscan, arguments: &[&str]) -> Finished {
        self.here.within(|| portscan.run(&[&["scan", "--json", "-p", "20-90"], arguments].concat(), LONG))
    }
}

fn feed(address: &str, mac: &str) -> String {
    format!(
        "[feed]\nurl = []\nhosts = [{{ address = \"{address}\"{mac} }}]\n{}",
        scanner("lan", "1d", "20-90")
    )
}

fn host<'a>(document: &'a Value, address: &str) -> &'a Value {
    let mut hosts = document["hosts"].as_array().unwrap().iter();
    hosts.find(|host| host["address"] == address).unwrap_or_else(|| panic!("{address}: {document}"))
}

#[test]
fn a_scan_by_hand_shows_the_mac_without_warnings() {
    let lan = Lan::enter();
    let finished = lan.scan(&[GLOBAL, LINK_LOCAL]);
    let document = finished.json();
    for address in [GLOBAL, LINK_LOCAL] {
        let host = host(&document, address);
        assert_eq!((&host["status"], &host["mac"]), (&"up".into(), &MAC.into()), "{host}");
    }
    assert_eq!(finished.stderr, "");
}

#[test]
fn an_address_without_a_device_is_down_by_ipv6() {
    let lan = Lan::enter();
    for timing in ["-T3", "-T4", "-T5"] {
        let document = lan.scan(&[&[timing][..], &ABSENT].concat()).json();
        for address in ABSENT {
            assert_eq!(host(&document, address)["status"], "down", "{timing} {address}: {document}");
        }
    }
    let probed = lan.here.within(|| lan.portscan("").run(&["probe", ABSENT[1], "22"], LONG));
    assert!(probed.stdout.contains("nothing answers neighbour discovery"), "{probed:?}");
}

#[test]
fn a_device_that_a_feed_names_by_ipv6_is_stored_by_its_mac() {
    for address in [GLOBAL, LINK_LOCAL] {
        for mac in [format!(", mac = \"{MAC}\""), String::new()] {
            let lan = Lan::enter();
            let running = lan.start(&feed(address, &mac));
            running.wait_for_devices(1, LONG);
            assert_eq!(running.macs(), [MAC], "{address}{mac}");
            assert_eq!(running.open_ports(MAC), Some("22,80".parse::<Ports>().unwrap()));
            let device = running.get(&format!("/portscan/{MAC}/json")).json();
            assert_eq!(device["host"]["ipv4"], address, "the original's key, whatever the family");
            running.stop();
        }
    }
}

#[test]
fn a_wrong_mac_in_a_feed_gets_no_results() {
    let lan = Lan::enter();
    let running = lan.start(&feed(GLOBAL, ", mac = \"02:00:00:00:00:99\""));
    let line = running.wait_for_line(LONG, |line| line.contains(GLOBAL) && line.contains("another device"));
    assert!(line.contains("02:00:00:00:00:99") && line.contains(MAC), "{line}");
    assert!(running.macs().is_empty());
    running.stop();
}

#[test]
fn an_absent_device_has_no_result_by_ipv6() {
    let lan = Lan::enter();
    let running = lan.start(&feed(ABSENT[1], ""));
    running
        .wait_for_line(LONG, |line| line.contains("fe80::77%eth0") && line.contains("neighbour discovery"));
    assert!(running.macs().is_empty());
    running.stop();
}

#[test]
fn an_excluded_mac_gets_no_syn_by_ipv6() {
    for address in [GLOBAL, LINK_LOCAL] {
        let lan = Lan::enter();
        let config = format!("exclude = [\"{MAC}\"]\n{}timing = \"T4\"\n", feed(address, ""));
        let running = lan.start(&config);
        running.wait_for_line(LONG, |line| line.contains(address) && line.contains("left alone"));
        let path = format!("/portscan/{}/22/json", address.replace('%', "%25"));
        let probed = running.get(&path);
        assert_eq!(probed.status, 403, "{probed:?}");
        running.stop();
        for timing in ["-T3", "-T4", "-T5"] {
            let finished = lan.scan(&[timing, "--exclude", MAC, address]);
            assert!(finished.stderr.contains("is left out"), "{finished:?}");
        }
        assert_eq!(lan.segments(), 0, "{address}");
        assert_eq!(lan.scan(&["--exclude", "02:00:00:00:00:09", address]).json()["hosts"][0]["mac"], MAC);
    }
}

#[test]
fn without_privileges_an_echo_request_makes_the_kernel_resolve_the_mac_by_ipv6() {
    let lan = Lan::enter();
    lan.here.within(|| fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap());
    let portscan = lan.portscan("").unprivileged();
    for address in [GLOBAL, LINK_LOCAL] {
        let finished = lan.scan_by(&portscan, &["-T5", "--exclude", MAC, address, ABSENT[0], ABSENT[1]]);
        assert!(finished.stderr.contains("is left out"), "{finished:?}");
        let document = finished.json();
        for absent in ABSENT {
            assert_eq!(host(&document, absent)["status"], "down", "{document}");
        }
    }
    assert_eq!(lan.segments(), 0);
}

/// A machine with this number on the LAN of `switch`, that listens at these ports by IPv6.
fn machine(switch: &Switch, number: u8, ports: &[u16]) -> (Node, Vec<TcpListener>) {
    let node = switch.plug(&format!("10.79.0.{number}/24"));
    node.ip(&["link", "set", PORT, "down"]);
    node.ip(&["link", "set", PORT, "address", &mac_of(number), "up"]);
    let listen = |port: &u16| TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).unwrap();
    let listeners = node.within(|| ports.iter().map(listen).collect());
    (node, listeners)
}

fn mac_of(number: u8) -> String {
    format!("02:00:00:00:00:{number:02X}")
}

/// Leaves echo requests to groups unanswered, as many gadgets do.
fn ignore_groups(node: &Node) {
    node.within(|| fs::write("/proc/sys/net/ipv6/icmp/echo_ignore_multicast", "1").unwrap());
}

#[test]
fn discovery_finds_devices_by_ipv6_in_three_ways_and_scans_them_as_their_macs() {
    let switch = Switch::enter("10.79.0.254/24");
    let (here, _) = machine(&switch, 2, &[]);
    let (router, _) = machine(&switch, 1, &[]);
    let _advertised = Server::radvd(&router, "2001:db8:79::/64");
    let (both, _at_both) = machine(&switch, 5, &[80]);
    let _by_ipv4 = both.within(|| TcpListener::bind(("10.79.0.5", 22)).unwrap());
    let (only, _at_only) = machine(&switch, 6, &[443]);
    only.ip(&["-4", "addr", "flush", "dev", PORT]);
    // Its address is made of its MAC, which ARP finds.
    let (shy, _at_shy) = machine(&switch, 7, &[8080]);
    ignore_groups(&shy);
    // Nothing tells its address but the kernel's table.
    let (odd, _at_odd) = machine(&switch, 8, &[8081]);
    ignore_groups(&odd);
    odd.ip(&["-6", "addr", "flush", "dev", PORT, "scope", "link"]);
    odd.ip(&["-6", "addr", "add", "fe80::abc/64", "dev", PORT, "nodad"]);
    here.ip(&["neigh", "add", "fe80::abc", "lladdr", "02:00:00:00:00:08", "dev", PORT, "nud", "stale"]);
    eventually(LONG, "the network is advertised", || {
        let addresses = both.within(|| fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap());
        addresses.contains("20010db80079").then_some(())
    });
    let ports = "22,80,443,8080,8081";
    let config = format!("[feed]\ndiscover = [\"{PORT}\"]\nipv6 = true\n{}", scanner("lan", "1d", ports));
    let running =
        here.within(|| Portscan::on(&here, "10.79.0.2", &config).start()).reached_at(here.address());
    let expected = [(5, "22,80"), (6, "443"), (7, "8080"), (8, "8081")];
    for (number, ports) in expected {
        let ports = ports.parse::<Ports>().unwrap();
        eventually(LONG, &format!("device {number} has ports {ports}"), || {
            (running.open_ports(&mac_of(number)) == Some(ports.clone())).then_some(())
        });
    }
    let hosts = running.get("/v1/hosts").json();
    // The machine that carries the network has a row, too, and a MAC that changes.
    let others = hosts.as_array().unwrap().iter().filter(|host| host["address"] != "10.79.0.254");
    let mut macs: Vec<&str> = others.map(|host| host["mac"].as_str().unwrap()).collect();
    macs.sort_unstable();
    assert_eq!(macs, [1, 2, 5, 6, 7, 8].map(mac_of), "one row for each: {hosts}");
    let host = |number| hosts.as_array().unwrap().iter().find(|host| host["mac"] == mac_of(number)).unwrap();
    assert_eq!(
        (&host(5)["address"], &host(6)["address"]),
        (&"10.79.0.5".into(), &"fe80::ff:fe00:6%eth0".into())
    );
    assert_eq!(host(8)["address"], "10.79.0.8");
    let asked = running.get("/v1/hosts/02:00:00:00:00:05").json().to_string();
    assert!(asked.contains("fe80::ff:fe00:5%eth0") && !asked.contains("\"2001:db8"), "{asked}");
    running.stop();
}

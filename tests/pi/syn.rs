//! Scans by bare SYNs: what they cost beside connects and nmap's, and over a VLAN, which few kernels of test machines
//! have.

use serde_json::Value;

use super::{DESK, TEST, card, processor, today};
use crate::{
    harness::pi::Pi,
    lab::{Lab, Switch, tcp_counter},
};

/// Two ends of a cable with a VLAN on it, the far one in a namespace of its own, with a server at port 8000.
const VLAN: &str = "
ip netns add far
ip link add near type veth peer name away netns far
ip link add link near name near.7 type vlan id 7
ip -n far link add link away name away.7 type vlan id 7
ip addr add 10.78.0.1/24 dev near.7
ip -n far addr add 10.78.0.2/24 dev away.7
for interface in near near.7; do ip link set $interface up; done
for interface in lo away away.7; do ip -n far link set $interface up; done
(ip netns exec far python3 -m http.server 8000 >/dev/null 2>&1 &)
until ip netns exec far ss --listening --tcp --numeric | grep --quiet :8000; do sleep 0.2; done
";

/// Connects that the kernel has begun (RFC 4022, `tcpActiveOpens`).
fn connects(pi: &mut Pi<'_>) -> u64 {
    tcp_counter(&pi.run("cat /proc/net/snmp"), "ActiveOpens")
}

#[test]
#[ignore = "boots an emulated Pi: make pi-test"]
fn bare_syns_cost_less_than_connects_and_pass_a_vlan() {
    let lab =
        Lab::describe("[[host]]\naddress = \"10.77.0.10\"\nmac = \"02:00:00:00:00:10\"\nopen = \"22\"\n");
    let lan = Switch::around(&lab, TEST);
    // The kernel of this machine refuses connections as fast as they arrive.
    let desk = lan.plug(DESK);
    let card = card();
    let mut pi = Pi::boot(&card, &lan, today());
    // Without the service: its work would be counted.
    pi.run("dpkg-deb --extract /portscan.deb /");

    pi.run(VLAN);
    for method in ["-sT", "-sS"] {
        let before = connects(&mut pi);
        let scan = format!("portscan scan {method} -n --json -p1-9000 10.78.0.2 2>/dev/null");
        let document: Value = serde_json::from_str(&pi.run(&scan)).unwrap();
        let ports = document["hosts"][0]["ports"].as_array().unwrap_or_else(|| panic!("{document}"));
        let open: Vec<&Value> = ports.iter().filter(|port| port["state"] == "open").collect();
        assert_eq!((open.len(), &open[0]["port"]), (1, &8000.into()), "{method}: {document}");
        let connects = connects(&mut pi) - before;
        assert_eq!(connects < 3000, method == "-sS", "{method}: {connects} connects");
    }

    let options = format!("-p- -T4 -Pn -n {}", desk.address());
    let programs = ["portscan scan -sS", "portscan scan -sT", "nmap -sS", "nmap -sT"];
    let [syns, connects, nmap, nmap_connects] =
        programs.map(|program| processor(&mut pi, &format!("{program} {options}")));
    pi.shut_down();
    eprintln!(
        "| processor for 65,535 refused probes by SYNs (`-T4`) | {syns:.1} s; by connects {connects:.1} s: {:.2} of \
         it; nmap -sS {nmap:.1} s: {:.2} of it; nmap -sT {nmap_connects:.1} s |",
        syns / connects,
        syns / nmap,
    );
    assert!(syns < connects && syns < nmap, "{syns} s of a processor, connects {connects} s, nmap {nmap} s");
}

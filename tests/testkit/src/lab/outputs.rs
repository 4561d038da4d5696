//! Parses the output of scanners: the open ports that each reports.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde_json::Value;

use crate::Ports;

/// Open ports by host.
pub type Found = BTreeMap<Ipv4Addr, Ports>;

/// A `portscan scan --json` document: every host that is up, or as far as it is known.
pub fn portscan(document: &Value) -> Found {
    let open = |host: &Value| -> Ports {
        let listed = host["ports"].as_array().expect("a list of ports").iter();
        let open = listed.filter(|port| port["state"] == "open");
        open.map(|port| serde_json::from_value::<u16>(port["port"].clone()).expect("a port")).collect()
    };
    let hosts = document["hosts"].as_array().expect("a list of hosts").iter();
    let seen = hosts.filter(|host| host["status"] != "down");
    seen.map(|host| (address(host["address"].as_str().expect("an address")), open(host))).collect()
}

/// nmap's `-oG` lines: `Host: 10.0.0.5 ()`, a tab, `Ports: 22/open/tcp//ssh///, ...`.
pub fn nmap(output: &str) -> Found {
    let host = |line: &str| {
        let (host, ports) = line.strip_prefix("Host: ")?.split_once("Ports: ")?;
        let ports = ports.split('\t').next()?.split(", ").filter(|port| port.contains("/open/"));
        let ports = ports.map(|port| number(port.split('/').next().unwrap()));
        Some((address(host.split(' ').next()?), ports.collect()))
    };
    output.lines().filter_map(host).collect()
}

/// `RustScan`'s `-g` lines: `10.0.0.5 -> [22,80]`; a host without an open port has none.
pub fn rustscan(output: &str) -> Found {
    let host = |line: &str| {
        let (host, ports) = line.split_once(" -> [")?;
        let ports = ports.strip_suffix(']')?.split(',').map(|port| number(port.trim()));
        Some((address(host), ports.collect()))
    };
    output.lines().filter_map(host).collect()
}

/// masscan's `-oL` lines: `open tcp 22 10.0.0.5 1766000000`, in any order.
pub fn masscan(output: &str) -> Found {
    let mut found: BTreeMap<Ipv4Addr, Vec<u16>> = BTreeMap::new();
    for line in output.lines() {
        if let ["open", "tcp", port, host, _] = line.split(' ').collect::<Vec<_>>()[..] {
            found.entry(address(host)).or_default().push(number(port));
        }
    }
    found.into_iter().map(|(host, ports)| (host, ports.into_iter().collect())).collect()
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap_or_else(|e| panic!("\"{text}\": {e}"))
}

fn number(text: &str) -> u16 {
    text.parse().unwrap_or_else(|e| panic!("port \"{text}\": {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tell_the_same_in_their_own_words() {
        let expected: Found = [("10.77.0.5".parse().unwrap(), "22,80".parse().unwrap())].into();
        let document = serde_json::json!({ "hosts": [
            { "address": "10.77.0.5", "status": "up", "ports": [
                { "port": 22, "state": "open" }, { "port": 25, "state": "filtered" }, { "port": 80, "state": "open" }
            ] },
            { "address": "10.77.0.6", "status": "down", "ports": [] },
        ] });
        assert_eq!(portscan(&document), expected);
        let line = "Host: 10.77.0.5 ()\tPorts: 22/open/tcp//ssh///, 25/filtered/tcp///, 80/open/tcp//http///\tIgnored";
        assert_eq!(nmap(&format!("# Nmap 7.93\nHost: 10.77.0.5 ()\tStatus: Up\n{line}\n")), expected);
        assert_eq!(rustscan("10.77.0.5 -> [80,22]\n"), expected);
        let list = "#masscan\nopen tcp 80 10.77.0.5 1766000000\nopen tcp 22 10.77.0.5 1766000001\n# end\n";
        assert_eq!(masscan(list), expected);
    }
}

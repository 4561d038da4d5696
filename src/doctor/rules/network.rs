//! The machine's network: the ports that the appliance listens on, interfaces, neighbours and what limits connections.

use std::fmt::Display;

use super::wording::{has_appliance, listed};
use crate::{
    doctor::facts::{Installation, JudgedProcess, MachineState, MdnsState, PortAvailability},
    model::Diagnosis,
};

/// What may be in flight towards one port of all devices together.
const ENOUGH_LOCAL_PORTS: usize = 4096;

pub(super) fn port(address: &impl Display, port: &PortAvailability, process: &JudgedProcess) -> Diagnosis {
    const SUBJECT: &str = "port";
    match port {
        PortAvailability::Free => Diagnosis::ok(SUBJECT, format!("{address} is free")),
        PortAvailability::LeftOut => {
            Diagnosis::ok(SUBJECT, format!("{address} is left out, because this machine has no IPv6"))
        }
        PortAvailability::Held(holders) if has_appliance(holders, process) => {
            Diagnosis::ok(SUBJECT, format!("{address} is held by the running appliance, {}", listed(holders)))
        }
        PortAvailability::Held(holders) => {
            let holders = match holders.is_empty() {
                true => "a process that this user may not see".to_owned(),
                false => listed(holders),
            };
            let mend = "stop that process, or set another port in `listen`, as listen = [\"0.0.0.0:8080\"]";
            Diagnosis::essential(SUBJECT, format!("{address} is held by {holders}"), mend.to_owned())
        }
        // The reason has the remedy.
        PortAvailability::Unusable(why) => Diagnosis::essential(SUBJECT, why, None),
    }
}

pub(super) fn interfaces(machine: &MachineState) -> Vec<Diagnosis> {
    const SUBJECT: &str = "interface";
    let all = match &machine.interfaces {
        Ok(all) => all,
        Err(why) => {
            let detail = format!("the interfaces cannot be read: {why}");
            return vec![Diagnosis::essential(SUBJECT, detail, needs_netlink(machine.place))];
        }
    };
    let mut found = Vec::new();
    for interface in all {
        let is_wanted = machine.discovered.contains(&interface.name);
        let addresses = match interface.nets.is_empty() {
            true => format!("{} has no address", interface.name),
            false => format!("{} has {}", interface.name, interface.nets.join(", ")),
        };
        found.push(match &interface.obstacle {
            None => Diagnosis::ok(SUBJECT, addresses),
            // The reason has the remedy.
            Some(why) if is_wanted => Diagnosis::essential(SUBJECT, format!("feed.discover: {why}"), None),
            Some(why) => Diagnosis::ok(SUBJECT, format!("{addresses}; not searched for devices: {why}")),
        });
    }
    for name in machine.discovered.iter().filter(|name| !all.iter().any(|there| there.name == **name)) {
        let there: Vec<&str> = all.iter().map(|interface| interface.name.as_str()).collect();
        let detail = format!("feed.discover: there is no interface {name}");
        let mend = match there.is_empty() {
            true => "start it with the host's network: --network host".to_owned(),
            false => format!("name one of {} there", there.join(", ")),
        };
        found.push(Diagnosis::essential(SUBJECT, detail, mend));
    }
    if !all.iter().any(|interface| !interface.nets.is_empty()) {
        let mend = match machine.place {
            Installation::Container => "start the container with --network host",
            Installation::Unit | Installation::Binary => {
                "plug in a cable or join a wireless network; then: ip address"
            }
        };
        let detail = "none has an address: only this machine itself can be scanned";
        found.push(Diagnosis::lacking(SUBJECT, detail, mend.to_owned()));
    }
    found
}

pub(super) fn neighbours(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "neighbour table";
    match &machine.neighbours {
        Ok(count) => Diagnosis::ok(SUBJECT, format!("it can be read; neighbours known: {count}")),
        Err(why) => {
            let detail = format!("it cannot be read, so no device is known by its MAC: {why}");
            Diagnosis::essential(SUBJECT, detail, needs_netlink(machine.place))
        }
    }
}

pub(super) fn mdns(mdns: &MdnsState) -> Diagnosis {
    const SUBJECT: &str = "mDNS";
    match mdns {
        MdnsState::Off => Diagnosis::not_checked(SUBJECT, "the configuration announces no name", None),
        MdnsState::Shared(holders) if holders.is_empty() => {
            Diagnosis::ok(SUBJECT, "port 5353 is free, and no other responder runs here")
        }
        MdnsState::Shared(holders) => {
            Diagnosis::ok(SUBJECT, format!("port 5353 is shared with {}", listed(holders)))
        }
        MdnsState::Exclusive(holders) => {
            let by = if holders.is_empty() { "another process".to_owned() } else { listed(holders) };
            let detail = format!("{by} has port 5353 for itself: no name is announced");
            Diagnosis::lacking(SUBJECT, detail, "stop it, or write enabled = false under [mdns]".to_owned())
        }
        MdnsState::Unusable(why) => {
            let detail = format!("port 5353 cannot be opened: {why}");
            Diagnosis::lacking(SUBJECT, detail, "write enabled = false under [mdns]".to_owned())
        }
    }
}

pub(super) fn local_ports(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "local ports";
    let (first, last) = (machine.local_ports.start(), machine.local_ports.end());
    let count = machine.local_ports.len();
    let detail = format!("{count}, from {first} to {last}");
    match count < ENOUGH_LOCAL_PORTS {
        false => Diagnosis::ok(SUBJECT, detail),
        true => Diagnosis::lacking(
            SUBJECT,
            format!("{detail}: probes to one port of many devices wait for each other"),
            "sudo sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"".to_owned(),
        ),
    }
}

pub(super) fn conntrack(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "connection table";
    let Some(table) = machine.conntrack else {
        return Diagnosis::ok(SUBJECT, "no firewall of this machine keeps one");
    };
    let detail = format!("{} of {} entries are in use", table.count, table.max);
    match table.is_full() {
        false => Diagnosis::ok(SUBJECT, detail),
        true => Diagnosis::lacking(
            SUBJECT,
            format!("{detail}: probes wait until entries expire"),
            format!("sudo sysctl -w net.netfilter.nf_conntrack_max={}", table.max.saturating_mul(4)),
        ),
    }
}

fn needs_netlink(place: Installation) -> String {
    let sandbox = match place {
        Installation::Unit => "AF_NETLINK must be in RestrictAddressFamilies=: systemctl cat portscan",
        Installation::Container => "the container's seccomp profile must permit AF_NETLINK",
        Installation::Binary => "its sandbox must permit AF_NETLINK",
    };
    sandbox.to_owned()
}

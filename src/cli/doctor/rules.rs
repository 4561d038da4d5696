//! The rules of `portscan doctor`: what is essential, what is merely worse without, and the line that mends it. No I/O.

use std::fmt::Display;

use super::{
    facts::{
        APPLIANCE, ClockState, DiskState, FileSystemKind, Installation, JudgedProcess, ListenState,
        MachineState, MdnsState, PortAvailability,
    },
    finding::Diagnosis,
};
use crate::{cli::discover::ARP_GRANT, clock::EARLIEST_SANE, net::PortHolder};

/// Bits of capabilities(7).
const CAP_NET_BIND_SERVICE: u8 = 10;
const CAP_NET_ADMIN: u8 = 12;
const CAP_NET_RAW: u8 = 13;

/// The descriptors with which the appliance runs at its full speed, as its unit grants them.
const DESCRIPTORS: u64 = 70_000;
/// 4,096 probes, 256 clients and 64 others: more gain nothing to one scan.
const ENOUGH_DESCRIPTORS: u64 = 4_416;
/// Some 25 are always open.
const LEAST_DESCRIPTORS: u64 = 64;

const MIB: u64 = 1 << 20;
/// Below this the store refuses to write: SQLite's log alone grows to some MiB before it is written back.
const LEAST_DISK: u64 = 16 * MIB;
/// Beside a copy of the database, which a new version makes before it changes it.
const SPARE_DISK: u64 = 64 * MIB;
/// The appliance uses 32 MB at most; the kernel's buffers of its connections need as much.
const LEAST_MEMORY: u64 = 32 * MIB;
const ENOUGH_MEMORY: u64 = 64 * MIB;

/// What may be in flight towards one port of all devices together.
const ENOUGH_LOCAL_PORTS: usize = 4096;

/// Judges the machine; the order is that of importance to an owner whose appliance does not start.
pub(super) fn diagnose(machine: &MachineState) -> Vec<Diagnosis> {
    let mut all = vec![configuration(machine)];
    all.extend(machine.listen.iter().map(|listen| port(&listen.address, &listen.port)));
    all.extend([bind_service(machine), disk(&machine.disk)]);
    all.extend(interfaces(machine));
    all.extend([
        neighbours(machine),
        net_raw(machine),
        ping_sockets(machine),
        net_admin(&machine.process),
        descriptors(machine),
        memory(machine),
        clock(machine.clock),
        mdns(&machine.mdns),
        local_ports(machine),
        conntrack(machine),
    ]);
    all
}

fn configuration(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "configuration";
    match &machine.configuration {
        Ok(()) => Diagnosis::ok(SUBJECT, "it is valid"),
        Err(why) => {
            let detail = format!("{why}; below, the defaults are judged");
            Diagnosis::essential(SUBJECT, detail, "portscan check-config".to_owned())
        }
    }
}

fn port(address: &impl Display, port: &PortAvailability) -> Diagnosis {
    const SUBJECT: &str = "port";
    match port {
        PortAvailability::Free => Diagnosis::ok(SUBJECT, format!("{address} is free")),
        PortAvailability::LeftOut => {
            Diagnosis::ok(SUBJECT, format!("{address} is left out, because this machine has no IPv6"))
        }
        PortAvailability::Held(holders) if holders.iter().any(is_appliance) => {
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

fn bind_service(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "capability NET_BIND_SERVICE";
    let limit = machine.first_unprivileged;
    let privileged = |port: &u16| *port != 0 && *port < limit;
    let Some(port) = machine.listen.iter().map(|listen| listen.address.port()).find(privileged) else {
        return Diagnosis::ok(SUBJECT, format!("not needed: every port of `listen` is from {limit} on"));
    };
    match has(&machine.process, CAP_NET_BIND_SERVICE) {
        Some(true) => Diagnosis::ok(SUBJECT, format!("{} has it, for port {port}", who(&machine.process))),
        None => Diagnosis::not_checked(SUBJECT, "the capabilities cannot be read", None),
        Some(false) if is_of_unit(machine) => Diagnosis::not_checked(
            SUBJECT,
            "the service does not run; its unit grants it",
            "sudo systemctl start portscan".to_owned(),
        ),
        Some(false) => {
            let detail = format!("{} lacks it, and port {port} needs it", who(&machine.process));
            let mend = match machine.place {
                Installation::Unit => {
                    "sudo systemctl restart portscan, with the unit's own capabilities".to_owned()
                }
                Installation::Container => "add --cap-add NET_BIND_SERVICE to the container".to_owned(),
                Installation::Binary => setcap("cap_net_bind_service"),
            };
            // It listens already, so it had it in time or needed none.
            let listens = |listen: &ListenState| matches!(&listen.port, PortAvailability::Held(by) if by.iter().any(is_appliance));
            match machine.listen.iter().any(listens) {
                true => Diagnosis::ok(SUBJECT, format!("not needed: the appliance listens on port {port}")),
                false => Diagnosis::essential(SUBJECT, detail, mend),
            }
        }
    }
}

fn disk(disk: &DiskState) -> Diagnosis {
    const SUBJECT: &str = "disk";
    let (directory, available, database, kind) = match disk {
        DiskState::Closed(why) => {
            return Diagnosis::not_checked(SUBJECT, why, "sudo portscan doctor".to_owned());
        }
        DiskState::Unwritable(why) => return Diagnosis::essential(SUBJECT, why, None),
        DiskState::Writable { directory, available, database, kind } => {
            (directory, *available, *database, *kind)
        }
    };
    let detail = format!("{directory} has {} left", mib(available));
    let needed = database.saturating_add(SPARE_DISK);
    if available < LEAST_DISK {
        let mend = format!("make room: df -h {directory}");
        return Diagnosis::essential(SUBJECT, format!("{detail}; nothing can be stored"), mend);
    }
    match kind {
        FileSystemKind::Memory => {
            let detail = format!("{directory} is kept in memory: all results are lost at the next start");
            Diagnosis::lacking(SUBJECT, detail, "mount a disk there, or set another data_dir".to_owned())
        }
        FileSystemKind::ContainerLayer => {
            let detail = format!("{directory} is the container's own: all results are lost with it");
            Diagnosis::lacking(SUBJECT, detail, format!("mount a volume: --volume portscan:{directory}"))
        }
        FileSystemKind::Disk if available < needed => {
            let detail = format!("{detail}; an upgrade copies the database and needs {}", mib(needed));
            Diagnosis::lacking(SUBJECT, detail, format!("make room: df -h {directory}"))
        }
        FileSystemKind::Disk => Diagnosis::ok(SUBJECT, format!("{detail} and can be written to")),
    }
}

fn interfaces(machine: &MachineState) -> Vec<Diagnosis> {
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

fn neighbours(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "neighbour table";
    match &machine.neighbours {
        Ok(count) => Diagnosis::ok(SUBJECT, format!("it can be read; neighbours known: {count}")),
        Err(why) => {
            let detail = format!("it cannot be read, so no device is known by its MAC: {why}");
            Diagnosis::essential(SUBJECT, detail, needs_netlink(machine.place))
        }
    }
}

fn net_raw(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "capability NET_RAW";
    match has(&machine.process, CAP_NET_RAW) {
        Some(true) => {
            Diagnosis::ok(SUBJECT, format!("{} has it: ARP is sent directly", who(&machine.process)))
        }
        None => Diagnosis::not_checked(SUBJECT, "the capabilities cannot be read", None),
        Some(false) if !machine.asks_macs => {
            Diagnosis::ok(SUBJECT, "not needed: no MAC is asked for (feed.discover, exclude)")
        }
        Some(false) if is_of_unit(machine) => Diagnosis::not_checked(
            SUBJECT,
            "the service does not run; ask-by-arp.conf grants it",
            "sudo systemctl start portscan".to_owned(),
        ),
        Some(false) => {
            let detail = format!("{} lacks it: finding devices takes twice as long", who(&machine.process));
            let mend = match machine.place {
                Installation::Unit => ARP_GRANT.split("; without").next().unwrap_or(ARP_GRANT).to_owned(),
                Installation::Container => "add --cap-add NET_RAW to the container".to_owned(),
                Installation::Binary => setcap("cap_net_raw"),
            };
            Diagnosis::lacking(SUBJECT, detail, mend)
        }
    }
}

fn ping_sockets(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "ping sockets";
    let Some(range) = &machine.ping_groups else {
        return Diagnosis::not_checked(SUBJECT, "net.ipv4.ping_group_range cannot be read", None);
    };
    let may = machine.process.groups.iter().any(|group| range.contains(group));
    match may {
        true => Diagnosis::ok(SUBJECT, format!("{} may open them", who(&machine.process))),
        false if has(&machine.process, CAP_NET_RAW) == Some(true) => {
            Diagnosis::ok(SUBJECT, "not needed: the capability NET_RAW does more")
        }
        false if !machine.asks_macs => Diagnosis::ok(SUBJECT, "not needed: no MAC is asked for"),
        false if is_of_unit(machine) => Diagnosis::not_checked(
            SUBJECT,
            "the service does not run, and has a group of its own",
            "sudo systemctl start portscan".to_owned(),
        ),
        false => Diagnosis::lacking(
            SUBJECT,
            format!(
                "{} may not open them: empty datagrams make the kernel ask instead",
                who(&machine.process)
            ),
            "sudo sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"".to_owned(),
        ),
    }
}

fn net_admin(process: &JudgedProcess) -> Diagnosis {
    const SUBJECT: &str = "capability NET_ADMIN";
    Diagnosis::ok(
        SUBJECT,
        match has(process, CAP_NET_ADMIN) {
            Some(true) if process.is_appliance => {
                "the appliance has it and does not need it; it can be dropped"
            }
            _ => "not needed",
        },
    )
}

fn descriptors(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "descriptors";
    let Some(limit) = machine.process.descriptors else {
        let detail = "the limit of another user's process cannot be read";
        return Diagnosis::not_checked(SUBJECT, detail, "sudo portscan doctor".to_owned());
    };
    let detail = format!("{} may open {limit}", who(&machine.process));
    if limit >= ENOUGH_DESCRIPTORS {
        return Diagnosis::ok(SUBJECT, detail);
    }
    if is_of_unit(machine) {
        let detail = format!("the service does not run; its unit grants {DESCRIPTORS}");
        return Diagnosis::not_checked(SUBJECT, detail, "sudo systemctl start portscan".to_owned());
    }
    let mend = match machine.place {
        Installation::Unit => {
            format!("LimitNOFILE={DESCRIPTORS} under [Service]: sudo systemctl edit portscan")
        }
        Installation::Container => format!("add --ulimit nofile={DESCRIPTORS} to the container"),
        Installation::Binary => format!("ulimit -n {DESCRIPTORS}"),
    };
    match limit < LEAST_DESCRIPTORS {
        true => Diagnosis::essential(SUBJECT, format!("{detail}, too few to work"), mend),
        false => Diagnosis::lacking(SUBJECT, format!("{detail}: scans are slower"), mend),
    }
}

fn memory(machine: &MachineState) -> Diagnosis {
    const SUBJECT: &str = "memory";
    let Some(memory) = machine.memory else {
        return Diagnosis::not_checked(SUBJECT, "/proc/meminfo cannot be read", None);
    };
    let limit = machine.memory_limit.unwrap_or(u64::MAX);
    let detail = format!("{} of {} are available", mib(memory.available), mib(memory.total));
    match memory.available.min(limit) {
        enough if enough >= ENOUGH_MEMORY => Diagnosis::ok(SUBJECT, detail),
        _ if limit < ENOUGH_MEMORY => {
            let detail = format!("this control group may use {}", mib(limit));
            let mend = match machine.place {
                Installation::Container => "start the container with --memory 128m",
                Installation::Unit | Installation::Binary => "raise MemoryMax= to 128M",
            };
            match limit < LEAST_MEMORY {
                true => Diagnosis::essential(SUBJECT, detail, mend.to_owned()),
                false => Diagnosis::lacking(SUBJECT, detail, mend.to_owned()),
            }
        }
        few => {
            let mend = "stop what uses most: ps -eo rss,comm --sort=-rss | head".to_owned();
            match few < LEAST_MEMORY {
                true => Diagnosis::essential(SUBJECT, detail, mend),
                false => Diagnosis::lacking(SUBJECT, detail, mend),
            }
        }
    }
}

fn clock(clock: ClockState) -> Diagnosis {
    const SUBJECT: &str = "clock";
    let time = clock.time.strftime("%Y-%m-%d %H:%M UTC");
    let mend = || "sudo timedatectl set-ntp true".to_owned();
    if clock.time < EARLIEST_SANE {
        let detail =
            format!("it says {time}, which is past: scheduled scans wait for five minutes after the start");
        return Diagnosis::lacking(SUBJECT, detail, mend());
    }
    match clock.is_synchronised {
        true => Diagnosis::ok(SUBJECT, format!("it says {time}")),
        false => {
            let detail = format!("it says {time}, and was not synchronised since the machine was started");
            Diagnosis::lacking(SUBJECT, detail, mend())
        }
    }
}

fn mdns(mdns: &MdnsState) -> Diagnosis {
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

fn local_ports(machine: &MachineState) -> Diagnosis {
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

fn conntrack(machine: &MachineState) -> Diagnosis {
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

fn has(process: &JudgedProcess, capability: u8) -> Option<bool> {
    process.capabilities.map(|all| all & (1 << capability) != 0)
}

/// Whether what this process may do says nothing about the service.
fn is_of_unit(machine: &MachineState) -> bool {
    machine.place == Installation::Unit && !machine.process.is_appliance
}

fn is_appliance(holder: &PortHolder) -> bool {
    holder.process.as_ref().is_some_and(|(_, name)| name == APPLIANCE)
}

fn who(process: &JudgedProcess) -> String {
    match process.is_appliance {
        true => format!("the appliance (process {})", process.pid),
        false => "this user".to_owned(),
    }
}

fn listed(holders: &[PortHolder]) -> String {
    holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn needs_netlink(place: Installation) -> String {
    let sandbox = match place {
        Installation::Unit => "AF_NETLINK must be in RestrictAddressFamilies=: systemctl cat portscan",
        Installation::Container => "the container's seccomp profile must permit AF_NETLINK",
        Installation::Binary => "its sandbox must permit AF_NETLINK",
    };
    sandbox.to_owned()
}

fn setcap(capability: &str) -> String {
    format!("sudo setcap {capability}+ep $(command -v portscan)")
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / MIB)
}

#[cfg(test)]
mod tests;

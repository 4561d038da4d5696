use std::{collections::BTreeSet, ops::RangeInclusive};

use super::{
    privileges::{CAP_NET_BIND_SERVICE, CAP_NET_RAW},
    resources::{DESCRIPTORS, MIB},
    *,
};
use crate::{
    doctor::facts::{
        APPLIANCE, ClockState, DiskState, FileSystemKind, Installation, InterfaceState, JudgedProcess,
        ListenState, MdnsState, PortAvailability,
    },
    model::{DiagnosisState, MemoryFacts},
    net::{Conntrack, PortHolder},
};

/// As the kernel has it by default: no group may have ping sockets.
fn no_group() -> RangeInclusive<u32> {
    RangeInclusive::new(1, 0)
}

/// A Raspberry Pi on which the service runs.
fn healthy() -> MachineState {
    let appliance = PortHolder { uid: 61_000, process: Some((412, APPLIANCE.to_owned())) };
    MachineState {
        configuration: Ok(()),
        place: Installation::Unit,
        process: JudgedProcess {
            pid: 412,
            is_appliance: true,
            capabilities: Some(1 << CAP_NET_BIND_SERVICE | 1 << CAP_NET_RAW),
            groups: BTreeSet::from([61_000]),
            descriptors: Some(DESCRIPTORS),
        },
        first_unprivileged: 1024,
        listen: vec![ListenState {
            address: "0.0.0.0:80".parse().unwrap(),
            port: PortAvailability::Held(vec![appliance]),
        }],
        asks_macs: true,
        interfaces: Ok(vec![InterfaceState {
            name: "eth0".to_owned(),
            nets: vec!["192.168.1.5/24".to_owned()],
            obstacle: None,
        }]),
        discovered: vec!["eth0".to_owned()],
        clock: ClockState { time: "2026-06-01T12:00:00Z".parse().unwrap(), is_synchronised: true },
        disk: DiskState::Writable {
            directory: "/var/lib/portscan".to_owned(),
            available: 9000 * MIB,
            database: 20 * MIB,
            kind: FileSystemKind::Disk,
        },
        mdns: MdnsState::Shared(vec![PortHolder {
            uid: 108,
            process: Some((300, "avahi-daemon".to_owned())),
        }]),
        neighbours: Ok(12),
        ping_groups: Some(0..=2_147_483_647),
        local_ports: 32_768..=60_999,
        conntrack: None,
        memory: Some(MemoryFacts { resident: 0, peak: 0, available: 600 * MIB, total: 900 * MIB }),
        memory_limit: None,
    }
}

/// Started by hand, without the package and without privileges.
fn by_hand() -> MachineState {
    let mut machine = healthy();
    machine.place = Installation::Binary;
    machine.process = JudgedProcess { pid: 7, is_appliance: false, capabilities: Some(0), ..machine.process };
    machine.listen[0].port = PortAvailability::Free;
    machine
}

#[test]
fn a_healthy_machine_lacks_nothing() {
    let all = diagnose(&healthy());
    assert!(
        all.iter().all(|finding| finding.state == DiagnosisState::Ok && finding.mend.is_none()),
        "{all:#?}"
    );
    let details: Vec<&str> = all.iter().map(|finding| finding.detail.as_str()).collect();
    assert!(
        details.contains(&"0.0.0.0:80 is held by the running appliance, portscan (process 412)"),
        "{details:?}"
    );
    assert!(details.contains(&"port 5353 is shared with avahi-daemon (process 300)"), "{details:?}");
}

/// Changes a machine.
type Change = fn(&mut MachineState);

/// One change of a machine, and the finding that it must lead to: the subject, its state, whether it is essential, a
/// part of its text, and a part of the remedy.
type Case = (MachineState, Change, &'static str, DiagnosisState, bool, &'static str, &'static str);

fn writable(available: u64, database: u64, kind: FileSystemKind) -> DiskState {
    DiskState::Writable { directory: "/data".to_owned(), available, database, kind }
}

#[rustfmt::skip] // A table.
#[allow(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    use DiagnosisState::{Lacking, NotChecked, Ok as Fine};
    const BIND: &str = "capability NET_BIND_SERVICE";
    const RAW: &str = "capability NET_RAW";
    vec![
        (healthy(), |m| m.configuration = Err("line 3: no".to_owned()), "configuration", Lacking, true, "line 3", "check-config"),
        (by_hand(), |_| {}, "port", Fine, false, "0.0.0.0:80 is free", ""),
        (by_hand(), |m| m.listen[0].port = PortAvailability::LeftOut, "port", Fine, false, "no IPv6", ""),
        (by_hand(), |m| m.listen[0].port = PortAvailability::Held(vec![PortHolder { uid: 0, process: Some((9, "nginx".to_owned())) }]), "port", Lacking, true, "held by nginx (process 9)", "listen = ["),
        (by_hand(), |m| m.listen[0].port = PortAvailability::Held(vec![]), "port", Lacking, true, "may not see", "listen = ["),
        (by_hand(), |m| m.listen[0].port = PortAvailability::Unusable("no interface has it".to_owned()), "port", Lacking, true, "no interface", ""),
        (by_hand(), |_| {}, BIND, Lacking, true, "this user lacks it, and port 80", "setcap cap_net_bind_service+ep"),
        (by_hand(), |m| m.place = Installation::Container, BIND, Lacking, true, "port 80", "--cap-add NET_BIND_SERVICE"),
        (by_hand(), |m| m.place = Installation::Unit, BIND, NotChecked, false, "unit grants", "systemctl start"),
        (by_hand(), |m| m.process.capabilities = None, BIND, NotChecked, false, "cannot be read", ""),
        (by_hand(), |m| m.first_unprivileged = 80, BIND, Fine, false, "not needed", ""),
        (by_hand(), |m| m.listen[0].address = "127.0.0.1:8080".parse().unwrap(), BIND, Fine, false, "from 1024", ""),
        (healthy(), |m| m.process.capabilities = Some(0), BIND, Fine, false, "listens on port 80", ""),
        (by_hand(), |_| {}, RAW, Lacking, false, "twice as long", "setcap cap_net_raw+ep"),
        (healthy(), |m| m.process.capabilities = Some(0), RAW, Lacking, false, "(process 412)", "ask-by-arp.conf"),
        (by_hand(), |m| m.place = Installation::Container, RAW, Lacking, false, "", "--cap-add NET_RAW"),
        (by_hand(), |m| m.place = Installation::Unit, RAW, NotChecked, false, "ask-by-arp.conf", "systemctl start"),
        (by_hand(), |m| m.asks_macs = false, RAW, Fine, false, "not needed", ""),
        (healthy(), |m| m.process.capabilities = Some(u64::MAX), "capability NET_ADMIN", Fine, false, "can be dropped", ""),
        (by_hand(), |m| m.ping_groups = Some(no_group()), "ping sockets", Lacking, false, "may not", "ping_group_range"),
        (healthy(), |m| m.ping_groups = Some(no_group()), "ping sockets", Fine, false, "NET_RAW does more", ""),
        (healthy(), |m| m.ping_groups = None, "ping sockets", NotChecked, false, "cannot be read", ""),
        (healthy(), |m| m.disk = DiskState::Closed("mode 0700".to_owned()), "disk", NotChecked, false, "0700", "sudo"),
        (healthy(), |m| m.disk = DiskState::Unwritable("read-only".to_owned()), "disk", Lacking, true, "read-only", ""),
        (healthy(), |m| m.disk = writable(15 * MIB, 0, FileSystemKind::Disk), "disk", Lacking, true, "15 MiB", "df -h /data"),
        (healthy(), |m| m.disk = writable(100 * MIB, 50 * MIB, FileSystemKind::Disk), "disk", Lacking, false, "needs 114 MiB", "df -h"),
        (healthy(), |m| m.disk = writable(114 * MIB, 50 * MIB, FileSystemKind::Disk), "disk", Fine, false, "114 MiB", ""),
        (healthy(), |m| m.disk = writable(999 * MIB, 0, FileSystemKind::Memory), "disk", Lacking, false, "lost", "mount"),
        (healthy(), |m| m.disk = writable(999 * MIB, 0, FileSystemKind::ContainerLayer), "disk", Lacking, false, "lost", "--volume"),
        (healthy(), |m| m.interfaces = Err("EPERM".to_owned()), "interface", Lacking, true, "EPERM", "AF_NETLINK"),
        (healthy(), |m| m.discovered = vec!["eth1".to_owned()], "interface", Lacking, true, "no interface eth1", "one of eth0"),
        (healthy(), |m| m.interfaces = Ok(vec![]), "interface", Lacking, true, "no interface eth0", "host"),
        (by_hand(), |m| { m.discovered.clear(); m.interfaces = Ok(vec![]); }, "interface", Lacking, false, "none has an address", "ip address"),
        (healthy(), |m| if let Ok(all) = &mut m.interfaces { all[0].obstacle = Some("eth0 has no carrier".to_owned()) }, "interface", Lacking, true, "no carrier", ""),
        (healthy(), |m| { m.discovered.clear(); if let Ok(all) = &mut m.interfaces { all[0].obstacle = Some("down".to_owned()) } }, "interface", Fine, false, "not searched", ""),
        (healthy(), |m| m.neighbours = Err("EPERM".to_owned()), "neighbour table", Lacking, true, "EPERM", "AF_NETLINK"),
        (healthy(), |m| m.process.descriptors = Some(1024), "descriptors", Lacking, false, "1024", "LimitNOFILE=70000"),
        (by_hand(), |m| m.process.descriptors = Some(63), "descriptors", Lacking, true, "63", "ulimit -n 70000"),
        (by_hand(), |m| { m.place = Installation::Unit; m.process.descriptors = Some(1024); }, "descriptors", NotChecked, false, "unit grants", "start"),
        (healthy(), |m| m.process.descriptors = None, "descriptors", NotChecked, false, "cannot be read", "sudo"),
        (healthy(), |m| m.memory = None, "memory", NotChecked, false, "meminfo", ""),
        (healthy(), |m| m.memory.as_mut().unwrap().available = 40 * MIB, "memory", Lacking, false, "40 MiB", "ps "),
        (healthy(), |m| m.memory.as_mut().unwrap().available = 20 * MIB, "memory", Lacking, true, "20 MiB", "ps "),
        (healthy(), |m| m.memory_limit = Some(40 * MIB), "memory", Lacking, false, "40 MiB", "MemoryMax"),
        (by_hand(), |m| { m.place = Installation::Container; m.memory_limit = Some(16 * MIB); }, "memory", Lacking, true, "16 MiB", "--memory"),
        (healthy(), |m| m.clock.is_synchronised = false, "clock", Lacking, false, "not synchronised", "set-ntp true"),
        (healthy(), |m| m.clock.time = "2000-01-01T00:03:00Z".parse().unwrap(), "clock", Lacking, false, "2000-01-01 00:03", "set-ntp true"),
        (healthy(), |m| m.mdns = MdnsState::Off, "mDNS", NotChecked, false, "no name", ""),
        (healthy(), |m| m.mdns = MdnsState::Shared(vec![]), "mDNS", Fine, false, "no other responder", ""),
        (healthy(), |m| m.mdns = MdnsState::Exclusive(vec![]), "mDNS", Lacking, false, "for itself", "enabled = false"),
        (healthy(), |m| m.mdns = MdnsState::Unusable("EPERM".to_owned()), "mDNS", Lacking, false, "EPERM", "[mdns]"),
        (healthy(), |m| m.local_ports = 60_000..=60_999, "local ports", Lacking, false, "1000, from 60000", "ip_local_port_range"),
        (healthy(), |m| m.conntrack = Some(Conntrack { max: 1000, count: 990, silence: 120 }), "connection table", Lacking, false, "990 of 1000", "nf_conntrack_max=4000"),
        (healthy(), |m| m.conntrack = Some(Conntrack { max: 1000, count: 1, silence: 120 }), "connection table", Fine, false, "1 of 1000", ""),
    ]
}

#[test]
fn every_lack_is_found_with_its_remedy() {
    for (mut machine, change, subject, state, essential, detail, mend) in cases() {
        change(&mut machine);
        let all = diagnose(&machine);
        let is_meant = |finding: &&Diagnosis| {
            (finding.subject, finding.state, finding.essential) == (subject, state, essential)
                && finding.detail.contains(detail)
                && finding.mend.as_deref().unwrap_or_default().contains(mend)
                && (finding.mend.is_none() || !mend.is_empty())
        };
        assert!(all.iter().any(|finding| is_meant(&finding)), "{subject}, {detail}: {all:#?}");
    }
}

#[test]
fn what_is_lacking_names_its_remedy() {
    for (mut machine, change, ..) in cases() {
        change(&mut machine);
        for finding in diagnose(&machine).iter().filter(|finding| finding.state == DiagnosisState::Lacking) {
            // These reasons are made elsewhere and name it themselves.
            let is_told = matches!(finding.subject, "port" | "disk" | "interface");
            assert!(finding.mend.is_some() || is_told, "{finding:?}");
        }
    }
}

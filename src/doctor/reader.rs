//! Reads what the rules judge. It binds ports for an instant to see whether it may; it sends nothing.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process,
};

use nix::sys::{
    statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs},
    statvfs::statvfs,
};

use super::{
    facts::{
        APPLIANCE, ClockState, DiskState, FileSystemKind, Installation, InterfaceState, JudgedProcess,
        ListenState, MachineState, MdnsState, PortAvailability,
    },
    package::UNITS,
};
use crate::{
    clock::Clock,
    config::{Config, Overrides},
    data_dir::{Obstacle, obstacle, parent, writable},
    http::{self, BindError},
    model::TargetSpec,
    net::{
        Family, Lan, PortHolder, PortKind, SystemLimits,
        mdns::{MDNS_PORT, MdnsScope, share_port},
        memory, neighbours, port_holders,
    },
    store,
};

/// Where the kernel's settings are.
const SETTINGS: &str = "/proc/sys/net/ipv4";

/// The process with the privileges to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The appliance that runs on this machine; if none does, this process.
    Appliance,
    /// This process, which is the appliance.
    Myself,
}

/// Reads everything.
pub(super) fn read(overrides: &Overrides, judged: Judged, clock: &dyn Clock) -> MachineState {
    let (config, configuration) = match Config::read(overrides) {
        Ok(config) => (config, Ok(())),
        Err(error) => (Config::default(), Err(error.to_string().replace('\n', "; "))),
    };
    let listen = listen(&config);
    let process = judged_process(judged, &listen);
    let limits = SystemLimits::raise_and_read();
    let is_mac = |spec: &TargetSpec| matches!(spec, TargetSpec::Mac(_));
    MachineState {
        configuration,
        place: place(),
        process,
        first_unprivileged: setting("ip_unprivileged_port_start")
            .and_then(|text| text.parse().ok())
            .unwrap_or(1024),
        asks_macs: !config.feed.discover.is_empty() || config.exclude.iter().any(is_mac),
        interfaces: interfaces(),
        discovered: config.feed.discover.iter().map(|discover| discover.interface.clone()).collect(),
        clock: ClockState { time: clock.wall(), is_synchronised: clock.is_synchronised() },
        disk: disk(&config.data_dir),
        mdns: mdns(&config),
        neighbours: neighbours(Family::Ipv4).map(|all| all.len()).map_err(|error| error.to_string()),
        ping_groups: setting("ping_group_range").and_then(|text| range(&text)),
        local_ports: limits.as_ref().map_or(32_768..=60_999, |limits| limits.local_ports.clone()),
        conntrack: limits.ok().and_then(|limits| limits.conntrack),
        memory: memory(),
        memory_limit: memory_limit(),
        listen,
    }
}

fn setting(name: &str) -> Option<String> {
    Some(fs::read_to_string(format!("{SETTINGS}/{name}")).ok()?.trim().to_owned())
}

/// Two numbers; `1 0`, the kernel's own default, is no group.
fn range(text: &str) -> Option<RangeInclusive<u32>> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

/// Docker and podman leave one of these files; systemd and others set the variable for their first process alone.
fn place() -> Installation {
    if UNITS.iter().any(|unit| Path::new(unit).exists()) {
        Installation::Unit
    } else if ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
        // The image of this program has no files but the binary and the certificates (cross/image).
        || !Path::new("/bin/sh").exists()
    {
        Installation::Container
    } else {
        Installation::Binary
    }
}

fn listen(config: &Config) -> Vec<ListenState> {
    // All at once, as the server does: two addresses may conflict.
    let bound: Vec<_> = http::bind_each(&config.listen).collect();
    // Closed before the holders are looked for, which would find this process.
    let bound: Vec<_> =
        bound.into_iter().map(|(address, bound)| (address, bound.map(|made| made.is_some()))).collect();
    let holders = |port| port_holders(PortKind::Tcp, port).unwrap_or_default();
    bound
        .into_iter()
        .map(|(address, bound)| {
            let port = match bound {
                Ok(true) => PortAvailability::Free,
                Ok(false) => PortAvailability::LeftOut,
                Err(BindError::InUse(_)) => PortAvailability::Held(holders(address.port())),
                // Whether this process may use them is another finding.
                Err(BindError::Denied(_)) => match holders(address.port()) {
                    holders if holders.is_empty() => PortAvailability::Free,
                    holders => PortAvailability::Held(holders),
                },
                Err(error) => PortAvailability::Unusable(error.to_string()),
            };
            ListenState { address, port }
        })
        .collect()
}

fn judged_process(judged: Judged, listen: &[ListenState]) -> JudgedProcess {
    let appliance = match judged {
        Judged::Myself => Some(process::id()),
        Judged::Appliance => listening_appliance(listen),
    };
    let pid = appliance.unwrap_or_else(process::id);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    JudgedProcess {
        pid,
        is_appliance: appliance.is_some(),
        capabilities: capabilities(&status),
        groups: groups(&status),
        descriptors: descriptors(&limits),
    }
}

/// The appliance that holds one of these ports.
fn listening_appliance(listen: &[ListenState]) -> Option<u32> {
    let held = listen.iter().filter_map(|listen| match &listen.port {
        PortAvailability::Held(holders) => Some(holders),
        _ => None,
    });
    held.flatten().find_map(|PortHolder { process, .. }| {
        process.as_ref().filter(|(_, name)| name == APPLIANCE).map(|(pid, _)| *pid)
    })
}

fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

/// The effective ones, in hexadecimal.
fn capabilities(status: &str) -> Option<u64> {
    u64::from_str_radix(field(status, "CapEff")?, 16).ok()
}

/// The second of the four group numbers is the effective one (proc(5)).
fn groups(status: &str) -> BTreeSet<u32> {
    let effective = field(status, "Gid").and_then(|text| text.split_ascii_whitespace().nth(1));
    let others = field(status, "Groups").into_iter().flat_map(str::split_ascii_whitespace);
    effective.into_iter().chain(others).filter_map(|text| text.parse().ok()).collect()
}

/// `Max open files   1024   524288   files`: the second number is the hard limit.
fn descriptors(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn interfaces() -> Result<Vec<InterfaceState>, String> {
    let all = Lan::candidates().map_err(|error| error.to_string())?;
    let state = |candidate: crate::net::LanCandidate| InterfaceState {
        name: candidate.interface,
        nets: candidate.nets.iter().map(ToString::to_string).collect(),
        obstacle: candidate.obstacle.map(|obstacle| obstacle.to_string()),
    };
    Ok(all.into_iter().map(state).collect())
}

fn disk(directory: &Path) -> DiskState {
    let there = match obstacle(directory, &[store::FILE_NAME, http::TOKEN_FILE], true) {
        None => directory.to_owned(),
        Some(Obstacle::Missing(_)) => match writable(directory) {
            Ok(()) => nearest(directory),
            Err(errno) => {
                let shown = directory.display();
                return match errno {
                    nix::errno::Errno::EACCES => DiskState::Closed(format!(
                        "{shown} does not exist yet, and this user may not make it; the service makes its own"
                    )),
                    _ => DiskState::Unwritable(format!("{shown} cannot be made: {}", errno.desc())),
                };
            }
        },
        Some(obstacle) if obstacle.is_of_permission() => return DiskState::Closed(obstacle.to_string()),
        Some(obstacle) => return DiskState::Unwritable(obstacle.to_string()),
    };
    let Ok(space) = statvfs(&there) else {
        return DiskState::Closed(format!("{} does not tell its space", there.display()));
    };
    let kind = statfs(&there).map_or(FileSystemKind::Disk, |found| match found.filesystem_type() {
        TMPFS_MAGIC => FileSystemKind::Memory,
        OVERLAYFS_SUPER_MAGIC => FileSystemKind::ContainerLayer,
        _ => FileSystemKind::Disk,
    });
    let database = fs::metadata(directory.join(store::FILE_NAME)).map_or(0, |data| data.len());
    #[allow(clippy::unnecessary_cast, reason = "with 32 bits the numbers are of another type")]
    let available = (space.blocks_available() as u64).saturating_mul(space.fragment_size() as u64);
    DiskState::Writable { directory: directory.display().to_string(), available, database, kind }
}

fn nearest(directory: &Path) -> PathBuf {
    match directory.exists() || directory == Path::new(".") {
        true => directory.to_owned(),
        false => nearest(parent(directory)),
    }
}

fn mdns(config: &Config) -> MdnsState {
    if !config.mdns.enabled || MdnsScope::of(&config.listen).is_none() {
        return MdnsState::Off;
    }
    let shared = share_port();
    // The appliance's own sockets are no other responder's.
    let mut holders = port_holders(PortKind::Udp, MDNS_PORT).unwrap_or_default();
    holders.retain(|holder| holder.process.as_ref().is_none_or(|(_, name)| name != APPLIANCE));
    match shared {
        Ok(()) => MdnsState::Shared(holders),
        Err(error) if error.kind() == ErrorKind::AddrInUse => MdnsState::Exclusive(holders),
        Err(error) => MdnsState::Unusable(error.to_string()),
    }
}

/// The limit of this process's control group (cgroups(7), version 2), where it is the root of what is visible, as in a
/// container.
fn memory_limit() -> Option<u64> {
    fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_processs_privileges() {
        let status = "Name:\tportscan\nUid:\t0\t109\t0\t0\nGid:\t0\t7\t0\t0\nGroups:\t4 24 \nCapEff:\t0000000000002400\n";
        assert_eq!(capabilities(status), Some(0x2400));
        assert_eq!(groups(status), BTreeSet::from([4, 7, 24]));
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(descriptors(limits), Some(524_288));
        assert_eq!(descriptors("Max open files 1 unlimited files"), Some(u64::MAX));
        assert_eq!(
            (capabilities(""), groups("Gid:\tx"), descriptors("Max open")),
            (None, BTreeSet::new(), None)
        );
    }

    #[test]
    fn no_group_may_ping_by_the_kernels_default() {
        assert_eq!(range("0\t2147483647"), Some(0..=2_147_483_647));
        assert!(range("1 0").is_some_and(|none| none.is_empty()));
        assert_eq!((range(""), range("x 1")), (None, None));
    }

    #[test]
    fn a_missing_directory_is_judged_by_where_it_would_be() {
        let folder = tempfile::tempdir().unwrap();
        let found = disk(&folder.path().join("not/there"));
        assert!(matches!(found, DiskState::Writable { database: 0, available: 1.., .. }), "{found:?}");
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(disk(&file), DiskState::Unwritable(_)));
    }
}

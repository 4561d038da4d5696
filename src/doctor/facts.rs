//! The facts about this machine. The reader collects them; the rules judge them.

use std::{collections::BTreeSet, net::SocketAddr, ops::RangeInclusive};

use jiff::Timestamp;

use crate::{
    model::MemoryFacts,
    net::{Conntrack, PortHolder},
};

/// The name of this program's processes, by which a running appliance is recognised.
pub(super) const APPLIANCE: &str = "portscan";

/// All of it. `Err` has the reason why something could not be read.
#[derive(Clone, Debug)]
pub(super) struct MachineState {
    /// Why the configuration cannot be used; the defaults are judged instead.
    pub(super) configuration: Result<(), String>,
    pub(super) place: Installation,
    pub(super) process: JudgedProcess,
    /// The first port that any user may listen on (`net.ipv4.ip_unprivileged_port_start`).
    pub(super) first_unprivileged: u16,
    pub(super) listen: Vec<ListenState>,
    /// The devices' MACs are asked for: the configuration discovers devices, or excludes some by MAC.
    pub(super) asks_macs: bool,
    pub(super) interfaces: Result<Vec<InterfaceState>, String>,
    /// Interfaces that the configuration names under `[feed] discover`.
    pub(super) discovered: Vec<String>,
    pub(super) clock: ClockState,
    pub(super) disk: DiskState,
    pub(super) mdns: MdnsState,
    /// The number of neighbours that the kernel knows.
    pub(super) neighbours: Result<usize, String>,
    /// The groups of the processes that may open ping sockets (icmp(7)).
    pub(super) ping_groups: Option<RangeInclusive<u32>>,
    pub(super) local_ports: RangeInclusive<u16>,
    pub(super) conntrack: Option<Conntrack>,
    pub(super) memory: Option<MemoryFacts>,
    /// The most memory that this control group may use; `None`: as much as there is.
    pub(super) memory_limit: Option<u64>,
}

/// How the appliance is installed here, which decides how something is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Installation {
    /// systemd's unit is installed.
    Unit,
    /// This is a container.
    Container,
    /// Neither.
    Binary,
}

/// The process with the privileges to judge: the running appliance, else this one.
#[derive(Clone, Debug)]
pub(super) struct JudgedProcess {
    pub(super) pid: u32,
    pub(super) is_appliance: bool,
    /// Its effective capabilities, one bit each (capabilities(7)).
    pub(super) capabilities: Option<u64>,
    /// Its effective group and the supplementary ones.
    pub(super) groups: BTreeSet<u32>,
    /// The descriptors that it may open at most; it raises its limit to that.
    pub(super) descriptors: Option<u64>,
}

/// An address of `listen`.
#[derive(Clone, Debug)]
pub(super) struct ListenState {
    pub(super) address: SocketAddr,
    pub(super) port: PortAvailability,
}

/// Whether a port can be listened on.
#[derive(Clone, Debug)]
pub(super) enum PortAvailability {
    Free,
    /// The machine has no IPv6, and another address of `listen` serves instead.
    LeftOut,
    Held(Vec<PortHolder>),
    /// It may not be listened on, with the reason and the remedy.
    Unusable(String),
}

/// A network interface other than the loopback.
#[derive(Clone, Debug)]
pub(super) struct InterfaceState {
    pub(super) name: String,
    /// This machine's addresses there.
    pub(super) nets: Vec<String>,
    /// Why devices cannot be discovered there, with the remedy.
    pub(super) obstacle: Option<String>,
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockState {
    pub(super) time: Timestamp,
    pub(super) is_synchronised: bool,
}

/// The data directory and what is below it.
#[derive(Clone, Debug)]
pub(super) enum DiskState {
    /// This user may not look.
    Closed(String),
    /// It cannot be written to, with the remedy.
    Unwritable(String),
    Writable {
        directory: String,
        /// Octets that may be written there.
        available: u64,
        /// Octets of the database.
        database: u64,
        kind: FileSystemKind,
    },
}

/// How long files last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystemKind {
    /// As long as the disk.
    Disk,
    /// Until the machine is switched off.
    Memory,
    /// Until the container is removed.
    ContainerLayer,
}

/// The port of multicast DNS.
#[derive(Clone, Debug)]
pub(super) enum MdnsState {
    /// `[mdns] enabled = false`, or it is not announced because only the loopback is listened on.
    Off,
    /// It can be shared with these.
    Shared(Vec<PortHolder>),
    /// One of these keeps it for itself.
    Exclusive(Vec<PortHolder>),
    Unusable(String),
}

//! The state of the appliance at one moment, as metrics report it.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{Address, AdviceLevel, Delays, Deviation, DeviceKey, Mac, PortState, Protocol, ScanStatus};

/// Values of one moment; counts are since the start of the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Probes and their results.
    pub probes: ProbeFacts,
    /// Faults of this machine by kind, including those that never occurred.
    pub local_errors: Vec<(&'static str, u64)>,
    /// How late the scanner's loop woke up.
    pub lag: Delays,
    /// Time from the decision to send a probe to its connect.
    pub start_delay: Delays,
    /// The limits of the machine; `None` if it does not report them.
    pub limits: Option<LimitFacts>,
    /// Memory in use and available; `None` if the machine does not report it.
    pub memory: Option<MemoryFacts>,
    /// The sources of devices, in the order of precedence.
    pub feeds: Vec<FeedFacts>,
    /// The state of the database.
    pub store: StoreFacts,
    /// Reports of other scanners.
    pub imports: ImportFacts,
    /// The alert channels.
    pub channels: Vec<ChannelFacts>,
    /// The configured scanners.
    pub scanners: Vec<ScannerFacts>,
    /// Every endpoint with a result.
    pub hosts: Vec<HostFacts>,
    /// The number of ports that are not in the expected state, by host and protocol; this equals the number of
    /// differences, including those of hosts that were never seen.
    pub differing: BTreeMap<(DeviceKey, Protocol), u32>,
    /// The number of open ports by the level of the advice on them; those without advice are not counted.
    pub advised: BTreeMap<AdviceLevel, u32>,
}

/// Probes and their results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeFacts {
    /// Connected.
    pub accepted: u64,
    /// Refused.
    pub refused: u64,
    /// Timed out.
    pub silent: u64,
    /// Answered by an ICMP error, or stopped by a missing neighbour.
    pub unreachable: u64,
    /// Not sent, because the prober reached them too late.
    pub not_started: u64,
    /// In flight now.
    pub in_flight: u32,
    /// Hosts being scanned now.
    pub hosts: u32,
    /// The number of sockets that may be open now: the limit, or less if this machine cannot keep up.
    pub window: u32,
}

/// The limits of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitFacts {
    /// Descriptors of this process.
    pub descriptors: u32,
    /// Sockets for probes.
    pub sockets: u32,
    /// Local ports to connect from.
    pub local_ports: u32,
    /// A firewall's connection table, if there is one.
    pub conntrack: Option<TableFacts>,
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFacts {
    /// Resident memory of this process.
    pub resident: u64,
    /// The highest value of that so far.
    pub peak: u64,
    /// Memory that the machine has available.
    pub available: u64,
    /// Total memory of the machine.
    pub total: u64,
}

/// A firewall's connection table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableFacts {
    /// All connections in it, not only ours.
    pub entries: u32,
    /// Its capacity.
    pub max: u32,
    /// Probes per second that may go unanswered.
    pub silent_per_second: u32,
}

/// A site of a fleet, as its hub knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteFacts {
    /// What it is called.
    pub name: String,
    /// Whether it reports.
    pub is_up: bool,
    /// When it was last heard.
    pub heard: Option<Timestamp>,
    /// Whether the hub's copy can be read.
    pub is_readable: bool,
}

/// A source of devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedFacts {
    /// `hosts`, `discover:eth0` or a URL.
    pub source: String,
    /// Whether the source is up: its answers are used.
    pub up: bool,
    /// Why it is down, or which of its entries are refused; empty if there is no problem.
    pub detail: String,
    /// The devices in its last valid answer.
    pub devices: usize,
    /// Entries of its last good answer that were refused.
    pub rejected: usize,
    /// Devices in that answer beyond the limit.
    pub held_back: usize,
}

/// The state of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StoreFacts {
    /// Whether results reach the disk.
    pub up: bool,
    /// On disk, its log included.
    pub bytes: u64,
    /// The bytes when it was opened.
    pub opened_bytes: u64,
    /// Devices that are known, scanned or not; `None` while the database cannot be read.
    pub known: Option<u32>,
    /// Devices that have a result; `None` while the database cannot be read.
    pub devices: Option<u32>,
    /// When the newest complete scan ended, by the wall clock at that time; `None` before the first.
    pub last_scan: Option<Timestamp>,
}

/// An alert channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelFacts {
    /// Its name.
    pub name: String,
    /// Alerts that wait.
    pub pending: usize,
    /// How long the oldest of them waits; zero: none does.
    pub oldest: Duration,
    /// Messages delivered since the start.
    pub delivered: u64,
    /// Attempts failed since the start.
    pub failed: u64,
}

/// Imported reports of other scanners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportFacts {
    /// Reports that were refused.
    pub failed: u64,
    /// The time of the last import or of our last complete scan, by the wall clock at that time.
    pub last: Option<Timestamp>,
}

/// A configured scanner.
#[derive(Clone, Debug, PartialEq)]
pub struct ScannerFacts {
    /// Its name.
    pub name: String,
    /// The time from one start to the next.
    pub interval: Duration,
    /// When its newest complete scan ended; `None` if there is none.
    pub complete: Option<Timestamp>,
    /// How long its newest ended scan took, however that ended.
    pub took: Option<Duration>,
    /// How that scan ended.
    pub status: Option<ScanStatus>,
}

/// An endpoint with a result.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFacts {
    /// Its MAC, if known.
    pub mac: Option<Mac>,
    /// Its address.
    pub host: Address,
    /// Its name.
    pub name: Option<String>,
    /// Whether it answered our newest scan; `None` if only other scanners have scanned it.
    pub up: Option<bool>,
    /// Whether none of its ports has been accepted, although other devices' have. A device without open ports does not
    /// count: it has nothing to accept, so the alert would never end. Its arrival is a change event.
    pub new: bool,
    /// TCP ports that have a state, by the newest scan or an earlier one.
    pub scanned_ports: u32,
    /// Whether these are all the ports that are to be scanned on it.
    pub complete: bool,
    /// Ports that are expected to be open.
    pub expected: u32,
    /// Ports by state, for ports that do not have the device's most common state.
    pub listed: BTreeMap<(Protocol, PortState), u32>,
    /// Open ports, and ports that are to be reported.
    pub ports: Vec<PortFact>,
}

/// A port that is open or expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFact {
    /// The protocol.
    pub protocol: Protocol,
    /// 0 to 65535.
    pub port: u16,
    /// Whether it is open.
    pub open: bool,
    /// How it differs from the expected state, if that is to be reported: not before the first accept, and not for a
    /// device that is new as a whole.
    pub deviation: Option<Deviation>,
}

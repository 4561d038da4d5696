//! The appliance at one moment, as far as metrics tell of it.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{Address, Delays, Deviation, DeviceKey, Mac, PortState, Protocol, ScanStatus};

/// Facts of one moment; counts are since the start of the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// What leaves and comes back.
    pub probes: ProbeFacts,
    /// Faults of this machine's by kind, those that never happened included.
    pub local_errors: Vec<(&'static str, u64)>,
    /// By how much the scanner's loop missed the moments at which it was to wake up.
    pub lag: Delays,
    /// From the decision to make a probe to its connect.
    pub start_delay: Delays,
    /// What the machine allows; `None` if it does not tell.
    pub limits: Option<LimitFacts>,
    /// What memory is taken and left; `None` if the machine does not tell.
    pub memory: Option<MemoryFacts>,
    /// Where devices come from, in the order of precedence.
    pub feeds: Vec<FeedFacts>,
    /// What is remembered.
    pub store: StoreFacts,
    /// What others found.
    pub imports: ImportFacts,
    /// Those that are configured.
    pub scanners: Vec<ScannerFacts>,
    /// Every endpoint that has a result.
    pub hosts: Vec<HostFacts>,
    /// How many ports are in another state than the expected one, by host and protocol: as many as there are
    /// differences, of hosts that were never seen, too.
    pub differing: BTreeMap<(DeviceKey, Protocol), u32>,
}

/// What leaves and comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeFacts {
    /// Connected.
    pub accepted: u64,
    /// Refused.
    pub refused: u64,
    /// Without an answer.
    pub silent: u64,
    /// Answered by an ICMP error, or stopped by a missing neighbour.
    pub unreachable: u64,
    /// Not made, because the prober came too late to them.
    pub not_started: u64,
    /// Under way now.
    pub in_flight: u32,
    /// Hosts being looked at now.
    pub hosts: u32,
    /// Sockets that may be open now: the limit, or less where this machine cannot keep up.
    pub window: u32,
}

/// What the machine allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitFacts {
    /// Descriptors of this process.
    pub descriptors: u32,
    /// Sockets for probes.
    pub sockets: u32,
    /// Local ports to connect from.
    pub local_ports: u32,
    /// A firewall's connection table, where one is at work.
    pub conntrack: Option<TableFacts>,
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFacts {
    /// That this process has in memory.
    pub resident: u64,
    /// The most that it ever had.
    pub peak: u64,
    /// That the machine can still give.
    pub available: u64,
    /// That the machine has.
    pub total: u64,
}

/// A firewall's connection table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableFacts {
    /// Connections in it, everybody's.
    pub entries: u32,
    /// Most that it holds.
    pub max: u32,
    /// Probes per second that may stay without an answer.
    pub silent_per_second: u32,
}

/// A source of devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedFacts {
    /// `hosts`, `discover:eth0` or a URL.
    pub source: String,
    /// Whether it is believed now.
    pub up: bool,
    /// Why it is not, or what of it is refused; empty when all is well.
    pub detail: String,
    /// Devices it names, or named last.
    pub devices: usize,
    /// Entries of its last good answer that were refused.
    pub rejected: usize,
    /// Devices of that which are too many to be let in.
    pub held_back: usize,
}

/// What is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StoreFacts {
    /// Whether results reach the disk.
    pub up: bool,
    /// On disk, its log included.
    pub bytes: u64,
    /// Those when it was opened.
    pub opened_bytes: u64,
    /// Devices that have a complete result; `None` while the database cannot be read.
    pub devices: Option<u32>,
    /// When the newest complete scan ended, by the wall clock of then; `None` if there is none.
    pub last_scan: Option<Timestamp>,
}

/// What others found and handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportFacts {
    /// Reports that were not taken.
    pub failed: u64,
    /// When the last one was, or a scan of our own was complete, by the wall clock of then.
    pub last: Option<Timestamp>,
}

/// A configured scanner.
#[derive(Clone, Debug, PartialEq)]
pub struct ScannerFacts {
    /// Its name.
    pub name: String,
    /// From one start to the next.
    pub interval: Duration,
    /// When its newest complete scan ended; `None` if there is none.
    pub complete: Option<Timestamp>,
    /// How long its newest ended scan took, however that ended.
    pub took: Option<Duration>,
    /// How it ended.
    pub status: Option<ScanStatus>,
}

/// A device at an address, where it has a result.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFacts {
    /// Who it is.
    pub mac: Option<Mac>,
    /// Where it is.
    pub host: Address,
    /// What it is called.
    pub name: Option<String>,
    /// Whether it answered the newest look at it; `None`: only others have looked.
    pub up: Option<bool>,
    /// Whether nobody has accepted it yet, others having been accepted. One without open ports is not: there would
    /// be nothing to accept, and the alert would never end. That it came is told by the changes, once.
    pub new: bool,
    /// Ports that are expected to be open.
    pub expected: u32,
    /// Ports by state, as far as they are not like most of the device's.
    pub listed: BTreeMap<(Protocol, PortState), u32>,
    /// Those that are open, or that somebody is to be told of.
    pub ports: Vec<PortFact>,
}

/// A port that is open or ought to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFact {
    /// The protocol.
    pub protocol: Protocol,
    /// 0 to 65535.
    pub port: u16,
    /// Whether it is open.
    pub open: bool,
    /// How it differs from what is expected, if somebody is to be told: not before the first accept, and not of
    /// a device that is new as a whole.
    pub deviation: Option<Deviation>,
}

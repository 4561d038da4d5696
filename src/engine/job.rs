//! What is asked of the engine and what it tells.

use std::{num::NonZeroU32, time::Duration};

use crate::model::{Address, HostReport, PortSet, Timing};

/// One look at one host, asked of the engine.
#[derive(Clone, Debug)]
pub struct HostJob {
    /// Whom to look at.
    pub address: Address,
    /// The ports that need a verdict.
    pub ports: PortSet,
    /// Ports looked at before all others and with more tries: those that were open last time.
    pub first: Vec<u16>,
    /// How hard to press.
    pub timing: Timing,
    /// Hard bound of sockets open towards this host at any time; the smallest of its jobs' bounds holds.
    /// 0 counts as 1.
    pub max_in_flight: u16,
    /// Bound of tries after the first, in place of the template's; more than 4 count as 4.
    pub max_retries: Option<u8>,
    /// Bound of probes per second, beside the template's.
    pub max_rate: Option<NonZeroU32>,
    /// Whether to make sure first that anybody is there.
    pub liveness: Liveness,
    /// How the host is reached, which decides what silence means.
    pub link: Link,
    /// The time after which the job ends with what is known (nmap's --host-timeout).
    pub deadline: Option<Duration>,
    /// How long the way to the host may be interrupted (no carrier, no address) before the job ends with what is known.
    pub sits_out: Duration,
}

/// Whether to look for a sign of life before scanning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// One probe at a time until the host is known to be up or down.
    Check,
    /// Scan as if it were up (nmap's -Pn, and probes that are asked for by hand).
    Assume,
}

/// How a host is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// This machine: no neighbour, no loss.
    Local,
    /// A neighbour: who does not answer ARP is reported unreachable after 3 s, or 11 s if the kernel still
    /// remembers it; so longer silence means "up".
    OnLink,
    /// Behind a router: silence means nothing.
    Routed,
}

/// Names a job for as long as the engine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// What the engine tells its driver, beside probes.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody answered at the job's address for the first time: now its neighbour entry can be read.
    HostUp(JobId),
    /// The job is over; nothing more will come of it.
    Finished(JobId, Box<HostReport>),
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Ports asked for.
    pub ports: u32,
    /// Ports that have a verdict that no later pass is planned to look at again.
    pub settled: u32,
    /// Open ports found so far.
    pub open: u32,
    /// Probes launched so far.
    pub probes: u64,
}

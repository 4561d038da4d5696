//! The jobs that the engine takes, and the events that it returns.

use std::{iter::Sum, num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::{Address, HostReport, PortSet, Timing};

/// One scan of one host.
#[derive(Clone, Debug)]
pub struct HostJob {
    /// The host to scan.
    pub address: Address,
    /// The ports that need a verdict.
    pub ports: PortSet,
    /// Ports that are probed before all others and with more tries: those that were open last time.
    pub first: Vec<u16>,
    /// The timing template.
    pub timing: Timing,
    /// Whether bare SYNs may ask in place of connects, where they are seen to be answered. An open port is confirmed by
    /// a connect all the same.
    pub by_syn: bool,
    /// Most sockets open towards this host at any time; of several jobs on one host the smallest bound holds.
    /// 0 counts as 1.
    pub max_in_flight: u16,
    /// Most retries, in place of the template's; more than 4 count as 4.
    pub max_retries: Option<u8>,
    /// Most probes per second, in addition to the template's pace.
    pub max_rate: Option<NonZeroU32>,
    /// Whether to check first that the host is up.
    pub liveness: Liveness,
    /// How the host is reached, which decides what a missing reply means.
    pub link: Link,
    /// The time after which the job ends with what is known (nmap's --host-timeout).
    pub deadline: Option<Duration>,
    /// How long the link may be down (no carrier, no address) before the job ends with what is known.
    pub sits_out: Duration,
}

/// How long a link may be down during a job of a scan that a user waits for: for a loose plug, or a switch that restarts.
const OUTAGE: Duration = Duration::from_secs(60);

/// What the jobs of one scan have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSettings {
    /// The ports that need a verdict.
    pub ports: PortSet,
    /// The timing template.
    pub timing: Timing,
    /// Whether bare SYNs may ask in place of connects.
    pub by_syn: bool,
    /// Whether to check first that a host is up.
    pub liveness: Liveness,
    /// Most sockets open towards a host at any time; `None`: as the template says, which is never more.
    pub max_in_flight: Option<u16>,
    /// Most retries, in place of the template's; more than 4 count as 4.
    pub max_retries: Option<u8>,
    /// Most probes per second towards a host, in addition to the template's pace.
    pub max_rate: Option<NonZeroU32>,
    /// The time after which a job ends with what is known.
    pub deadline: Option<Duration>,
}

impl ScanSettings {
    /// Returns the job for one host of the scan, which is reached so.
    pub fn job(&self, address: Address, link: Link) -> HostJob {
        HostJob {
            address,
            ports: self.ports.clone(),
            first: Vec::new(),
            timing: self.timing,
            by_syn: self.by_syn,
            max_in_flight: self.max_in_flight.unwrap_or(u16::MAX),
            max_retries: self.max_retries,
            max_rate: self.max_rate,
            liveness: self.liveness,
            link,
            deadline: self.deadline,
            sits_out: OUTAGE,
        }
    }
}

/// Whether to check that the host is up before scanning it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Liveness {
    /// A few probes first, until the host is known to be up or down.
    Check,
    /// Scan as if it were up (nmap's -Pn, and single probes that a user requests).
    Assume,
}

/// How a host is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// This machine: no neighbour, no loss.
    Local,
    /// A neighbour: the kernel reports one that does not answer ARP as unreachable after 3 s, or after 11 s if it still
    /// has a table entry; so a longer silence means that the host is up.
    OnLink,
    /// Behind a router: a missing reply means nothing.
    Routed,
}

/// Identifies a job for as long as the engine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// What the engine returns to its driver, beside probes.
#[derive(Clone, Debug)]
pub enum Event {
    /// The job's host has answered for the first time: its neighbour entry can be read now.
    HostUp(JobId),
    /// SYNs to the job's host stay unanswered where connects are answered, mostly because of a firewall on this machine:
    /// connects ask from now on.
    SynsLost(JobId),
    /// The job is over; no further event follows for it.
    Finished(JobId, Box<HostReport>),
}

/// The progress of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Ports to scan.
    pub ports: u32,
    /// Ports with a verdict that no later pass is planned to revise.
    pub settled: u32,
    /// Open ports found so far.
    pub open: u32,
    /// Probes launched so far.
    pub probes: u64,
}

/// Jobs together. Saturating: a worker's figures may be anything.
impl Sum for Progress {
    fn sum<I: Iterator<Item = Self>>(jobs: I) -> Self {
        jobs.fold(Self::default(), |sum, one| Self {
            ports: sum.ports.saturating_add(one.ports),
            settled: sum.settled.saturating_add(one.settled),
            open: sum.open.saturating_add(one.open),
            probes: sum.probes.saturating_add(one.probes),
        })
    }
}

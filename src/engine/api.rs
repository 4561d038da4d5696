//! DRAFT of the engine's public face. Names and meanings are fixed, the layout of files is not.

use std::{future::Future, num::NonZeroU32, time::Duration};

use crate::model::{Address, HostReport, Moment, PortSet, Reason, Timing};

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
    pub max_in_flight: u16,
    /// Bound of tries after the first, in place of the template's.
    pub max_retries: Option<u8>,
    /// Bound of probes per second, beside the template's.
    pub max_rate: Option<NonZeroU32>,
    /// Whether to make sure first that anybody is there.
    pub liveness: Liveness,
    /// How the host is reached, which decides what silence means.
    pub link: Link,
    /// The time after which the job ends with what is known (nmap's --host-timeout).
    pub deadline: Option<Duration>,
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
    /// A neighbour: who does not answer ARP is reported unreachable after 3 s, so silence means "up".
    OnLink,
    /// Behind a router: silence means nothing.
    Routed,
}

/// Names a job for as long as the engine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Names a probe until its reply is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u64);

/// One connect to be made now.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Comes back in the [`Reply`].
    pub id: ProbeId,
    /// The host.
    pub address: Address,
    /// The port.
    pub port: u16,
    /// When this has passed before the socket could be connected, the probe is not made but returned as
    /// [`Outcome::NotStarted`]: what keeps a late thread from sending in a bunch what was paced apart.
    pub start_by: Moment,
    /// The socket is closed after this long without an answer, counted from the connect.
    pub give_up: Duration,
}

/// What became of a probe. Each launched probe is answered exactly once.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Which probe.
    pub id: ProbeId,
    /// When the connect was made (for `NotStarted` and local errors: tried).
    pub started: Moment,
    /// When the outcome was known.
    pub ended: Moment,
    /// The outcome.
    pub outcome: Outcome,
}

/// How a connect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Connected to somebody else (not to itself).
    Accepted,
    /// RST, or ICMP port unreachable.
    Refused,
    /// No answer until `give_up`.
    Silent,
    /// An ICMP error from a router or the host.
    Unreachable(Reason),
    /// This machine's own verdict that nobody answers ARP (or neighbour discovery) at the address.
    NoNeighbour,
    /// A fault of this machine's: says nothing about the port.
    Local(LocalError),
    /// `start_by` had passed.
    NotStarted,
}

/// Faults of this machine's: the probe goes back into the queue and the window shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalError {
    /// EMFILE, ENFILE: no file descriptor left.
    Descriptors,
    /// EADDRNOTAVAIL: no ephemeral port left.
    Ports,
    /// ENOBUFS, ENOMEM, EAGAIN.
    Memory,
    /// EPERM, EACCES: the local firewall, or a full connection table.
    Denied,
    /// ENETUNREACH, EHOSTUNREACH, EINVAL at once, from this machine: no route, interface down, bad zone.
    NoRoute,
    /// The socket connected to itself (TCP simultaneous open on the loopback).
    SelfConnect,
    /// Anything else.
    Other,
}

impl LocalError {
    /// The word that stands for it in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Ports => "ports",
            Self::Memory => "memory",
            Self::Denied => "denied",
            Self::NoRoute => "no-route",
            Self::SelfConnect => "self-connect",
            Self::Other => "other",
        }
    }
}

/// What the engine tells its driver, beside probes.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody answered at the job's address for the first time: now its neighbour entry can be read.
    HostUp(JobId),
    /// The job is over; nothing more will come of it.
    Finished(JobId, Box<HostReport>),
}

/// This machine's bounds, read at start.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most sockets open at once, over all hosts.
    pub in_flight: u32,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Ports asked for.
    pub ports: u32,
    /// Ports that have a verdict that no later pass will look at again.
    pub settled: u32,
    /// Open ports found so far.
    pub open: u32,
    /// Probes launched so far.
    pub probes: u64,
}

/// Counts since start, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Sockets open now.
    pub in_flight: u32,
    /// Probes launched.
    pub launched: u64,
    /// Probes by outcome.
    pub accepted: u64,
    /// Refused.
    pub refused: u64,
    /// Silent.
    pub silent: u64,
    /// Answered by an ICMP error or a missing neighbour.
    pub unreachable: u64,
    /// Local errors by kind.
    pub local: std::collections::BTreeMap<LocalError, u64>,
    /// Probes that came back because their `start_by` had passed.
    pub not_started: u64,
}

/// Makes the connects that the engine asks for.
pub trait Prober: Send {
    /// Starts these connects. Never blocks for long; each probe is answered exactly once.
    fn launch(&mut self, batch: Vec<Probe>);

    /// Waits for the next replies; cancel-safe.
    fn replies(&mut self) -> impl Future<Output = Vec<Reply>> + Send;
}

/// The engine.
pub struct Engine {}

impl Engine {
    /// An engine within these bounds; `seed` keys the permutation of the port space.
    pub fn new(_bounds: Bounds, _seed: u64) -> Self {
        unimplemented!()
    }

    /// Takes a job. Jobs on one address share that host's window, pace and time-outs.
    pub fn submit(&mut self, _job: HostJob, _now: Moment) -> JobId {
        unimplemented!()
    }

    /// Ends a job with what is known; its `Finished` comes with the next poll.
    pub fn cancel(&mut self, _job: JobId, _now: Moment) {
        unimplemented!()
    }

    /// Takes what became of a probe.
    pub fn reply(&mut self, _reply: Reply) {
        unimplemented!()
    }

    /// Appends what is to be launched and told now; returns when to call again at the latest, `None` when
    /// only a reply or a job can change anything.
    pub fn poll(
        &mut self,
        _now: Moment,
        _probes: &mut Vec<Probe>,
        _events: &mut Vec<Event>,
    ) -> Option<Moment> {
        unimplemented!()
    }

    /// How far a job is; `None` once it has finished.
    pub fn progress(&self, _job: JobId) -> Option<Progress> {
        unimplemented!()
    }

    /// Counts since start.
    pub fn stats(&self) -> &Stats {
        unimplemented!()
    }
}

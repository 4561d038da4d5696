//! One connect and what became of it: the border between the engine and whoever owns the sockets.

use std::{future::Future, time::Duration};

use crate::model::{Address, Moment, Reason};

use super::job::Link;

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
    /// How the host is reached: a neighbour is not looked for behind a router.
    pub link: Link,
    /// The port.
    pub port: u16,
    /// When this has passed before the socket could be connected, the probe is not made but returned as
    /// [`Outcome::NotStarted`]: what keeps a late thread from sending in a bunch what was paced apart.
    pub start_by: Moment,
    /// The socket is closed after this long without an answer, counted from the connect.
    pub give_up: Duration,
}

/// What became of a probe. Each launched probe is answered exactly once.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// Which probe.
    pub id: ProbeId,
    /// When the connect was made (for `NotStarted` and local errors: tried).
    pub started: Moment,
    /// When the call had returned, and the packet left at the latest: a thread may have been interrupted since
    /// `started`.
    pub left_by: Moment,
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

impl Outcome {
    /// Whether the host's own TCP answered; `None`: the probe never left. What a router says of a probe, or
    /// this machine of a missing neighbour, ends no entry of a connection table, and counts as silence there.
    pub const fn is_answer(self) -> Option<bool> {
        match self {
            Self::Accepted | Self::Refused => Some(true),
            Self::Silent | Self::Unreachable(_) | Self::NoNeighbour => Some(false),
            Self::Local(_) | Self::NotStarted => None,
        }
    }
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
    /// EPERM, EACCES: the local firewall.
    Denied,
    /// No way leads to the host's network, and none is to be expected: the job ends without a verdict.
    NoRoute,
    /// The way to the host's network is interrupted, or was while the probe was under way: no carrier, no address, no
    /// interface. Waited for.
    LinkDown,
    /// The socket connected to itself (TCP simultaneous open on the loopback).
    SelfConnect,
    /// Anything else.
    Other,
}

impl LocalError {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Descriptors,
        Self::Ports,
        Self::Memory,
        Self::Denied,
        Self::NoRoute,
        Self::LinkDown,
        Self::SelfConnect,
        Self::Other,
    ];

    /// The word that stands for it in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Ports => "ports",
            Self::Memory => "memory",
            Self::Denied => "denied",
            Self::NoRoute => "no-route",
            Self::LinkDown => "link-down",
            Self::SelfConnect => "self-connect",
            Self::Other => "other",
        }
    }
}

/// Makes the connects that the engine asks for.
pub trait Prober: Send {
    /// Starts these connects. Never blocks for long; each probe is answered exactly once.
    fn launch(&mut self, batch: Vec<Probe>);

    /// Waits for the next replies; cancel-safe.
    fn replies(&mut self) -> impl Future<Output = Vec<Reply>> + Send;
}

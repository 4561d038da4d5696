//! One probe and its outcome: the interface between the engine and the prober, which owns the sockets.

use std::{task::Waker, time::Duration};

use crate::model::{Address, Moment, Reason};

use super::job::Link;

/// Identifies a probe until its reply is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u64);

/// One connect to make now, or one SYN to send.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Returned in the [`Reply`].
    pub id: ProbeId,
    /// The host.
    pub address: Address,
    /// How the host is reached: a neighbour is not probed through a router.
    pub link: Link,
    /// The port.
    pub port: u16,
    /// Whether a bare SYN asks in place of a connect. A prober that cannot send one makes the connect.
    pub by_syn: bool,
    /// How many probes have asked this port before, as far as they can be told apart: a SYN of another try leaves from
    /// another local port.
    pub attempt: u8,
    /// If this has passed before the connect is made, the probe is returned as [`Outcome::NotStarted`] instead:
    /// otherwise a late thread would send paced probes in one burst.
    pub start_by: Moment,
    /// The time-out: the socket is closed after this long without a reply, counted from the connect.
    pub give_up: Duration,
    /// How long the reply may wait for others, so that one wake-up of the driver serves them all; zero: not at all.
    pub reply_within: Duration,
}

/// The outcome of a probe. Each launched probe gets exactly one reply.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The probe.
    pub id: ProbeId,
    /// When the connect was made (for `NotStarted` and local errors: tried).
    pub started: Moment,
    /// When the call had returned, by which the packet had left: the thread may have been interrupted after `started`.
    pub left_by: Moment,
    /// When the outcome was known.
    pub ended: Moment,
    /// The outcome.
    pub outcome: Outcome,
}

/// How a connect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Connected (not to itself).
    Accepted,
    /// A SYN-ACK to a bare SYN: open, if a connect confirms it.
    SynAck,
    /// RST, or ICMP port unreachable.
    Refused,
    /// No reply within `give_up`.
    Silent,
    /// An ICMP error from a router or the host.
    Unreachable(Reason),
    /// The kernel reports that no host answers ARP (or neighbour discovery) at the address.
    NoNeighbour,
    /// A local error, which says nothing about the port.
    Local(LocalError),
    /// `start_by` had passed.
    NotStarted,
}

impl Outcome {
    /// Whether the host's own TCP replied; `None`: the probe never left. A router's ICMP error and a missing neighbour
    /// end no entry of a connection table, so for the quota they count as unanswered.
    pub const fn is_answer(self) -> Option<bool> {
        match self {
            Self::Accepted | Self::SynAck | Self::Refused => Some(true),
            Self::Silent | Self::Unreachable(_) | Self::NoNeighbour => Some(false),
            Self::Local(_) | Self::NotStarted => None,
        }
    }
}

/// Errors of this machine: the probe goes back into the queue and the window shrinks.
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
    /// There is no route to the host's network, and none is likely to appear: the job ends without a verdict.
    NoRoute,
    /// The link to the host's network is down, or was while the probe was in flight: no carrier, no address or no
    /// interface. The job waits for it.
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

    /// Its label in metrics and logs.
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

/// Makes the probes that the engine asks for. Its driver's thread sleeps in it, so that one wake-up serves all.
pub trait Prober: Send {
    /// Starts these probes and leaves the list empty. Never blocks for long; each probe gets exactly one reply.
    fn launch(&mut self, batch: &mut Vec<Probe>);

    /// Waits until this moment (`None`: without limit), until replies cannot wait any longer, or until it is woken.
    /// Appends all replies since the last call, those included that may wait; there may be none.
    fn wait(&mut self, until: Option<Moment>, replies: &mut Vec<Reply>);

    /// Returns what ends the driver's wait from any thread; if it does not wait, its next wait ends at once.
    fn waker(&self) -> Waker;
}

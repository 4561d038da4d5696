//! What a job wants next: a probe, and the purpose of that probe; or to wait.

use std::time::Duration;

use crate::model::Moment;

use super::board::Ending;

/// The purpose of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The verdict of the port at this place.
    Port(u32),
    /// The liveness check; and a verdict, if the port at this place is one of the job's.
    Check(Option<u32>),
    /// A canary: whether the host is still up while it is scanned.
    Canary,
    /// A trial: whether a port that has answered a connect also answers a bare SYN.
    Trial,
}

/// A probe that a job wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) port: u16,
    pub(super) purpose: Purpose,
    /// The time-out; `None`: the one that follows from the host's round trips.
    pub(super) wait: Option<Duration>,
}

/// What a job wants next.
#[derive(Debug)]
pub(super) enum Want {
    Probe(Ask),
    /// No probe before this moment.
    Until(Moment),
    /// No probe before a reply.
    Reply,
    /// The job is done if the host is still up: its last probes stayed unanswered.
    Confirmation,
    Ended(Ending),
}

//! What a job wants next: a probe, and what the probe is for; or to wait.

use std::time::Duration;

use crate::model::Moment;

use super::board::Ending;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The verdict of the port at this place.
    Port(u32),
    /// A sign of life; and a verdict, if the port is one that was asked for.
    Check(Option<u32>),
    /// A sign of life while scanning.
    Canary,
}

/// A probe that a job wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) port: u16,
    pub(super) purpose: Purpose,
    /// How long to wait for the answer; `None`: what the host's round trips say.
    pub(super) wait: Option<Duration>,
}

/// What a job wants next.
#[derive(Debug)]
pub(super) enum Want {
    Probe(Ask),
    /// Nothing before this moment.
    Until(Moment),
    /// Nothing before a reply.
    Reply,
    /// To be done, if only the host is still there: silence was the last it heard.
    Confirmation,
    Ended(Ending),
}

//! One turn of a host: what this machine lets it send, what the host does with it, and when a turn goes on that takes
//! too long for one call.

use std::time::Duration;

use crate::model::Moment;

use super::{probe::Probe, quota::QuotaLevel};

/// When to go on with what takes too long for one call.
pub(super) const SOON: Duration = Duration::from_millis(1);

/// This machine, seen by a host that wants to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendBudget {
    /// Whether another socket may be opened at all.
    pub(super) has_socket: bool,
    /// Whether sockets are scarce.
    pub(super) is_tight: bool,
    /// How many probes may still stay without an answer.
    pub(super) quota: QuotaLevel,
    /// How late a paced probe may leave.
    pub(super) start_within: Duration,
}

/// What a host does next.
#[derive(Debug)]
pub(super) enum Step {
    /// This probe leaves; ask again.
    Launch(Probe),
    /// Nothing before a reply, or this moment.
    Wait(Option<Moment>),
    /// It would send if there were a free socket; the moment as in `Wait`.
    BlockedOnSockets(Option<Moment>),
    /// It would send if more probes might stay without an answer; the moment as in `Wait`.
    BlockedOnQuota(Option<Moment>),
}

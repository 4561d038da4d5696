//! One turn of a host: what may be sent to it, its next step, and the time at which a turn continues that takes too
//! long for one call.

use std::time::Duration;

use crate::model::Moment;

use super::{probe::Probe, quota::QuotaLevel};

/// When to continue work that takes too long for one call.
pub(super) const SOON: Duration = Duration::from_millis(1);

/// What this machine lets a host send now.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendBudget {
    /// Whether another socket may be opened at all.
    pub(super) has_socket: bool,
    /// Whether sockets are scarce.
    pub(super) is_tight: bool,
    /// How much of the quota of unanswered probes is left.
    pub(super) quota: QuotaLevel,
    /// How late a paced probe may leave.
    pub(super) start_within: Duration,
}

/// The next step for a host.
#[derive(Debug)]
pub(super) enum TurnStep {
    /// This probe leaves; the host may have more.
    Launch(Probe),
    /// No probe before a reply, or this moment.
    Wait(Option<Moment>),
    /// A probe waits for a free socket; the moment as in `Wait`.
    BlockedOnSockets(Option<Moment>),
    /// A probe waits until the quota allows another unanswered one; the moment as in `Wait`.
    BlockedOnQuota(Option<Moment>),
}

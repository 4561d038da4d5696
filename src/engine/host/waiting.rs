//! Why a host has no probe to send now, and when to try again.

use crate::{engine::turn::TurnStep, model::Moment};

/// Why a probe may not leave now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Denied {
    Until(Moment),
    Reply,
    Sockets,
    Quota,
}

/// Collects the reasons to wait, and the earliest moment to try again.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    at: Option<Moment>,
    blocked_on_sockets: bool,
    blocked_on_quota: bool,
}

impl Waiting {
    pub(super) fn until(&mut self, at: Moment) {
        self.at = Some(self.at.map_or(at, |earlier| earlier.min(at)));
    }

    pub(super) fn note(&mut self, denied: Denied) {
        match denied {
            Denied::Until(at) => self.until(at),
            Denied::Reply => {}
            Denied::Sockets => self.blocked_on_sockets = true,
            Denied::Quota => self.blocked_on_quota = true,
        }
    }

    pub(super) fn step(self) -> TurnStep {
        match self {
            Self { blocked_on_sockets: true, at, .. } => TurnStep::BlockedOnSockets(at),
            Self { blocked_on_quota: true, at, .. } => TurnStep::BlockedOnQuota(at),
            Self { at, .. } => TurnStep::Wait(at),
        }
    }
}

//! Why a host sends nothing now, and when that may be otherwise.

use crate::{engine::turn::Step, model::Moment};

/// Why an ask cannot be granted now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Denied {
    Until(Moment),
    Reply,
    Sockets,
    Quota,
}

/// The earliest of several reasons to look again.
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

    pub(super) fn step(self) -> Step {
        match self {
            Self { blocked_on_sockets: true, at, .. } => Step::BlockedOnSockets(at),
            Self { blocked_on_quota: true, at, .. } => Step::BlockedOnQuota(at),
            Self { at, .. } => Step::Wait(at),
        }
    }
}

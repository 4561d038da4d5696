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
    starved: bool,
    hushed: bool,
}

impl Waiting {
    pub(super) fn until(&mut self, at: Moment) {
        self.at = Some(self.at.map_or(at, |earlier| earlier.min(at)));
    }

    pub(super) fn note(&mut self, denied: Denied) {
        match denied {
            Denied::Until(at) => self.until(at),
            Denied::Reply => {}
            Denied::Sockets => self.starved = true,
            Denied::Quota => self.hushed = true,
        }
    }

    pub(super) fn step(self) -> Step {
        match self {
            Self { starved: true, at, .. } => Step::Starved(at),
            Self { hushed: true, at, .. } => Step::Hushed(at),
            Self { at, .. } => Step::Wait(at),
        }
    }
}

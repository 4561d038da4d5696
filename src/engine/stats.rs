//! This machine's bounds, and what is counted for metrics.

use std::collections::BTreeMap;

use super::probe::{LocalError, Outcome};

/// This machine's bounds, read at start.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most sockets open at once, over all hosts. 0 counts as 1.
    pub in_flight: u32,
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
    pub local: BTreeMap<LocalError, u64>,
    /// Probes that came back because their `start_by` had passed.
    pub not_started: u64,
}

impl Stats {
    pub(super) fn launched(&mut self) {
        self.launched += 1;
        self.in_flight += 1;
    }

    pub(super) fn ended(&mut self, outcome: Outcome) {
        self.in_flight -= 1;
        *match outcome {
            Outcome::Accepted => &mut self.accepted,
            Outcome::Refused => &mut self.refused,
            Outcome::Silent => &mut self.silent,
            Outcome::Unreachable(_) | Outcome::NoNeighbour => &mut self.unreachable,
            Outcome::Local(error) => self.local.entry(error).or_default(),
            Outcome::NotStarted => &mut self.not_started,
        } += 1;
    }
}

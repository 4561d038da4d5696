//! This machine's bounds, and the counters for metrics.

use std::{collections::BTreeMap, num::NonZeroU32};

use crate::model::{Delays, Moment};

use super::probe::{LocalError, Outcome, Reply};

/// This machine's bounds, over all hosts. They may change while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most sockets open at once. 0 counts as 1.
    pub in_flight: u32,
    /// Most probes per second that stay unanswered; `None`: no bound.
    pub silent: Option<NonZeroU32>,
    /// The connection table is full: no probe may leave for now, because it would be dropped before it is on the
    /// wire, and its silence would count as the host's.
    pub full: bool,
}

/// Counts since start, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Jobs that are running now.
    pub jobs: u32,
    /// Sockets open now.
    pub in_flight: u32,
    /// Sockets that may be open now: the bound, or less if this machine cannot keep up.
    pub window: u32,
    /// Probes launched.
    pub launched: u64,
    /// Probes by outcome; SYN-ACKs to bare SYNs are counted here, too.
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
    /// How late the driver called, after the moment at which it was to call.
    pub lag: Delays,
    /// From launching a probe to its connect.
    pub start_delay: Delays,
}

impl Stats {
    /// Updates the gauges.
    pub(super) fn set_gauges(&mut self, jobs: usize, window: usize) {
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        (self.jobs, self.window) = (count(jobs), count(window));
    }

    pub(super) fn note_launch(&mut self) {
        self.launched += 1;
        self.in_flight += 1;
    }

    /// Counts the reply to a probe that was launched then.
    pub(super) fn note_reply(&mut self, reply: &Reply, launched: Moment) {
        self.in_flight -= 1;
        self.start_delay.note(reply.started.since(launched));
        *match reply.outcome {
            Outcome::Accepted | Outcome::SynAck => &mut self.accepted,
            Outcome::Refused => &mut self.refused,
            Outcome::Silent => &mut self.silent,
            Outcome::Unreachable(_) | Outcome::NoNeighbour => &mut self.unreachable,
            Outcome::Local(error) => self.local.entry(error).or_default(),
            Outcome::NotStarted => &mut self.not_started,
        } += 1;
    }
}

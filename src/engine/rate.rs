//! A rate limiter.

use std::time::Duration;

use crate::model::Moment;

/// Bounds the events in any stretch of time, with a small burst: the generic cell rate algorithm (ITU-T I.371, annex A)
/// with refunds.
#[derive(Debug)]
pub(super) struct Rate {
    interval: Duration,
    /// How far ahead of the rate an event may be, so that what a timer of 1 ms resolution loses is made up for.
    slack: Duration,
    due: Moment,
}

impl Rate {
    /// Makes a limiter; without slack, the first event may happen at `due`.
    pub(super) const fn new(interval: Duration, slack: Duration, due: Moment) -> Self {
        Self { interval, slack, due }
    }

    /// When the next event may happen.
    pub(super) fn next(&self) -> Moment {
        self.due - self.slack
    }

    /// Charges one event.
    pub(super) fn take(&mut self, now: Moment) {
        self.due = self.due.max(now) + self.interval;
    }

    /// Refunds an event that did not happen after all.
    pub(super) fn give_back(&mut self) {
        self.due = self.due - self.interval;
    }

    /// Changes the rate from the next event on.
    pub(super) const fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }
}

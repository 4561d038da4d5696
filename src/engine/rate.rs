//! A steady rate.

use std::time::Duration;

use crate::model::Moment;

/// So many in any stretch of time, and a little more at once: the generic cell rate algorithm (ITU-T I.371,
/// annex A) with refunds.
#[derive(Debug)]
pub(super) struct Rate {
    interval: Duration,
    /// How far ahead of its rate it may be: what a timer of 1 ms resolution loses is caught up.
    slack: Duration,
    due: Moment,
}

impl Rate {
    /// `due`: when the first may leave, but for the slack.
    pub(super) const fn new(interval: Duration, slack: Duration, due: Moment) -> Self {
        Self { interval, slack, due }
    }

    /// When the next may leave.
    pub(super) fn next(&self) -> Moment {
        self.due - self.slack
    }

    /// One leaves.
    pub(super) fn take(&mut self, now: Moment) {
        self.due = self.due.max(now) + self.interval;
    }

    /// One that was taken does not leave after all.
    pub(super) fn give_back(&mut self) {
        self.due = self.due - self.interval;
    }

    /// Changes the pace from the next one on.
    pub(super) const fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }
}

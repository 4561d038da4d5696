//! Draws a scan's progress on standard error, if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{engine::Progress, model::Moment};

/// The shortest interval between two drawings of the bar.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// The time over which the displayed rate is averaged: short enough to follow changes, long enough to read.
const RATE_OVER: Duration = Duration::from_secs(2);

/// The state of the whole scan at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ScanTotals {
    /// Ports that have their verdict, those of down hosts included.
    pub(super) settled: u64,
    /// Open ports.
    pub(super) open: u64,
    /// Probes sent.
    pub(super) probes: u64,
}

impl ScanTotals {
    /// Adds a host in progress.
    pub(super) fn with(mut self, progress: Progress) -> Self {
        self.settled += u64::from(progress.settled);
        self.open += u64::from(progress.open);
        self.probes = self.probes.saturating_add(progress.probes);
        self
    }
}

/// The recent rate in probes a second.
#[derive(Debug, Default)]
pub(super) struct ProbeRate {
    since: Moment,
    probes: u64,
    per_second: f64,
}

impl ProbeRate {
    /// Starts counting.
    pub(super) fn starting(now: Moment) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// Returns the rate, given the total of probes sent so far.
    pub(super) fn at(&mut self, now: Moment, probes: u64) -> f64 {
        let passed = now.since(self.since);
        let sent = probes.saturating_sub(self.probes);
        if passed >= RATE_OVER {
            self.per_second = sent as f64 / passed.as_secs_f64();
            (self.since, self.probes) = (now, probes);
        } else if self.per_second == 0.0 && !passed.is_zero() {
            return sent as f64 / passed.as_secs_f64();
        }
        self.per_second
    }
}

/// The progress bar.
pub(super) struct Bar {
    bar: ProgressBar,
    rate: ProbeRate,
}

impl Bar {
    /// Makes a bar for this total of ports on a terminal of this width; invisible without a terminal.
    pub(super) fn new(width: Option<u16>, ports: u64, now: Moment) -> Self {
        Self::with(width, ports, template(width), now)
    }

    /// Makes a bar with another template.
    pub(super) fn with(width: Option<u16>, length: u64, template: &str, now: Moment) -> Self {
        let target = width.map_or_else(ProgressDrawTarget::hidden, |_| ProgressDrawTarget::stderr());
        let bar = ProgressBar::with_draw_target(Some(length), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, rate: ProbeRate::starting(now) }
    }

    /// Draws the current state, with more words.
    pub(super) fn show(&mut self, totals: ScanTotals, now: Moment, more: &str) {
        let rate = self.rate.at(now, totals.probes);
        self.bar.set_message(format!("{rate:.0} probes/s  {} open{more}", totals.open));
        self.bar.set_position(totals.settled);
    }

    /// Draws an appliance's report: the finished ports, their total, and a message.
    pub(super) fn show_counts(&self, done: u64, total: u64, message: String) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(message);
    }

    /// Prints while the bar is out of the way.
    pub(super) fn above<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Removes the bar.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Cuts a text to one line: a bar that wraps leaves its first half behind.
fn template(width: Option<u16>) -> &'static str {
    match width.unwrap_or_default() {
        80.. => "{wide_bar} {percent}%  {human_pos} of {human_len} ports  {msg}  {eta} left",
        _ => "{percent}%  {msg}  {eta} left",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let at = |seconds: f64| Moment::from_start(Duration::from_secs_f64(seconds));
        let mut rate = ProbeRate::starting(at(10.0));
        assert_eq!(rate.at(at(10.0), 0), 0.0, "nothing has happened");
        assert_eq!(rate.at(at(11.0), 100), 100.0, "at first: since the start");
        assert_eq!(rate.at(at(12.0), 200), 100.0);
        assert_eq!(rate.at(at(13.0), 900), 100.0, "not yet two seconds later");
        assert_eq!(rate.at(at(14.0), 1000), 400.0);
        assert_eq!(rate.at(at(20.0), 1000), 0.0, "silence");
    }

    #[test]
    fn totals_add_up() {
        let progress = Progress { ports: 100, settled: 10, open: 2, probes: 12 };
        let totals = ScanTotals { settled: 1000, open: 1, probes: 1100 };
        let sum = ScanTotals { settled: 1010, open: 3, probes: 1112 };
        assert_eq!(totals.with(progress), sum);
    }
}

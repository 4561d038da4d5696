//! How many probes may be unanswered at once: towards one host, and from this machine.

use std::time::Duration;

use crate::model::Moment;

/// What a window never shrinks below: with fewer, a lost probe stalls the scan for a time-out.
const LEAST: f64 = 4.0;

/// Where doubling ends and creeping begins: a small switch's queue.
const THRESHOLD: f64 = 128.0;

const MOST: f64 = 4096.0;

/// A host's congestion window: additive increase, multiplicative decrease (RFC 5681).
///
/// Silence lets it grow as an answer does. A scanner cannot tell a dropped probe from a filtered port, and a
/// window that waits for answers would crawl over every firewall; what shrinks it is evidence: a canary lost,
/// an open port that answered only a later try.
#[derive(Debug)]
pub(super) struct Window {
    size: f64,
    threshold: f64,
    dropped: Option<Moment>,
}

impl Window {
    pub(super) fn new(size: u16) -> Self {
        Self { size: size.into(), threshold: THRESHOLD, dropped: None }
    }

    /// Probes that may be unanswered and not yet timed out.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 4 and 4096")]
    pub(super) fn size(&self) -> usize {
        self.size as usize
    }

    /// A probe ended without a sign of loss while `used` were under way. A window that was not filled was
    /// not tested and does not grow (RFC 7661).
    pub(super) fn grow(&mut self, used: usize) {
        if used * 2 >= self.size() {
            let step = if self.size < self.threshold { 1.0 } else { 1.0 / self.size };
            self.size = (self.size + step).min(MOST);
        }
    }

    /// Evidence of loss: halves, at most once per time-out, because one overflow loses many.
    pub(super) fn shrink(&mut self, now: Moment, timeout: Duration) {
        if self.dropped.is_none_or(|dropped| now.since(dropped) >= timeout) {
            self.dropped = Some(now);
            self.threshold = (self.size / 2.0).max(LEAST);
            self.size = self.threshold;
        }
    }
}

/// What this machine has not the means to do at once is found by trying: the hard bound, halved on its own
/// faults, growing again.
#[derive(Debug)]
pub(super) struct GlobalWindow {
    size: f64,
    bound: f64,
    cut: Option<Moment>,
    grown: Moment,
}

/// One shortage is reported by every socket that meets it.
const CUT_PAUSE: Duration = Duration::from_millis(100);

/// Sockets per second that come back.
const REGROWTH: f64 = 64.0;

/// Enough to keep several hosts going when half of all sockets fail.
const LEAST_GLOBAL: f64 = 16.0;

impl GlobalWindow {
    pub(super) fn new(bound: u32) -> Self {
        let bound = f64::from(bound.max(1));
        Self { size: bound, bound, cut: None, grown: Moment::ZERO }
    }

    /// Sockets that may be open now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u32")]
    pub(super) fn size(&mut self, now: Moment) -> usize {
        let growth = now.since(self.grown).as_secs_f64() * REGROWTH;
        self.size = (self.size + growth).min(self.bound);
        self.grown = self.grown.max(now);
        self.size as usize
    }

    /// Whether so many sockets are near the bound that holding on to silent ones is a luxury.
    pub(super) fn is_tight(&self, in_flight: usize) -> bool {
        in_flight as f64 > self.size * 0.8
    }

    /// A fault of this machine's.
    pub(super) fn shrink(&mut self, now: Moment) {
        if self.cut.is_none_or(|cut| now.since(cut) >= CUT_PAUSE) {
            self.size(now);
            self.cut = Some(now);
            self.size = (self.size / 2.0).max(LEAST_GLOBAL.min(self.bound));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn a_host_window_grows_when_filled_and_halves_once_per_timeout() {
        let mut window = Window::new(16);
        window.grow(2);
        assert_eq!(window.size(), 16, "not filled, not tested");
        (0..112).for_each(|_| window.grow(window.size()));
        assert_eq!(window.size(), 128, "one slot per answer up to the threshold");
        (0..128).for_each(|_| window.grow(window.size()));
        assert_eq!(window.size(), 128, "then one per window, rounded down");
        let timeout = Duration::from_millis(150);
        window.shrink(at(1000), timeout);
        window.shrink(at(1100), timeout);
        assert_eq!(window.size(), 64);
        (0..9).for_each(|n| window.shrink(at(2000 + n * 150), timeout));
        assert_eq!(window.size(), 4);
    }

    #[test]
    fn the_global_window_halves_once_per_tenth_of_a_second_and_comes_back() {
        let mut window = GlobalWindow::new(1000);
        window.shrink(at(0));
        window.shrink(at(99));
        assert_eq!(window.size(at(99)), 506);
        (1..=20).for_each(|n| window.shrink(at(n * 100)));
        assert!(window.size(at(2000)) <= 22);
        assert_eq!(window.size(at(60_000)), 1000);
        let mut small = GlobalWindow::new(3);
        small.shrink(at(0));
        assert_eq!(small.size(at(0)), 3);
    }
}

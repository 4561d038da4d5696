//! Bounds how many probes may be in flight at once: towards one host, and from this machine.

use std::time::Duration;

use crate::model::Moment;

/// The least window: with fewer, a lost probe stalls the scan for a whole time-out.
const LEAST: f64 = 4.0;

const MOST: f64 = 4096.0;

/// A host's congestion window: additive increase, multiplicative decrease (RFC 5681).
///
/// An unanswered probe lets it grow, as a reply does. A scanner cannot tell a dropped probe from a filtered port, and
/// a window that grows only with replies would stay small behind every firewall. Only evidence of loss shrinks it: a
/// lost canary, or an open port that answered only a later try.
#[derive(Debug)]
pub(super) struct Window {
    size: f64,
    threshold: f64,
    dropped: Option<Moment>,
}

impl Window {
    /// A window that doubles with every round trip up to the threshold, both in probes.
    pub(super) fn new(size: u16, threshold: u16) -> Self {
        Self { size: size.into(), threshold: threshold.into(), dropped: None }
    }

    /// Probes that may be unanswered and not yet timed out.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 4 and 4096")]
    pub(super) fn size(&self) -> usize {
        self.size as usize
    }

    /// Notes that a probe ended without evidence of loss while `used` were in flight. A window that was not filled was
    /// not tested and does not grow (RFC 7661).
    pub(super) fn grow(&mut self, used: usize) {
        if used * 2 >= self.size() {
            let step = if self.size < self.threshold { 1.0 } else { 1.0 / self.size };
            self.size = (self.size + step).min(MOST);
        }
    }

    /// Halves the window on evidence of loss, at most once per time-out, because one overflow loses many packets.
    pub(super) fn shrink(&mut self, now: Moment, timeout: Duration) {
        if self.dropped.is_none_or(|dropped| now.since(dropped) >= timeout) {
            self.dropped = Some(now);
            self.threshold = (self.size / 2.0).max(LEAST);
            self.size = self.threshold;
        }
    }
}

/// The window over all hosts: how many sockets this machine can handle is found by trying. It starts at the hard bound,
/// is halved on local errors and when the driver is late, and grows again.
#[derive(Debug)]
pub(super) struct GlobalWindow {
    size: f64,
    bound: f64,
    cut: Option<Moment>,
    lagged: Option<Moment>,
    grown: Moment,
}

/// Within this time all errors count as one shortage, which every affected socket reports.
const CUT_PAUSE: Duration = Duration::from_millis(100);

/// How late the driver may be: beyond, paced probes leave in bursts, and HTTP is delayed, too.
pub(super) const LATE: Duration = Duration::from_millis(20);

/// The least time between two halvings because of lateness, which the window's growth makes up for: if half the load
/// does not help, other programs on this machine are the cause, and shrinking a scan to nothing would not help
/// either.
const LAG_PAUSE: Duration = Duration::from_secs(1);

/// The factor by which it grows in a second: from the least to 4,096 sockets takes eight seconds.
const REGROWTH: f64 = 2.0;

/// The least window over all hosts: enough for several hosts even if half of all sockets fail.
const LEAST_GLOBAL: f64 = 16.0;

impl GlobalWindow {
    pub(super) fn new(bound: u32) -> Self {
        let bound = f64::from(bound.max(1));
        Self { size: bound, bound, cut: None, lagged: None, grown: Moment::ZERO }
    }

    /// Changes the bound from now on; the window grows up to a higher one.
    pub(super) fn set_bound(&mut self, bound: u32, now: Moment) {
        self.size(now);
        self.bound = f64::from(bound.max(1));
        self.size = self.size.min(self.bound);
    }

    /// Sockets that may be open now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u32")]
    pub(super) fn size(&mut self, now: Moment) -> usize {
        // Each probe asks, and nearly always the window is at its bound.
        if self.size < self.bound {
            let growth = REGROWTH.powf(now.since(self.grown).as_secs_f64());
            self.size = (self.size * growth).min(self.bound);
        }
        self.grown = self.grown.max(now);
        self.size as usize
    }

    /// Whether the sockets in flight nearly fill the window, so that silent ones should be closed early.
    pub(super) fn is_tight(&self, in_flight: usize) -> bool {
        in_flight as f64 > self.size * 0.8
    }

    /// Notes a local error while so many sockets were open; those that were not used were not tested.
    pub(super) fn shrink(&mut self, now: Moment, in_flight: usize) {
        if self.cut.is_none_or(|cut| now.since(cut) >= CUT_PAUSE) {
            self.cut = Some(now);
            self.halve(now, in_flight);
        }
    }

    /// Notes that the driver was late by more than [`LATE`].
    pub(super) fn lag(&mut self, now: Moment, in_flight: usize) {
        if self.lagged.is_none_or(|lagged| now.since(lagged) >= LAG_PAUSE) {
            self.lagged = Some(now);
            self.halve(now, in_flight);
        }
    }

    fn halve(&mut self, now: Moment, in_flight: usize) {
        self.size(now);
        self.size = (self.size.min(in_flight as f64) / 2.0).max(LEAST_GLOBAL.min(self.bound));
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
        let mut window = Window::new(16, 128);
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
    fn the_global_window_halves_once_per_tenth_of_a_second_and_recovers() {
        let mut window = GlobalWindow::new(1000);
        window.shrink(at(0), 1000);
        window.shrink(at(99), 1000);
        assert_eq!(window.size(at(99)), 535);
        window.shrink(at(100), 100);
        assert_eq!(window.size(at(100)), 50);
        (2..=20).for_each(|n| window.shrink(at(n * 100), 1000));
        assert_eq!(window.size(at(2000)), 16);
        assert_eq!((window.size(at(4000)), window.size(at(9000))), (64, 1000));
        let mut small = GlobalWindow::new(3);
        small.shrink(at(0), 3);
        assert_eq!(small.size(at(0)), 3);
    }

    #[test]
    fn lateness_halves_the_global_window_but_never_for_long() {
        let mut window = GlobalWindow::new(4096);
        window.lag(at(0), 1000);
        assert_eq!(window.size(at(0)), 500);
        for millis in (10..60_000).step_by(10) {
            let size = window.size(at(millis));
            assert!((490..=1000).contains(&size), "{size}");
            window.lag(at(millis), size);
        }
        assert_eq!(window.size(at(70_000)), 4096, "it recovers");
    }

    #[test]
    fn the_global_window_follows_its_bound() {
        let mut window = GlobalWindow::new(1000);
        window.set_bound(300, at(0));
        assert_eq!(window.size(at(0)), 300);
        window.set_bound(500, at(1000));
        assert_eq!((window.size(at(1000)), window.size(at(2000))), (300, 500));
    }
}

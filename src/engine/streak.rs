//! Detects whether a host is awake. A Wi-Fi client that saves power, or a gadget on a battery, dozes off between two
//! packets and answers the next one late. If it drops nearly all probes, no reply shows that it dozes. But probes
//! that follow one another closely keep it awake, so silence counts once such a streak has lasted long enough to wake
//! it.

use std::time::Duration;

use crate::model::Moment;

use super::timing::BEFORE_RETRANSMIT;

/// A host without a packet for this long may doze off. Wi-Fi clients stay awake for 100 ms and more after a packet;
/// half of that allows for packets that arrive late.
const DOZES_OFF: Duration = Duration::from_millis(50);

/// A host that the streak's first probe woke is awake after this time. To be on the safe side, it is the longest time
/// for which a socket may be held.
const AWAKE: Duration = BEFORE_RETRANSMIT;

/// After failures, at most two to the power of this many streaks in a row are not relied upon.
const MOST_FAILURES: u32 = 6;

/// Probes that follow one another so closely that the host stays awake.
#[derive(Debug, Default)]
pub(super) struct Streak {
    began: Moment,
    /// The latest probe, and the one before.
    last: Option<Moment>,
    before: Option<Moment>,
    /// Whether the streak matters to any probe, and whether the silence of any of them counts.
    matters: bool,
    counts: bool,
    /// Streaks in a row that were relied upon in vain: there were too few sockets, or another bound imposed pauses.
    failures: u32,
    /// Streaks that are not relied upon before the next attempt, this one included.
    unreliable: u32,
}

impl Streak {
    /// Notes that a probe leaves now or so much later.
    pub(super) fn left(&mut self, now: Moment, start_within: Duration) {
        let goes_on = self.last.is_some_and(|last| stays_awake(now.since(last), start_within));
        if !goes_on {
            self.end();
            self.began = now;
        }
        self.before = self.last.replace(now);
    }

    /// Notes that the probe which was to leave then did not. If others were launched since, they are so close together
    /// that one makes no difference.
    pub(super) fn stayed(&mut self, launched: Moment) {
        if self.last == Some(launched) {
            self.last = self.before;
        }
    }

    fn end(&mut self) {
        match (std::mem::take(&mut self.matters), std::mem::take(&mut self.counts)) {
            (false, _) => {}
            (true, true) => (self.failures, self.unreliable) = (0, 0),
            (true, false) if self.unreliable > 0 => self.unreliable -= 1,
            (true, false) => {
                self.failures = (self.failures + 1).min(MOST_FAILURES);
                self.unreliable = 1 << self.failures;
            }
        }
    }

    /// From when on silence counts, for a probe that leaves now and times out at `over`. `None`: the streak will
    /// probably end before.
    pub(super) fn counts_from(&mut self, over: Moment) -> Option<Moment> {
        let awake = self.began + AWAKE;
        self.matters = true;
        self.counts |= over >= awake;
        (self.unreliable == 0).then_some(awake)
    }
}

/// Whether a host stays awake between probes so far apart, each of which may leave so much later.
pub(super) fn stays_awake(apart: Duration, start_within: Duration) -> bool {
    apart + start_within < DOZES_OFF
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    const WITHIN: Duration = Duration::from_millis(5);
    const WAIT: Duration = Duration::from_millis(300);

    /// Sends a probe at this moment; returns from when on its silence counts.
    fn probe(streak: &mut Streak, millis: u64) -> Option<Moment> {
        streak.left(at(millis), WITHIN);
        streak.counts_from(at(millis) + WAIT)
    }

    #[test]
    fn probes_close_together_are_one_streak_of_any_length() {
        let mut streak = Streak::default();
        for millis in (1000..5000).step_by(44) {
            assert_eq!(probe(&mut streak, millis), Some(at(1900)));
        }
        assert_eq!(
            probe(&mut streak, 9000),
            Some(at(9900)),
            "a streak that lasted is followed by one that may"
        );
    }

    #[test]
    fn a_prober_that_may_be_late_makes_no_streak() {
        let mut streak = Streak::default();
        streak.left(at(0), DOZES_OFF);
        streak.left(at(10), DOZES_OFF);
        assert_eq!(streak.counts_from(at(10)), Some(at(910)));
    }

    #[test]
    fn a_probe_that_did_not_leave_keeps_no_host_awake() {
        let mut streak = Streak::default();
        for millis in [1000, 1030] {
            streak.left(at(millis), WITHIN);
        }
        streak.stayed(at(1030));
        assert_eq!(probe(&mut streak, 1060), Some(at(1960)));
    }

    #[test]
    fn short_streaks_are_relied_upon_ever_less_often_until_one_lasts() {
        let mut streak = Streak::default();
        let relied_upon = (0..300).filter(|number| probe(&mut streak, number * 100).is_some());
        assert_eq!(relied_upon.collect::<Vec<_>>(), [0, 3, 8, 17, 34, 67, 132, 197, 262]);
        (40_000..41_000).step_by(6).for_each(|millis| _ = probe(&mut streak, millis));
        assert_eq!(probe(&mut streak, 42_000), Some(at(42_900)));
    }

    #[test]
    fn streaks_that_no_probe_relied_upon_may_end_at_any_time() {
        let mut streak = Streak::default();
        (0..9).for_each(|number| streak.left(at(number * 100), WITHIN));
        assert_eq!(probe(&mut streak, 900), Some(at(1800)));
    }
}

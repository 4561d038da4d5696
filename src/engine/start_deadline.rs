//! Whether the threads that connect keep up with what is launched, and what is asked of them.

use std::time::Duration;

use crate::model::Moment;

/// How late a paced probe may leave where the machine keeps up. Later ones are not made and ask anew. As it counts
/// as leaving that late until its reply tells better, a silent host pays for each millisecond by 0.9 % of its pace.
const USUAL: Duration = Duration::from_millis(5);

/// And at most where it does not, which leaves two fifths of that pace. A machine that is later still has more to do
/// than to scan.
const MOST: Duration = Duration::from_millis(160);

/// One in so many not started in time is too many.
const TOO_MANY: u32 = 50;

/// How long everything waits then: several times what a probe may usually be late.
const BREATH: Duration = Duration::from_millis(20);

/// A probe that could not be started in time says that threads get too little of the processor; now and then that
/// is nothing. Where it is not, probes get more time to leave, until the machine is seen to keep up again.
#[derive(Debug)]
pub(super) struct StartDeadline {
    /// When the second began that is counted; half of what was before counts, too.
    second: Moment,
    launched: u32,
    missed: u32,
    /// The latest that left in this second, by so much.
    latest: Duration,
    start_within: Duration,
    paused_until: Moment,
}

impl Default for StartDeadline {
    fn default() -> Self {
        Self {
            second: Moment::ZERO,
            launched: 0,
            missed: 0,
            latest: Duration::ZERO,
            start_within: USUAL,
            paused_until: Moment::ZERO,
        }
    }
}

impl StartDeadline {
    /// When the next probes may leave.
    pub(super) const fn paused_until(&self) -> Moment {
        self.paused_until
    }

    /// How late a paced probe may leave.
    pub(super) const fn start_within(&self) -> Duration {
        self.start_within
    }

    /// Nothing leaves until then.
    pub(super) fn pause_until(&mut self, until: Moment) {
        self.paused_until = self.paused_until.max(until);
    }

    /// A probe is launched.
    pub(super) fn note_launch(&mut self, now: Moment) {
        if now.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.launched, self.missed) = (now, self.launched / 2, self.missed / 2);
            // No further than to what was needed, or the next second begins with probes that are not made.
            let needed = self.latest.max(self.start_within / 2).max(USUAL);
            self.start_within = self.start_within.min(needed);
            self.latest = Duration::ZERO;
        }
        self.launched += 1;
    }

    /// A probe was started, so late.
    pub(super) fn note_start(&mut self, late: Duration) {
        self.latest = self.latest.max(late);
    }

    /// A probe was not started. A single one is none too many; what a breath stops is one sign and not many.
    pub(super) fn note_missed(&mut self, now: Moment) {
        self.missed += 1;
        if self.missed > 1 && self.missed.saturating_mul(TOO_MANY) > self.launched {
            if self.paused_until <= now {
                self.start_within = (self.start_within * 2).min(MOST);
            }
            self.pause_until(now + BREATH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probe every 4 ms for so many seconds, of which so many in a hundred are not started and the others leave so
    /// late.
    fn probes(deadline: &mut StartDeadline, now: &mut Moment, seconds: u64, unstarted: u64, late: Duration) {
        for probe in 0..seconds * 250 {
            *now += Duration::from_millis(4);
            deadline.note_launch(*now);
            if probe % 100 < unstarted {
                deadline.note_missed(*now);
            } else {
                deadline.note_start(late);
            }
        }
    }

    const LITTLE: Duration = Duration::from_millis(1);

    #[test]
    fn a_prober_that_falls_behind_is_given_a_breath_and_more_time() {
        let (mut deadline, mut now) = (StartDeadline::default(), Moment::ZERO);
        probes(&mut deadline, &mut now, 4, 1, LITTLE);
        assert_eq!(
            (deadline.paused_until(), deadline.start_within()),
            (Moment::ZERO, USUAL),
            "one in a hundred"
        );
        (0..20).for_each(|_| deadline.note_missed(now));
        assert_eq!(
            (deadline.paused_until(), deadline.start_within()),
            (now + BREATH, USUAL * 2),
            "once a breath"
        );
        (1..20).for_each(|breaths| deadline.note_missed(now + BREATH * breaths));
        assert_eq!(deadline.start_within(), MOST);
    }

    #[test]
    fn it_takes_the_time_back_that_is_not_needed() {
        let (mut deadline, mut now) =
            (StartDeadline { start_within: MOST, ..StartDeadline::default() }, Moment::ZERO);
        let needed = Duration::from_millis(30);
        probes(&mut deadline, &mut now, 20, 0, needed);
        assert_eq!(deadline.start_within(), needed);
        probes(&mut deadline, &mut now, 20, 0, LITTLE);
        assert_eq!(deadline.start_within(), USUAL);
    }
}

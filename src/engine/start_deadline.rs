//! Bounds how late a paced probe may leave; the bound adapts to whether the prober's threads keep up.

use std::time::Duration;

use crate::model::Moment;

/// How late a paced probe may leave if the machine keeps up. A later one is not made but scheduled again. A probe
/// counts as leaving that late until its reply says when it left, so each millisecond costs a silent host 0.9 % of its
/// pace.
const USUAL: Duration = Duration::from_millis(5);

/// The upper bound if the machine does not keep up, which leaves two fifths of that pace. A machine that is later still
/// is busy with other work.
const MOST: Duration = Duration::from_millis(160);

/// One missed start in this many probes is too many.
const TOO_MANY: u32 = 50;

/// How long all hosts pause then: several times the usual deadline.
const PAUSE: Duration = Duration::from_millis(20);

/// A probe that could not be started in time shows that the prober's threads get too little of the processor. A few
/// such probes are normal; if there are more, the deadline is extended until the machine keeps up again.
#[derive(Debug)]
pub(super) struct StartDeadline {
    /// When the current counting second began; half of the earlier counts are carried over.
    second: Moment,
    launched: u32,
    missed: u32,
    /// The longest delay of a probe that left in this second.
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
    /// When the next probes may leave, after a pause.
    pub(super) const fn paused_until(&self) -> Moment {
        self.paused_until
    }

    /// How late a paced probe may leave.
    pub(super) const fn start_within(&self) -> Duration {
        self.start_within
    }

    /// No probe leaves until then.
    pub(super) fn pause_until(&mut self, until: Moment) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Counts a launched probe.
    pub(super) fn note_launch(&mut self, now: Moment) {
        if now.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.launched, self.missed) = (now, self.launched / 2, self.missed / 2);
            // Not below what was needed, or the next second would begin with missed starts.
            let needed = self.latest.max(self.start_within / 2).max(USUAL);
            self.start_within = self.start_within.min(needed);
            self.latest = Duration::ZERO;
        }
        self.launched += 1;
    }

    /// Counts a probe that was started so late.
    pub(super) fn note_start(&mut self, late: Duration) {
        self.latest = self.latest.max(late);
    }

    /// Counts a probe that was not started. A single one is not too many, and all those within one pause count once.
    pub(super) fn note_missed(&mut self, now: Moment) {
        self.missed += 1;
        if self.missed > 1 && self.missed.saturating_mul(TOO_MANY) > self.launched {
            if self.paused_until <= now {
                self.start_within = (self.start_within * 2).min(MOST);
            }
            self.pause_until(now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Launches a probe every 4 ms for so many seconds: so many in a hundred are not started, the others are so late.
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
    fn pauses_and_extends_the_deadline_if_the_prober_falls_behind() {
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
            (now + PAUSE, USUAL * 2),
            "once per pause"
        );
        (1..20).for_each(|pauses| deadline.note_missed(now + PAUSE * pauses));
        assert_eq!(deadline.start_within(), MOST);
    }

    #[test]
    fn shortens_the_deadline_to_what_is_needed() {
        let (mut deadline, mut now) =
            (StartDeadline { start_within: MOST, ..StartDeadline::default() }, Moment::ZERO);
        let needed = Duration::from_millis(30);
        probes(&mut deadline, &mut now, 20, 0, needed);
        assert_eq!(deadline.start_within(), needed);
        probes(&mut deadline, &mut now, 20, 0, LITTLE);
        assert_eq!(deadline.start_within(), USUAL);
    }
}

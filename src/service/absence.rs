//! Decides when a device counts as gone. Pure, so that a test can let the clock jump.
//!
//! A gadget that is switched off every night is not gone, and neither is one that a failed feed no longer names. No
//! device counts as gone while the date is uncertain: after a clock jumps by a year, every device seems to have been
//! absent for a year.

use std::time::Duration;

use jiff::Timestamp;

use super::schedule::Times;
use crate::{clock::JumpDetector, model::Moment};

/// How long a device must have been unseen: a holiday home's router is switched off from Sunday to Friday.
pub const GONE_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long all feeds must have been up and the clock right. Sightings are written hourly, so every device that is
/// present has one since.
const SETTLED: Duration = Duration::from_secs(2 * 3600);

/// How far the wall clock may drift from the time that the monotonic clock predicts.
const JUMP: Duration = Duration::from_secs(3600);

/// Tracks since when absences can be judged.
#[derive(Debug, Default)]
pub struct Absence {
    /// Since when everything has been in order, or the last time a date was returned.
    steady: Option<Moment>,
    jumps: JumpDetector,
}

impl Absence {
    /// Returns the date since which a device must have been seen, or else counts as gone. Returns `None` if that
    /// cannot be decided now, or was decided recently. Call it every few seconds, with whether every feed is up.
    pub fn due(&mut self, feeds_up: bool, times: &Times) -> Option<Timestamp> {
        let Some(wall) = times.wall.filter(|_| feeds_up) else {
            *self = Self::default();
            return None;
        };
        if self.jumps.find(times.now, wall, JUMP).is_some() {
            self.steady = None;
        }
        let since = *self.steady.get_or_insert(times.now);
        (times.now.since(since) >= SETTLED).then(|| {
            self.steady = Some(times.now);
            wall - GONE_AFTER
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    struct Clocks {
        absence: Absence,
        times: Times,
    }

    impl Clocks {
        /// Returns how often a date is due within this time.
        fn pass(&mut self, time: Duration, feeds_up: bool) -> usize {
            let end = self.times.now + time;
            let mut count = 0;
            while self.times.now < end {
                self.times.now += MINUTE;
                self.times.wall = self.times.wall.map(|wall| wall + MINUTE);
                let due = self.absence.due(feeds_up, &self.times);
                assert!(due.is_none_or(|since| Some(since + GONE_AFTER) == self.times.wall));
                count += usize::from(due.is_some());
            }
            count
        }
    }

    #[test]
    fn is_due_every_two_hours_unless_a_feed_or_the_clock_is_in_doubt() {
        let wall = "2026-06-01T00:00:00Z".parse().ok();
        let times = Times { now: Moment::ZERO, wall, zone: TimeZone::UTC };
        let mut clocks = Clocks { absence: Absence::default(), times };
        assert_eq!(clocks.pass(119 * MINUTE, true), 0);
        assert_eq!(clocks.pass(600 * MINUTE, true), 5);
        assert_eq!(clocks.pass(600 * MINUTE, false), 0, "a feed has failed");
        assert_eq!(clocks.pass(100 * MINUTE, true), 0);
        // The clock jumps by a year: two hours pass before any device counts as gone.
        clocks.times.wall = clocks.times.wall.map(|wall| wall + Duration::from_secs(365 * 86_400));
        assert_eq!(clocks.pass(119 * MINUTE, true), 0);
        assert_eq!(clocks.pass(2 * MINUTE, true), 1);
        clocks.times.wall = None;
        assert_eq!(clocks.pass(600 * MINUTE, true), 0, "the date is not known");
    }
}

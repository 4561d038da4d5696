//! Decides when a scanner's next run is due. Pure, so that a test can start the clock in 2000 and let it jump.
//!
//! Intervals are measured by the monotonic clock, carried over restarts as a persisted age; the wall clock only adds
//! the time that the machine was off, and only where both ends look sane. `at` needs a wall clock that is trusted;
//! without one its scanner keeps to the interval alone.

use std::time::Duration;

use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};

use crate::{clock::EARLIEST_SANE, model::Moment};

/// What the clocks show, as far as they can be trusted.
#[derive(Clone, Debug)]
pub struct Times {
    /// The monotonic clock.
    pub now: Moment,
    /// The wall clock; `None` while it waits to be set.
    pub wall: Option<Timestamp>,
    /// The local time zone, for `at`.
    pub zone: TimeZone,
}

/// When a scanner's last run started, on the monotonic clock of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastStart {
    /// It never ran; the scanner is known since this moment.
    Never(Moment),
    /// It started this long before `read`, which is a moment of this process.
    Aged {
        /// The age at `read`.
        age: Duration,
        /// The moment at which it had that age.
        read: Moment,
    },
}

impl LastStart {
    /// Returns a start at this moment.
    pub fn at(now: Moment) -> Self {
        Self::Aged { age: Duration::ZERO, read: now }
    }

    /// Returns a start that an earlier process persisted: `age` as it last wrote it, `started` by its wall clock. The
    /// machine may have been off since; the wall clock shows for how long, unless either date is absurd.
    pub fn restored(age: Duration, started: Timestamp, times: &Times) -> Self {
        let by_wall = times
            .wall
            .filter(|wall| started >= EARLIEST_SANE && *wall >= started)
            .and_then(|wall| Duration::try_from(wall.duration_since(started)).ok());
        Self::Aged { age: by_wall.map_or(age, |wall| wall.max(age)), read: times.now }
    }

    /// Returns how long ago it started; `None` if never.
    pub fn age(self, now: Moment) -> Option<Duration> {
        match self {
            Self::Never(_) => None,
            Self::Aged { age, read } => Some(age + now.since(read)),
        }
    }
}

/// A run at a set time of day may start this much less than an interval after the last one, so that a late start, or a
/// day of 23 hours, does not cost a night.
const SLACK: Duration = Duration::from_secs(12 * 3600);

/// Whether a run is due.
///
/// Without `at`: at once if it never ran, else when the interval has passed. With `at`: when the latest occurrence of
/// that time of day came after the last start and (nearly) an interval has passed; a time that the machine was off for
/// is made up for, as systemd's `Persistent=` timers do. A scanner that never ran waits for its time, or without a
/// trusted clock for its interval: new devices are scanned on sight anyway.
pub fn is_due(interval: Duration, at: Option<civil::Time>, last: LastStart, times: &Times) -> bool {
    let age = last.age(times.now);
    let Some((at, wall)) = at.zip(times.wall) else {
        let since = match last {
            LastStart::Never(known) if at.is_some() => Some(times.now.since(known)),
            _ => age,
        };
        return since.is_none_or(|since| since >= interval);
    };
    let Some(since_at) = since_latest(at, wall, &times.zone) else { return false };
    match last {
        LastStart::Never(known) => times.now.since(known) >= since_at,
        LastStart::Aged { .. } => {
            age.is_some_and(|age| age > since_at && age >= interval.saturating_sub(SLACK))
        }
    }
}

/// Returns in what time a run will be due; `None` if it is due already, never ran, or has a time of day, which the wall
/// clock may reach at any moment.
pub fn due_in(interval: Duration, at: Option<civil::Time>, last: LastStart, now: Moment) -> Option<Duration> {
    let age = last.age(now).filter(|_| at.is_none())?;
    interval.checked_sub(age).filter(|left| !left.is_zero())
}

/// Returns the time since the latest occurrence of a local time of day.
fn since_latest(at: civil::Time, wall: Timestamp, zone: &TimeZone) -> Option<Duration> {
    let now = wall.to_zoned(zone.clone());
    let today = now.date().to_datetime(at).to_zoned(zone.clone()).ok()?;
    let latest = if today.timestamp() <= wall {
        today
    } else {
        now.date().checked_sub(1.day()).ok()?.to_datetime(at).to_zoned(zone.clone()).ok()?
    };
    Duration::try_from(wall.duration_since(latest.timestamp())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn times(now: Duration, wall: Option<&str>) -> Times {
        Times {
            now: Moment::ZERO + now,
            wall: wall.map(|wall| wall.parse().unwrap()),
            zone: TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC),
        }
    }

    #[test]
    fn an_interval_alone_needs_no_wall_clock() {
        let last = LastStart::at(Moment::ZERO);
        assert!(is_due(DAY, None, LastStart::Never(Moment::ZERO), &times(Duration::ZERO, None)));
        assert!(!is_due(DAY, None, last, &times(DAY - HOUR, None)));
        assert!(is_due(DAY, None, last, &times(DAY, None)));
        let due_in = |last, passed| due_in(DAY, None, last, Moment::ZERO + passed);
        assert_eq!(
            (due_in(last, HOUR), due_in(last, DAY), due_in(last, 2 * DAY)),
            (Some(DAY - HOUR), None, None)
        );
        assert_eq!(due_in(LastStart::Never(Moment::ZERO), HOUR), None);
    }

    #[test]
    fn a_clock_that_jumps_from_2000_changes_nothing() {
        let last = LastStart::at(Moment::ZERO);
        for wall in
            ["2000-01-01T00:00:10Z", "2026-06-01T12:00:00Z", "2038-01-19T03:14:08Z", "2000-01-01T00:00:00Z"]
        {
            assert!(!is_due(DAY, None, last, &times(HOUR, Some(wall))), "{wall}");
        }
    }

    #[test]
    fn time_spent_off_counts_where_both_dates_are_sane() {
        let restored = |started: &str, wall: &str| {
            let times = times(Duration::from_secs(60), Some(wall));
            LastStart::restored(HOUR, started.parse().unwrap(), &times).age(times.now).unwrap()
        };
        assert_eq!(restored("2026-06-01T00:00:00Z", "2026-06-02T06:00:00Z"), 30 * HOUR);
        assert_eq!(
            restored("2000-01-01T00:00:00Z", "2026-06-02T06:00:00Z"),
            HOUR,
            "started by a wrong clock"
        );
        assert_eq!(restored("2026-06-01T00:00:00Z", "2000-01-01T00:05:00Z"), HOUR, "read by a wrong clock");
    }

    #[test]
    fn at_waits_for_its_time_of_day() {
        let at = Some(civil::time(2, 30, 0, 0));
        // Known since noon of June 1st, local time (10:00 UTC); the next 02:30 is 14.5 hours away.
        let new = LastStart::Never(Moment::ZERO);
        assert!(!is_due(DAY, at, new, &times(Duration::ZERO, Some("2026-06-01T10:00:00Z"))));
        assert!(!is_due(DAY, at, new, &times(14 * HOUR, Some("2026-06-02T00:00:00Z"))));
        assert!(is_due(DAY, at, new, &times(15 * HOUR, Some("2026-06-02T01:00:00Z"))));
        // Ran at 02:30 local; not again before tomorrow's, then at once, even if the machine was off at that time.
        let ran = LastStart::at(Moment::ZERO);
        assert!(!is_due(DAY, at, ran, &times(23 * HOUR, Some("2026-06-02T23:30:00Z"))));
        assert!(is_due(DAY, at, ran, &times(24 * HOUR + HOUR / 60, Some("2026-06-03T00:31:00Z"))));
        assert!(is_due(DAY, at, ran, &times(31 * HOUR, Some("2026-06-03T07:30:00Z"))));
    }

    #[test]
    fn at_on_the_day_the_clocks_change_runs_once() {
        let at = Some(civil::time(2, 30, 0, 0));
        // 2026-03-29: 02:00 becomes 03:00 in Berlin, so 02:30 does not exist and means 03:30 (01:30 UTC).
        let ran = LastStart::at(Moment::ZERO); // the night before, at 01:30 UTC
        assert!(!is_due(DAY, at, ran, &times(23 * HOUR, Some("2026-03-29T00:30:00Z"))));
        assert!(is_due(DAY, at, ran, &times(24 * HOUR, Some("2026-03-29T01:31:00Z"))));
        let again = LastStart::at(Moment::ZERO + 24 * HOUR);
        assert!(!is_due(DAY, at, again, &times(25 * HOUR, Some("2026-03-29T02:31:00Z"))));
    }

    #[test]
    fn at_several_days_apart_keeps_its_rhythm() {
        let at = Some(civil::time(2, 30, 0, 0));
        let ran = LastStart::at(Moment::ZERO); // 2026-06-01T00:30Z, 02:30 local
        for (days, due) in [(1_u32, false), (2, false), (6, false), (7, true)] {
            let wall = format!("2026-06-{:02}T00:31:00Z", 1 + days);
            assert_eq!(is_due(7 * DAY, at, ran, &times(DAY * days + HOUR / 60, Some(&wall))), due, "{days}");
        }
    }

    #[test]
    fn without_a_trusted_clock_at_falls_back_to_the_interval() {
        let at = Some(civil::time(2, 30, 0, 0));
        assert!(is_due(DAY, at, LastStart::at(Moment::ZERO), &times(DAY, None)));
        assert!(!is_due(DAY, at, LastStart::at(Moment::ZERO), &times(DAY - HOUR, None)));
        let new = LastStart::Never(Moment::ZERO + HOUR);
        assert!(!is_due(DAY, at, new, &times(DAY, None)), "not in the middle of the day it was switched on");
        assert!(is_due(DAY, at, new, &times(DAY + HOUR, None)));
    }
}

//! Layer 1: the only module that reads the time.
//!
//! Two clocks, because a Pi has no battery: the monotonic one measures intervals and never jumps; the wall
//! clock dates results and may be years off until the network has set it.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::model::Moment;

/// The source of time. `app` injects the machine's; tests inject one that starts in 2000 and jumps.
pub trait Clock: Send + Sync {
    /// The monotonic clock, for intervals. Never goes backwards; stops while the machine sleeps.
    fn now(&self) -> Moment;

    /// The wall clock, for dates; it may be wrong, and jump.
    fn wall(&self) -> Timestamp;

    /// Whether the wall clock has been set from outside since boot, as far as the kernel knows.
    fn is_synchronised(&self) -> bool;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

/// A wall clock before this is certainly wrong: no build of this program is that old.
pub const EARLIEST_SANE: Timestamp = Timestamp::constant(1_767_225_600, 0); // 2026-01-01T00:00:00Z

impl SystemClock {
    /// Starts counting now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Moment {
        Moment::from_start(Instant::now().saturating_duration_since(self.start))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    /// systemd-timesyncd touches this file when it has set the clock (systemd-timesyncd(8)), chrony's and
    /// ntpd's packages do not; there, and in containers, a sane date is the best sign available.
    fn is_synchronised(&self) -> bool {
        std::path::Path::new("/run/systemd/timesync/synchronized").exists()
            || (!std::path::Path::new("/run/systemd/timesync").exists() && self.wall() >= EARLIEST_SANE)
    }
}

/// Detects that the wall clock was set, by comparison with the monotonic one. Must be called often: it compares
/// with the previous call.
#[derive(Debug, Default)]
pub struct JumpDetector {
    last: Option<(Moment, Timestamp)>,
}

impl JumpDetector {
    /// Creates a detector that starts from these clocks.
    pub fn since(now: Moment, wall: Timestamp) -> Self {
        Self { last: Some((now, wall)) }
    }

    /// What the wall clock said the last time, if it differs by more than this from what it should say since.
    pub fn find(&mut self, now: Moment, wall: Timestamp, tolerance: Duration) -> Option<Timestamp> {
        let (then, said) = self.last.replace((now, wall))?;
        let passed = SignedDuration::try_from(now.since(then)).unwrap_or(SignedDuration::MAX);
        let off = wall.duration_since(said) - passed;
        (off.unsigned_abs() > tolerance).then_some(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_clock_that_is_set_either_way_has_jumped_once() {
        let wall: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        let mut jumps = JumpDetector::default();
        assert_eq!(jumps.find(Moment::ZERO, wall, MINUTE), None, "there is nothing to compare with");
        let day = 1440 * MINUTE;
        assert_eq!(jumps.find(Moment::ZERO + day, wall + day + MINUTE, MINUTE), None, "a slow crystal");
        let set = wall + 3 * day;
        assert_eq!(jumps.find(Moment::ZERO + day, set, MINUTE), Some(wall + day + MINUTE));
        assert_eq!(jumps.find(Moment::ZERO + day, set, MINUTE), None);
        assert_eq!(jumps.find(Moment::ZERO + day, wall, MINUTE), Some(set));
    }
}

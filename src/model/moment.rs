//! Monotonic time as a value.

use std::{
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

/// A point on the monotonic clock, counted from an arbitrary start (that of the process, or of a simulation).
///
/// `std::time::Instant` cannot be constructed from a number, so a test could not create one; this can. It never goes
/// backwards and is independent of the wall clock. Resolution 1 ns, range 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The clock's start.
    pub const ZERO: Self = Self(0);

    /// The point this long after the start.
    pub const fn from_start(since: Duration) -> Self {
        let whole = since.as_secs().saturating_mul(1_000_000_000);
        Self(whole.saturating_add(since.subsec_nanos() as u64))
    }

    /// The time since the start.
    pub const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The time since `earlier`; zero if that is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time until `later`; zero if that has passed.
    pub const fn until(self, later: Self) -> Duration {
        later.since(self)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(Self::from_start(duration).0))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(Self::from_start(duration).0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saturates_at_both_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(Moment::ZERO - second, Moment::ZERO);
        assert_eq!(Moment::ZERO.since(Moment::ZERO + second), Duration::ZERO);
        assert_eq!((Moment::ZERO + second).since(Moment::ZERO), second);
        assert_eq!(Moment::from_start(Duration::MAX) + second, Moment::from_start(Duration::MAX));
    }
}

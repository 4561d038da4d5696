//! Limits how often an event may happen.

use std::time::Duration;

use super::{Bucket, Moment};

/// A number of events that may happen at once, and again in each period of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    most: u32,
    /// The time after which one token is restored.
    step: Duration,
    bucket: Bucket,
}

impl Allowance {
    /// Allows at most `most` events in each period of this length.
    pub fn new(most: u32, period: Duration) -> Self {
        Self { most, step: period / most.max(1), bucket: Bucket::default() }
    }

    /// How many events may happen now.
    pub fn left(&self, now: Moment) -> u32 {
        let missing = self.bucket.missing(now).as_nanos().div_ceil(self.step.as_nanos().max(1));
        self.most.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    /// Takes a token, if one is left; returns whether the event may happen.
    pub fn take(&mut self, now: Moment) -> bool {
        self.bucket.try_spend(now, self.step, self.step * self.most)
    }

    /// Changes the limit from now on; tokens already taken stay taken.
    pub fn resize(&mut self, most: u32, period: Duration) {
        if self.most != most {
            *self = Self { bucket: self.bucket, ..Self::new(most, period) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn taken(allowance: &mut Allowance, now: Moment) -> u32 {
        (0..1000).map(|_| u32::from(allowance.take(now))).sum()
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_by_one() {
        let mut allowance = Allowance::new(4, HOUR);
        assert_eq!((allowance.left(Moment::ZERO), taken(&mut allowance, Moment::ZERO)), (4, 4));
        let quarter = Moment::ZERO + HOUR / 4;
        assert!(!allowance.take(Moment::ZERO + (HOUR / 4 - Duration::from_nanos(1))));
        assert_eq!(taken(&mut allowance, quarter), 1);
        assert_eq!(taken(&mut allowance, quarter + HOUR * 100), 4, "no more are saved up");
    }

    #[test]
    fn a_day_allows_the_burst_and_the_hourly_tokens() {
        let mut allowance = Allowance::new(10, HOUR);
        let day =
            (0..1440).map(|minute| taken(&mut allowance, Moment::ZERO + HOUR * minute / 60)).sum::<u32>();
        assert!((240..=250).contains(&day), "{day}");
    }

    #[test]
    fn an_allowance_of_zero_allows_nothing() {
        let mut allowance = Allowance::new(0, HOUR);
        assert!(!allowance.take(Moment::ZERO + HOUR * 9));
        allowance.resize(2, HOUR);
        assert_eq!(taken(&mut allowance, Moment::ZERO + HOUR * 9), 2);
    }
}

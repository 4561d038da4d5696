//! How often something may happen.

use std::time::Duration;

use super::{Bucket, Moment};

/// So many times at once, and as often again in each stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    most: u32,
    /// In which one token comes back.
    step: Duration,
    bucket: Bucket,
}

impl Allowance {
    /// At most so many in each stretch of this length.
    pub fn new(most: u32, stretch: Duration) -> Self {
        Self { most, step: stretch / most.max(1), bucket: Bucket::default() }
    }

    /// How many may happen now.
    pub fn left(&self, now: Moment) -> u32 {
        let missing = self.bucket.missing(now).as_nanos().div_ceil(self.step.as_nanos().max(1));
        self.most.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    /// Takes one, if one is left; whether it may happen.
    pub fn take(&mut self, now: Moment) -> bool {
        self.bucket.try_spend(now, self.step, self.step * self.most)
    }

    /// Changes how often from now on; what was taken stays taken.
    pub fn resize(&mut self, most: u32, stretch: Duration) {
        if self.most != most {
            *self = Self { bucket: self.bucket, ..Self::new(most, stretch) };
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
    fn so_many_pass_at_once_and_then_one_after_the_other() {
        let mut allowance = Allowance::new(4, HOUR);
        assert_eq!((allowance.left(Moment::ZERO), taken(&mut allowance, Moment::ZERO)), (4, 4));
        let quarter = Moment::ZERO + HOUR / 4;
        assert!(!allowance.take(Moment::ZERO + (HOUR / 4 - Duration::from_nanos(1))));
        assert_eq!(taken(&mut allowance, quarter), 1);
        assert_eq!(taken(&mut allowance, quarter + HOUR * 100), 4, "no more are saved up");
    }

    #[test]
    fn a_day_has_the_first_ones_and_those_of_its_hours() {
        let mut allowance = Allowance::new(10, HOUR);
        let day =
            (0..1440).map(|minute| taken(&mut allowance, Moment::ZERO + HOUR * minute / 60)).sum::<u32>();
        assert!((240..=250).contains(&day), "{day}");
    }

    #[test]
    fn none_at_all_is_none() {
        let mut allowance = Allowance::new(0, HOUR);
        assert!(!allowance.take(Moment::ZERO + HOUR * 9));
        allowance.resize(2, HOUR);
        assert_eq!(taken(&mut allowance, Moment::ZERO + HOUR * 9), 2);
    }
}

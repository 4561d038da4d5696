//! A bucket of tokens, which bounds how often something may happen.

use std::time::Duration;

use super::Moment;

/// A token bucket kept as the time at which it will be full again (ITU-T I.371's virtual scheduling): no
/// fractions, no refill. It is full at first. Its caller says each time what an event costs, and how much may
/// happen at once; an `Allowance` keeps both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: Moment,
}

impl Bucket {
    /// How long until something that takes `cost` may happen, if all within `burst` may happen at once.
    pub fn wait(&self, now: Moment, cost: Duration, burst: Duration) -> Duration {
        now.until(self.full_at.max(now) + cost).saturating_sub(burst)
    }

    /// How long until it is full again, if nothing more happens.
    pub fn missing(&self, now: Moment) -> Duration {
        now.until(self.full_at)
    }

    /// It happens.
    pub fn spend(&mut self, now: Moment, cost: Duration) {
        self.full_at = self.full_at.max(now) + cost;
    }

    /// Lets it happen if it may.
    pub fn try_spend(&mut self, now: Moment, cost: Duration, burst: Duration) -> bool {
        let may = self.wait(now, cost, burst).is_zero();
        if may {
            self.spend(now, cost);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bunch_then_a_steady_pace() {
        let (cost, burst) = (Duration::from_millis(50), Duration::from_secs(2));
        let mut bucket = Bucket::default();
        let start = Moment::from_start(Duration::from_secs(1000));
        for _ in 0..40 {
            assert!(bucket.try_spend(start, cost, burst));
        }
        assert_eq!(bucket.wait(start, cost, burst), cost);
        let mut taken = 0;
        for millis in 0..10_000 {
            taken += u32::from(bucket.try_spend(start + Duration::from_millis(millis), cost, burst));
        }
        assert_eq!(taken, 199, "20 a second for ten seconds, less the one that is due at the very end");
        assert!(bucket.try_spend(start + Duration::from_secs(60), cost, burst));
    }
}

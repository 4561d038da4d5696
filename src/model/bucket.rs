//! A token bucket, which limits how often an event may happen.

use std::time::Duration;

use super::Moment;

/// A token bucket stored as the time at which it will be full again (ITU-T I.371's virtual scheduling): no fractions,
/// no refill. It starts full. The caller passes the cost of each event and the permitted burst; an `Allowance` stores
/// both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: Moment,
}

impl Bucket {
    /// The time until an event of this `cost` is allowed, if everything within `burst` may happen at once.
    pub fn wait(&self, now: Moment, cost: Duration, burst: Duration) -> Duration {
        now.until(self.full_at.max(now) + cost).saturating_sub(burst)
    }

    /// The time until the bucket is full again, if no further event happens.
    pub fn missing(&self, now: Moment) -> Duration {
        now.until(self.full_at)
    }

    /// Records an event.
    pub fn spend(&mut self, now: Moment, cost: Duration) {
        self.full_at = self.full_at.max(now) + cost;
    }

    /// Records an event if it is allowed; returns whether it is.
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
    fn allows_a_burst_then_a_steady_rate() {
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

//! How often something may happen.

use std::time::Duration;

use crate::model::Moment;

/// A token bucket kept as the time at which it will be full again (ITU-T I.371's virtual scheduling): no
/// fractions, no refill.
#[derive(Debug, Default)]
pub(super) struct Pace {
    full_at: Moment,
}

impl Pace {
    /// How long until something that takes `cost` may happen, if all within `burst` may happen at once.
    pub(super) fn wait(&self, now: Moment, cost: Duration, burst: Duration) -> Duration {
        now.until(self.full_at.max(now) + cost).saturating_sub(burst)
    }

    /// It happens.
    pub(super) fn spend(&mut self, now: Moment, cost: Duration) {
        self.full_at = self.full_at.max(now) + cost;
    }

    /// Lets it happen if it may.
    pub(super) fn try_spend(&mut self, now: Moment, cost: Duration, burst: Duration) -> bool {
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
        let mut pace = Pace::default();
        let start = Moment::from_start(Duration::from_secs(1000));
        for _ in 0..40 {
            assert!(pace.try_spend(start, cost, burst));
        }
        assert_eq!(pace.wait(start, cost, burst), cost);
        let mut taken = 0;
        for millis in 0..10_000 {
            taken += u32::from(pace.try_spend(start + Duration::from_millis(millis), cost, burst));
        }
        assert_eq!(taken, 199, "20 a second for ten seconds, less the one that is due at the very end");
        assert!(pace.try_spend(start + Duration::from_secs(60), cost, burst));
    }
}

//! When a station was last heard, and when it counts as gone. Pure: the time is a parameter.

use std::time::Duration;

use crate::model::Moment;

/// A device must be missed by this many sweeps in a row before it counts as gone, whatever the grace: one sweep may be
/// lost to a busy machine.
pub(super) const LEAST_MISSED: u32 = 3;

/// The last answer of a station.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    heard: Moment,
    /// Sweeps in a row.
    missed: u32,
}

impl Sighting {
    /// It has just answered.
    pub(super) const fn at(now: Moment) -> Self {
        Self { heard: now, missed: 0 }
    }

    /// Notes that a sweep has missed it. Returns whether it counts as gone.
    pub(super) fn miss(&mut self, grace: Duration, now: Moment) -> bool {
        self.missed += 1;
        self.missed >= LEAST_MISSED && now.since(self.heard) >= grace
    }
}

/// Sweeps five minutes apart, for the tests of those that keep track of stations.
#[cfg(test)]
pub(super) mod test_sweeps {
    use super::*;
    use crate::model::Mac;

    pub(in crate::service::discovery) const GRACE: Duration = Duration::from_secs(15 * 60);
    pub(in crate::service::discovery) const EVERY: Duration = Duration::from_secs(5 * 60);

    pub(in crate::service::discovery) fn mac(last: u8) -> Mac {
        Mac::new([2, 0, 0, 0, 0, last])
    }

    /// What `take` returns for each of these sweeps.
    pub(in crate::service::discovery) fn after<T>(
        sweeps: &[T],
        mut take: impl FnMut(&T, Moment) -> String,
    ) -> Vec<String> {
        let mut now = Moment::ZERO;
        let mut next = |sweep| {
            now += EVERY;
            take(sweep, now)
        };
        sweeps.iter().map(&mut next).collect()
    }
}

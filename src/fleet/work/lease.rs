//! For how long a shard is a worker's.
//!
//! The queue gives a shard to another worker if the one that has it was not heard for [`LEASE`]. That one may be alive,
//! and cut off from the queue alone: it would go on to scan, and two workers would press one host. So a worker counts
//! its lease itself, from the moment at which it *sent* the last renewal that the queue has confirmed, and stops some
//! seconds before the queue gives the shard away. Both clocks only have to run at the same speed.

use std::time::Duration;

use crate::model::Moment;

/// After this time without a renewal the queue gives the shard to another worker.
pub const LEASE: Duration = Duration::from_secs(60);

/// Between two renewals.
pub const RENEWAL: Duration = Duration::from_secs(15);

/// After this time without a confirmed renewal a worker stops: before [`LEASE`] by more than a renewal may hang.
pub const HELD: Duration = Duration::from_secs(45);

/// A worker's hold on a shard.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    renewed: Moment,
}

impl Lease {
    /// A lease of which the first renewal, sent at this moment, was confirmed.
    pub fn confirmed(sent: Moment) -> Self {
        Self { renewed: sent }
    }

    /// A renewal that was sent at this moment is confirmed.
    pub fn renew(&mut self, sent: Moment) {
        self.renewed = self.renewed.max(sent);
    }

    /// Whether the shard may be another's soon.
    pub fn is_lost(&self, now: Moment) -> bool {
        now.since(self.renewed) >= HELD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_counted_from_when_its_renewal_was_sent() {
        let at = |seconds| Moment::from_start(Duration::from_secs(seconds));
        let mut lease = Lease::confirmed(at(0));
        assert!(!lease.is_lost(at(44)) && lease.is_lost(at(45)));
        lease.renew(at(15));
        // A confirmation that was overtaken by a later one.
        lease.renew(at(10));
        assert!(!lease.is_lost(at(59)) && lease.is_lost(at(60)));
    }
}

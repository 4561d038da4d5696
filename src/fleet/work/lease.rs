//! For how long a shard is a worker's.
//!
//! A worker may be alive, and cut off from the broker alone: it would go on to scan while another one begins, and two
//! would press one host. So the command that has asked for the scan decides: it lets another worker begin only if the
//! one that has the shard has left it, or was not heard for [`LEASE`]. The worker counts by itself, from the moment at
//! which it *sent* the last report that the command has answered, and stops before that. Both clocks only have to run at
//! the same speed. That the queue hands a shard out again after the same time only has another worker ask: the queue
//! confirms renewals of what it has already given away, too.

use std::time::Duration;

use crate::model::Moment;

/// After this time without a report another worker may begin the shard. After the same time without a renewal the queue
/// hands it out again.
pub const LEASE: Duration = Duration::from_secs(60);

/// Between two renewals in the queue.
pub const RENEWAL: Duration = Duration::from_secs(15);

/// After this time without a confirmed renewal a worker stops: before [`LEASE`] by more than a renewal may hang.
const HELD: Duration = Duration::from_secs(45);

/// A worker's hold on a shard.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    renewed: Moment,
}

impl Lease {
    /// A lease of which the first report, sent at this moment, was answered.
    pub fn confirmed(sent: Moment) -> Self {
        Self { renewed: sent }
    }

    /// A report that was sent at this moment is answered.
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

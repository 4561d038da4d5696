//! Logs refusals of clients: one line when they begin, and one when they are over.

use std::{collections::BTreeMap, time::Duration};

use super::{admission::RefusalReason, peer::PeerKey};
use crate::model::Moment;

/// Refusals are over after this time without one.
const QUIET: Duration = Duration::from_secs(300);

/// The number of clients that are logged one by one: an attacker may have any number of addresses, but a log must be
/// bounded.
const NAMED: usize = 16;

/// The ongoing refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    ongoing: BTreeMap<RefusalReason, Ongoing>,
    /// When a client was last refused without a log line of its own.
    crowded_at: Option<Moment>,
}

#[derive(Debug)]
struct Ongoing {
    began: Moment,
    last: Moment,
    count: u64,
}

/// A change that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalEvent {
    Began(RefusalReason),
    Over {
        reason: RefusalReason,
        count: u64,
        lasted: Duration,
    },
    /// More clients are refused than are named.
    Crowded,
}

impl Refusals {
    /// Notes a refusal.
    pub(super) fn note(&mut self, now: Moment, reason: RefusalReason) -> Option<RefusalEvent> {
        if let Some(ongoing) = self.ongoing.get_mut(&reason) {
            ongoing.last = now;
            ongoing.count += 1;
            return None;
        }
        if self.ongoing.len() < NAMED {
            self.ongoing.insert(reason, Ongoing { began: now, last: now, count: 1 });
            return Some(RefusalEvent::Began(reason));
        }
        self.crowded_at.replace(now).is_none().then_some(RefusalEvent::Crowded)
    }

    /// The refusals that are over by now.
    pub(super) fn end(&mut self, now: Moment) -> Vec<RefusalEvent> {
        let mut over = Vec::new();
        self.ongoing.retain(|&reason, &mut Ongoing { began, last, count }| {
            let goes_on = now.since(last) < QUIET;
            if !goes_on {
                over.push(RefusalEvent::Over { reason, count, lasted: last.since(began) });
            }
            goes_on
        });
        self.crowded_at = self.crowded_at.filter(|&last| now.since(last) < QUIET);
        over
    }
}

/// Logs the change; `what` is refused, such as "requests".
pub(super) fn log(what: &str, change: RefusalEvent) {
    match change {
        RefusalEvent::Began(RefusalReason::Quota(client)) => tracing::warn!(
            what,
            %client,
            "refusing: this client has as many as one client may; it is served again when some of them end"
        ),
        RefusalEvent::Began(RefusalReason::Full) => {
            tracing::warn!(
                what,
                "refusing: all places are taken except those reserved for this machine and the token"
            );
        }
        RefusalEvent::Over { reason, count, lasted } => {
            let client = match reason {
                RefusalReason::Quota(client) => Some(tracing::field::display(client)),
                RefusalReason::Full => None::<tracing::field::DisplayValue<PeerKey>>,
            };
            tracing::info!(what, client, refused = count, duration = ?lasted, "no longer refusing");
        }
        RefusalEvent::Crowded => {
            tracing::warn!(
                what,
                clients = NAMED,
                "refusing too many clients to log each; further ones are not logged"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    fn of(last: u8) -> RefusalReason {
        RefusalReason::Quota(PeerKey::of(([192, 0, 2, last], 1).into()))
    }

    #[test]
    fn a_client_that_is_refused_a_thousand_times_causes_two_lines() {
        let mut refusals = Refusals::default();
        let mut changes = Vec::new();
        for tenth in 0..1000 {
            let now = Moment::from_start(Duration::from_millis(100 * tenth));
            changes.extend(refusals.end(now));
            changes.extend(refusals.note(now, of(1)));
        }
        assert_eq!(changes, [RefusalEvent::Began(of(1))]);
        assert_eq!(refusals.end(at(399)), []);
        let over = RefusalEvent::Over { reason: of(1), count: 1000, lasted: Duration::from_millis(99_900) };
        assert_eq!(refusals.end(at(400)), [over]);
        assert_eq!(refusals.end(at(401)), []);
    }

    #[test]
    fn a_flood_of_addresses_causes_a_bounded_number_of_lines() {
        let mut refusals = Refusals::default();
        let mut lines = 0;
        for round in 0..100 {
            for last in 0..=255 {
                lines += usize::from(refusals.note(at(round), of(last)).is_some());
            }
        }
        assert_eq!(lines, NAMED + 1);
        assert_eq!(refusals.ongoing.len(), NAMED);
        assert_eq!(refusals.end(at(1000)).len(), NAMED);
        assert_eq!(
            refusals.note(at(1000), RefusalReason::Full),
            Some(RefusalEvent::Began(RefusalReason::Full))
        );
    }
}

//! The SYNs in flight: which answer belongs to which probe, and which probes stay unanswered. Sans-io.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    time::Duration,
};

use foldhash::fast::FixedState;
use slab::Slab;

use super::packet::{Tuple, WAYS};
use crate::{
    engine::{Passage, Probe, ProbeId},
    model::Moment,
};

/// A SYN in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SynInFlight {
    pub(super) id: ProbeId,
    pub(super) passage: Passage,
    pub(super) started: Moment,
    pub(super) left_by: Moment,
    pub(super) give_up_at: Moment,
    pub(super) reply_within: Duration,
}

/// All SYNs in flight. The trees and tables grow to what is in flight and are used again: no probe costs an allocation
/// of its own.
#[derive(Debug, Default)]
pub(super) struct SynFlights {
    flights: Slab<(Tuple, SynInFlight)>,
    /// Only our own probes are added, so the hash need not withstand chosen tuples.
    by_tuple: HashMap<Tuple, usize, FixedState>,
    deadlines: BTreeSet<(Moment, usize)>,
}

impl SynFlights {
    /// Adds a probe, from the local port of its try or the next that is free: two jobs may ask one port at once.
    /// `None`: none is free.
    pub(super) fn add(
        &mut self,
        probe: &Probe,
        tuple: Tuple,
        passage: Passage,
        now: Moment,
    ) -> Option<(usize, Tuple)> {
        for offset in 0..WAYS {
            let tuple = Tuple { way: probe.attempt.wrapping_add(offset) % WAYS, ..tuple };
            if let Entry::Vacant(entry) = self.by_tuple.entry(tuple) {
                let give_up_at = now + probe.give_up;
                let flight = SynInFlight {
                    id: probe.id,
                    passage,
                    started: now,
                    left_by: now,
                    give_up_at,
                    reply_within: probe.reply_within,
                };
                let key = *entry.insert(self.flights.insert((tuple, flight)));
                self.deadlines.insert((give_up_at, key));
                return Some((key, tuple));
            }
        }
        None
    }

    /// Notes when the SYN with this key had left, unless it is answered already.
    pub(super) fn note_left(&mut self, key: usize, left_by: Moment) {
        if let Some((_, flight)) = self.flights.get_mut(key) {
            flight.left_by = left_by;
        }
    }

    /// Ends the flight of the SYN between these addresses and ports; `None` if there is none, or no more.
    pub(super) fn end(&mut self, tuple: &Tuple) -> Option<SynInFlight> {
        let key = self.by_tuple.remove(tuple)?;
        let (_, flight) = self.flights.try_remove(key)?;
        self.deadlines.remove(&(flight.give_up_at, key));
        Some(flight)
    }

    /// Ends the flight with this key, unless it is answered already.
    pub(super) fn end_key(&mut self, key: usize) -> Option<SynInFlight> {
        let &(tuple, _) = self.flights.get(key)?;
        self.end(&tuple)
    }

    /// When the next one expires.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Ends the next flight that has expired.
    pub(super) fn expire(&mut self, now: Moment) -> Option<SynInFlight> {
        let &(_, key) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.end_key(key)
    }

    /// Whether none is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Link;

    fn probe(id: u64, attempt: u8) -> Probe {
        Probe {
            id: ProbeId(id),
            address: "10.0.0.7".parse().unwrap(),
            link: Link::OnLink,
            port: 443,
            by_syn: true,
            attempt,
            start_by: Moment::ZERO,
            give_up: Duration::from_millis(900),
            reply_within: Duration::ZERO,
        }
    }

    fn add(flights: &mut SynFlights, id: u64, attempt: u8) -> Option<Tuple> {
        let tuple = Tuple { own: [10, 0, 0, 1].into(), peer: [10, 0, 0, 7].into(), port: 443, way: 0 };
        Some(flights.add(&probe(id, attempt), tuple, Passage::LOCAL, Moment::ZERO)?.1)
    }

    #[test]
    fn every_try_has_its_own_local_port_and_is_answered_once() {
        let mut flights = SynFlights::default();
        let ways: Vec<u8> = (0..5).map(|attempt| add(&mut flights, 1, attempt).unwrap().way).collect();
        assert_eq!(ways, [0, 1, 2, 3, 4]);
        let tuples: Vec<Tuple> = (0..3).map(|id| add(&mut flights, 10 + id, 4).unwrap()).collect();
        assert_eq!(tuples.iter().map(|tuple| tuple.way).collect::<Vec<_>>(), [5, 6, 7]);
        assert_eq!(add(&mut flights, 20, 2), None, "eight at once are enough");
        assert_eq!(flights.end(&tuples[1]).unwrap().id, ProbeId(11));
        assert_eq!(flights.end(&tuples[1]), None, "a duplicate");
        assert_eq!(add(&mut flights, 20, 2).unwrap().way, 6);
    }

    #[test]
    fn unanswered_ones_expire_in_order() {
        let mut flights = SynFlights::default();
        (0..3).for_each(|id| _ = add(&mut flights, id, 0));
        let at = |millis| Moment::ZERO + Duration::from_millis(millis);
        assert_eq!((flights.deadline(), flights.expire(at(899))), (Some(at(900)), None));
        let ended: Vec<ProbeId> =
            std::iter::from_fn(|| flights.expire(at(900))).map(|flight| flight.id).collect();
        assert_eq!(ended, [0, 1, 2].map(ProbeId));
        assert!(flights.is_empty() && flights.deadline().is_none());
    }
}

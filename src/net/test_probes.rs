//! Probes for the tests of both probers.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    engine::{Link, Probe, ProbeId, Prober, Reply},
    model::Moment,
};

/// A connect to this port, to be made whenever.
pub(super) fn probe(id: u64, address: &str, port: u16, give_up: Duration) -> Probe {
    Probe {
        id: ProbeId(id),
        address: address.parse().unwrap(),
        link: Link::Routed,
        port,
        by_syn: false,
        attempt: 0,
        start_by: Moment::from_start(Duration::MAX),
        give_up,
        reply_within: Duration::ZERO,
    }
}

/// The replies to these probes, by id; fails unless each has exactly one.
pub(super) fn replies(prober: &mut impl Prober, mut batch: Vec<Probe>) -> BTreeMap<u64, Reply> {
    let expected = batch.len();
    prober.launch(&mut batch);
    let mut replies = BTreeMap::new();
    while replies.len() < expected {
        let mut arrived = Vec::new();
        prober.wait(None, &mut arrived);
        for reply in arrived {
            assert!(reply.started <= reply.left_by && reply.left_by <= reply.ended);
            assert!(replies.insert(reply.id.0, reply).is_none(), "a probe was answered twice");
        }
    }
    replies
}

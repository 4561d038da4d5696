//! Decides which client is admitted, and which one loses its place to it. Holds no state.
//!
//! One client must not lock the others out, and no stranger (a client that is not the owner) the owner. So each client
//! has a quota, some places are reserved for the owner, and if all others are taken the client that holds the most
//! loses one to a client that holds less. [`PeerKey`] defines what counts as one client; within a /64 that has reached
//! its quota the same rule holds among its addresses.
//!
//! The token arrives only with the head of a request, so a connection is admitted before its client is known to be the
//! owner. Until its head is complete, any new connection may replace it ([`connection_to_close`]); only then does it
//! take one of the bounded places ([`AdmissionQuota::decide`]). So the places that are reserved from the requests of
//! strangers are always free for reading heads.

use std::{collections::BTreeMap, net::IpAddr};

use super::peer::PeerKey;

/// A client, as far as admission depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) key: PeerKey,
    pub(super) address: IpAddr,
    /// Of a request: it comes from this machine itself or carries the token. Of a connection: it is from this machine.
    pub(super) is_owner: bool,
}

/// A place that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldSlot {
    pub(super) id: u64,
    pub(super) client: Client,
    /// When it was taken, counted in events.
    pub(super) since: u64,
}

/// The decision about a client that wants a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdmissionDecision {
    Admitted,
    /// The client takes the place of the holder with this id.
    InPlaceOf(u64),
    Refused(RefusalReason),
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RefusalReason {
    /// This client holds as many places as one client may.
    Quota(PeerKey),
    /// All places are taken by clients that hold no more than each of them keeps.
    Full,
}

/// The number of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AdmissionQuota {
    /// In all.
    pub(super) total: usize,
    /// For strangers; the rest is reserved for the owner.
    pub(super) strangers: usize,
    /// For one client. Does not apply to this machine's loopback: a proxy here is one peer for many clients.
    pub(super) each: usize,
    /// The number of places that a client never loses to another.
    pub(super) spared: usize,
}

/// The connections that a browser opens to one server, event streams included.
const BROWSER: usize = 6;

impl AdmissionQuota {
    /// Returns the quota of concurrent requests for this number of connections: of 256 each client gets 28 of 224, so
    /// that four browsers behind one address are not affected, and only eight hostile addresses can fill it.
    pub(super) fn of_requests(connections: usize) -> Self {
        let strangers = connections - connections / 8;
        let each = (strangers / 8).max(BROWSER).min(strangers);
        Self { total: connections, strangers, each, spared: BROWSER }
    }

    /// Decides whether this newcomer gets a place beside the present holders, or in place of one.
    pub(super) fn decide(&self, held: &[HeldSlot], newcomer: Client) -> AdmissionDecision {
        let is_full = held.len() >= self.total;
        let strangers: Vec<HeldSlot> = held.iter().filter(|held| !held.client.is_owner).copied().collect();
        if newcomer.is_owner {
            return match largest(&strangers, |client| client.key, None) {
                _ if !is_full => AdmissionDecision::Admitted,
                Some(group) => AdmissionDecision::InPlaceOf(group.oldest.id),
                None => AdmissionDecision::Refused(RefusalReason::Full),
            };
        }
        let is_own = |held: &&HeldSlot| held.client.key == newcomer.key;
        let own: Vec<HeldSlot> = strangers.iter().filter(is_own).copied().collect();
        if own.len() >= self.each && !newcomer.key.is_loopback() {
            self.share(&own, |client| client.address, newcomer, RefusalReason::Quota(newcomer.key))
        } else if is_full || strangers.len() >= self.strangers {
            self.share(&strangers, |client| client.key, newcomer, RefusalReason::Full)
        } else {
            AdmissionDecision::Admitted
        }
    }

    /// If all places are taken, the group that holds the most loses one, unless it would then hold fewer than the
    /// newcomer's group, or fewer than each keeps.
    fn share<K: Ord>(
        &self,
        held: &[HeldSlot],
        group_of: impl Fn(&Client) -> K,
        newcomer: Client,
        otherwise: RefusalReason,
    ) -> AdmissionDecision {
        let group = group_of(&newcomer);
        let own = held.iter().filter(|held| group_of(&held.client) == group).count();
        match largest(held, group_of, None) {
            Some(largest) if largest.size > self.spared.max(own + 1) => {
                AdmissionDecision::InPlaceOf(largest.oldest.id)
            }
            _ => AdmissionDecision::Refused(otherwise),
        }
    }
}

/// Selects the connection without a complete head that is closed so that another can be accepted: the oldest one of the
/// client that has the most of them; in a tie, the one of `newcomer`, the client of the new connection if it is known.
/// If this machine has no more than `safe` of them, a stranger closes none of these.
pub(super) fn connection_to_close(
    waiting: &[HeldSlot],
    newcomer: Option<Client>,
    safe: usize,
) -> Option<u64> {
    let from_here = waiting.iter().filter(|held| held.client.is_owner).count();
    let is_stranger = newcomer.is_some_and(|newcomer| !newcomer.is_owner);
    let may_close = |held: &&HeldSlot| !(is_stranger && held.client.is_owner && from_here <= safe);
    let closable: Vec<HeldSlot> = waiting.iter().filter(may_close).copied().collect();
    let own = newcomer.map(|newcomer| newcomer.key);
    largest(&closable, |client| client.key, own.as_ref()).map(|group| group.oldest.id)
}

/// The places of one group of clients.
struct Group {
    size: usize,
    oldest: HeldSlot,
}

/// Returns the group that holds the most places; among equals the preferred one, else the one that has waited longest.
fn largest<K: Ord>(
    held: &[HeldSlot],
    group_of: impl Fn(&Client) -> K,
    preferred: Option<&K>,
) -> Option<Group> {
    let mut groups: BTreeMap<K, Group> = BTreeMap::new();
    for &held in held {
        let group = groups.entry(group_of(&held.client)).or_insert(Group { size: 0, oldest: held });
        group.size += 1;
        if held.since < group.oldest.since {
            group.oldest = held;
        }
    }
    let rank =
        |key: &K, group: &Group| (group.size, preferred == Some(key), std::cmp::Reverse(group.oldest.since));
    groups.into_iter().max_by_key(|(key, group)| rank(key, group)).map(|(_, group)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str, is_owner: bool) -> Client {
        let address: IpAddr = address.parse().unwrap();
        Client { key: PeerKey::of((address, 1).into()), address, is_owner }
    }

    fn stranger(address: &str) -> Client {
        client(address, false)
    }

    const OWNER: &str = "127.0.0.1";

    /// Places taken in this order, with ids from 1.
    fn held(clients: &[(Client, usize)]) -> Vec<HeldSlot> {
        let each = clients.iter().flat_map(|&(client, count)| std::iter::repeat_n(client, count));
        each.zip(1..).map(|(client, id)| HeldSlot { id, client, since: id }).collect()
    }

    const QUOTA: AdmissionQuota = AdmissionQuota { total: 16, strangers: 12, each: 6, spared: 2 };

    #[test]
    fn shares_fit_the_number_of_connections() {
        for (connections, strangers, each) in
            [(256, 224, 28), (64, 56, 7), (16, 14, 6), (4, 4, 4), (3, 3, 3), (1, 1, 1)]
        {
            let quota = AdmissionQuota::of_requests(connections);
            assert_eq!((quota.total, quota.strangers, quota.each), (connections, strangers, each));
        }
    }

    #[test]
    fn a_client_gets_its_quota_and_no_more() {
        let (greedy, other) = (stranger("192.0.2.1"), stranger("192.0.2.2"));
        assert_eq!(QUOTA.decide(&held(&[(greedy, 5)]), greedy), AdmissionDecision::Admitted);
        let full = held(&[(greedy, 6)]);
        assert_eq!(QUOTA.decide(&full, greedy), AdmissionDecision::Refused(RefusalReason::Quota(greedy.key)));
        assert_eq!(QUOTA.decide(&full, other), AdmissionDecision::Admitted);
        assert_eq!(
            QUOTA.decide(&full, client("192.0.2.1", true)),
            AdmissionDecision::Admitted,
            "it carries the token"
        );
    }

    #[test]
    fn the_client_with_the_most_places_loses_one_to_a_client_with_fewer() {
        let [many, more, new] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(stranger);
        let full = held(&[(many, 5), (more, 6), (new, 1)]);
        assert_eq!(
            QUOTA.decide(&full, new),
            AdmissionDecision::InPlaceOf(6),
            "the first of the second client's"
        );
        // Two each: no client loses what each keeps.
        let spread: Vec<(Client, usize)> =
            (1..=6).map(|last| (stranger(&format!("192.0.2.{last}")), 2)).collect();
        assert_eq!(
            QUOTA.decide(&held(&spread), stranger("192.0.2.9")),
            AdmissionDecision::Refused(RefusalReason::Full)
        );
        // It would then have as many as the other, or more.
        let three: Vec<(Client, usize)> =
            (1..=4).map(|last| (stranger(&format!("192.0.2.{last}")), 3)).collect();
        let full = held(&three);
        assert_eq!(
            QUOTA.decide(&full, stranger("192.0.2.1")),
            AdmissionDecision::Refused(RefusalReason::Full)
        );
        assert_eq!(QUOTA.decide(&full, stranger("192.0.2.9")), AdmissionDecision::InPlaceOf(1));
    }

    #[test]
    fn places_are_reserved_for_the_owner_and_the_owner_may_take_others() {
        let owner = client(OWNER, true);
        let strangers: Vec<(Client, usize)> =
            (1..=6).map(|last| (stranger(&format!("192.0.2.{last}")), 2)).collect();
        let full = held(&strangers);
        assert_eq!(QUOTA.decide(&full, owner), AdmissionDecision::Admitted);
        let with_owner = held(&[&strangers[..], &[(owner, 4)]].concat());
        assert_eq!(
            QUOTA.decide(&with_owner, owner),
            AdmissionDecision::InPlaceOf(1),
            "even of the two that each keeps"
        );
        let alone = held(&[(owner, 16)]);
        assert_eq!(QUOTA.decide(&alone, owner), AdmissionDecision::Refused(RefusalReason::Full));
        assert_eq!(
            QUOTA.decide(&alone, stranger("192.0.2.1")),
            AdmissionDecision::Refused(RefusalReason::Full)
        );
    }

    #[test]
    fn a_proxy_on_this_machine_has_no_quota_but_loses_places_to_others() {
        let proxy = stranger(OWNER);
        assert_eq!(QUOTA.decide(&held(&[(proxy, 11)]), proxy), AdmissionDecision::Admitted);
        let full = held(&[(proxy, 12)]);
        assert_eq!(QUOTA.decide(&full, proxy), AdmissionDecision::Refused(RefusalReason::Full));
        assert_eq!(QUOTA.decide(&full, stranger("192.0.2.1")), AdmissionDecision::InPlaceOf(1));
    }

    #[test]
    fn addresses_of_one_network_share_its_quota_fairly() {
        let [greedy, other, far] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(stranger);
        let full = held(&[(other, 1), (greedy, 5)]);
        assert_eq!(QUOTA.decide(&full, greedy), AdmissionDecision::Refused(RefusalReason::Quota(greedy.key)));
        assert_eq!(QUOTA.decide(&full, other), AdmissionDecision::InPlaceOf(2));
        assert_eq!(QUOTA.decide(&full, far), AdmissionDecision::Admitted);
    }

    #[test]
    fn the_client_with_the_most_silent_connections_loses_one() {
        let (owner, flood, new) = (client(OWNER, true), stranger("192.0.2.1"), stranger("192.0.2.2"));
        let waiting = held(&[(owner, 1), (new, 1), (flood, 5)]);
        for newcomer in [Some(owner), Some(flood), Some(new), None] {
            assert_eq!(connection_to_close(&waiting, newcomer, 1), Some(3), "{newcomer:?}");
        }
        // One each: a client that connects again loses its own, a new one takes the oldest that is not the owner's.
        let waiting = held(&[(owner, 1), (flood, 1), (new, 1)]);
        assert_eq!(connection_to_close(&waiting, Some(new), 1), Some(3));
        assert_eq!(connection_to_close(&waiting, Some(stranger("192.0.2.3")), 1), Some(2));
        assert_eq!(connection_to_close(&waiting, None, 1), Some(1));
        // Connections beyond the owner's share are not safe.
        let waiting = held(&[(owner, 2)]);
        assert_eq!(connection_to_close(&waiting, Some(new), 2), None);
        assert_eq!(connection_to_close(&waiting, Some(new), 1), Some(1));
        assert_eq!(connection_to_close(&waiting, Some(owner), 2), Some(1));
        assert_eq!(connection_to_close(&[], Some(owner), 0), None);
    }
}

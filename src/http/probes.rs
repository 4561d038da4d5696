//! Limits the rate of probes that clients request, and shares it among them.
//!
//! The probe path makes this machine connect to any host that a client names. That is its purpose, so its rate bounds
//! the harm: too low for scanning others, or for delaying the appliance's own scans. One rate holds for all clients
//! together, because on a LAN a client can easily have many addresses. It is shared so that no client waits for
//! another: each has at most an equal share, one share is left for the next client, and half of the burst is reserved
//! for the owner.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{answer::Refusal, peer::PeerKey};
use crate::{
    clock::Clock,
    model::{Bucket, Moment},
};

/// Probes in flight at once for all clients but the owner. A port that does not answer takes 10 s.
const AT_ONCE: usize = 16;

/// Probes in flight at once for the owner, however many the others have.
const AT_ONCE_FOR_OWNER: usize = 32;

/// Time per probe in the long run: 20 a second.
const INTERVAL: Duration = Duration::from_millis(50);

/// The burst after a pause, as the time that its probes take at this rate.
const BURST: Duration = Duration::from_secs(2);

/// For how long a client counts as active after its last request.
const MEMORY: Duration = BURST;

/// The most clients that share the rate. Further ones are refused: by then a share is one probe a minute.
const CLIENTS: usize = 1024;

/// The cost of a probe that a page may have requested: a user who types addresses does not need more than one a second.
const COST_OF_PAGE: u32 = 10;

/// The client for which a port is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeClient {
    /// A program on this machine, or one that sends the token.
    Owner,
    /// Another.
    Peer(PeerKey),
    /// A browser that does not say whether its user or a page makes the request.
    Browser(PeerKey),
}

/// Admits probes.
pub(super) struct Probes {
    clock: Arc<dyn Clock>,
    shares: Mutex<Shares>,
}

#[derive(Default)]
struct Shares {
    bucket: Bucket,
    of_owner: usize,
    of_peers: usize,
    peers: HashMap<PeerKey, Share>,
}

/// The share of one client.
#[derive(Default)]
struct Share {
    bucket: Bucket,
    in_flight: usize,
    asked: Moment,
}

impl Shares {
    /// Takes a place, or returns how long to wait.
    fn take(&mut self, now: Moment, client: ProbeClient) -> Result<(), Duration> {
        let (peer, weight) = match client {
            ProbeClient::Owner => return self.take_for_owner(now),
            ProbeClient::Peer(peer) => (peer, 1),
            ProbeClient::Browser(peer) => (peer, COST_OF_PAGE),
        };
        let is_active = |share: &Share| share.in_flight > 0 || share.asked.until(now) < MEMORY;
        self.peers.retain(|_, share| is_active(share));
        if self.peers.len() >= CLIENTS && !self.peers.contains_key(&peer) {
            return Err(MEMORY);
        }
        self.peers.entry(peer).or_default().asked = now;
        // One more than there are clients: the share of the next one.
        let shares = self.peers.len() + 1;
        let cost = INTERVAL * u32::try_from(shares).unwrap_or(u32::MAX) * weight;
        let share = self.peers.entry(peer).or_default();
        if self.of_peers >= AT_ONCE || share.in_flight >= (AT_ONCE / shares).max(1) {
            return Err(Duration::ZERO);
        }
        // The other half of the burst is the owner's.
        // However many clients share, each may have one at a time.
        let burst = BURST.max(cost);
        let wait = share.bucket.wait(now, cost, burst).max(self.bucket.wait(now, INTERVAL, BURST / 2));
        if !wait.is_zero() {
            return Err(wait);
        }
        share.bucket.spend(now, cost);
        self.bucket.spend(now, INTERVAL);
        share.in_flight += 1;
        self.of_peers += 1;
        Ok(())
    }

    fn take_for_owner(&mut self, now: Moment) -> Result<(), Duration> {
        if self.of_owner >= AT_ONCE_FOR_OWNER {
            return Err(Duration::ZERO);
        }
        if !self.bucket.try_spend(now, INTERVAL, BURST) {
            return Err(self.bucket.wait(now, INTERVAL, BURST));
        }
        self.of_owner += 1;
        Ok(())
    }

    fn give_back(&mut self, client: ProbeClient) {
        match client {
            ProbeClient::Owner => self.of_owner -= 1,
            ProbeClient::Peer(peer) | ProbeClient::Browser(peer) => {
                self.of_peers -= 1;
                if let Some(share) = self.peers.get_mut(&peer) {
                    share.in_flight -= 1;
                }
            }
        }
    }
}

impl Probes {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, shares: Mutex::default() }
    }

    /// Admits a probe, or refuses it with the time after which to retry.
    pub(super) fn admit(&self, client: ProbeClient) -> Result<Admitted<'_>, Refusal> {
        self.shares().take(self.clock.now(), client).map_err(refusal)?;
        Ok(Admitted { probes: self, client })
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A probe in flight; dropping it frees its place.
pub(super) struct Admitted<'a> {
    probes: &'a Probes,
    client: ProbeClient,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.probes.shares().give_back(self.client);
    }
}

fn refusal(wait: Duration) -> Refusal {
    Refusal::again_in(
        wait.as_secs() + 1,
        format!(
            "too many probes are requested; all clients share {} a second and {AT_ONCE} at once, and one client gets \
             at most half; send fewer",
            1000 / INTERVAL.as_millis()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> ProbeClient {
        ProbeClient::Peer(PeerKey::of(([192, 168, 1, number], 40_000).into()))
    }

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(1_000_000 + millis))
    }

    /// How many probes of these clients begin in ten seconds, if each makes a request every millisecond and each probe
    /// is over at once.
    fn taken(shares: &mut Shares, clients: &[ProbeClient]) -> Vec<u32> {
        let mut taken = vec![0; clients.len()];
        for millis in 0..10_000 {
            for (client, taken) in clients.iter().zip(&mut taken) {
                if shares.take(at(millis), *client).is_ok() {
                    shares.give_back(*client);
                    *taken += 1;
                }
            }
        }
        taken
    }

    #[test]
    fn one_client_has_half_of_the_rate_and_two_a_third_each() {
        assert_eq!(taken(&mut Shares::default(), &[peer(1)]), [119], "20 at once, then 10 a second");
        let two = taken(&mut Shares::default(), &[peer(1), peer(2)]);
        assert!(two.iter().all(|taken| (70..=90).contains(taken)), "{two:?}");
    }

    #[test]
    fn a_page_behind_a_browser_has_one_a_second() {
        let browser = ProbeClient::Browser(PeerKey::of(([192, 168, 1, 1], 40_000).into()));
        assert_eq!(taken(&mut Shares::default(), &[browser]), [11], "2 at once, then 1 a second");
    }

    #[test]
    fn no_client_waits_for_ever_however_many_there_are() {
        let clients: Vec<ProbeClient> = (0..100).map(peer).collect();
        let taken = taken(&mut Shares::default(), &clients);
        assert!(taken.iter().all(|taken| *taken > 0), "{taken:?}");
    }

    #[test]
    fn all_clients_together_keep_to_the_rate() {
        let mut clients: Vec<ProbeClient> = (0..100).map(peer).collect();
        clients.push(ProbeClient::Owner);
        let taken = taken(&mut Shares::default(), &clients).into_iter().sum::<u32>();
        assert!(taken <= 240, "{taken}: 40 at once, then 20 a second");
    }

    #[test]
    fn the_owner_and_a_new_client_are_served_while_others_flood() {
        for flooding in [1, 3, 30] {
            let mut shares = Shares::default();
            let (mut owner, mut refused) = (0, 0);
            for millis in 0..20_000 {
                for number in 0..flooding {
                    // These are not over.
                    let _ = shares.take(at(millis), peer(number));
                }
                if millis >= 10_000 && millis != 15_000 && millis % 500 == 0 {
                    owner += u32::from(shares.take(at(millis), ProbeClient::Owner).is_ok());
                }
                if millis == 15_000 {
                    // All twenty at once.
                    refused =
                        (0..20).filter(|_| shares.take(at(millis), ProbeClient::Owner).is_err()).count();
                }
                while shares.of_owner > 0 {
                    shares.give_back(ProbeClient::Owner);
                }
            }
            assert_eq!((owner, refused), (19, 0), "{flooding} flood");
        }
    }

    #[test]
    fn a_newcomer_finds_a_place_beside_one_that_floods() {
        let mut shares = Shares::default();
        for millis in 0..10_000 {
            let _ = shares.take(at(millis), peer(1));
        }
        assert_eq!(shares.take(at(10_000), peer(2)), Ok(()));
    }

    #[test]
    fn places_are_bounded_for_each_client_for_all_and_for_the_owner() {
        let mut shares = Shares::default();
        let mut in_flight = |client| (0..).take_while(|_| shares.take(at(0), client).is_ok()).count();
        assert_eq!(in_flight(peer(1)), AT_ONCE / 2);
        assert_eq!(in_flight(peer(2)), AT_ONCE / 3);
        assert_eq!(in_flight(peer(3)), AT_ONCE - AT_ONCE / 2 - AT_ONCE / 3);
        assert_eq!(in_flight(peer(4)), 0);
        assert_eq!(
            in_flight(ProbeClient::Owner),
            AT_ONCE_FOR_OWNER - 8,
            "of the burst of 40, 16 are the others'"
        );
        for _ in 0..AT_ONCE / 2 {
            shares.give_back(peer(1));
        }
        assert_eq!(shares.take(at(1_500), peer(5)), Ok(()));
    }

    #[test]
    fn clients_are_forgotten_and_their_number_is_bounded() {
        let mut shares = Shares::default();
        for number in 0..3_000u32 {
            let _ = shares.take(at(0), ProbeClient::Peer(PeerKey::of((number.to_be_bytes(), 1).into())));
        }
        assert_eq!(shares.peers.len(), CLIENTS);
        while shares.of_peers > 0 {
            let peer = shares.peers.iter().find(|(_, share)| share.in_flight > 0).map(|(peer, _)| *peer);
            shares.give_back(ProbeClient::Peer(peer.unwrap()));
        }
        let _ = shares.take(at(5_000), peer(1));
        assert_eq!(shares.peers.len(), 1);
    }
}

//! Keeps track of devices from sweep to sweep: which are present, which are gone, and which stations only answer for
//! others. Pure: the time is a parameter.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
    time::Duration,
};

use super::{sighting::Sighting, sweep::Heard};
use crate::{
    feed::Feed,
    model::{Device, Mac, Moment},
};

/// A station that answers at more addresses than this answers for other hosts: a router with proxy ARP, or a host of
/// containers or virtual addresses. Each address is a separate host, and one MAC would mix them up. A station with a
/// handful of addresses, such as a server with aliases, stays one device.
pub(super) const MOST_ADDRESSES: usize = 8;

/// A station that answers for others keeps that status until it answers at no more than this many addresses: a sweep
/// that finds one address less must not merge them into one device and split them again.
const FEW_ADDRESSES: usize = MOST_ADDRESSES / 2;

/// The limit of remarks of one kind: a station that forges others could cause one for each address.
const MOST_REMARKS: usize = 8;

/// The result of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// The addresses that it probed.
    pub asked: BTreeSet<Ipv4Addr>,
    /// The stations that answered.
    pub heard: HashMap<Ipv4Addr, Heard>,
    /// This machine's own addresses in the network, and its MAC.
    pub own: Vec<(Ipv4Addr, Mac)>,
    /// What the owner should know.
    pub remarks: Vec<String>,
}

/// The devices of one network.
#[derive(Debug, Default)]
pub struct Census {
    stations: BTreeMap<Ipv4Addr, Station>,
    proxies: BTreeSet<Mac>,
}

#[derive(Clone, Copy, Debug)]
struct Station {
    mac: Mac,
    sighting: Sighting,
}

/// All devices of a network fell silent at once.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("of {0} devices none answers any more; is the cable plugged in, the switch on?")]
pub struct AllSilent(pub usize);

impl Census {
    /// Takes the next sweep and returns the devices after it.
    ///
    /// # Errors
    /// Fails if no device answers though there were several: more likely this machine is cut off than they are gone.
    /// Nothing changes.
    pub fn take(&mut self, swept: &Swept, grace: Duration, now: Moment) -> Result<Feed, AllSilent> {
        let known = self.stations.keys().filter(|address| swept.asked.contains(address)).count();
        if swept.heard.is_empty() && known > 1 {
            return Err(AllSilent(known));
        }
        let mut remarks = swept.remarks.clone();
        self.record(swept, now);
        self.expire(swept, grace, now);
        self.update_proxies(swept);
        remarks.extend(self.proxies.iter().take(MOST_REMARKS).map(|mac| {
            let count = self.stations.values().filter(|station| station.mac == *mac).count();
            format!(
                "{mac} answers ARP for {count} addresses: a router with proxy ARP, or one host of many; its MAC \
                 identifies none of them, so each address is a device of its own"
            )
        }));
        remarks.extend(contested(swept));
        Ok(self.feed(swept, remarks))
    }

    /// Records the stations that answered. Where two claim an address, the one that had it keeps it: Linux with two
    /// interfaces in one network answers with both MACs, in varying order.
    fn record(&mut self, swept: &Swept, now: Moment) {
        for (address, heard) in &swept.heard {
            let before = self.stations.get(address).map(|station| station.mac);
            let mac = before.filter(|mac| heard.rivals.contains(mac)).unwrap_or(heard.mac);
            self.stations.insert(*address, Station { mac, sighting: Sighting::at(now) });
        }
    }

    /// Removes devices that were missed for long enough. A device that answered at another address goes at once, and
    /// so does one at an address that is no longer probed.
    fn expire(&mut self, swept: &Swept, grace: Duration, now: Moment) {
        let elsewhere: BTreeSet<Mac> = swept.heard.values().map(|heard| heard.mac).collect();
        let proxies = &self.proxies;
        self.stations.retain(|address, station| {
            if swept.heard.contains_key(address) {
                return true;
            }
            let is_missing = station.sighting.miss(grace, now);
            let has_moved = elsewhere.contains(&station.mac) && !proxies.contains(&station.mac);
            swept.asked.contains(address) && !has_moved && !is_missing
        });
    }

    fn update_proxies(&mut self, swept: &Swept) {
        let mut counts: BTreeMap<Mac, usize> = BTreeMap::new();
        for station in self.stations.values() {
            *counts.entry(station.mac).or_default() += 1;
        }
        // In a small network, fewer addresses prove as much.
        let is_most = |count: usize| count > 2 && count * 2 > swept.asked.len();
        let before = std::mem::take(&mut self.proxies);
        let is_proxy = |(mac, count): &(Mac, usize)| {
            *count > MOST_ADDRESSES || is_most(*count) || (before.contains(mac) && *count > FEW_ADDRESSES)
        };
        self.proxies = counts.into_iter().filter(is_proxy).map(|(mac, _)| mac).collect();
    }

    fn feed(&self, swept: &Swept, remarks: Vec<String>) -> Feed {
        let mut macs: BTreeMap<Ipv4Addr, Option<Mac>> = self
            .stations
            .iter()
            .map(|(address, station)| (*address, Some(station.mac).filter(|mac| !self.proxies.contains(mac))))
            .collect();
        macs.extend(swept.own.iter().map(|(address, mac)| (*address, Some(*mac))));
        let mut feed = Feed { remarks, proxies: self.proxies.clone(), ..Feed::default() };
        for (address, mac) in macs {
            feed.add_found(Device { address: address.into(), mac, name: None });
        }
        feed
    }
}

/// Reports the addresses that more than one station claims.
fn contested(swept: &Swept) -> impl Iterator<Item = String> {
    let mut contested: Vec<(&Ipv4Addr, &Heard)> =
        swept.heard.iter().filter(|(_, heard)| !heard.rivals.is_empty()).collect();
    contested.sort_unstable_by_key(|(address, _)| **address);
    contested.into_iter().take(MOST_REMARKS).map(|(address, heard)| {
        let mut claimants: Vec<Mac> = heard.rivals.iter().copied().chain([heard.mac]).collect();
        claimants.sort_unstable();
        let claimants: Vec<String> = claimants.iter().map(ToString::to_string).collect();
        format!(
            "{address} is claimed by {}: one device with two interfaces, or two with one address",
            claimants.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::sighting::{
            self, LEAST_MISSED,
            test_sweeps::{EVERY, GRACE, mac},
        },
        *,
    };

    /// Returns a sweep of 10.0.0.1 to `.asked` with these answers: the last octets of the address and of the MAC.
    fn swept(asked: u8, answers: &[(u8, u8)]) -> Swept {
        let address = |last| Ipv4Addr::new(10, 0, 0, last);
        let mut heard: HashMap<Ipv4Addr, Heard> = HashMap::new();
        for (last, station) in answers {
            match heard.get_mut(&address(*last)) {
                Some(heard) => heard.rivals.push(mac(*station)),
                None => _ = heard.insert(address(*last), Heard::of(mac(*station))),
            }
        }
        let own = vec![(address(254), mac(254))];
        Swept { asked: (1..=asked).map(address).collect(), heard, own, remarks: Vec::new() }
    }

    fn listing(feed: &Feed) -> String {
        let device = |device: &Device| {
            let last = |text: String| text.rsplit(['.', ':']).next().map(str::to_owned).unwrap_or_default();
            let mac = device.mac.map_or_else(|| "-".to_owned(), |mac| mac.octets()[5].to_string());
            format!("{}:{mac}", last(device.address.to_string()))
        };
        feed.devices.iter().map(device).collect::<Vec<_>>().join(" ")
    }

    /// Returns the devices after each of these sweeps, five minutes apart.
    fn after(sweeps: &[&[(u8, u8)]]) -> Vec<String> {
        let mut census = Census::default();
        sighting::test_sweeps::after(sweeps, |answers, now| {
            let feed = census.take(&swept(200, answers), GRACE, now);
            feed.map_or_else(|error| error.to_string(), |feed| listing(&feed))
        })
    }

    #[test]
    fn a_device_is_gone_after_three_sweeps_and_the_grace_but_this_machine_never() {
        let gone = after(&[&[(1, 1), (2, 2)], &[(1, 1)], &[(1, 1)], &[(1, 1)], &[(1, 1)]]);
        assert_eq!(
            gone,
            ["1:1 2:2 254:254", "1:1 2:2 254:254", "1:1 2:2 254:254", "1:1 254:254", "1:1 254:254"]
        );
    }

    #[test]
    fn the_grace_starts_at_the_last_answer_and_three_missed_sweeps_are_always_required() {
        for (every, expected) in [(EVERY, 2), (Duration::from_secs(60), 14), (Duration::from_secs(3600), 2)] {
            let mut census = Census::default();
            let mut now = Moment::ZERO;
            census.take(&swept(200, &[(1, 1), (2, 2)]), GRACE, now).unwrap();
            let listed = (1..100).take_while(|_| {
                now += every;
                listing(&census.take(&swept(200, &[(1, 1)]), GRACE, now).unwrap()).contains("2:2")
            });
            assert_eq!(listed.count(), expected, "{every:?}");
        }
    }

    #[test]
    fn a_moved_device_leaves_its_old_address_at_once() {
        assert_eq!(after(&[&[(1, 1), (2, 2)], &[(1, 1), (3, 2)]])[1], "1:1 3:2 254:254");
        assert_eq!(after(&[&[(1, 1), (2, 2)], &[(1, 1), (2, 3)]])[1], "1:1 2:3 254:254");
        assert_eq!(after(&[&[(1, 1), (2, 1)], &[(1, 1), (2, 1)]])[1], "1:1 2:1 254:254", "two addresses");
    }

    #[test]
    fn when_all_devices_fall_silent_none_counts_as_missed() {
        let silent = after(&[&[(1, 1), (2, 2)], &[], &[], &[], &[], &[], &[(1, 1)]]);
        assert_eq!(silent[5], "of 2 devices none answers any more; is the cable plugged in, the switch on?");
        assert_eq!(silent[6], "1:1 2:2 254:254", "2 is missed for the first time");
        assert_eq!(after(&[&[], &[]]), ["254:254"; 2], "an appliance alone is no fault");
    }

    #[test]
    fn a_device_at_an_address_no_longer_probed_is_dropped() {
        let mut census = Census::default();
        census.take(&swept(200, &[(1, 1), (150, 2)]), GRACE, Moment::ZERO).unwrap();
        let feed = census.take(&swept(100, &[(1, 1)]), GRACE, Moment::ZERO + EVERY).unwrap();
        assert_eq!(listing(&feed), "1:1 254:254");
    }

    #[test]
    fn a_mac_that_answers_for_many_addresses_identifies_no_device() {
        let many: Vec<(u8, u8)> = (1..=9).map(|last| (last, 77)).chain([(20, 20)]).collect();
        let few = |count: u8| many.iter().copied().filter(move |(last, _)| *last <= count || *last == 20);
        let mut census = Census::default();
        let mut take = |count: u8| {
            let answers: Vec<(u8, u8)> = few(count).collect();
            // Without any grace: after `LEAST_MISSED` sweeps, only these answers count.
            let mut sweep = || census.take(&swept(200, &answers), Duration::ZERO, Moment::ZERO).unwrap();
            (1..LEAST_MISSED).for_each(|_| _ = sweep());
            sweep()
        };
        let feed = take(8);
        assert!(
            listing(&feed).starts_with("1:77 2:77") && feed.proxies.is_empty() && feed.remarks.is_empty()
        );
        let feed = take(9);
        assert_eq!(listing(&feed), "1:- 2:- 3:- 4:- 5:- 6:- 7:- 8:- 9:- 20:20 254:254");
        assert_eq!(feed.proxies, BTreeSet::from([mac(77)]));
        assert!(
            feed.remarks[0].starts_with("02:00:00:00:00:4D answers ARP for 9 addresses"),
            "{:?}",
            feed.remarks
        );
        assert_eq!(listing(&take(5)), "1:- 2:- 3:- 4:- 5:- 20:20 254:254", "still");
        assert_eq!(listing(&take(4)), "1:77 2:77 3:77 4:77 20:20 254:254");
    }

    #[test]
    fn a_mac_that_answers_for_most_of_a_small_network_is_a_proxy() {
        let take = |asked, answers: &[(u8, u8)]| {
            Census::default().take(&swept(asked, answers), GRACE, Moment::ZERO).unwrap().proxies.len()
        };
        assert_eq!(take(5, &[(1, 7), (2, 7), (3, 7)]), 1);
        assert_eq!(take(5, &[(1, 7), (2, 7)]), 0);
        assert_eq!(take(6, &[(1, 7), (2, 7), (3, 7)]), 0);
    }

    #[test]
    fn a_contested_address_stays_with_its_device_and_both_macs_are_reported() {
        let mut census = Census::default();
        census.take(&swept(200, &[(1, 1), (2, 2)]), GRACE, Moment::ZERO).unwrap();
        let feed = census.take(&swept(200, &[(1, 9), (1, 1), (2, 2)]), GRACE, Moment::ZERO + EVERY).unwrap();
        assert_eq!(listing(&feed), "1:1 2:2 254:254");
        assert!(
            feed.remarks[0].starts_with("10.0.0.1 is claimed by 02:00:00:00:00:01 and 02:00:00:00:00:09")
        );
    }

    #[test]
    fn remarks_about_proxies_are_limited() {
        let answers: Vec<(u8, u8)> = (1..=200).map(|last| (last, last % 20)).collect();
        let feed = Census::default().take(&swept(250, &answers), GRACE, Moment::ZERO).unwrap();
        assert_eq!((feed.proxies.len(), feed.remarks.len()), (20, MOST_REMARKS));
    }
}

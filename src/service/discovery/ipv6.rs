//! Keeps track of the devices' link-local IPv6 addresses from sweep to sweep. Pure: the time is a parameter.
//!
//! A device is scanned at one of them: its services listen on all or on none, and each address more would cost as much
//! as the whole scan by IPv4.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    time::Duration,
};

use super::{census::MOST_ADDRESSES, sighting::Sighting};
use crate::{
    feed::Feed,
    model::{Address, Device, Mac, Moment},
};

/// The devices of one interface.
#[derive(Debug, Default)]
pub(super) struct Ipv6Census {
    stations: BTreeMap<Mac, Ipv6Station>,
}

#[derive(Clone, Copy, Debug)]
struct Ipv6Station {
    address: Ipv6Addr,
    sighting: Sighting,
}

impl Ipv6Census {
    /// Takes what a sweep has found: each address with its MAC. A MAC at many addresses answers for other hosts, and
    /// identifies none of them. If nothing is found where several were known, nothing changes: more likely this machine
    /// is cut off than they are gone.
    pub(super) fn take(&mut self, found: &BTreeMap<Ipv6Addr, Mac>, grace: Duration, now: Moment) {
        if found.is_empty() && self.stations.len() > 1 {
            return;
        }
        let mut by_mac: BTreeMap<Mac, BTreeSet<Ipv6Addr>> = BTreeMap::new();
        for (address, mac) in found {
            by_mac.entry(*mac).or_default().insert(*address);
        }
        by_mac.retain(|_, addresses| addresses.len() <= MOST_ADDRESSES);
        for (mac, addresses) in &by_mac {
            let before = self.stations.get(mac).map(|station| station.address);
            let address = before.filter(|address| addresses.contains(address));
            if let Some(address) = address.or_else(|| addresses.first().copied()) {
                self.stations.insert(*mac, Ipv6Station { address, sighting: Sighting::at(now) });
            }
        }
        self.stations.retain(|mac, station| by_mac.contains_key(mac) || !station.sighting.miss(grace, now));
    }

    /// Whether no device is known.
    pub(super) fn is_empty(&self) -> bool {
        self.stations.is_empty()
    }

    /// Adds the devices to what the interface's own sweep has found, unless a MAC answers for others there.
    pub(super) fn add_to(&self, feed: &mut Feed, interface: &str) {
        for (mac, station) in &self.stations {
            if !feed.proxies.contains(mac)
                && let Ok(address) = Address::in_zone(station.address, interface)
            {
                feed.add_found(Device { address, mac: Some(*mac), name: None });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::sighting::{
            self,
            test_sweeps::{GRACE, mac},
        },
        *,
    };

    fn listing(census: &Ipv6Census, proxies: &[u8]) -> String {
        let mut feed = Feed { proxies: proxies.iter().map(|last| mac(*last)).collect(), ..Feed::default() };
        census.add_to(&mut feed, "eth0");
        let text =
            |device: &Device| format!("{}={}", device.address, device.mac.map_or(0, |mac| mac.octets()[5]));
        feed.devices.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    /// What is listed after each of these sweeps, five minutes apart: the last groups of the addresses, with the last
    /// octets of the MACs.
    fn after(sweeps: &[&[(u16, u8)]]) -> Vec<String> {
        let mut census = Ipv6Census::default();
        sighting::test_sweeps::after(sweeps, |answers, now| {
            let address = |last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
            let found = answers.iter().map(|(last, station)| (address(*last), mac(*station))).collect();
            census.take(&found, GRACE, now);
            listing(&census, &[])
        })
    }

    #[test]
    fn a_device_has_one_address_and_keeps_it_for_as_long_as_it_is_there() {
        let listed = after(&[&[(7, 1), (9, 1)], &[(3, 1), (7, 1)], &[(3, 1)]]);
        assert_eq!(listed, ["fe80::7%eth0=1", "fe80::7%eth0=1", "fe80::3%eth0=1"]);
    }

    #[test]
    fn an_address_goes_after_three_sweeps_and_the_grace_but_not_if_all_are_silent() {
        let both = "fe80::1%eth0=1 fe80::2%eth0=2";
        let listed = after(&[&[(1, 1), (2, 2)], &[(1, 1)], &[(1, 1)], &[(1, 1)]]);
        assert_eq!(listed, [both, both, both, "fe80::1%eth0=1"]);
        assert_eq!(after(&[&[(1, 1), (2, 2)], &[], &[], &[], &[]])[4], both);
    }

    #[test]
    fn a_mac_that_answers_for_others_identifies_no_device() {
        let many: Vec<(u16, u8)> = (1..=9).map(|last| (last, 1)).chain([(20, 2)]).collect();
        assert_eq!(after(&[&many]), ["fe80::14%eth0=2"]);
        let mut census = Ipv6Census::default();
        census.take(&BTreeMap::from([(Ipv6Addr::LOCALHOST, mac(1))]), GRACE, Moment::ZERO);
        assert_eq!(listing(&census, &[1]), "", "nor one that does so by ARP");
    }
}

//! Where the network is not as it should be, and where one scan is not as another: told a page at a time, so that
//! a hundred thousand differences begin at once and never lie in memory together.

mod pairing;
mod portions;
mod walk;

use std::{collections::BTreeMap, ops::RangeInclusive, pin::pin, sync::Arc};

use futures_util::{Stream, StreamExt, TryStreamExt};

use self::{
    pairing::side_by_side,
    portions::{Block, Spot, blocks, count_named, portion, within},
    walk::{one_by_one, walked},
};
use super::queries::{Queries, pages};
use crate::{
    config::Config,
    model::{
        Address, Deviation, Device, DeviceKey, Difference, Disagreement, Expectation, Mac, Place, PortSet,
        Protocol, Standings, device_differences, disagreements,
    },
    store::{Asked, HostState, News, Page, ScanDevice, ScanId, StoreError, Wish},
};

/// Devices that are read at a time where few of them have rows of their own.
const COUNTED: u32 = 64;

/// Devices that are read at a time where each has rows of its own: with ten open ports each, little more than is told.
const TOLD: u32 = 8;

/// Devices of a scan that are listed at a time, and remembered for a slow reader in some 10 KB. What was found on them
/// is read of one after the other: each may have much to say.
const SIFTED: u32 = 64;

/// A port that is not what it should be, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDifference {
    /// Where: the address of whoever has one, else the MAC.
    pub host: DeviceKey,
    /// What an expectation should be kept under: the MAC where it is known for good, else the address.
    pub lasting: DeviceKey,
    /// Who, where that is known.
    pub mac: Option<Mac>,
    /// What differs.
    pub difference: Difference,
}

/// How many ports are open, and how many are not what they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Open, by all that is known.
    pub open: u64,
    /// Open and not expected to be.
    pub rogue: u64,
    /// Expected to be open and not seen to be.
    pub missing: u64,
}

impl Tally {
    fn count(&mut self, found: &[HostDifference]) {
        for found in found {
            match found.difference.deviation() {
                Deviation::Rogue => self.rogue += 1,
                Deviation::Missing => self.missing += 1,
                Deviation::Other => {}
            }
        }
    }
}

impl HostDifference {
    /// Whether it is this device's.
    pub fn is_of(&self, device: &DeviceKey) -> bool {
        let is_mac = matches!(device, DeviceKey::Mac(mac) if self.mac == Some(*mac));
        is_mac || self.host == *device || self.lasting == *device
    }
}

/// A port that two scans do not agree on, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDisagreement {
    /// Where: at its address by the word of the later one.
    pub host: DeviceKey,
    /// What each says.
    pub disagreement: Disagreement,
}

/// A device in two scans, of which at least one saw it.
type Pair = (Option<ScanDevice>, Option<ScanDevice>);

/// The same, with what each of the two says.
type HostPair = (Option<HostState>, Option<HostState>);

impl Queries {
    /// All that is expected, in the order in which it was written.
    pub fn expectations(&self) -> impl Stream<Item = Result<Vec<Expectation>, StoreError>> + use<> {
        let store = self.store.clone();
        pages(move |after| {
            let store = store.clone();
            async move { store.expectations(after).await }
        })
    }

    /// Changes what is expected: all of it or nothing.
    pub async fn expect(&self, wishes: Vec<Wish>) -> Result<(), StoreError> {
        self.store.expect(wishes).await
    }

    /// Whether anything was ever accepted: before that, nothing is alarming.
    pub async fn has_baseline(&self) -> Result<bool, StoreError> {
        self.store.has_baseline().await
    }

    /// What has changed, a page at a time. Known noise is told and alarms nobody.
    pub async fn news(&self, asked: Asked) -> Result<Page<News>, StoreError> {
        let mut page = self.store.news(asked).await?;
        let config = Arc::clone(&self.config.borrow());
        for news in page.rows.iter_mut().filter(|news| news.alert) {
            let mac = if let DeviceKey::Mac(mac) = news.device { Some(mac) } else { None };
            let ignored = config.ignored_ports(mac, Some(&news.address));
            news.alert = news.what.ports().is_none_or(|(_, ports)| !ports.is_subset(&ignored));
        }
        Ok(page)
    }

    /// The id of the latest news, and every change of that.
    pub fn newest(&self) -> tokio::sync::watch::Receiver<i64> {
        self.store.newest()
    }

    /// What is known and expected of every device.
    pub(super) fn host_states(&self) -> impl Stream<Item = Result<Vec<HostState>, StoreError>> + use<> {
        let store = self.store.clone();
        pages(move |after| {
            let store = store.clone();
            async move { store.host_states(after, COUNTED).await }
        })
    }

    /// What is expected of those who were never seen.
    fn expectations_of_nobody(&self) -> impl Stream<Item = Result<Vec<Expectation>, StoreError>> + use<> {
        let store = self.store.clone();
        pages(move |after| {
            let store = store.clone();
            async move { store.expectations_of_nobody(after).await }
        })
    }

    /// Where the present state differs from what is expected.
    pub fn differences(&self) -> impl Stream<Item = Result<Vec<HostDifference>, StoreError>> + use<> {
        let (store, config) = (self.store.clone(), self.config.clone());
        let known = walked(move |walk| {
            let (store, config) = (store.clone(), Arc::clone(&config.borrow()));
            async move {
                let Page { rows, next } = store.host_states(walk.after, TOLD).await?;
                Ok(walk.through(by_device(&rows), next, |hosts, spot| of_device(hosts, &config, spot)))
            }
        });
        known.chain(self.unseen_differences())
    }

    /// What is expected of devices that were never seen, each as a difference.
    pub(super) fn unseen_differences(
        &self,
    ) -> impl Stream<Item = Result<Vec<HostDifference>, StoreError>> + use<> {
        let config = self.config.clone();
        self.expectations_of_nobody().map_ok(move |expectations| {
            let config = Arc::clone(&config.borrow());
            expectations.into_iter().filter_map(|expectation| unseen(expectation, &config)).collect()
        })
    }

    /// How many ports are open, rogue and missing now.
    pub async fn tally(&self) -> Result<Tally, StoreError> {
        let config = Arc::clone(&self.config.borrow());
        let mut tally = Tally::default();
        let mut known = pin!(self.host_states());
        while let Some(hosts) = known.try_next().await? {
            for hosts in by_device(&hosts) {
                tally.open += count_open(hosts);
                let mut next = Some(Spot::default());
                while let Some(spot) = next {
                    let (found, after) = of_device(hosts, &config, spot);
                    tally.count(&found);
                    next = after;
                }
            }
        }
        let mut unseen = pin!(self.unseen_differences());
        while let Some(found) = unseen.try_next().await? {
            tally.count(&found);
        }
        Ok(tally)
    }

    /// Where what a scan looked at differs from what is expected of it now.
    ///
    /// # Errors
    /// There is no such scan, or the database fails.
    pub async fn scan_differences(
        &self,
        scan: ScanId,
    ) -> Result<impl Stream<Item = Result<Vec<HostDifference>, StoreError>> + use<>, StoreError> {
        self.store.check_scan(scan).await?;
        let (store, config) = (self.store.clone(), self.config.clone());
        let read = {
            let store = store.clone();
            move |after| {
                let store = store.clone();
                async move {
                    let devices = store.scan_devices(scan, behind(after), SIFTED).await?;
                    let next = last_of(&devices);
                    Ok((grouped(devices, |device| device.device_row), next))
                }
            }
        };
        Ok(one_by_one(read, move |devices: Vec<ScanDevice>, spot| {
            let (store, config) = (store.clone(), Arc::clone(&config.borrow()));
            async move {
                let hosts = store.scan_states(scan, devices).await?;
                let (mut found, next) = of_device(&hosts, &config, spot);
                // What this scan did not cover is no difference of its.
                found.retain(|found| found.difference.actual.is_some());
                Ok((found, next))
            }
        }))
    }

    /// Where two scans disagree.
    ///
    /// # Errors
    /// There is no such scan, or the database fails.
    pub async fn disagreements(
        &self,
        one: ScanId,
        other: ScanId,
    ) -> Result<impl Stream<Item = Result<Vec<HostDisagreement>, StoreError>> + use<>, StoreError> {
        self.store.check_scan(one).await?;
        self.store.check_scan(other).await?;
        let store = self.store.clone();
        let read = {
            let store = store.clone();
            move |after| {
                let store = store.clone();
                async move {
                    let mut ones = store.scan_devices(one, behind(after), SIFTED).await?;
                    let mut others = store.scan_devices(other, behind(after), SIFTED).await?;
                    // As far as both reach; one that was read to its end reaches as far as the other.
                    let next = last_of(&ones).into_iter().chain(last_of(&others)).min();
                    let reach = next.unwrap_or(i64::MAX);
                    ones.retain(|device| device.device_row <= reach);
                    others.retain(|device| device.device_row <= reach);
                    Ok((grouped(paired(ones, others), pair_row), next))
                }
            }
        };
        Ok(one_by_one(read, move |pairs: Vec<Pair>, spot| {
            let store = store.clone();
            async move {
                let (ones, others): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
                let ones = store.scan_states(one, ones.into_iter().flatten().collect()).await?;
                let others = store.scan_states(other, others.into_iter().flatten().collect()).await?;
                Ok(disagreeing(&hosts_side_by_side(ones, others), spot))
            }
        }))
    }

    /// Where a scan disagrees with the present state.
    ///
    /// # Errors
    /// There is no such scan, or the database fails.
    pub async fn disagreements_now(
        &self,
        scan: ScanId,
    ) -> Result<impl Stream<Item = Result<Vec<HostDisagreement>, StoreError>> + use<>, StoreError> {
        self.store.check_scan(scan).await?;
        let store = self.store.clone();
        Ok(walked(move |walk| {
            let store = store.clone();
            async move {
                let Page { rows: now, next } = store.host_states(walk.after, COUNTED).await?;
                let page = walk.after.saturating_add(1)..=next.unwrap_or(i64::MAX);
                let mut then = store.scan_devices(scan, page, u32::MAX).await?;
                then.retain(|device| now.iter().any(|host| host.device_row == device.device_row));
                let (then, now) = known_both_times(then, now);
                let pairs = hosts_side_by_side(store.scan_states(scan, then).await?, now);
                let devices = pairs.chunk_by(|one, next| host_row(one) == host_row(next));
                Ok(walk.through_rows(devices.map(|pairs| (host_row(&pairs[0]), pairs)), next, disagreeing))
            }
        }))
    }
}

/// The devices of two scans side by side, without those that both say the same of, and those that one of them has
/// no word on: that a host is down is one fact, and none of its ports'.
fn paired(ones: Vec<ScanDevice>, others: Vec<ScanDevice>) -> Vec<Pair> {
    let row = |device: &ScanDevice| (device.device_row, device.row);
    let mut pairs = side_by_side(ones, others, row, row);
    pairs.retain(|(one, other)| {
        let same = one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| one.is_same(other));
        !same && !one.iter().chain(other).any(ScanDevice::is_unknown)
    });
    pairs
}

/// What a scan saw of devices, and what is known of them now, without the endpoints of which the scan knows nothing
/// although it looked there.
fn known_both_times(then: Vec<ScanDevice>, now: Vec<HostState>) -> (Vec<ScanDevice>, Vec<HostState>) {
    let pairs =
        side_by_side(then, now, |device| (device.device_row, device.row), |host| (host.device_row, host.row));
    let (then, now): (Vec<_>, Vec<_>) = pairs
        .into_iter()
        .filter(|(then, now)| now.is_some() && !then.as_ref().is_some_and(ScanDevice::is_unknown))
        .unzip();
    (then.into_iter().flatten().collect(), now.into_iter().flatten().collect())
}

fn pair_row((one, other): &Pair) -> i64 {
    one.as_ref().or(other.as_ref()).map_or(0, |device| device.device_row)
}

/// The last device of a page that may not be the last one.
fn last_of(devices: &[ScanDevice]) -> Option<i64> {
    let count = devices.chunk_by(|one, next| one.device_row == next.device_row).count();
    devices.last().map(|device| device.device_row).filter(|_| count >= SIFTED as usize)
}

/// The devices after this one.
const fn behind(after: i64) -> RangeInclusive<i64> {
    after.saturating_add(1)..=i64::MAX
}

/// What is known of each device.
fn grouped<T>(all: Vec<T>, device: impl Fn(&T) -> i64) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    for next in all {
        match groups.last_mut().filter(|group| group.last().is_some_and(|last| device(last) == device(&next)))
        {
            Some(group) => group.push(next),
            None => groups.push(vec![next]),
        }
    }
    groups
}

fn hosts_side_by_side(ones: Vec<HostState>, others: Vec<HostState>) -> Vec<HostPair> {
    let row = |host: &HostState| (host.device_row, host.row);
    side_by_side(ones, others, row, row)
}

fn host_row((one, other): &HostPair) -> i64 {
    one.as_ref().or(other.as_ref()).map_or(0, |host| host.device_row)
}

/// The next of the rows on which both words on a device disagree.
fn disagreeing(pairs: &[HostPair], from: Spot) -> (Vec<HostDisagreement>, Option<Spot>) {
    let nothing = Standings::new();
    let standings = |side: &Option<HostState>| side.as_ref().map(|host| &host.standings).cloned();
    let known = |host: &HostState| count_named(&host.standings);
    let rows = pairs.iter().flat_map(|(one, other)| one.iter().chain(other)).map(known).sum();
    portion(pairs.len(), rows, from, |block| {
        let mut found = Vec::new();
        let wanted = |index: &usize| block.as_ref().is_none_or(|block| block.endpoint == *index);
        for (_, (one, other)) in pairs.iter().enumerate().filter(|(index, _)| wanted(index)) {
            let Some(host) = other.as_ref().or(one.as_ref()).map(shown_at) else { continue };
            let of = |side: &Option<HostState>| match (side, &block) {
                (None, _) => nothing.clone(),
                (Some(host), Some(block)) => within(&host.standings, block),
                (side, None) => standings(side).unwrap_or_default(),
            };
            let disagreements = disagreements(&of(one), &of(other)).into_iter();
            found.extend(
                disagreements.map(|disagreement| HostDisagreement { host: host.clone(), disagreement }),
            );
        }
        found
    })
}

/// The endpoints of each device.
pub(super) fn by_device(hosts: &[HostState]) -> impl Iterator<Item = &[HostState]> {
    hosts.chunk_by(|one, next| one.device_row == next.device_row)
}

/// Where a device's ports differ from what is expected of them, known noise apart: for each of its endpoints.
fn of_ports(endpoints: &[HostState], config: &Config) -> Vec<Vec<Difference>> {
    let ignored = |host: &HostState| {
        let address = Some(&host.device.address).filter(|_| host.is_holder);
        config.ignored_ports(host.device.mac, address)
    };
    let places: Vec<Place<'_>> = endpoints
        .iter()
        .map(|host| Place { expected: &host.expected, standings: &host.standings, ignored: ignored(host) })
        .collect();
    device_differences(&places)
}

/// How many ports of a device are open, at whichever of its addresses.
fn count_open(endpoints: &[HostState]) -> u64 {
    let mut open = BTreeMap::<Protocol, PortSet>::new();
    for (protocol, standing) in endpoints.iter().flat_map(|host| &host.standings) {
        let ports = open.entry(*protocol).or_default();
        *ports = ports.union(&standing.open());
    }
    open.values().map(|ports| u64::from(ports.len())).sum()
}

/// The next of the rows of a device that differ from what is expected of it.
fn of_device(endpoints: &[HostState], config: &Config, from: Spot) -> (Vec<HostDifference>, Option<Spot>) {
    let rows = endpoints.iter().map(|host| count_named(&host.standings) + host.expected.len()).sum();
    portion(endpoints.len(), rows, from, |block| {
        let differences = match &block {
            None => of_ports(endpoints, config),
            Some(block) => of_block(endpoints, config, block),
        };
        let mut found = Vec::new();
        for (host, differences) in endpoints.iter().zip(differences) {
            let (place, lasting) = (shown_at(host), lasting(&host.device, host.is_holder));
            found.extend(differences.into_iter().map(|difference| HostDifference {
                host: place.clone(),
                lasting: lasting.clone(),
                mac: host.device.mac,
                difference,
            }));
        }
        found
    })
}

/// Which ports of each endpoint of a device differ, and how: block by block, for the differences themselves of a device
/// with 65,535 open ports are 5 MB.
pub(super) fn deviations(endpoints: &[HostState], config: &Config) -> Vec<Vec<PortDeviation>> {
    let rows = endpoints.iter().map(|host| count_named(&host.standings) + host.expected.len()).sum();
    let mut found = vec![Vec::new(); endpoints.len()];
    for block in blocks(endpoints.len(), rows) {
        let differences = match &block {
            None => of_ports(endpoints, config),
            Some(block) => of_block(endpoints, config, block),
        };
        for (found, differences) in found.iter_mut().zip(differences) {
            let deviation = |at: Difference| (at.protocol, at.port, at.deviation());
            found.extend(differences.into_iter().map(deviation));
        }
    }
    found
}

/// A port that differs, and how.
pub(super) type PortDeviation = (Protocol, u16, Deviation);

/// [`of_ports`] of one block: nothing of the other endpoints, which still count for what is expected of the device.
fn of_block(endpoints: &[HostState], config: &Config, block: &Block) -> Vec<Vec<Difference>> {
    let part = |host: &HostState| HostState {
        standings: within(&host.standings, block),
        expected: host.expected.within(block.protocol, *block.ports.start(), *block.ports.end()),
        device: host.device.clone(),
        ..*host
    };
    let parts: Vec<HostState> = endpoints.iter().map(part).collect();
    let mut differences = of_ports(&parts, config);
    for (_, other) in differences.iter_mut().enumerate().filter(|(index, _)| *index != block.endpoint) {
        other.clear();
    }
    differences
}

/// What is expected of somebody who was never seen.
fn unseen(expectation: Expectation, config: &Config) -> Option<HostDifference> {
    let (mac, address): (Option<Mac>, Option<&Address>) = match &expectation.device {
        DeviceKey::Mac(mac) => (Some(*mac), None),
        DeviceKey::Address(address) => (None, Some(address)),
    };
    let is_ignored = config.ignored_ports(mac, address).contains(expectation.port);
    (!is_ignored).then(|| HostDifference {
        host: expectation.device.clone(),
        lasting: expectation.device,
        mac,
        difference: Difference {
            protocol: expectation.protocol,
            port: expectation.port,
            expected: Some(expectation.state),
            actual: None,
            comment: expectation.comment,
        },
    })
}

/// Where a device is shown: at its address, unless another has come to that since.
pub(super) fn shown_at(host: &HostState) -> DeviceKey {
    match host.device.mac {
        Some(mac) if !host.is_holder => DeviceKey::Mac(mac),
        _ => DeviceKey::Address(host.device.address.clone()),
    }
}

/// What a device will still be known by tomorrow. A MAC that was made up may be another by then, so that the
/// address is better, where it is the device's.
fn lasting(device: &Device, is_holder: bool) -> DeviceKey {
    match device.mac {
        Some(mac) if !(is_holder && mac.is_locally_administered()) => DeviceKey::Mac(mac),
        _ => DeviceKey::Address(device.address.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_that_was_made_up_does_not_last() {
        let device = |mac: Option<&str>| Device {
            address: "192.0.2.1".parse().unwrap(),
            mac: mac.map(|mac| mac.parse().unwrap()),
            name: None,
        };
        for (mac, is_holder, expected) in [
            (Some("B8:27:EB:00:00:01"), true, "B8:27:EB:00:00:01"),
            (Some("B8:27:EB:00:00:01"), false, "B8:27:EB:00:00:01"),
            (Some("02:00:00:00:00:01"), true, "192.0.2.1"),
            (Some("02:00:00:00:00:01"), false, "02:00:00:00:00:01"),
            (None, true, "192.0.2.1"),
        ] {
            assert_eq!(lasting(&device(mac), is_holder).to_string(), expected);
        }
    }
}

//! Where the network is not as it should be, and where one scan is not as another: told a page at a time, so that
//! a hundred thousand differences begin at once and never lie in memory together.

mod pairing;

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use self::pairing::side_by_side;
use super::queries::{Queries, pages};
use crate::{
    config::Config,
    model::{
        Address, Deviation, Device, DeviceKey, Difference, Disagreement, Expectation, Mac, Place, PortSet,
        Protocol, device_differences, disagreements,
    },
    store::{Asked, HostState, News, Page, ScanDevice, ScanId, Store, StoreError, Wish},
};

/// Devices that are compared at a time.
const PAGE: usize = 128;

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
            async move { store.host_states(after).await }
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
        let config = self.config.clone();
        let known = self.host_states().map_ok(move |hosts: Vec<HostState>| {
            let config = Arc::clone(&config.borrow());
            by_device(&hosts).flat_map(|hosts| of_device(hosts, &config)).collect()
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
                tally.count(&of_device(hosts, &config));
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
        let devices = self.store.scan_devices(scan).await?;
        let (store, config) = (self.store.clone(), self.config.clone());
        let chunks = chunks(devices, |device| device.device_row);
        Ok(chunks.then(move |devices| {
            let (store, config) = (store.clone(), Arc::clone(&config.borrow()));
            async move {
                let hosts = store.scan_states(scan, devices).await?;
                let differences = by_device(&hosts).flat_map(|hosts| of_device(hosts, &config));
                // What this scan did not cover is no difference of its.
                Ok(differences.filter(|found| found.difference.actual.is_some()).collect())
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
        let (ones, others) = (self.store.scan_devices(one).await?, self.store.scan_devices(other).await?);
        let store = self.store.clone();
        Ok(chunks(paired(ones, others), pair_row).then(move |pairs| {
            let store = store.clone();
            async move { compared(&store, (one, other), pairs).await }
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
        let seen = self.store.scan_devices(scan).await?;
        let mut by_row = BTreeMap::<i64, Vec<ScanDevice>>::new();
        seen.into_iter().for_each(|device| by_row.entry(device.device_row).or_default().push(device));
        let seen = Arc::new(by_row);
        let store = self.store.clone();
        let hosts = pages({
            let store = store.clone();
            move |after| {
                let store = store.clone();
                async move { store.host_states(after).await }
            }
        });
        Ok(hosts.and_then(move |hosts| {
            let (store, seen) = (store.clone(), Arc::clone(&seen));
            async move {
                let mut rows: Vec<i64> = hosts.iter().map(|host| host.device_row).collect();
                rows.dedup();
                let then = rows.iter().filter_map(|row| seen.get(row)).flatten().cloned().collect();
                let (then, now) = known_both_times(then, hosts);
                let then = store.scan_states(scan, then).await?;
                Ok(disagreeing(then, now))
            }
        }))
    }
}

async fn compared(
    store: &Store,
    (one, other): (ScanId, ScanId),
    pairs: Vec<Pair>,
) -> Result<Vec<HostDisagreement>, StoreError> {
    let (ones, others): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let ones = store.scan_states(one, ones.into_iter().flatten().collect()).await?;
    let others = store.scan_states(other, others.into_iter().flatten().collect()).await?;
    Ok(disagreeing(ones, others))
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

fn disagreeing(ones: Vec<HostState>, others: Vec<HostState>) -> Vec<HostDisagreement> {
    let mut found = Vec::new();
    let row = |host: &HostState| (host.device_row, host.row);
    for (one, other) in side_by_side(ones, others, row, row) {
        let Some(host) = other.as_ref().or(one.as_ref()).map(shown_at) else { continue };
        let standings = |side: Option<HostState>| side.map(|host| host.standings).unwrap_or_default();
        let disagreements = disagreements(&standings(one), &standings(other)).into_iter();
        found.extend(disagreements.map(|disagreement| HostDisagreement { host: host.clone(), disagreement }));
    }
    found
}

/// The endpoints of each device.
pub(super) fn by_device(hosts: &[HostState]) -> impl Iterator<Item = &[HostState]> {
    hosts.chunk_by(|one, next| one.device_row == next.device_row)
}

/// Where a device's ports differ from what is expected of them, known noise apart: for each of its endpoints.
pub(super) fn of_ports(endpoints: &[HostState], config: &Config) -> Vec<Vec<Difference>> {
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

fn of_device(endpoints: &[HostState], config: &Config) -> Vec<HostDifference> {
    let differences = of_ports(endpoints, config);
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

/// Parts of some [`PAGE`] rows, none of which divides a device.
fn chunks<T: Send>(all: Vec<T>, device: impl Fn(&T) -> i64) -> impl Stream<Item = Vec<T>> {
    let mut all = all.into_iter().peekable();
    stream::iter(std::iter::from_fn(move || {
        let mut chunk: Vec<T> = Vec::new();
        let fits = |chunk: &[T], next: &T| {
            chunk.len() < PAGE || chunk.last().is_some_and(|last| device(last) == device(next))
        };
        while let Some(next) = all.next_if(|next| fits(&chunk, next)) {
            chunk.push(next);
        }
        (!chunk.is_empty()).then_some(chunk)
    }))
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

//! Where the network differs from its expected state, and where two scans differ. Read a page at a time, so that a
//! hundred thousand differences begin at once and are never all in memory.

mod pairing;
mod portions;
mod rows;
mod walk;

use std::{ops::RangeInclusive, pin::pin, sync::Arc};

use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio::sync::watch;

pub(super) use self::rows::{PortDeviation, by_device, deviations, shown_at};
use self::{
    pairing::side_by_side,
    portions::Spot,
    rows::{count_open, disagreeing, host_row, hosts_side_by_side, of_device, unseen},
    walk::{one_by_one, walked},
};
use super::pages::pages;
use crate::{
    config::Config,
    model::{
        ChangeEvent, ChangeFilter, Deviation, DeviceKey, Difference, Disagreement, Expectation, Mac, ScanId,
    },
    store::{HostState, Page, ScanDevice, Store, StoreError},
};

/// Devices read at a time where few of them have rows of their own.
const COUNTED: u32 = 64;

/// Devices read at a time where each has rows of its own: with ten open ports each, little more than is shown.
const SHOWN: u32 = 8;

/// Devices of a scan that are listed at a time, and remembered for a slow reader in some 10 KB. Their results are read
/// one after the other, because each may be large.
const SIFTED: u32 = 64;

/// A port that differs from its expected state, and its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDifference {
    /// The address, if the device has one, else the MAC.
    pub host: DeviceKey,
    /// The key under which an expectation should be kept: the MAC where it is permanent, else the address.
    pub lasting: DeviceKey,
    /// The device's MAC, if known.
    pub mac: Option<Mac>,
    /// What differs.
    pub difference: Difference,
}

/// How many ports are open, and how many differ from what is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Open ports.
    pub open: u64,
    /// Open ports that are not expected to be open.
    pub rogue: u64,
    /// Ports that are expected to be open and were not seen open.
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
    /// Whether the difference belongs to this device.
    pub fn is_of(&self, device: &DeviceKey) -> bool {
        let is_mac = matches!(device, DeviceKey::Mac(mac) if self.mac == Some(*mac));
        is_mac || self.host == *device || self.lasting == *device
    }
}

/// A port on which two scans disagree, and its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDisagreement {
    /// The device's address in the later scan.
    pub host: DeviceKey,
    /// What each scan says.
    pub disagreement: Disagreement,
}

/// A device in two scans, at least one of which saw it.
type Pair = (Option<ScanDevice>, Option<ScanDevice>);

/// The same device, with the state that each scan has of it.
type HostPair = (Option<HostState>, Option<HostState>);

/// Compares the current state, the expected state and scans. A reloaded configuration applies from the next request
/// on.
#[derive(Clone)]
pub struct Differences {
    store: Store,
    config: watch::Receiver<Arc<Config>>,
}

impl Differences {
    /// Compares what is in this store. What the configuration ignores is no difference.
    pub fn new(store: Store, config: watch::Receiver<Arc<Config>>) -> Self {
        Self { store, config }
    }

    /// Returns a page of change events. Known noise is listed, without an alert.
    pub async fn change_events(&self, filter: ChangeFilter) -> Result<Page<ChangeEvent>, StoreError> {
        let mut page = self.store.change_events(filter).await?;
        let config = Arc::clone(&self.config.borrow());
        for event in page.rows.iter_mut().filter(|event| event.alert) {
            let ignored = config.ignored_ports(event.device.mac(), Some(&event.address));
            event.alert = event.kind.ports().is_none_or(|(_, ports)| !ports.is_subset(&ignored));
        }
        Ok(page)
    }

    /// Returns the current and expected state of every device.
    pub(super) fn host_states(&self) -> impl Stream<Item = Result<Vec<HostState>, StoreError>> + use<> {
        let store = self.store.clone();
        pages(move |after| {
            let store = store.clone();
            async move { store.host_states(after, COUNTED).await }
        })
    }

    /// Returns the expectations of devices that were never seen.
    fn expectations_of_unseen(&self) -> impl Stream<Item = Result<Vec<Expectation>, StoreError>> + use<> {
        let store = self.store.clone();
        pages(move |after| {
            let store = store.clone();
            async move { store.expectations_of_unknown_devices(after).await }
        })
    }

    /// Returns where the current state differs from the expected state.
    pub fn differences(&self) -> impl Stream<Item = Result<Vec<HostDifference>, StoreError>> + use<> {
        let (store, config) = (self.store.clone(), self.config.clone());
        let known = walked(move |walk| {
            let (store, config) = (store.clone(), Arc::clone(&config.borrow()));
            async move {
                let Page { rows, next } = store.host_states(walk.after, SHOWN).await?;
                Ok(walk.through(by_device(&rows), next, |hosts, spot| of_device(hosts, &config, spot)))
            }
        });
        known.chain(self.unseen_differences())
    }

    /// Returns the expectations of devices that were never seen, each as a difference.
    pub(super) fn unseen_differences(
        &self,
    ) -> impl Stream<Item = Result<Vec<HostDifference>, StoreError>> + use<> {
        let config = self.config.clone();
        self.expectations_of_unseen().map_ok(move |expectations| {
            let config = Arc::clone(&config.borrow());
            expectations.into_iter().filter_map(|expectation| unseen(expectation, &config)).collect()
        })
    }

    /// Counts the ports that are open, rogue and missing now.
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

    /// Returns where what a scan covered differs from what is now expected.
    ///
    /// # Errors
    /// Fails if there is no such scan, or the database fails.
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
                // A port that this scan did not cover is not one of its differences.
                found.retain(|found| found.difference.actual.is_some());
                Ok((found, next))
            }
        }))
    }

    /// Returns where two scans disagree.
    ///
    /// # Errors
    /// Fails if there is no such scan, or the database fails.
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
                    // Only as far as both pages reach. One that was read to its end reaches as far as the other.
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

    /// Returns where a scan disagrees with the current state.
    ///
    /// # Errors
    /// Fails if there is no such scan, or the database fails.
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

/// Pairs the devices of two scans, without those of which both say the same and those of which one scan has no result:
/// that a host is down is one fact, and not one about its ports.
fn paired(ones: Vec<ScanDevice>, others: Vec<ScanDevice>) -> Vec<Pair> {
    let row = |device: &ScanDevice| (device.device_row, device.row);
    let mut pairs = side_by_side(ones, others, row, row);
    pairs.retain(|(one, other)| {
        let same = one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| one.is_same(other));
        !same && !one.iter().chain(other).any(ScanDevice::is_unknown)
    });
    pairs
}

/// Returns what a scan saw of devices and what is known of them now, without the endpoints that the scan covered and
/// of which it knows nothing.
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

/// Returns the last device of a page that may not be the last page.
fn last_of(devices: &[ScanDevice]) -> Option<i64> {
    let count = devices.chunk_by(|one, next| one.device_row == next.device_row).count();
    devices.last().map(|device| device.device_row).filter(|_| count >= SIFTED as usize)
}

/// Returns the range of devices after this one.
const fn behind(after: i64) -> RangeInclusive<i64> {
    after.saturating_add(1)..=i64::MAX
}

/// Groups what is known by device.
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

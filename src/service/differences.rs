//! Where the network is not as it should be, and where one scan is not as another: read a page at a time, so that
//! a hundred thousand differences begin at once and never lie in memory together.

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

/// Devices that are read at a time where few of them have rows of their own.
const COUNTED: u32 = 64;

/// Devices that are read at a time where each has rows of its own: with ten open ports each, little more than is shown.
const SHOWN: u32 = 8;

/// Devices of a scan that are listed at a time, and remembered for a slow reader in some 10 KB. What was found on them
/// is read of one after the other: each may have much to say.
const SIFTED: u32 = 64;

/// A port that is not what it should be, and its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDifference {
    /// Where: the address, if the device has one, else the MAC.
    pub host: DeviceKey,
    /// What an expectation should be kept under: the MAC where it is known for good, else the address.
    pub lasting: DeviceKey,
    /// The device's MAC, where that is known.
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

/// A port that two scans do not agree on, and its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDisagreement {
    /// Where: the device's address in the later one.
    pub host: DeviceKey,
    /// What each says.
    pub disagreement: Disagreement,
}

/// A device in two scans, of which at least one saw it.
type Pair = (Option<ScanDevice>, Option<ScanDevice>);

/// The same, with what each of the two says.
type HostPair = (Option<HostState>, Option<HostState>);

/// Compares the present state, what is expected and scans. A configuration that is reloaded holds from the next
/// question on.
#[derive(Clone)]
pub struct Differences {
    store: Store,
    config: watch::Receiver<Arc<Config>>,
}

impl Differences {
    /// Of what is stored here; what the configuration ignores is no difference.
    pub fn new(store: Store, config: watch::Receiver<Arc<Config>>) -> Self {
        Self { store, config }
    }

    /// All that is expected, in the order in which it was written.
    pub fn expectations(&self) -> impl Stream<Item = Result<Vec<Expectation>, StoreError>> + use<> {
        let store = self.store.clone();
        pages(move |after| {
            let store = store.clone();
            async move { store.expectations(after).await }
        })
    }

    /// What has changed, a page at a time. Known noise is listed, without an alert.
    pub async fn change_events(&self, asked: ChangeFilter) -> Result<Page<ChangeEvent>, StoreError> {
        let mut page = self.store.change_events(asked).await?;
        let config = Arc::clone(&self.config.borrow());
        for news in page.rows.iter_mut().filter(|news| news.alert) {
            let mac = if let DeviceKey::Mac(mac) = news.device { Some(mac) } else { None };
            let ignored = config.ignored_ports(mac, Some(&news.address));
            news.alert = news.kind.ports().is_none_or(|(_, ports)| !ports.is_subset(&ignored));
        }
        Ok(page)
    }

    /// What is known and expected of every device.
    pub(super) fn host_states(&self) -> impl Stream<Item = Result<Vec<HostState>, StoreError>> + use<> {
        let store = self.store.clone();
        pages(move |after| {
            let store = store.clone();
            async move { store.host_states(after, COUNTED).await }
        })
    }

    /// What is expected of devices that were never seen.
    fn expectations_of_unseen(&self) -> impl Stream<Item = Result<Vec<Expectation>, StoreError>> + use<> {
        let store = self.store.clone();
        pages(move |after| {
            let store = store.clone();
            async move { store.expectations_of_unknown_devices(after).await }
        })
    }

    /// Where the present state differs from what is expected.
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

    /// What is expected of devices that were never seen, each as a difference.
    pub(super) fn unseen_differences(
        &self,
    ) -> impl Stream<Item = Result<Vec<HostDifference>, StoreError>> + use<> {
        let config = self.config.clone();
        self.expectations_of_unseen().map_ok(move |expectations| {
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
/// no result of: that a host is down is one fact, and none of its ports'.
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

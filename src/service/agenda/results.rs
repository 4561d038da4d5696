//! The age of each device's result at each of its addresses, and whether it needs a new one.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    clock::EARLIEST_SANE,
    model::{Address, Device, DeviceKey, Endpoint, Moment},
    service::schedule::Times,
};

/// The pause after a look that gave no result, doubled with every further try up to [`RETRY_MAX`]. Each try costs a
/// probe, and an entry in the list of scans.
const RETRY: Duration = Duration::from_secs(15 * 60);
/// The longest pause between tries: a device that was switched off for a week is found within it.
const RETRY_MAX: Duration = Duration::from_secs(6 * 3600);

/// When a result was found.
#[derive(Clone, Copy, Debug)]
enum Freshness {
    /// By this process, at this time.
    Here(Moment),
    /// By an earlier process, at this time by its wall clock, which may have been wrong.
    Earlier(Timestamp),
}

impl Freshness {
    /// Returns the age, or `None` if the date is absurd.
    fn age(self, times: &Times) -> Option<Duration> {
        match self {
            Self::Here(found) => Some(times.now.since(found)),
            Self::Earlier(found) => {
                let wall = times.wall.filter(|_| found >= EARLIEST_SANE)?;
                Duration::try_from(wall.duration_since(found)).ok()
            }
        }
    }

    /// By how much the age may be too great, compared with one by the monotonic clock.
    const fn tolerance(self) -> Duration {
        match self {
            Self::Here(_) => Duration::ZERO,
            Self::Earlier(_) => CLOCKS_APART,
        }
    }
}

/// How far the wall clock may run ahead of the monotonic one between two readings of both: it is slewed and stepped
/// until it is right. The first look of a run begins within milliseconds of the run.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// How much of a device a look covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    /// Less than the commonest ports: no result that a user would wait for.
    Part,
    /// The commonest of its usual ports.
    Common,
    /// All of its usual ports.
    Full,
}

/// The results of an endpoint.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// The latest look at its commonest ports or at all.
    latest: Freshness,
    /// The latest look at all of them.
    full: Option<Freshness>,
}

#[derive(Debug, Default)]
pub(super) struct Results {
    found: HashMap<Endpoint, Found>,
    /// The last try that gave no result and the pause after it, since the feed last reported the device anew.
    tried: HashMap<Endpoint, (Moment, Duration)>,
    /// Which device's result was last found at an address, for devices that the feed knows by address alone.
    identities: HashMap<Address, DeviceKey>,
}

impl Results {
    /// Takes a result of an earlier process.
    pub(super) fn found_earlier(&mut self, device: &Device, extent: Extent, found: Timestamp) {
        self.identities.insert(device.address.clone(), device.key());
        self.insert(device.endpoint(), extent, Freshness::Earlier(found));
    }

    /// Takes a result that belongs to the device with this key.
    pub(super) fn found(&mut self, device: &Device, key: &DeviceKey, extent: Extent, now: Moment) {
        self.tried.remove(&device.endpoint());
        self.identities.insert(device.address.clone(), key.clone());
        let endpoint = Endpoint { device: key.clone(), address: device.address.clone() };
        self.insert(endpoint, extent, Freshness::Here(now));
    }

    fn insert(&mut self, endpoint: Endpoint, extent: Extent, latest: Freshness) {
        let before = self.found.get(&endpoint).and_then(|found| found.full);
        let full = match extent {
            Extent::Part => return,
            Extent::Common => before,
            Extent::Full => Some(latest),
        };
        self.found.insert(endpoint, Found { latest, full });
    }

    pub(super) fn tried(&mut self, endpoint: Endpoint, now: Moment) {
        let pause = self.tried.get(&endpoint).map_or(RETRY, |(_, pause)| (*pause * 2).min(RETRY_MAX));
        self.tried.insert(endpoint, (now, pause));
    }

    /// Takes the feed's devices. The result of a device that has moved moves along: a new address alone is no reason
    /// for another look.
    pub(super) fn relocate<'a>(&mut self, devices: impl Iterator<Item = &'a Device> + Clone) {
        let held: HashSet<Endpoint> = devices.clone().map(Device::endpoint).collect();
        let fed: HashSet<DeviceKey> = devices.map(Device::key).collect();
        let left = |known: &&Endpoint| fed.contains(&known.device) && !held.contains(*known);
        let left: Vec<Endpoint> = self.found.keys().filter(left).cloned().collect();
        let mut entered: Vec<Endpoint> =
            held.into_iter().filter(|new| !self.found.contains_key(new)).collect();
        for old in left {
            let is_successor = |new: &Endpoint| {
                new.device == old.device && new.address.ipv4().is_some() == old.address.ipv4().is_some()
            };
            let Some(place) = entered.iter().position(is_successor) else { continue };
            let new = entered.swap_remove(place);
            if let Some(found) = self.found.remove(&old) {
                self.identities.insert(new.address.clone(), new.device.clone());
                self.found.insert(new, found);
            }
        }
    }

    /// Records that a user has stopped a look at this endpoint: no look between runs starts for the longest pause.
    pub(super) fn put_off(&mut self, endpoint: Endpoint, now: Moment) {
        self.tried.insert(endpoint, (now, RETRY_MAX));
    }

    /// Records that the feed names the device again after a gap, which justifies a try at once.
    pub(super) fn seen_again(&mut self, endpoint: &Endpoint) {
        self.tried.remove(endpoint);
    }

    /// Drops the tries with a pause that ended long ago.
    pub(super) fn drop_spent(&mut self, now: Moment) {
        self.tried.retain(|_, (tried, pause)| now.since(*tried) < *pause + RETRY_MAX);
    }

    /// Returns which device's result was last found at each address.
    pub(super) fn identities(&self) -> impl Iterator<Item = (&Address, &DeviceKey)> {
        self.identities.iter()
    }

    /// Returns the keys under which a device's result may be kept, the likeliest first: that of the device that was
    /// found at the address, where the feed gives no MAC.
    pub(super) fn keys<'a>(&'a self, device: &'a Device) -> impl Iterator<Item = DeviceKey> + 'a {
        let found = self.identities.get(&device.address).filter(|_| device.mac.is_none()).cloned();
        found.into_iter().chain([device.key()])
    }

    /// Returns the results of a device at its address.
    fn of(&self, device: &Device) -> Option<Found> {
        let found = |key| self.found.get(&Endpoint { device: key, address: device.address.clone() });
        self.keys(device).find_map(found).copied()
    }

    /// Whether the device has no result yet, and the last try for one is long enough ago.
    pub(super) fn needs_first(&self, device: &Device, now: Moment) -> bool {
        self.of(device).is_none() && !self.is_paused(&device.endpoint(), now)
    }

    /// Whether the latest result is at most this old.
    pub(super) fn is_fresh(&self, device: &Device, age: Duration, times: &Times) -> bool {
        let found = self.of(device).and_then(|found| found.latest.age(times));
        found.is_some_and(|found| found <= age)
    }

    fn is_paused(&self, endpoint: &Endpoint, now: Moment) -> bool {
        self.tried.get(endpoint).is_some_and(|(tried, pause)| now.since(*tried) < *pause)
    }

    /// Whether the device needs a full look between runs. `last_run` is the age of the start of the last run over the feed,
    /// if that run is over: a result older than that means that the run missed the device.
    pub(super) fn needs_look(
        &self,
        device: &Device,
        last_run: Option<Duration>,
        expiry: Duration,
        times: &Times,
    ) -> bool {
        if self.is_paused(&device.endpoint(), times.now) {
            return false;
        }
        let Some(freshness) = self.of(device).and_then(|found| found.full) else { return true };
        let missed = |age: Duration| last_run.is_some_and(|last_run| age > last_run + freshness.tolerance());
        freshness.age(times).is_some_and(|age| age > expiry || missed(age))
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn a_slightly_fast_wall_clock_does_not_make_the_last_runs_result_count_as_missed() {
        let device = Device { address: "10.0.0.1".parse().unwrap(), mac: None, name: None };
        let found: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        let mut results = Results::default();
        results.found_earlier(&device, Extent::Full, found);
        let run = Duration::from_secs(20);
        let needs_look = |fast: Duration| {
            let wall = Some(found + run + fast);
            let times = Times { now: Moment::from_start(run), wall, zone: TimeZone::UTC };
            results.needs_look(&device, Some(run), Duration::from_secs(7 * 86_400), &times)
        };
        assert!(!needs_look(Duration::from_millis(5)));
        assert!(needs_look(Duration::from_secs(120)), "it was found before the run");
    }
}

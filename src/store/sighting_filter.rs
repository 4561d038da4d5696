//! Decides which sightings are written: an SD card need not record every minute that a device is still at its address.
//! Pure.

use std::{collections::HashMap, time::Duration};

use crate::model::{Address, Allowance, Device, DeviceKey, Moment};

/// An unchanged device is not written again within this time.
const KEPT: Duration = Duration::from_secs(3600);

/// How often the addresses and the name of one device may change per day, and at once: a device that invents them has
/// others each minute.
const CHANGES_OF_ONE: u32 = 6;

/// How often anything is written per [`COMMIT_STRETCH`], and at once: each commit costs the card some pages, however
/// small it is. Delayed sightings are written with the next commit.
const COMMITS: u32 = 24;

/// See [`COMMITS`].
const COMMIT_STRETCH: Duration = Duration::from_secs(4 * 3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// For each device, the sightings written at each of its addresses.
pub(super) struct SightingFilter {
    written: HashMap<DeviceKey, Vec<Sighting>>,
    /// Of the devices that have changed within a day.
    changes: HashMap<DeviceKey, (Allowance, Moment)>,
    commits: Allowance,
}

/// The written sighting of a device at one address.
struct Sighting {
    address: Address,
    name: Option<String>,
    at: Moment,
}

impl Default for SightingFilter {
    fn default() -> Self {
        let commits = Allowance::new(COMMITS, COMMIT_STRETCH);
        Self { written: HashMap::new(), changes: HashMap::new(), commits }
    }
}

impl SightingFilter {
    /// Returns the devices with a sighting that must be written, each with all of its addresses: those with a change,
    /// and those without a write for an hour. Counts them as written.
    pub(super) fn due(&mut self, seen: Vec<Device>, now: Moment) -> Vec<Vec<Device>> {
        if self.commits.left(now) == 0 {
            return Vec::new();
        }
        self.changes.retain(|_, (_, since)| now.since(*since) < DAY);
        self.drop_old(now);
        let mut devices = by_device(seen);
        devices.retain(|device| self.is_due(device, now));
        if !devices.is_empty() {
            self.commits.take(now);
        }
        devices
    }

    /// Forgets the written sightings, which may no longer be in the database. The rate limits stay.
    pub(super) fn forget(&mut self) {
        self.written.clear();
    }

    fn is_due(&mut self, device: &[Device], now: Moment) -> bool {
        let Some(key) = device.first().map(Device::key) else { return false };
        let before = self.written.get(&key).map_or(&[][..], Vec::as_slice);
        let at = |here: &Device| before.iter().find(|sighting| sighting.address == here.address);
        // A source without the name reports no change.
        let is_told = |here: &Device| {
            at(here).is_some_and(|sighting| here.name.is_none() || sighting.name == here.name)
        };
        let has_changed = before.len() != device.len() || !device.iter().all(is_told);
        let is_old = before.iter().any(|sighting| now.since(sighting.at) >= KEPT);
        if !has_changed && !is_old {
            return false;
        }
        let sighting = |here: &Device| {
            let name = here.name.clone().or_else(|| at(here).and_then(|known| known.name.clone()));
            Sighting { address: here.address.clone(), name, at: now }
        };
        let after: Vec<Sighting> = device.iter().map(sighting).collect();
        // The first sighting of a device is no change.
        if has_changed && !before.is_empty() && !self.may_change(&key, now) {
            return false;
        }
        self.written.insert(key, after);
        true
    }

    fn may_change(&mut self, key: &DeviceKey, now: Moment) -> bool {
        let of_one = || (Allowance::new(CHANGES_OF_ONE, DAY), now);
        let (allowance, since) = self.changes.entry(key.clone()).or_insert_with(of_one);
        let may = allowance.take(now);
        if may {
            *since = now;
        }
        may
    }

    /// Notes that a sighting of a device at this address is written, whatever other addresses it has.
    pub(super) fn note(&mut self, device: &Device, now: Moment) {
        let written = self.written.entry(device.key()).or_default();
        match written.iter_mut().find(|sighting| sighting.address == device.address) {
            Some(sighting) => sighting.name = device.name.clone().or(sighting.name.take()),
            None => {
                let (address, name) = (device.address.clone(), device.name.clone());
                written.push(Sighting { address, name, at: now });
            }
        }
    }

    /// Forgets devices of which nothing was written for a day.
    fn drop_old(&mut self, now: Moment) {
        self.written.retain(|_, written| written.iter().any(|sighting| now.since(sighting.at) < DAY));
    }
}

/// Groups the reports by device, in the order in which the devices were first reported.
fn by_device(reported: Vec<Device>) -> Vec<Vec<Device>> {
    let mut places = HashMap::new();
    let mut devices: Vec<Vec<Device>> = Vec::new();
    for device in reported {
        let place = *places.entry(device.key()).or_insert(devices.len());
        match devices.get_mut(place) {
            Some(same) => same.push(device),
            None => devices.push(vec![device]),
        }
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn device(last: u8, address: u8) -> Device {
        let address = std::net::Ipv4Addr::new(10, 0, 0, address).into();
        Device { address, mac: Some(crate::model::Mac::new([2, 0, 0, 0, 0, last])), name: None }
    }

    /// How often something is written, and for how many devices, if this is reported each minute for so long.
    fn written(
        sightings: &mut SightingFilter,
        minutes: u32,
        reported: impl Fn(u32) -> Vec<Device>,
    ) -> (usize, usize) {
        let due = |minute: u32| sightings.due(reported(minute), Moment::ZERO + MINUTE * minute);
        let due: Vec<_> = (0..minutes).map(due).collect();
        (due.iter().filter(|due| !due.is_empty()).count(), due.iter().map(Vec::len).sum())
    }

    #[test]
    fn an_unchanged_device_is_written_hourly() {
        assert_eq!(written(&mut SightingFilter::default(), 24 * 60, |_| vec![device(1, 1)]), (24, 24));
    }

    #[test]
    fn limits_how_often_a_device_that_moves_each_minute_is_written() {
        let reported = |minute: u32| vec![device(1, minute.to_be_bytes()[3])];
        let (commits, devices) = written(&mut SightingFilter::default(), 24 * 60, reported);
        assert!(commits == devices && (7..=13).contains(&devices), "{devices}");
    }

    #[test]
    fn newcomers_one_a_minute_share_commits() {
        let reported = |minute: u32| vec![device(minute.to_be_bytes()[3], 1)];
        let (commits, _) = written(&mut SightingFilter::default(), 24 * 60, reported);
        assert!(commits <= 24 + 6 * 24, "{commits}");
    }

    #[test]
    fn a_delayed_sighting_is_written_with_the_next() {
        let mut sightings = SightingFilter::default();
        let one = |minute: u32| vec![device(minute.to_be_bytes()[3], 1)];
        let (_, early) = written(&mut sightings, 50, one);
        assert!((24..50).contains(&early), "{early}");
        let all = (0..50).map(|last| device(last, 1)).collect();
        let next = sightings.due(all, Moment::ZERO + MINUTE * 55);
        assert_eq!(next.len(), 50 - early);
    }
}

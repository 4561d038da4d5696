//! What was last written of who is where, so that an SD card need not bear it again every minute.

use std::{collections::HashMap, time::Duration};

use crate::model::{Address, Device, DeviceKey, Moment};

/// A device that was seen within this long without a change is not written again.
const KEPT: Duration = Duration::from_secs(3600);

/// For each device, what was written of it at each of its addresses.
#[derive(Default)]
pub(super) struct Sightings(HashMap<DeviceKey, Vec<Sighting>>);

/// What was written of a device at one address.
struct Sighting {
    address: Address,
    name: Option<String>,
    at: Moment,
}

impl Sightings {
    /// What is to be written of the devices that were seen, each at all of these addresses and at no others: those
    /// of whom something is new, or nothing was written for an hour. Takes it that the caller writes it.
    pub(super) fn news(&mut self, seen: Vec<Device>, now: Moment) -> Vec<Vec<Device>> {
        self.0.retain(|_, written| {
            written.retain(|sighting| now.since(sighting.at) < KEPT);
            !written.is_empty()
        });
        let mut devices = by_device(seen);
        devices.retain(|device| self.is_news(device, now));
        devices
    }

    fn is_news(&mut self, device: &[Device], now: Moment) -> bool {
        let Some(key) = device.first().map(Device::key) else { return false };
        let written = self.0.remove(&key).unwrap_or_default();
        let at = |here: &Device| written.iter().find(|sighting| sighting.address == here.address);
        // A source that does not know the name is no news.
        let is_told = |here: &Device| {
            at(here).is_some_and(|sighting| here.name.is_none() || sighting.name == here.name)
        };
        let is_news = written.len() != device.len() || !device.iter().all(is_told);
        let sighting = |here: &Device| {
            let known = at(here);
            Sighting {
                address: here.address.clone(),
                name: here.name.clone().or_else(|| known.and_then(|known| known.name.clone())),
                at: known.filter(|_| !is_news).map_or(now, |known| known.at),
            }
        };
        self.0.insert(key, device.iter().map(sighting).collect());
        is_news
    }

    /// Notes that it is written that a device was seen here, whatever other addresses it has.
    pub(super) fn note(&mut self, device: &Device, now: Moment) {
        let written = self.0.entry(device.key()).or_default();
        match written.iter_mut().find(|sighting| sighting.address == device.address) {
            Some(sighting) => sighting.name = device.name.clone().or(sighting.name.take()),
            None => {
                let (address, name) = (device.address.clone(), device.name.clone());
                written.push(Sighting { address, name, at: now });
            }
        }
    }
}

/// The devices, each once for all of its addresses, in the order in which they were told.
fn by_device(told: Vec<Device>) -> Vec<Vec<Device>> {
    let mut places = HashMap::new();
    let mut devices: Vec<Vec<Device>> = Vec::new();
    for device in told {
        let place = *places.entry(device.key()).or_insert(devices.len());
        match devices.get_mut(place) {
            Some(same) => same.push(device),
            None => devices.push(vec![device]),
        }
    }
    devices
}

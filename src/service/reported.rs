//! Devices that feeds name and that have not answered yet: they are shown, scanned, and kept in memory alone. A feed
//! is not authenticated, so its report alone does not justify a write.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::feeds::{Inventory, Known, SourceId};
use crate::{
    config::Config,
    model::{Device, DeviceKey, Moment},
    store::{DeviceRecord, KnownDevices},
};

/// A device that only feeds name, at more addresses than this, is not recorded: our own discovery treats a station
/// with as many as one that answers for others.
const MOST_ADDRESSES: usize = 8;

/// Returns the devices that sources name which are up now, at all of their addresses: first those that were seen or
/// that the owner names, then those that only feeds name.
pub(super) fn sightings(inventory: &Inventory, config: &Config) -> (Vec<Device>, Vec<Device>) {
    let fresh = inventory.devices.iter().filter(|known| known.fresh);
    let (seen, reported): (Vec<&Known>, Vec<&Known>) =
        fresh.partition(|known| !matches!(known.source, SourceId::Url(_)) || config.names(&known.device));
    let mut addresses: BTreeMap<DeviceKey, usize> = BTreeMap::new();
    reported.iter().for_each(|known| *addresses.entry(known.device.key()).or_default() += 1);
    let reported = reported.into_iter().filter(|known| addresses[&known.device.key()] <= MOST_ADDRESSES);
    (
        seen.into_iter().map(|known| known.device.clone()).collect(),
        reported.map(|known| known.device.clone()).collect(),
    )
}

/// Returns the devices that have no row, as they are shown.
pub(super) fn without_row(
    inventory: &Inventory,
    known: &KnownDevices,
    (now, wall): (Moment, Timestamp),
) -> Vec<DeviceRecord> {
    let mut devices: BTreeMap<DeviceKey, Vec<&Known>> = BTreeMap::new();
    for reported in
        inventory.devices.iter().filter(|reported| !known.devices.contains(&reported.device.key()))
    {
        devices.entry(reported.device.key()).or_default().push(reported);
    }
    let host = |reported: Vec<&Known>| {
        let since = reported.iter().map(|reported| reported.since).min().unwrap_or(now);
        DeviceRecord::told(
            reported.into_iter().map(|reported| &reported.device),
            wall - now.since(since),
            wall,
        )
    };
    devices.into_values().filter_map(host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Discover, FeedConfig};

    const LATER: Moment = Moment::ZERO;

    fn known(address: &str, mac: &str, source: SourceId) -> Known {
        let device = Device { address: address.parse().unwrap(), mac: mac.parse().ok(), name: None };
        Known { device, source, fresh: true, since: Moment::ZERO }
    }

    fn url() -> SourceId {
        SourceId::Url("http://a/".to_owned().into())
    }

    fn addresses(devices: &[Device]) -> Vec<String> {
        devices.iter().map(|device| device.address.to_string()).collect()
    }

    #[test]
    fn splits_devices_that_were_seen_from_those_that_only_feeds_name() {
        let eth0 = SourceId::Discover(Discover { interface: "eth0".to_owned(), net: None });
        let rule = crate::config::DeviceRule {
            matches: "02:00:00:00:00:04".parse().unwrap(),
            name: None,
            scan: false,
            timing: None,
            ports: None,
            identify: None,
            device_type: None,
            tags: Vec::new(),
        };
        let config = Config { devices: vec![rule], feed: FeedConfig::default(), ..Config::default() };
        let mut devices = vec![
            known("10.0.0.1", "02:00:00:00:00:01", SourceId::Hosts),
            known("10.0.0.2", "02:00:00:00:00:02", eth0),
            known("10.0.0.3", "02:00:00:00:00:03", url()),
            known("10.0.0.4", "02:00:00:00:00:04", url()),
            Known { fresh: false, ..known("10.0.0.5", "02:00:00:00:00:05", url()) },
        ];
        devices.extend((1..=9).map(|last| known(&format!("10.0.1.{last}"), "02:00:00:00:00:06", url())));
        let (seen, reported) = sightings(&Inventory { devices, ..Inventory::default() }, &config);
        assert_eq!(addresses(&seen), ["10.0.0.1", "10.0.0.2", "10.0.0.4"]);
        assert_eq!(addresses(&reported), ["10.0.0.3"]);
    }

    #[test]
    fn a_device_without_a_row_is_shown_once_with_all_its_addresses() {
        let devices = vec![
            known("10.0.0.1", "02:00:00:00:00:01", url()),
            known("10.0.0.2", "02:00:00:00:00:02", url()),
            known("10.0.0.3", "02:00:00:00:00:02", url()),
        ];
        let stored = KnownDevices { devices: [devices[0].device.key()].into(), ..KnownDevices::default() };
        let wall = "2026-03-01T10:00:00Z".parse().unwrap();
        let hosts = without_row(&Inventory { devices, ..Inventory::default() }, &stored, (LATER, wall));
        let [host] = &hosts[..] else { panic!("{hosts:?}") };
        assert_eq!((host.row, host.addresses.len(), host.endpoints.len()), (None, 2, 0));
        assert_eq!(host.device.address.to_string(), "10.0.0.2");
    }
}

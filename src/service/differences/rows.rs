//! The rows of one device, some at a time. Pure.

use std::collections::BTreeMap;

use super::{
    HostDifference, HostDisagreement, HostPair,
    pairing::side_by_side,
    portions::{Block, Spot, blocks, count_named, portion, within},
};
use crate::{
    config::Config,
    model::{
        Address, Deviation, Device, DeviceAtAddress, DeviceKey, Difference, Expectation, Mac, PortSet,
        PortStatesByProtocol, Protocol, device_differences, disagreements,
    },
    store::HostState,
};

pub(super) fn hosts_side_by_side(ones: Vec<HostState>, others: Vec<HostState>) -> Vec<HostPair> {
    let row = |host: &HostState| (host.device_row, host.row);
    side_by_side(ones, others, row, row)
}

pub(super) fn host_row((one, other): &HostPair) -> i64 {
    one.as_ref().or(other.as_ref()).map_or(0, |host| host.device_row)
}

/// Returns the next rows on which both states of a device disagree.
pub(super) fn disagreeing(pairs: &[HostPair], from: Spot) -> (Vec<HostDisagreement>, Option<Spot>) {
    let nothing = PortStatesByProtocol::new();
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

/// Splits endpoints by device.
pub(in crate::service) fn by_device(hosts: &[HostState]) -> impl Iterator<Item = &[HostState]> {
    hosts.chunk_by(|one, next| one.device_row == next.device_row)
}

/// Returns where a device's ports differ from what is expected of them, without known noise, for each of its
/// endpoints.
fn of_ports(endpoints: &[HostState], config: &Config) -> Vec<Vec<Difference>> {
    let ignored = |host: &HostState| {
        let address = Some(&host.device.address).filter(|_| host.is_holder);
        config.ignored_ports(host.device.mac, address)
    };
    let places: Vec<DeviceAtAddress<'_>> = endpoints
        .iter()
        .map(|host| DeviceAtAddress {
            expected: &host.expected,
            standings: &host.standings,
            ignored: ignored(host),
        })
        .collect();
    device_differences(&places)
}

/// Counts the open ports of a device, whatever the address.
pub(super) fn count_open(endpoints: &[HostState]) -> u64 {
    let mut open = BTreeMap::<Protocol, PortSet>::new();
    for (protocol, standing) in endpoints.iter().flat_map(|host| &host.standings) {
        let ports = open.entry(*protocol).or_default();
        *ports = ports.union(&standing.open());
    }
    open.values().map(|ports| u64::from(ports.len())).sum()
}

/// Returns the next rows of a device that differ from what is expected of it.
pub(super) fn of_device(
    endpoints: &[HostState],
    config: &Config,
    from: Spot,
) -> (Vec<HostDifference>, Option<Spot>) {
    portion(endpoints.len(), count_rows(endpoints), from, |block| {
        let differences = of_block(endpoints, config, block.as_ref());
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

/// Returns which ports of each endpoint of a device differ, and how. This is done block by block, because the
/// differences of a device with 65,535 open ports take 5 MB.
pub(in crate::service) fn deviations(endpoints: &[HostState], config: &Config) -> Vec<Vec<PortDeviation>> {
    let mut found = vec![Vec::new(); endpoints.len()];
    for block in blocks(endpoints.len(), count_rows(endpoints)) {
        let differences = of_block(endpoints, config, block.as_ref());
        for (found, differences) in found.iter_mut().zip(differences) {
            let deviation = |at: Difference| (at.protocol, at.port, at.deviation());
            found.extend(differences.into_iter().map(deviation));
        }
    }
    found
}

/// A port that differs, and how.
pub(in crate::service) type PortDeviation = (Protocol, u16, Deviation);

/// Returns the highest possible number of a device's rows.
fn count_rows(endpoints: &[HostState]) -> usize {
    endpoints.iter().map(|host| count_named(&host.standings) + host.expected.len()).sum()
}

/// As [`of_ports`], for one block if there is one. Returns nothing about the other endpoints, which still count for
/// what is expected of the device.
fn of_block(endpoints: &[HostState], config: &Config, block: Option<&Block>) -> Vec<Vec<Difference>> {
    let Some(block) = block else { return of_ports(endpoints, config) };
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

/// Returns what is expected of a device that was never seen.
pub(super) fn unseen(expectation: Expectation, config: &Config) -> Option<HostDifference> {
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

/// Returns where a device is shown: at its address, unless another device has taken that since.
pub(in crate::service) fn shown_at(host: &HostState) -> DeviceKey {
    match host.device.mac {
        Some(mac) if !host.is_holder => DeviceKey::Mac(mac),
        _ => DeviceKey::Address(host.device.address.clone()),
    }
}

/// Returns the key by which a device will still be known tomorrow. A locally administered MAC may be another by then,
/// so the address is better, if the device holds it.
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
    fn a_locally_administered_mac_is_not_a_lasting_key() {
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

//! Determines which neighbours may be asked, and to which device an answer belongs.

use std::collections::BTreeSet;

use super::{
    agenda::is_wanted,
    witness::{Witness, identify, vouched},
};
use crate::{
    config::Config,
    model::{Device, DeviceKey, Mac},
    net::Links,
};

/// Returns the device to which an answer from an address belongs.
pub(super) fn device_at(named: &Device, proxies: &BTreeSet<Mac>) -> Option<DeviceKey> {
    let witness = Witness::of(&Links::read().ok()?, &named.address);
    let expected = witness.expected(named).ok()?;
    let mac = mac_at(witness, expected, witness.sighted(&named.address).ok()?, proxies)?;
    Some(Device { mac, ..named.clone() }.key())
}

/// Returns the MAC of the device that a source names at the address, unless another MAC is seen there; if the source
/// gives none, the MAC that is seen. `Some(None)`: the MAC cannot be known, and the device is kept under its address.
fn mac_at(
    witness: Witness,
    expected: Option<Mac>,
    seen: Option<Mac>,
    proxies: &BTreeSet<Mac>,
) -> Option<Option<Mac>> {
    if (witness, expected, seen) == (Witness::Neighbours, None, None) {
        return None; // a neighbour has a MAC, and the next question may find it
    }
    let vouched = vouched(seen, proxies);
    identify(expected, vouched, vouched).ok()
}

/// Returns the device with the MAC that is seen, if it may receive a packet: it must be a neighbour that may be scanned.
/// Where that depends on its MAC, the MAC must be seen first, because what a source reports may be out of date.
pub(super) async fn askable(named: &Device, config: &Config) -> Option<Device> {
    let links = Links::read().ok()?;
    let witness = Witness::of(&links, &named.address);
    if witness != Witness::Neighbours {
        return None;
    }
    let seen = witness.first_sighted(config, &links, &named.address).await.ok()?;
    let device = Device { mac: named.mac.or(seen), ..named.clone() };
    ((seen.is_none() || device.mac == seen) && is_wanted(config, &device)).then_some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_under_the_mac_that_is_seen_but_never_under_a_proxys() {
        let mac = |last: u8| (last != 0).then(|| Mac::new([2, 0, 0, 0, 0, last]));
        let proxies = BTreeSet::from([Mac::new([2, 0, 0, 0, 0, 9])]);
        let mac_at = |witness, expected, seen| mac_at(witness, mac(expected), mac(seen), &proxies);
        assert_eq!(mac_at(Witness::Neighbours, 1, 1), Some(mac(1)));
        assert_eq!(mac_at(Witness::Neighbours, 0, 1), Some(mac(1)));
        assert_eq!(mac_at(Witness::Neighbours, 1, 2), None, "another has the address");
        assert_eq!(mac_at(Witness::Neighbours, 0, 0), None, "not known yet");
        assert_eq!(mac_at(Witness::Neighbours, 0, 9), Some(None), "kept by address");
        assert_eq!(mac_at(Witness::Neighbours, 1, 9), Some(mac(1)));
        assert_eq!(mac_at(Witness::Feed, 0, 0), Some(None));
    }
}

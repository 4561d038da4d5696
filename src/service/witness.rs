//! Determines which MAC answers at an address, as far as this machine can tell, so that no ports or names are stored
//! under another device's MAC.

use std::{collections::BTreeSet, io};

use crate::{
    config::Config,
    engine::Link,
    model::{Address, Device, Mac},
    net::{self, Links, Solicited},
};

/// The source that can tell which MAC answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    /// This machine: the address is its own, and this is its MAC.
    Own(Option<Mac>),
    /// The kernel's neighbour table.
    Neighbours,
    /// None here. A feed from behind the router may know.
    Feed,
}

/// Why a result cannot be assigned to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Doubt {
    #[error("another device answers at this address: nothing is stored under the MAC that the feed gave")]
    TakenOver { expected: Option<Mac>, found: Option<Mac> },
    #[error("MAC learned only after the scan; result discarded")]
    Unattested,
}

/// Why the MAC at an address cannot be learned before anything is sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsighted {
    #[error("nothing answers at the address")]
    Silent,
    #[error(
        "not probed: the configuration leaves devices alone by their MAC, and this process may not ask for the MAC at the \
         address; grant it CAP_NET_RAW or a place in net.ipv4.ping_group_range, or name addresses in `exclude` and \
         [[device]] instead"
    )]
    NotAllowed,
    #[error(transparent)]
    Unreadable(#[from] io::Error),
}

impl Witness {
    pub(super) fn of(links: &Links, address: &Address) -> Self {
        match links.link_of(address) {
            Link::Local if address.is_loopback() => Self::Feed,
            Link::Local => Self::Own(links.own_mac(address)),
            Link::OnLink => Self::Neighbours,
            Link::Routed => Self::Feed,
        }
    }

    /// Returns the MAC that the device should have; if its MAC cannot be seen from here, the one under which it is
    /// stored.
    pub(super) fn expected(self, device: &Device) -> Result<Option<Mac>, Doubt> {
        match (self, device.mac) {
            (Self::Own(found), expected @ Some(_)) if found != expected => {
                Err(Doubt::TakenOver { expected, found })
            }
            (Self::Own(found), _) => Ok(found),
            (Self::Neighbours | Self::Feed, expected) => Ok(expected),
        }
    }

    /// Returns the MAC that answers at the address now, as far as this machine sees. A table that cannot be read is
    /// not an empty table: trusting the feed then would store one device's ports under another's MAC.
    pub(super) fn sighted(self, address: &Address) -> io::Result<Option<Mac>> {
        match self {
            Self::Own(found) => Ok(found),
            Self::Neighbours => Ok(net::neighbour(address)?.map(|known| known.mac)),
            Self::Feed => Ok(None),
        }
    }

    /// As [`Witness::sighted`], before anything is sent to the device. Where the configuration excludes MACs, a
    /// neighbour with a MAC that is unknown, or was learned long ago, is asked for it first; otherwise that request is
    /// spared.
    pub(super) async fn first_sighted(
        self,
        config: &Config,
        links: &Links,
        address: &Address,
    ) -> Result<Option<Mac>, Unsighted> {
        if self != Self::Neighbours || !config.excludes_by_mac() {
            return Ok(self.sighted(address)?);
        }
        match net::solicit(links, address).await? {
            Solicited::Answered(mac) => Ok(Some(mac)),
            Solicited::Silent => Err(Unsighted::Silent),
            Solicited::NotAllowed => Err(Unsighted::NotAllowed),
        }
    }
}

/// Returns a MAC that was seen, if it identifies the device: that of a station which answers for others does not.
pub(super) fn vouched(seen: Option<Mac>, proxies: &BTreeSet<Mac>) -> Option<Mac> {
    seen.filter(|mac| !proxies.contains(mac))
}

/// Returns the device to which a result from an address belongs: the one that was expected, unless another was seen;
/// where none was expected, the one that was seen from the beginning. An entry that is gone is no contradiction: the
/// kernel drops the least used when its table fills up.
pub(super) fn identify(
    expected: Option<Mac>,
    before: Option<Mac>,
    after: Option<Mac>,
) -> Result<Option<Mac>, Doubt> {
    match (expected, before, after) {
        (Some(_), Some(_), _) if before != expected => Err(Doubt::TakenOver { expected, found: before }),
        (Some(_), _, Some(_)) if after != expected => Err(Doubt::TakenOver { expected, found: after }),
        (Some(_), ..) => Ok(expected),
        (None, Some(_), Some(_)) if before != after => {
            Err(Doubt::TakenOver { expected: before, found: after })
        }
        (None, None, Some(_)) => Err(Doubt::Unattested),
        (None, ..) => Ok(before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> Option<Mac> {
        (last != 0).then(|| Mac::new([2, 0, 0, 0, 0, last]))
    }

    /// 0 means "not known".
    #[test]
    fn assigns_a_result_to_the_device_that_held_the_address_throughout() {
        let taken = |expected, found| Err(Doubt::TakenOver { expected: mac(expected), found: mac(found) });
        for ((expected, before, after), found) in [
            ((1, 1, 1), Ok(1)),
            ((1, 1, 0), Ok(1)),
            ((1, 0, 1), Ok(1)),
            ((1, 0, 0), Ok(1)),
            ((1, 2, 1), taken(1, 2)),
            ((1, 1, 2), taken(1, 2)),
            ((1, 0, 2), taken(1, 2)),
            ((0, 1, 1), Ok(1)),
            ((0, 1, 0), Ok(1)),
            ((0, 1, 2), taken(1, 2)),
            ((0, 0, 1), Err(Doubt::Unattested)),
            ((0, 0, 0), Ok(0)),
        ] {
            let identity = identify(mac(expected), mac(before), mac(after));
            let wanted = found.map(mac);
            assert_eq!(identity, wanted, "{expected} {before} {after}");
        }
    }

    #[test]
    fn own_address_has_own_mac_and_a_routed_one_has_the_feeds() {
        let device =
            |address: &str, last| Device { address: address.parse().unwrap(), mac: mac(last), name: None };
        let expected = |witness: Witness, last| witness.expected(&device("192.0.2.1", last));
        assert_eq!(expected(Witness::Own(mac(1)), 1), Ok(mac(1)));
        assert_eq!(expected(Witness::Own(mac(1)), 0), Ok(mac(1)));
        assert_eq!(
            expected(Witness::Own(mac(1)), 2),
            Err(Doubt::TakenOver { expected: mac(2), found: mac(1) })
        );
        assert_eq!(expected(Witness::Neighbours, 2), Ok(mac(2)));
        let links = Links::read().unwrap();
        let witness = |address: &str| Witness::of(&links, &address.parse().unwrap());
        assert_eq!(witness("127.0.0.1"), Witness::Feed);
        assert_eq!(witness("2001:db8::1"), Witness::Feed);
    }
}

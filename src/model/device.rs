//! A device as a feed tells of it.

use super::{Address, Mac};

/// One device of the LAN: where it is now, and who it is.
///
/// Its identity is the MAC where that is known, else the address (routed subnets, IPv6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Where it was last said to be.
    pub address: Address,
    /// Who it is; `None` where no neighbour tells (routed subnets).
    pub mac: Option<Mac>,
    /// What its owner calls it.
    pub name: Option<String>,
}

/// Who a device is: its MAC where that is known, else its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKey {
    /// A neighbour.
    Mac(Mac),
    /// A host behind a router, or one reached by IPv6.
    Address(Address),
}

impl Device {
    /// Who it is.
    pub fn key(&self) -> DeviceKey {
        self.mac.map_or_else(|| DeviceKey::Address(self.address.clone()), DeviceKey::Mac)
    }
}

impl std::fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

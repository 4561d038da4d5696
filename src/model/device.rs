//! A device as a feed reports it.

use std::{fmt, str::FromStr};

use super::{Address, AddressError, Mac};

/// A device of the LAN: its current address and its identity.
///
/// The identity is the MAC if known, else the address (routed subnets).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Its last reported address.
    pub address: Address,
    /// Its MAC; `None` if no neighbour entry shows it (routed subnets).
    pub mac: Option<Mac>,
    /// Its owner's name for it.
    pub name: Option<String>,
}

/// A device's identity: its MAC if known, else its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKey {
    /// A neighbour on the same link.
    Mac(Mac),
    /// A host behind a router.
    Address(Address),
}

/// A device at one of its addresses: the unit that is scanned, confirmed, and has a state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The device.
    pub device: DeviceKey,
    /// The address.
    pub address: Address,
}

impl Device {
    /// Its identity.
    pub fn key(&self) -> DeviceKey {
        self.mac.map_or_else(|| DeviceKey::Address(self.address.clone()), DeviceKey::Mac)
    }

    /// The device at this one of its addresses.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { device: self.key(), address: self.address.clone() }
    }
}

impl DeviceKey {
    /// Its MAC; `None` for a host behind a router.
    pub const fn mac(&self) -> Option<Mac> {
        match self {
            Self::Mac(mac) => Some(*mac),
            Self::Address(_) => None,
        }
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Why a text does not name a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceKeyError {
    /// Neither a MAC nor an address.
    #[error("\"{0}\" is neither a MAC (B8:27:EB:AC:14:3E) nor an IP address")]
    Neither(String),
    /// Looks like an address but is malformed.
    #[error(transparent)]
    Address(AddressError),
}

impl FromStr for DeviceKey {
    type Err = DeviceKeyError;

    /// Reads every spelling of a [`Mac`] and of an [`Address`].
    fn from_str(text: &str) -> Result<Self, DeviceKeyError> {
        if let Ok(mac) = text.parse() {
            return Ok(Self::Mac(mac));
        }
        text.parse().map(Self::Address).map_err(|error| match error {
            AddressError::Malformed(text) => DeviceKeyError::Neither(text),
            error @ AddressError::NeedlessZone(_) => DeviceKeyError::Address(error),
        })
    }
}

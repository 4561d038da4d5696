//! A device as a feed tells of it.

use std::{fmt, str::FromStr};

use super::{Address, AddressError, Mac};

/// One device of the LAN: where it is now, and who it is.
///
/// Its identity is the MAC where that is known, else the address (routed subnets).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Where it was last said to be.
    pub address: Address,
    /// Who it is; `None` where no neighbour tells (routed subnets).
    pub mac: Option<Mac>,
    /// What its owner calls it.
    pub name: Option<String>,
}

/// A device's identity: its MAC where that is known, else its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKey {
    /// A neighbour.
    Mac(Mac),
    /// A host behind a router.
    Address(Address),
}

/// A device at one of its addresses: what is looked at, confirmed, and has a state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The device.
    pub device: DeviceKey,
    /// Where.
    pub address: Address,
}

impl Device {
    /// Its identity.
    pub fn key(&self) -> DeviceKey {
        self.mac.map_or_else(|| DeviceKey::Address(self.address.clone()), DeviceKey::Mac)
    }

    /// The device at this address of its own.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { device: self.key(), address: self.address.clone() }
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

/// Why a text names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceKeyError {
    /// Neither kind.
    #[error("\"{0}\" is neither a MAC (B8:27:EB:AC:14:3E) nor an IP address")]
    Neither(String),
    /// An address, but not one.
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

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

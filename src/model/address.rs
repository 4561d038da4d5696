//! Network addresses: where a device is found.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

/// An IP address and, for link-local IPv6, the interface it is valid on: `fe80::1%eth0` (RFC 4007, 11.2).
///
/// Reads bare, bracketed (`[::1]`) and URL-escaped (`fe80::1%25eth0`, RFC 6874) forms. An IPv4-mapped IPv6
/// address (`::ffff:192.0.2.1`) becomes the IPv4 address it stands for, so that one host has one spelling.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    ip: IpAddr,
    zone: Option<Arc<str>>,
}

/// Why a text is not an [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an IP address at all.
    #[error("\"{0}\" is not an IP address; write it as 192.0.2.1, 2001:db8::1 or fe80::1%eth0")]
    Malformed(String),
    /// A zone on an address that is valid everywhere.
    #[error("\"{0}\" has a zone, but only link-local IPv6 addresses (fe80::/10) take one")]
    NeedlessZone(String),
}

/// The longest interface name, `IFNAMSIZ - 1` of linux/if.h.
const ZONE_MAX: usize = 15;

impl Address {
    /// The address of a host on this interface.
    ///
    /// # Errors
    /// The address is not link-local, or no interface can have this name.
    pub fn in_zone(ip: Ipv6Addr, zone: &str) -> Result<Self, AddressError> {
        format!("{ip}%{zone}").parse()
    }

    /// The IP address without its zone.
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The IPv4 address, if it is one.
    pub const fn ipv4(&self) -> Option<Ipv4Addr> {
        match self.ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        }
    }

    /// The interface's name, for a link-local IPv6 address that names one.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Whether the address always belongs to this machine (127.0.0.0/8, `::1`).
    pub const fn is_loopback(&self) -> bool {
        self.ip.is_loopback()
    }

    /// Whether the internet does not route the address: RFC 1918, RFC 6598 (carriers' and some mesh VPNs'
    /// 100.64.0.0/10), link-local, loopback, IPv6 unique local.
    pub const fn is_private(&self) -> bool {
        match self.ip {
            IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || self.is_beyond_the_lan(),
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
        }
    }

    /// Whether the internet does not route the address although it may belong to others: a carrier's other customers
    /// and the members of a mesh VPN are in RFC 6598's 100.64.0.0/10, a cloud's metadata service in 169.254.0.0/16.
    pub const fn is_beyond_the_lan(&self) -> bool {
        match self.ip {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
            }
            IpAddr::V6(_) => false,
        }
    }

    /// Whether one host can answer on it: not unspecified, multicast or broadcast.
    pub fn is_host(&self) -> bool {
        !self.ip.is_unspecified() && !self.ip.is_multicast() && self.ip != IpAddr::V4(Ipv4Addr::BROADCAST)
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self { ip: ip.to_canonical(), zone: None }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(ip: Ipv4Addr) -> Self {
        Self { ip: IpAddr::V4(ip), zone: None }
    }
}

impl From<Ipv6Addr> for Address {
    fn from(ip: Ipv6Addr) -> Self {
        Self::from(IpAddr::V6(ip))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => f.pad(&format!("{}%{zone}", self.ip)),
            None => self.ip.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let shown = || text.chars().take(60).collect::<String>();
        let malformed = || AddressError::Malformed(shown());
        let bare = match text.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(malformed)?,
            None => text,
        };
        let (ip, zone) = match bare.split_once('%') {
            Some((ip, zone)) => (ip, Some(zone.strip_prefix("25").unwrap_or(zone))),
            None => (bare, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| malformed())?;
        let Some(zone) = zone else { return Ok(Self::from(ip)) };
        let valid = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '%' | ':' | ']');
        if zone.is_empty() || zone.len() > ZONE_MAX || !zone.chars().all(valid) {
            return Err(malformed());
        }
        match ip {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Ok(Self { ip, zone: Some(zone.into()) }),
            _ => Err(AddressError::NeedlessZone(shown())),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_spelling_and_prints_one() {
        for (text, canonical) in [
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8:0::1]", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("[fe80::1%25eth0.7]", "fe80::1%eth0.7"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn refuses_texts_that_are_not_addresses() {
        for text in ["", "1.2.3", "1.2.3.4.5", "[::1", "fe80::1%", "fe80::1%a/b", "fe80::1%abcdefghijklmnop"]
        {
            assert!(matches!(text.parse::<Address>(), Err(AddressError::Malformed(_))), "{text}");
        }
        assert!(matches!("10.0.0.1%eth0".parse::<Address>(), Err(AddressError::NeedlessZone(_))));
    }

    #[test]
    fn knows_unrouted_ranges_beyond_the_lan() {
        for text in ["100.64.0.0", "100.127.255.255", "169.254.0.0", "169.254.169.254", "169.254.255.255"] {
            assert!(text.parse::<Address>().unwrap().is_beyond_the_lan(), "{text}");
        }
        for text in ["100.63.255.255", "100.128.0.0", "169.253.255.255", "169.255.0.0", "10.0.0.1", "fe80::1"]
        {
            assert!(!text.parse::<Address>().unwrap().is_beyond_the_lan(), "{text}");
        }
    }

    #[test]
    fn knows_private_ranges() {
        for text in
            ["10.1.2.3", "172.31.0.1", "192.168.0.1", "169.254.1.1", "100.64.0.1", "127.0.0.1", "fd00::1"]
        {
            assert!(text.parse::<Address>().unwrap().is_private(), "{text}");
        }
        for text in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(!text.parse::<Address>().unwrap().is_private(), "{text}");
        }
    }
}

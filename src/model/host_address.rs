//! Checks that an address can be that of one host, and can be probed: every command and every source of addresses does
//! so, before and after name lookups.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Address;

/// Why an address is not probed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostAddressError {
    /// Unspecified, multicast or broadcast. The kernel takes the unspecified address for this machine.
    #[error("{0} is not the address of one host; name another")]
    NotOneHost(Address),
    /// The first or the last address of a network that this machine is in.
    #[error("{address} stands for the whole network {net} on {interface}, not for one host; name another")]
    WholeNetwork {
        /// The address.
        address: Address,
        /// The network.
        net: IpNet,
        /// This machine's interface to the network.
        interface: String,
    },
    /// Link-local, without an interface.
    #[error("{address} is valid on one link only; name its interface: {}", with_zones(.address, .interfaces))]
    NoInterface {
        /// The address.
        address: Address,
        /// The interfaces that the address could be on; empty if they are not known.
        interfaces: Vec<String>,
    },
    /// Link-local, on an interface that this machine does not have.
    #[error("{address}: no interface {} is up here; there are {}", .address.zone().unwrap_or_default(), .interfaces.join(", "))]
    UnknownInterface {
        /// The address.
        address: Address,
        /// The interfaces that are up.
        interfaces: Vec<String>,
    },
}

/// Spells out the address with each of the interfaces.
fn with_zones(address: &Address, interfaces: &[String]) -> String {
    if interfaces.is_empty() {
        return format!("{address}%eth0");
    }
    interfaces.iter().map(|name| format!("{address}%{name}")).collect::<Vec<_>>().join(" or ")
}

impl Address {
    /// Checks that one host can have this address, as far as that can be decided without knowing the machine:
    /// [`Links::check_host`](crate::net::Links::check_host) knows that, too.
    ///
    /// # Errors
    /// Fails with the reason why no host can have it.
    pub fn check_host(&self) -> Result<(), HostAddressError> {
        if !self.is_host() {
            return Err(HostAddressError::NotOneHost(self.clone()));
        }
        if self.needs_zone() {
            return Err(HostAddressError::NoInterface { address: self.clone(), interfaces: Vec::new() });
        }
        Ok(())
    }

    /// Whether the address is link-local but lacks its interface.
    fn needs_zone(&self) -> bool {
        matches!(self.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local()) && self.zone().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_addresses_of_no_host_or_of_many() {
        for text in
            ["0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "239.255.255.250", "ff02::1", "255.255.255.255"]
        {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.check_host(), Err(HostAddressError::NotOneHost(address)), "{text}");
        }
        for text in ["127.0.0.1", "192.0.2.255", "0.0.0.1", "::1", "fe80::1%eth0", "2001:db8::"] {
            assert_eq!(text.parse::<Address>().unwrap().check_host(), Ok(()), "{text}");
        }
    }

    #[test]
    fn names_the_interfaces_that_a_link_local_address_could_be_on() {
        let address: Address = "fe80::1".parse().unwrap();
        let unknown = address.check_host().unwrap_err().to_string();
        assert_eq!(unknown, "fe80::1 is valid on one link only; name its interface: fe80::1%eth0");
        let interfaces = vec!["wlan0".to_owned(), "end0".to_owned()];
        let known = HostAddressError::NoInterface { address, interfaces }.to_string();
        assert_eq!(
            known,
            "fe80::1 is valid on one link only; name its interface: fe80::1%wlan0 or fe80::1%end0"
        );
    }
}

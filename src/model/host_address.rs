//! Whether one host can be at an address, and be probed there: what every command and every source of addresses
//! asks, before and after names are looked up.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Address;

/// Why nothing is probed at an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostAddressError {
    /// Unspecified, multicast or broadcast. The kernel takes the unspecified one for this machine.
    #[error("{0} is not the address of one host; name another")]
    NotOneHost(Address),
    /// The first or the last address of a network that this machine is in.
    #[error("{address} stands for the whole network {net} on {interface}, not for one host; name another")]
    WholeNetwork {
        /// The address.
        address: Address,
        /// The network.
        net: IpNet,
        /// The interface by which this machine is in it.
        interface: String,
    },
    /// Link-local, without an interface.
    #[error("{address} is valid on one link only; name its interface: {}", with_zones(.address, .interfaces))]
    NoInterface {
        /// The address.
        address: Address,
        /// The interfaces that it could be on; empty where they are not known.
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

/// The address as it could have been written: on each of the interfaces.
fn with_zones(address: &Address, interfaces: &[String]) -> String {
    if interfaces.is_empty() {
        return format!("{address}%eth0");
    }
    interfaces.iter().map(|name| format!("{address}%{name}")).collect::<Vec<_>>().join(" or ")
}

impl Address {
    /// Whether one host can be at it, as far as that can be told without knowing the machine:
    /// [`Links::check_host`](crate::net::Links::check_host) knows that, too.
    ///
    /// # Errors
    /// Why not.
    pub fn check_host(&self) -> Result<(), HostAddressError> {
        if !self.is_host() {
            return Err(HostAddressError::NotOneHost(self.clone()));
        }
        if self.needs_zone() {
            return Err(HostAddressError::NoInterface { address: self.clone(), interfaces: Vec::new() });
        }
        Ok(())
    }

    /// Whether it is link-local without the interface that it is valid on.
    fn needs_zone(&self) -> bool {
        matches!(self.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local()) && self.zone().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_stands_for_no_host_or_for_many() {
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

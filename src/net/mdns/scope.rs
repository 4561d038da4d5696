//! Selects the networks of this machine on which mDNS is active.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::net::if_::InterfaceFlags;

use crate::net::interfaces;

/// The IPv4 addresses under which the appliance may be found, and the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MdnsScope {
    /// `None`: every address of every network.
    addresses: Option<Vec<Ipv4Addr>>,
    port: u16,
}

impl MdnsScope {
    /// Every network of this machine, for queries only; nothing is announced at port 0.
    pub const EVERYWHERE: Self = Self { addresses: None, port: 0 };

    /// Where a server that listens there can be found from outside by IPv4; `None`: nowhere. A service has one port, so
    /// of several the first one's addresses count.
    pub fn of(listen: &[SocketAddr]) -> Option<Self> {
        let reached = |address: &SocketAddr| match address.ip() {
            // It takes IPv4's connections, too, unless another listener does.
            IpAddr::V6(ip) => {
                ip.is_unspecified() && !listen.iter().any(|v4| v4.is_ipv4() && v4.port() == address.port())
            }
            IpAddr::V4(ip) => !ip.is_loopback(),
        };
        let reached: Vec<&SocketAddr> = listen.iter().filter(|address| reached(address)).collect();
        let port = reached.first()?.port();
        let there = reached.iter().filter(|address| address.port() == port).map(|address| address.ip());
        let addresses = there
            .map(|ip| match ip {
                IpAddr::V4(ip) if !ip.is_unspecified() => Some(ip),
                _ => None,
            })
            .collect();
        Some(Self { addresses, port })
    }

    /// The announced port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the appliance is announced at this address of this machine.
    pub(super) fn covers(&self, ip: IpAddr) -> bool {
        let IpAddr::V4(ip) = ip else { return false };
        !ip.is_loopback() && self.addresses.as_ref().is_none_or(|addresses| addresses.contains(&ip))
    }

    /// Whether the kernel reports that this machine is on such a network now.
    pub(super) fn is_there(&self) -> bool {
        interfaces::read().unwrap_or_default().iter().any(|interface| {
            let flags = interface.flags;
            let is_up = flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_MULTICAST);
            let is_here = flags.contains(InterfaceFlags::IFF_LOOPBACK);
            is_up && !is_here && interface.nets.iter().any(|net| self.covers(net.addr()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(listen: &[&str]) -> Option<MdnsScope> {
        MdnsScope::of(&listen.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    fn at(addresses: &[[u8; 4]], port: u16) -> Option<MdnsScope> {
        Some(MdnsScope { addresses: Some(addresses.iter().copied().map(Ipv4Addr::from).collect()), port })
    }

    #[test]
    fn announces_the_addresses_that_listen() {
        let everywhere = Some(MdnsScope { addresses: None, port: 80 });
        for (listen, found) in [
            (&["127.0.0.1:80"][..], None),
            (&["127.0.0.1:80", "[::1]:80"], None),
            (&["[2001:db8::1]:80"], None),
            (&["127.0.0.1:80", "[::]:80"], None),
            (&["0.0.0.0:80", "[::]:80"], everywhere.clone()),
            (&["[::]:80"], everywhere.clone()),
            (&["127.0.0.1:81", "[::]:80"], everywhere),
            (&["192.168.1.2:8080"], at(&[[192, 168, 1, 2]], 8080)),
            (&["127.0.0.1:80", "10.0.0.2:80", "10.1.0.2:80"], at(&[[10, 0, 0, 2], [10, 1, 0, 2]], 80)),
            (&["10.0.0.2:80", "10.1.0.2:81"], at(&[[10, 0, 0, 2]], 80)),
        ] {
            assert_eq!(scope(listen), found, "{listen:?}");
        }
    }

    #[test]
    fn announces_only_those_addresses_and_never_the_loopback() {
        let one = scope(&["192.168.1.2:80"]).unwrap();
        for (ip, everywhere, there) in [
            ("192.168.1.2", true, true),
            ("192.168.1.3", true, false),
            ("127.0.0.1", false, false),
            ("fe80::1", false, false),
        ] {
            let ip = ip.parse().unwrap();
            assert_eq!((MdnsScope::EVERYWHERE.covers(ip), one.covers(ip)), (everywhere, there), "{ip}");
        }
    }
}

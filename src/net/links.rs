//! This machine's interfaces and subnets, which determine how a host is reached.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;
use nix::net::if_::InterfaceFlags;

use super::interfaces::{self, NetworkInterface};
use crate::{
    engine::Link,
    model::{Address, HostAddressError, Mac},
};

/// The interfaces that are up, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    interfaces: Vec<Interface>,
    /// Every address of this machine. The kernel also answers at an address of an interface that is down.
    own: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Interface {
    name: String,
    mac: Option<Mac>,
    /// Whether the kernel resolves the MAC at an address before it sends there (ARP, neighbour discovery). On tunnels
    /// and point-to-point links it does not, so silence there proves nothing about the host.
    resolves: bool,
    /// Own addresses, each with the subnet it is in.
    nets: Vec<IpNet>,
}

/// The link on which a neighbour's MAC is queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NeighbourLink<'a> {
    /// The interface.
    pub(super) interface: &'a str,
    /// This machine's own address there, in the subnet that the neighbour's is in.
    pub(super) own: IpAddr,
    /// The interface's MAC, if it has one.
    pub(super) mac: Option<Mac>,
}

impl Links {
    /// Reads them from the kernel.
    ///
    /// # Errors
    /// Fails if they cannot be read, mostly for lack of descriptors or memory.
    pub fn read() -> io::Result<Self> {
        Self::of(interfaces::read().unwrap_or_default())
    }

    fn of(interfaces: Vec<NetworkInterface>) -> io::Result<Self> {
        // Every machine has its loopback, up or not.
        if interfaces.is_empty() {
            return Err(io::Error::other(
                "this machine's network interfaces cannot be read; is it out of files or memory?",
            ));
        }
        let own = interfaces.iter().flat_map(|interface| interface.nets.iter().map(IpNet::addr)).collect();
        Ok(Self { interfaces: interfaces.into_iter().filter_map(Interface::of).collect(), own })
    }

    /// Returns how a host is reached.
    pub fn link_of(&self, address: &Address) -> Link {
        if address.is_loopback() || self.owner(address).is_some() {
            return Link::Local;
        }
        let mut through = self.interfaces.iter().filter(|interface| interface.reaches(address));
        if through.any(|interface| interface.resolves) { Link::OnLink } else { Link::Routed }
    }

    /// Whether this machine itself answers at the address.
    pub fn is_own(&self, address: &Address) -> bool {
        address.is_loopback() || self.own.contains(&address.ip())
    }

    /// Whether the address lies in a subnet that one of the interfaces is in, the loopback's included.
    pub fn is_own_subnet(&self, address: &Address) -> bool {
        self.interfaces.iter().any(|interface| interface.reaches(address))
    }

    /// Checks that an address can be one host's, and that this machine can reach it: the one check before any probe. An
    /// address from a name look-up is checked like one that was typed.
    ///
    /// # Errors
    /// Fails with the reason.
    pub fn check_host(&self, address: &Address) -> Result<(), HostAddressError> {
        use HostAddressError::{NoInterface, UnknownInterface, WholeNetwork};
        let names = |interfaces: &mut dyn Iterator<Item = &Interface>| -> Vec<String> {
            interfaces.map(|interface| interface.name.clone()).collect()
        };
        match address.check_host() {
            Err(NoInterface { address, .. }) => {
                let interfaces =
                    names(&mut self.interfaces.iter().filter(|interface| !interface.is_loopback()));
                return Err(NoInterface { address, interfaces });
            }
            other => other?,
        }
        if let Some(zone) = address.zone()
            && !self.interfaces.iter().any(|interface| interface.name == zone)
        {
            let interfaces = names(&mut self.interfaces.iter());
            return Err(UnknownInterface { address: address.clone(), interfaces });
        }
        let whole = self.interfaces.iter().find_map(|interface| Some((interface, interface.whole(address)?)));
        match whole.filter(|_| self.owner(address).is_none()) {
            Some((interface, net)) => {
                Err(WholeNetwork { address: address.clone(), net, interface: interface.name.clone() })
            }
            None => Ok(()),
        }
    }

    /// Returns the IPv4 subnets whose hosts are neighbours. That of a point-to-point link has none.
    pub fn subnets(&self) -> impl Iterator<Item = IpNet> {
        let resolving = self.interfaces.iter().filter(|interface| interface.resolves);
        let nets = resolving.flat_map(|interface| &interface.nets);
        nets.filter(|net| net.addr().is_ipv4() && net.prefix_len() < 32 && !net.addr().is_loopback())
            .map(IpNet::trunc)
    }

    /// Returns the addresses of the interfaces that are up.
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        self.interfaces.iter().flat_map(|interface| interface.nets.iter().map(IpNet::addr)).collect()
    }

    /// Returns the hardware address behind one of this machine's own addresses; the neighbour table has no entry for
    /// it.
    pub fn own_mac(&self, address: &Address) -> Option<Mac> {
        self.owner(address)?.mac
    }

    /// Returns the interface on which a neighbour's address is queried, and this machine's own address there; `None` if
    /// the address is not a neighbour's.
    pub(super) fn neighbour_link(&self, address: &Address) -> Option<NeighbourLink<'_>> {
        let mut through = self.interfaces.iter().filter(|link| link.resolves && link.reaches(address));
        through.find_map(|link| {
            // A link-local address shares a subnet only with other link-local addresses.
            let own = link.nets.iter().find(|net| net.contains(&address.ip()))?;
            Some(NeighbourLink { interface: &link.name, own: own.addr(), mac: link.mac })
        })
    }

    /// Returns this machine's own IPv4 address in the subnet of a neighbour; `None` if the address is not a neighbour's.
    pub fn own_ipv4_towards(&self, neighbour: &Address) -> Option<Ipv4Addr> {
        match self.neighbour_link(neighbour)?.own {
            IpAddr::V4(own) => Some(own),
            IpAddr::V6(_) => None,
        }
    }

    fn owner(&self, address: &Address) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| {
            address.zone().is_none_or(|zone| zone == interface.name)
                && interface.nets.iter().any(|net| net.addr() == address.ip())
        })
    }
}

impl Interface {
    fn of(interface: NetworkInterface) -> Option<Self> {
        let without =
            InterfaceFlags::IFF_NOARP | InterfaceFlags::IFF_POINTOPOINT | InterfaceFlags::IFF_LOOPBACK;
        interface.flags.contains(InterfaceFlags::IFF_UP).then(|| Self {
            mac: interface.mac(),
            resolves: !interface.flags.intersects(without),
            nets: interface.nets,
            name: interface.name,
        })
    }

    fn is_loopback(&self) -> bool {
        self.nets.iter().any(|net| net.addr().is_loopback())
    }

    /// Returns the subnet of which the address is the first or the last one, in IPv4. A subnet of one or two addresses
    /// has neither (RFC 3021), and in IPv6 both are hosts' addresses (RFC 4291, 2.6.1: the first may be any router's).
    fn whole(&self, address: &Address) -> Option<IpNet> {
        let ip = address.ip();
        let stands_for = |net: &&IpNet| {
            net.addr().is_ipv4() && net.prefix_len() < 31 && (ip == net.network() || ip == net.broadcast())
        };
        self.nets.iter().find(stands_for).map(IpNet::trunc)
    }

    /// Whether the address is in one of the interface's subnets. A link-local address is only on the interface of its
    /// zone; without a zone it is on none.
    fn reaches(&self, address: &Address) -> bool {
        match (address.zone(), address.ip()) {
            (Some(zone), _) => zone == self.name,
            (None, IpAddr::V6(ip)) if ip.is_unicast_link_local() => false,
            (None, ip) => self.nets.iter().any(|net| net.contains(&ip)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, resolves: bool, mac: Option<&str>, nets: &[&str]) -> Interface {
        let nets = nets.iter().map(|net| net.parse().unwrap()).collect();
        Interface { name: name.to_owned(), mac: mac.map(|mac| mac.parse().unwrap()), resolves, nets }
    }

    fn links() -> Links {
        let eth0 = ["192.168.1.2/24", "fd00::2/64", "fe80::2/64"];
        Links {
            // Of eth0, and of an interface that is down.
            own: ["192.168.1.2", "fe80::2", "10.9.0.1"].map(|own| own.parse().unwrap()).into(),
            interfaces: vec![
                interface("lo", false, None, &["127.0.0.1/8", "::1/128"]),
                interface("eth0", true, Some("B8:27:EB:00:00:02"), &eth0),
                interface("wg0", false, None, &["10.8.0.2/24"]),
            ],
        }
    }

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn returns_how_a_host_is_reached() {
        for (text, link) in [
            ("127.0.0.9", Link::Local),
            ("::1", Link::Local),
            ("192.168.1.2", Link::Local),
            ("fe80::2%eth0", Link::Local),
            ("192.168.1.77", Link::OnLink),
            ("fd00::77", Link::OnLink),
            ("fe80::77%eth0", Link::OnLink),
            ("fe80::2%wg0", Link::Routed),
            ("fe80::77", Link::Routed),
            ("10.8.0.77", Link::Routed),
            ("192.168.2.1", Link::Routed),
        ] {
            assert_eq!(links().link_of(&address(text)), link, "{text}");
        }
    }

    #[test]
    fn names_the_interface_on_which_a_neighbour_is_queried() {
        for (text, way) in [
            ("192.168.1.77", Some(("eth0", "192.168.1.2"))),
            ("fd00::77", Some(("eth0", "fd00::2"))),
            ("fe80::77%eth0", Some(("eth0", "fe80::2"))),
            ("fe80::77", None),
            ("fe80::77%wg0", None),
            ("10.8.0.77", None),
            ("127.0.0.9", None),
            ("192.168.2.1", None),
        ] {
            let links = links();
            let found = links.neighbour_link(&address(text)).map(|way| (way.interface, way.own.to_string()));
            assert_eq!(found, way.map(|(interface, own)| (interface, own.to_owned())), "{text}");
        }
    }

    #[test]
    fn knows_its_own_subnets_and_addresses() {
        for (text, own) in
            [("192.168.1.77", true), ("10.8.0.77", true), ("192.168.2.1", false), ("fd01::1", false)]
        {
            assert_eq!(links().is_own_subnet(&address(text)), own, "{text}");
        }
        assert_eq!(links().own_mac(&address("fd00::2")), "B8:27:EB:00:00:02".parse().ok());
        assert_eq!(links().own_mac(&address("192.168.1.77")), None);
        assert_eq!(links().own_mac(&address("10.8.0.2")), None);
    }

    #[test]
    fn checks_what_is_probed_against_this_machines_networks() {
        let mut links = links();
        links.interfaces.push(interface("ppp0", false, None, &["198.51.100.0/31", "203.0.113.255/32"]));
        for text in [
            "192.168.1.1",
            "192.168.0.255",
            "10.8.1.0",
            "127.0.0.1",
            "fd00::",
            "fe80::1%wg0",
            "198.51.100.1",
            "203.0.113.255",
        ] {
            assert_eq!(links.check_host(&address(text)), Ok(()), "{text}");
        }
        for (text, why) in [
            ("0.0.0.0", "0.0.0.0 is not the address of one host; name another"),
            ("ff02::1", "ff02::1 is not the address of one host; name another"),
            (
                "192.168.1.255",
                "192.168.1.255 stands for the whole network 192.168.1.0/24 on eth0, not for one host; name another",
            ),
            (
                "192.168.1.0",
                "192.168.1.0 stands for the whole network 192.168.1.0/24 on eth0, not for one host; name another",
            ),
            (
                "10.8.0.255",
                "10.8.0.255 stands for the whole network 10.8.0.0/24 on wg0, not for one host; name another",
            ),
            (
                "fe80::1",
                "fe80::1 is valid on one link only; name its interface: fe80::1%eth0 or fe80::1%wg0 or fe80::1%ppp0",
            ),
            (
                "fe80::1%nosuch",
                "fe80::1%nosuch: no interface nosuch is up here; there are lo, eth0, wg0, ppp0",
            ),
        ] {
            assert_eq!(links.check_host(&address(text)).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn knows_its_own_addresses_of_interfaces_that_are_down_too() {
        for (text, own) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::ffff:127.0.0.1", true),
            ("::1", true),
            ("192.168.1.2", true),
            ("::ffff:192.168.1.2", true),
            ("10.9.0.1", true),
            ("fe80::2%eth0", true),
            ("192.168.1.77", false),
            ("fe80::77%eth0", false),
        ] {
            assert_eq!(links().is_own(&address(text)), own, "{text}");
        }
    }

    #[test]
    fn finds_the_loopback_of_this_machine() {
        let links = Links::read().unwrap();
        assert!(links.is_own_subnet(&address("127.0.0.1")));
        assert_eq!(links.own_mac(&address("127.0.0.1")), None);
    }

    #[test]
    fn a_machine_without_any_interface_could_not_be_read() {
        assert!(Links::of(Vec::new()).is_err());
    }
}

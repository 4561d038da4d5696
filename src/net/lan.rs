//! One interface as a LAN: this machine's addresses there, and their subnets.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net};
use nix::{net::if_::InterfaceFlags, sys::socket::LinkAddr};

use super::interfaces::{self, NetworkInterface};
use crate::model::Mac;

/// An Ethernet (or wireless) interface that is up and has an IPv4 address.
#[derive(Clone, Debug)]
pub struct Lan {
    /// The interface's name.
    pub interface: String,
    /// The interface's index.
    pub index: u32,
    /// Our own hardware address there.
    pub mac: Mac,
    /// Our own addresses there, each with the subnet it is in; not empty.
    pub nets: Vec<Ipv4Net>,
    /// Our own link-local IPv6 address there, unless IPv6 is off.
    pub link_local: Option<Ipv6Addr>,
    /// What a packet socket is bound to.
    pub(super) link: LinkAddr,
}

/// Why an interface is not a LAN, or not ready.
#[derive(Debug, thiserror::Error)]
pub enum LanError {
    /// No interface has this name.
    #[error("there is no interface {name}; there are {}", .there.join(", "))]
    Absent {
        /// The name.
        name: String,
        /// The names that exist.
        there: Vec<String>,
    },
    /// The interface is switched off.
    #[error("{0} is down; switch it on: ip link set {0} up")]
    Down(String),
    /// No cable is plugged in, or no wireless network is joined.
    #[error("{0} has no carrier; is its cable plugged in, its wireless network in reach?")]
    NoCarrier(String),
    /// The interface is a loopback or a tunnel: hosts there have no MAC.
    #[error("{0} is no Ethernet, so hosts there have no MAC to ask for; name the interface of the LAN")]
    NotEthernet(String),
    /// No address is configured, or DHCP has not answered yet.
    #[error("{0} has no IPv4 address; has DHCP given it one?")]
    NoAddress(String),
    /// The kernel's list cannot be read.
    #[error("this machine's network interfaces cannot be read ({0})")]
    Unreadable(#[from] io::Error),
}

/// An interface of this machine's, other than the loopback, that may be a LAN's.
#[derive(Debug)]
pub struct LanCandidate {
    /// The interface's name.
    pub interface: String,
    /// This machine's IPv4 addresses there, each with the subnet it is in.
    pub nets: Vec<Ipv4Net>,
    /// Why devices cannot be discovered there, or not at present.
    pub obstacle: Option<LanError>,
    /// Whether it was made for containers or virtual machines: no hardware is behind it, though there is some in this
    /// machine.
    pub is_virtual: bool,
}

/// How far an interface may be stacked on others, as a VLAN on a bridge on a bond on a network card.
const DEEPEST_STACK: u8 = 4;

/// `ARPHRD_ETHER` of `linux/if_arp.h`; wireless interfaces, bridges and veth pairs are of this kind too.
const ETHERNET: u16 = 1;

/// Of `proc_net(5)`'s table of routes: some 130 octets a route.
const MOST_BYTES: u64 = 1 << 20;

impl Lan {
    /// Reads the interface of this name in its present state.
    ///
    /// # Errors
    /// Fails if the interface is missing or not ready.
    pub fn of(name: &str) -> Result<Self, LanError> {
        let mut all = interfaces::read()?;
        match all.iter().position(|interface| interface.name == name) {
            Some(at) => Self::ready(all.swap_remove(at)),
            None => {
                let there = all.into_iter().map(|interface| interface.name).collect();
                Err(LanError::Absent { name: name.to_owned(), there })
            }
        }
    }

    /// Returns the most likely interface for discovery, for an owner who has named none.
    pub fn likeliest() -> Option<String> {
        let ready = interfaces::read().ok()?.into_iter().filter_map(|found| Self::ready(found).ok());
        let default = default_route();
        let candidates = ready.map(|lan| Candidate {
            // Hardware has a device behind it; bridges, veth pairs and VLANs of containers do not.
            is_real: fs::exists(format!("/sys/class/net/{}/device", lan.interface)).unwrap_or(false),
            is_default: default.as_ref() == Some(&lan.interface),
            name: lan.interface,
        });
        likeliest(candidates.collect())
    }

    /// Lists the interfaces, in the kernel's order. It sends nothing.
    ///
    /// # Errors
    /// Fails if the kernel's list cannot be read.
    pub fn candidates() -> io::Result<Vec<LanCandidate>> {
        let all = interfaces::read()?;
        let others = all.into_iter().filter(|found| !found.flags.contains(InterfaceFlags::IFF_LOOPBACK));
        let mut candidates: Vec<LanCandidate> = others
            .map(|found| LanCandidate {
                interface: found.name.clone(),
                nets: ipv4_nets(&found.nets),
                is_virtual: !has_hardware(&found.name, DEEPEST_STACK),
                obstacle: Self::ready(found).err(),
            })
            .collect();
        // In a container all of them are virtual, and one leads to the LAN.
        if candidates.iter().all(|candidate| candidate.is_virtual) {
            candidates.iter_mut().for_each(|candidate| candidate.is_virtual = false);
        }
        Ok(candidates)
    }

    /// Returns our own address in the subnet of this one.
    pub fn own_address(&self, towards: Ipv4Addr) -> Option<Ipv4Addr> {
        self.nets.iter().find(|net| net.contains(&towards)).map(Ipv4Net::addr)
    }

    /// Whether the address is one of ours there.
    pub fn is_own(&self, address: Ipv4Addr) -> bool {
        self.nets.iter().any(|net| net.addr() == address)
    }

    fn ready(interface: NetworkInterface) -> Result<Self, LanError> {
        let mac = interface.mac();
        let NetworkInterface { name, flags, link, nets } = interface;
        if !flags.contains(InterfaceFlags::IFF_UP) {
            return Err(LanError::Down(name));
        }
        let answers = !flags.intersects(InterfaceFlags::IFF_NOARP | InterfaceFlags::IFF_LOOPBACK);
        let Some(link) = link.filter(|link| answers && link.hatype() == ETHERNET) else {
            return Err(LanError::NotEthernet(name));
        };
        let (Some(mac), Ok(index)) = (mac, u32::try_from(link.ifindex())) else {
            return Err(LanError::NotEthernet(name));
        };
        if !flags.contains(InterfaceFlags::IFF_RUNNING) {
            return Err(LanError::NoCarrier(name));
        }
        let link_local = nets.iter().find_map(|net| match net {
            IpNet::V6(net) if net.addr().is_unicast_link_local() => Some(net.addr()),
            _ => None,
        });
        let nets = ipv4_nets(&nets);
        if nets.is_empty() {
            return Err(LanError::NoAddress(name));
        }
        Ok(Self { interface: name, index, mac, nets, link_local, link })
    }
}

fn ipv4_nets(nets: &[IpNet]) -> Vec<Ipv4Net> {
    nets.iter().filter_map(|net| if let IpNet::V4(net) = net { Some(*net) } else { None }).collect()
}

/// Whether an interface is a network card's, or is stacked on one (sysfs has a `lower_NAME` for each below it).
fn has_hardware(interface: &str, depth: u8) -> bool {
    let folder = format!("/sys/class/net/{interface}");
    if fs::exists(format!("{folder}/device")).unwrap_or(false) {
        return true;
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut below =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("lower_").map(str::to_owned));
    depth > 0 && below.any(|name| has_hardware(&name, depth - 1))
}

/// Finds the interface of the default route.
fn default_route() -> Option<String> {
    let table = File::open("/proc/thread-self/net/route").ok()?;
    route_of(BufReader::new(table.take(MOST_BYTES)))
}

/// Lines are `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, numbers in hexadecimal, after a
/// heading. The one with the lowest metric comes first.
fn route_of(table: impl BufRead) -> Option<String> {
    table.lines().map_while(Result::ok).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, "00000000", .., mask, _mtu, _window, _irtt] = fields[..] else { return None };
        (mask == "00000000").then(|| name.to_owned())
    })
}

/// An interface that could be the LAN's.
#[derive(Debug)]
struct Candidate {
    name: String,
    is_real: bool,
    is_default: bool,
}

/// Prefers hardware to the interfaces of containers and virtual machines, then the interface of the default route,
/// then the first.
fn likeliest(candidates: Vec<Candidate>) -> Option<String> {
    let best = candidates.into_iter().min_by_key(|candidate| (!candidate.is_real, !candidate.is_default));
    best.map(|candidate| candidate.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_no_lan_is_an_error() {
        let there = |error: LanError| error.to_string();
        let loopback = Lan::of("lo").unwrap_err();
        assert!(matches!(loopback, LanError::NotEthernet(_) | LanError::Down(_)), "{loopback}");
        let absent = there(Lan::of("nosuch0").unwrap_err());
        assert!(absent.starts_with("there is no interface nosuch0; there are ") && absent.contains("lo"));
    }

    #[test]
    fn hardware_comes_before_virtual_interfaces_and_the_default_route_before_the_rest() {
        let candidate = |text: &str| {
            let (name, traits) = text.split_once(' ').unwrap_or((text, ""));
            let has = |letter| traits.contains(letter);
            Candidate { name: name.to_owned(), is_real: has('r'), is_default: has('d') }
        };
        for (candidates, best) in [
            (&["docker0", "eth0 r", "wlan0 rd"][..], Some("wlan0")),
            (&["br0 d", "eth0 r"], Some("eth0")),
            (&["veth1", "br0 d"], Some("br0")),
            (&["eth1 r", "eth0 r"], Some("eth1")),
            (&[], None),
        ] {
            let found = likeliest(candidates.iter().map(|text| candidate(text)).collect());
            assert_eq!(found.as_deref(), best, "{candidates:?}");
        }
    }

    #[test]
    fn the_loopback_is_no_candidate() {
        let candidates = Lan::candidates().unwrap();
        assert!(candidates.iter().all(|candidate| candidate.interface != "lo"), "{candidates:?}");
    }

    #[test]
    fn finds_the_default_route() {
        let heading = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let near = "eth1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let far = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
        let half = "wg0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n";
        let found = |lines: &[&str]| route_of((heading.to_owned() + &lines.concat()).as_bytes());
        assert_eq!(found(&[half, near, far]).as_deref(), Some("eth0"));
        assert_eq!(found(&[near]), None);
    }
}

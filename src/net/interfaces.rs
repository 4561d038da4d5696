//! This machine's network interfaces as getifaddrs(3) lists them, for [`Links`](super::Links),
//! [`Lan`](super::Lan) and mDNS.
//!
//! `watch` reads its own by netlink: only there is the count of carrier changes.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use nix::{
    ifaddrs::getifaddrs,
    net::if_::InterfaceFlags,
    sys::socket::{LinkAddr, SockaddrStorage},
};

use crate::model::Mac;

/// The kernel's data on one interface, up or down.
#[derive(Debug)]
pub(super) struct NetworkInterface {
    pub(super) name: String,
    pub(super) flags: InterfaceFlags,
    /// The index by which a packet socket is bound.
    pub(super) link: Option<LinkAddr>,
    /// Own addresses, each with the subnet it is in.
    pub(super) nets: Vec<IpNet>,
}

impl NetworkInterface {
    /// Its hardware address; loopbacks and tunnels have none.
    pub(super) fn mac(&self) -> Option<Mac> {
        self.link?.addr().map(Mac::new).filter(|mac| mac.is_unicast())
    }
}

/// Every interface, in the kernel's order.
pub(super) fn read() -> io::Result<Vec<NetworkInterface>> {
    let mut all: Vec<NetworkInterface> = Vec::new();
    for entry in getifaddrs()? {
        // An alias (`eth0:1`) is another address of the same interface.
        let name = entry.interface_name.split(':').next().unwrap_or_default();
        let at = all.iter().position(|seen| seen.name == name).unwrap_or_else(|| {
            let (name, flags) = (name.to_owned(), entry.flags);
            all.push(NetworkInterface { name, flags, link: None, nets: Vec::new() });
            all.len() - 1
        });
        if let Some(link) = entry.address.as_ref().and_then(|address| address.as_link_addr()) {
            all[at].link = Some(*link);
        }
        let (address, mask) = (entry.address.as_ref().and_then(ip), entry.netmask.as_ref().and_then(ip));
        if let (Some(address), Some(mask)) = (address, mask) {
            all[at].nets.extend(IpNet::with_netmask(address, mask));
        }
    }
    Ok(all)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let ipv4 = address.as_sockaddr_in().map(|address| address.ip().into());
    ipv4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

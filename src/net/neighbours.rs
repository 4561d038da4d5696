//! Reads which hardware address answers at a neighbour's address, from the kernel's own table.
//!
//! By netlink, because only netlink covers IPv6.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
};

use nix::{
    libc,
    net::if_::{if_indextoname, if_nametoindex},
};

use super::netlink::{Netlink, RequestScope, address, attributes};
use crate::model::{Address, Mac};

/// A neighbour that has answered, and has not failed to answer since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub ip: IpAddr,
    /// The MAC that answered there; one station's.
    pub mac: Mac,
    /// The kernel's number of the interface.
    pub index: u32,
    /// Whether the reply came within the last half a minute or so (`base_reachable_time` of arp(7)), or the owner of
    /// this machine wrote the entry. An older entry may name a device that has left the address since.
    pub is_confirmed: bool,
}

/// An entry of a table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    ip: IpAddr,
    /// One station's, where there is one.
    mac: Option<Mac>,
    index: u32,
    state: u16,
}

/// One of the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Filled by ARP.
    Ipv4,
    /// Filled by neighbour discovery (RFC 4861).
    Ipv6,
}

/// `gc_thresh3` of arp(7) bounds the table, by default to 1,024; an owner may have raised it further.
const MOST: usize = 1 << 16;

/// linux/neighbour.h: permanent, static or reachable.
const CONFIRMED: u16 = libc::NUD_PERMANENT | libc::NUD_NOARP | libc::NUD_REACHABLE;

/// The states above, or was reachable and is being verified.
const VALID: u16 = CONFIRMED | libc::NUD_STALE | libc::NUD_DELAY | libc::NUD_PROBE;

/// Octets of `struct ndmsg`.
const ENTRY: usize = 12;

/// Returns the kernel's entry for the neighbour at this address; this machine's own addresses have no entry
/// ([`Links::own_mac`](super::Links::own_mac) knows their MACs). A link-local address is looked for on the interface
/// that it names, and nowhere if it names none.
///
/// # Errors
/// The table cannot be read.
pub fn neighbour(address: &Address) -> io::Result<Option<Neighbour>> {
    let (family, index) = match (address.ip(), address.zone()) {
        (IpAddr::V4(_), _) => (Family::Ipv4, None),
        (IpAddr::V6(_), Some(zone)) => match if_nametoindex(zone) {
            Ok(index) => (Family::Ipv6, Some(index)),
            Err(_) => return Ok(None), // the interface is gone, and its neighbours with it
        },
        (IpAddr::V6(ip), None) if ip.is_unicast_link_local() => return Ok(None),
        (IpAddr::V6(_), None) => (Family::Ipv6, None),
    };
    let is_meant =
        |known: &Neighbour| known.ip == address.ip() && index.is_none_or(|index| known.index == index);
    Ok(neighbours(family)?.into_iter().find(is_meant))
}

/// Whether the neighbour at this address on the interface of this number has answered the kernel's questions, lately or
/// some time ago.
///
/// # Errors
/// The table cannot be read.
pub(super) fn has_answered(ip: Ipv6Addr, index: u32) -> io::Result<bool> {
    let entries = entries(Family::Ipv6)?;
    let is_it = |entry: &&Entry| entry.ip == IpAddr::V6(ip) && entry.index == index;
    Ok(entries.iter().find(is_it).is_some_and(|entry| entry.state & VALID != 0))
}

/// Returns every entry of the calling thread's network namespace. Sends nothing to the network.
///
/// # Errors
/// The table cannot be read.
pub fn neighbours(family: Family) -> io::Result<Vec<Neighbour>> {
    Ok(entries(family)?.iter().filter_map(Entry::neighbour).collect())
}

fn entries(family: Family) -> io::Result<Vec<Entry>> {
    let mut question = [0; ENTRY];
    question[0] = u8::try_from(match family {
        Family::Ipv4 => libc::AF_INET,
        Family::Ipv6 => libc::AF_INET6,
    })
    .unwrap_or_default();
    let mut found = Vec::new();
    Netlink::open()?.request(libc::RTM_GETNEIGH, RequestScope::All, &question, |kind, body| {
        take(kind, body, &mut found);
        found.len() > MOST
    })?;
    Ok(found)
}

fn take(kind: u16, body: &[u8], found: &mut Vec<Entry>) {
    if kind == libc::RTM_NEWNEIGH {
        found.extend(entry(body));
    }
}

/// Returns the known IPv6 neighbours, with zones where they need one. Sends nothing to the network.
///
/// # Errors
/// The table cannot be read.
pub fn neighbours_by_ipv6() -> io::Result<Vec<(Mac, Address)>> {
    let address = |known: Neighbour| {
        let address = match known.ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                let interface = if_indextoname(known.index).ok()?;
                Address::in_zone(ip, interface.to_str().ok()?).ok()?
            }
            ip => ip.into(),
        };
        Some((known.mac, address))
    };
    Ok(neighbours(Family::Ipv6)?.into_iter().filter_map(address).collect())
}

impl Entry {
    /// The neighbour, if it is there and has one station's MAC.
    fn neighbour(&self) -> Option<Neighbour> {
        let Self { ip, mac, index, state } = *self;
        let is_confirmed = state & CONFIRMED != 0;
        (state & VALID != 0).then_some(Neighbour { ip, mac: mac?, index, is_confirmed })
    }
}

fn entry(body: &[u8]) -> Option<Entry> {
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let state = u16::from_ne_bytes(*body.get(8..)?.first_chunk()?);
    let (mut ip, mut mac) = (None, None);
    for (kind, value) in attributes(body.get(ENTRY..)?) {
        match kind {
            libc::NDA_DST => ip = address(value),
            libc::NDA_LLADDR => mac = value.try_into().ok().map(Mac::new).filter(|mac| mac.is_unicast()),
            _ => {}
        }
    }
    Some(Entry { ip: ip?, mac, index, state })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::netlink::{ATTRIBUTE, HEADER, KIND_DONE, KIND_ERROR, read as read_portion},
        *,
    };

    fn read(portion: &[u8], found: &mut Vec<Entry>) -> io::Result<bool> {
        read_portion(portion, |kind, body| take(kind, body, found))
    }

    const MAC: [u8; 6] = [0xb8, 0x27, 0xeb, 0, 0, 7];

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.resize(HEADER, 0);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    /// An entry on interface 3, with attributes as (kind, value).
    fn entry_message(state: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![0; ENTRY];
        body[4] = 3;
        body[8..10].copy_from_slice(&state.to_ne_bytes());
        for (kind, value) in attributes {
            body.extend(u16::try_from(ATTRIBUTE + value.len()).unwrap().to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        message(libc::RTM_NEWNEIGH, &body)
    }

    fn known(portion: &[u8]) -> Vec<Neighbour> {
        let mut found = Vec::new();
        read(portion, &mut found).unwrap();
        found.iter().filter_map(Entry::neighbour).collect()
    }

    fn found(portion: &[u8]) -> Vec<(String, String)> {
        known(portion).iter().map(|known| (known.ip.to_string(), known.mac.to_string())).collect()
    }

    #[test]
    fn returns_neighbours_that_answered_and_none_that_failed() {
        let ip: &[u8] = &[192, 168, 1, 7];
        let pair = [(libc::NDA_DST, ip), (libc::NDA_LLADDR, &MAC[..])];
        let there = vec![("192.168.1.7".to_owned(), "B8:27:EB:00:00:07".to_owned())];
        for (state, is_confirmed) in [
            (libc::NUD_REACHABLE, Some(true)),
            (libc::NUD_PERMANENT, Some(true)),
            (libc::NUD_NOARP, Some(true)),
            (libc::NUD_STALE, Some(false)),
            (libc::NUD_DELAY, Some(false)),
            (libc::NUD_PROBE, Some(false)),
            (libc::NUD_INCOMPLETE, None),
            (libc::NUD_FAILED, None),
            (libc::NUD_NONE, None),
        ] {
            let entry = entry_message(state, &pair);
            assert_eq!(found(&entry), if is_confirmed.is_some() { there.clone() } else { vec![] }, "{state}");
            let confirmed = known(&entry).first().map(|known| known.is_confirmed);
            assert_eq!(confirmed, is_confirmed, "{state}");
        }
        let others: &[u8] = &[1, 2, 3, 4, 5];
        let [group, zero] = [[0x33, 0x33, 0, 0, 0, 1], [0; 6]];
        for wrong in [&group[..], &zero[..], others] {
            let pair = [(libc::NDA_DST, ip), (libc::NDA_LLADDR, wrong)];
            assert_eq!(found(&entry_message(libc::NUD_REACHABLE, &pair)), [], "{wrong:?}");
        }
        let long = [(9, others), (libc::NDA_DST, ip), (libc::NDA_LLADDR, &MAC[..])];
        let portion = [
            entry_message(libc::NUD_REACHABLE, &long),
            message(99, others),
            entry_message(libc::NUD_STALE, &pair),
        ];
        assert_eq!(found(&portion.concat()).len(), 2, "what is not known is passed over");
    }

    #[test]
    fn ends_with_the_kernels_last_message_and_returns_its_errors() {
        let done = [message(KIND_DONE, &[0; 4]), entry_message(libc::NUD_STALE, &[])].concat();
        assert!(read(&done, &mut Vec::new()).unwrap());
        assert!(!read(&[], &mut Vec::new()).unwrap());
        let denied = message(KIND_ERROR, &(-libc::EPERM).to_ne_bytes());
        let error = read(&denied, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn reads_the_kernels_tables() {
        assert_eq!(neighbour(&"127.0.0.1".parse().unwrap()).unwrap(), None);
        for address in ["::1", "fe80::1", "fe80::1%nosuch0"] {
            assert_eq!(neighbour(&address.parse().unwrap()).unwrap(), None, "{address}");
        }
        assert!(
            neighbours_by_ipv6()
                .unwrap()
                .iter()
                .all(|(mac, address)| mac.is_unicast() && address.ipv4().is_none())
        );
    }

    proptest! {
        #[test]
        fn malformed_input_never_panics(portion in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&portion, &mut Vec::new());
        }

        #[test]
        fn truncated_input_never_panics(length in 0_usize..64) {
            let whole = entry_message(libc::NUD_STALE, &[(libc::NDA_DST, &[10, 0, 0, 1]), (libc::NDA_LLADDR, &MAC)]);
            let _ = read(&whole[..length.min(whole.len())], &mut Vec::new());
        }
    }
}

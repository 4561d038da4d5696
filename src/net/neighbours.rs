//! Whose hardware address answers at a neighbour's address, as the kernel found out itself.
//!
//! By netlink (rtnetlink(7)), for only it tells of IPv6. One question and one kind of answer: the crates that
//! speak all of rtnetlink would be five more.

use std::{io, net::IpAddr, os::fd::AsRawFd};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};

use crate::model::{Address, Mac};

/// One that has been found, and was not found missing since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub ip: IpAddr,
    /// Who answered there; one station's.
    pub mac: Mac,
    /// The kernel's number of the interface.
    pub index: u32,
}

/// Which of the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Filled by ARP.
    Ipv4,
    /// Filled by neighbour discovery (RFC 4861).
    Ipv6,
}

/// `gc_thresh3` of arp(7) bounds the table, by default to 1,024; whoever has raised it further has more to read.
const MOST: usize = 1 << 16;

/// What the kernel fills at most at once when it lists (`NLMSG_GOODSIZE` and what it grew to).
const BUFFER: usize = 32 * 1024;

/// linux/neighbour.h: permanent, static, reachable, or was so and is being asked again.
const VALID: u16 = libc::NUD_PERMANENT
    | libc::NUD_NOARP
    | libc::NUD_REACHABLE
    | libc::NUD_STALE
    | libc::NUD_DELAY
    | libc::NUD_PROBE;

/// Octets of `struct nlmsghdr` and `struct ndmsg`, and of an attribute's own head.
const HEADER: usize = 16;
const ENTRY: usize = 12;
const ATTRIBUTE: usize = 4;

/// The MAC that answers at this address, if it is a neighbour's and known; this machine's own addresses
/// have none here ([`Links::own_mac`](super::Links::own_mac) knows theirs). Only IPv4: what is found by IPv6 is
/// kept by address.
///
/// # Errors
/// The table cannot be read.
pub fn neighbour(address: &Address) -> io::Result<Option<Mac>> {
    let Some(ip) = address.ipv4() else { return Ok(None) };
    let known = neighbours(Family::Ipv4)?;
    Ok(known.iter().find(|known| known.ip == IpAddr::V4(ip)).map(|known| known.mac))
}

/// All that the kernel of the calling thread's network namespace knows. Asks nobody else.
///
/// # Errors
/// The table cannot be read.
pub fn neighbours(family: Family) -> io::Result<Vec<Neighbour>> {
    let (kind, protocol) = (SockType::Raw, SockProtocol::NetlinkRoute);
    let socket = socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, protocol)?;
    send(socket.as_raw_fd(), &question(family), MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if read(&buffer[..length], &mut found)? || found.len() > MOST {
            return Ok(found);
        }
    }
}

/// `RTM_GETNEIGH` for a whole table.
fn question(family: Family) -> [u8; HEADER + ENTRY] {
    let family = match family {
        Family::Ipv4 => libc::AF_INET,
        Family::Ipv6 => libc::AF_INET6,
    };
    let mut message = [0; HEADER + ENTRY];
    let length = u32::try_from(message.len()).unwrap_or_default();
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&libc::RTM_GETNEIGH.to_ne_bytes());
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).unwrap_or_default();
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message[HEADER] = u8::try_from(family).unwrap_or_default();
    message
}

/// Takes the messages of one portion; whether it was the last. What is cut short is passed over.
fn read(mut portion: &[u8], found: &mut Vec<Neighbour>) -> io::Result<bool> {
    while let Some((length, kind)) = short_header(portion) {
        let Some(body) = portion.get(HEADER..length) else { break };
        match kind {
            libc::RTM_NEWNEIGH => found.extend(entry(body)),
            KIND_DONE => return Ok(true),
            KIND_ERROR => {
                let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return Err(Errno::from_raw(-code).into());
            }
            _ => {}
        }
        portion = portion.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

const KIND_ERROR: u16 = libc::NLMSG_ERROR as u16;
const KIND_DONE: u16 = libc::NLMSG_DONE as u16;

fn short_header(message: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(*message.first_chunk()?);
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    usize::try_from(length).ok().filter(|length| *length >= HEADER).map(|length| (length, kind))
}

/// A neighbour that is there and has one station's MAC.
fn entry(body: &[u8]) -> Option<Neighbour> {
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let state = u16::from_ne_bytes(*body.get(8..)?.first_chunk()?);
    let (mut ip, mut mac) = (None, None);
    let mut attributes = body.get(ENTRY..)?;
    while let Some((length, kind, value)) = attribute(attributes) {
        match kind {
            libc::NDA_DST => ip = address(value),
            libc::NDA_LLADDR => mac = value.try_into().ok().map(Mac::new).filter(|mac| mac.is_unicast()),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    (state & VALID != 0).then_some(Neighbour { ip: ip?, mac: mac?, index })
}

fn attribute(attributes: &[u8]) -> Option<(usize, u16, &[u8])> {
    let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
    let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
    Some((length, kind, attributes.get(ATTRIBUTE..length)?))
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => octets.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        16 => octets.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

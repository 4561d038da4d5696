//! What is sent and what is believed, without I/O.
//!
//! An answer is believed only if it repeats the sequence number of a SYN that could have left: a SYN-ACK and a RST
//! acknowledge it (RFC 9293, 3.10.7), an ICMP error quotes it (RFC 792). The number is a keyed hash of the two addresses
//! and ports, so that a host that does not see the SYN has to guess 32 bits. Checksums are not verified: between
//! interfaces of one machine they are not computed, and a packet that was damaged does not repeat the number by chance.

use std::{
    hash::{BuildHasher, RandomState},
    net::Ipv4Addr,
};

use nix::libc::SO_EE_ORIGIN_ICMP;

use crate::{engine::Outcome, net::connect::meaning};

/// Local ports that SYNs leave from, one for each try: more than the engine's five tries of a port, and a power of two,
/// so that one comparison of the filter covers them.
pub(super) const WAYS: u8 = 8;

/// Octets of a SYN, with the headers of IPv4 (RFC 791) and TCP and one option, the maximum segment size: some firewalls
/// drop a SYN without it.
pub(super) const SYN: usize = 44;

/// Octets of a RST.
pub(super) const RST: usize = 40;

/// Octets that an answer is read from: both headers of an ICMP error with all options, and the eight that it quotes.
pub(super) const LONGEST: usize = 160;

const HEADER: usize = 20;
const TCP: u8 = 6;
const ICMP: u8 = 1;
const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments, or not the first.
const FRAGMENT: u16 = 0x3fff;
const LATER_FRAGMENT: u16 = 0x1fff;
const FLAG_SYN: u8 = 0x02;
const FLAG_RST: u8 = 0x04;
const FLAG_ACK: u8 = 0x10;
const HOPS: u8 = 64;
/// Linux's own window and segment size on Ethernet.
const WINDOW: u16 = 64_240;
const SEGMENT: u16 = 1460;
const UNREACHABLE: u8 = 3;
/// "Fragmentation needed": no answer to a packet of 44 octets.
const TOO_LARGE: u8 = 4;

/// One SYN's addresses and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Tuple {
    pub(super) own: Ipv4Addr,
    pub(super) peer: Ipv4Addr,
    pub(super) port: u16,
    /// Which of the reserved local ports.
    pub(super) way: u8,
}

/// The reserved local ports: [`WAYS`] from this one on, which is a multiple of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortBlock(u16);

impl PortBlock {
    /// The block that this port is in.
    pub(super) const fn around(port: u16) -> Self {
        Self(port & Self::MASK)
    }

    /// What the ports of a block have in common.
    pub(super) const MASK: u16 = !(WAYS as u16 - 1);

    pub(super) const fn first(self) -> u16 {
        self.0
    }

    pub(super) fn port(self, way: u8) -> u16 {
        self.0 + u16::from(way % WAYS)
    }

    fn way(self, port: u16) -> Option<u8> {
        u8::try_from(port.checked_sub(self.0)?).ok().filter(|way| *way < WAYS)
    }
}

/// The key of the sequence numbers; new for each set of sockets.
#[derive(Clone, Debug, Default)]
pub(super) struct Secret(RandomState);

impl Secret {
    /// The sequence number of the SYN between these addresses and ports.
    #[expect(clippy::cast_possible_truncation, reason = "32 bits of a hash")]
    pub(super) fn sequence(&self, tuple: &Tuple) -> u32 {
        self.0.hash_one(tuple) as u32
    }

    /// A number to begin a search at.
    pub(super) fn number(&self, round: u16) -> u64 {
        self.0.hash_one(round)
    }
}

/// What a packet says of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) tuple: Tuple,
    /// The outcome of the probe.
    pub(super) outcome: Outcome,
    /// The sequence number that follows the SYN's.
    pub(super) next: u32,
}

/// Builds a SYN.
pub(super) fn syn(tuple: &Tuple, ports: PortBlock, secret: &Secret) -> [u8; SYN] {
    let mut packet = [0; SYN];
    let sequence = secret.sequence(tuple);
    write(&mut packet, tuple, ports, sequence, FLAG_SYN);
    packet
}

/// Builds the RST that ends what a SYN-ACK began.
pub(super) fn rst(answer: &Answer, ports: PortBlock) -> [u8; RST] {
    let mut packet = [0; RST];
    write(&mut packet, &answer.tuple, ports, answer.next, FLAG_RST);
    packet
}

/// Writes the headers. The kernel fills in the length, the identification and the checksum of IPv4 (raw(7)).
fn write(packet: &mut [u8], tuple: &Tuple, ports: PortBlock, sequence: u32, flags: u8) {
    let (ip, tcp) = packet.split_at_mut(HEADER);
    ip[0] = 0x45;
    put(ip, 6, DONT_FRAGMENT.to_be_bytes());
    (ip[8], ip[9]) = (HOPS, TCP);
    put(ip, 12, tuple.own.octets());
    put(ip, 16, tuple.peer.octets());
    put(tcp, 0, ports.port(tuple.way).to_be_bytes());
    put(tcp, 2, tuple.port.to_be_bytes());
    put(tcp, 4, sequence.to_be_bytes());
    let words = u8::try_from(tcp.len() / 4).unwrap_or_default();
    (tcp[12], tcp[13]) = (words << 4, flags);
    if tcp.len() > HEADER {
        put(tcp, 14, WINDOW.to_be_bytes());
        let [high, low] = SEGMENT.to_be_bytes();
        put(tcp, HEADER, [2, 4, high, low]);
    }
    let sum = checksum(tuple, tcp);
    put(tcp, 16, sum.to_be_bytes());
}

fn put<const N: usize>(packet: &mut [u8], at: usize, octets: [u8; N]) {
    packet[at..at + N].copy_from_slice(&octets);
}

/// The checksum of a TCP segment of even length with a checksum field of zero (RFC 9293, 3.1).
fn checksum(tuple: &Tuple, tcp: &[u8]) -> u16 {
    let words = |octets: &[u8]| -> u32 {
        octets.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
    };
    let length = u32::try_from(tcp.len()).unwrap_or_default();
    let mut sum =
        words(&tuple.own.octets()) + words(&tuple.peer.octets()) + u32::from(TCP) + length + words(tcp);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// Reads a packet, from its IPv4 header on; `None`: it is not an answer to a SYN that could have left.
pub(super) fn read(packet: &[u8], ports: PortBlock, secret: &Secret) -> Option<Answer> {
    let Ipv4 { protocol, source, destination, body, fragment } = Ipv4::read(packet)?;
    match protocol {
        TCP if fragment & FRAGMENT == 0 => {
            let tuple = Tuple {
                own: destination,
                peer: source,
                port: u16::from_be_bytes(octets(body, 0)?),
                way: ports.way(u16::from_be_bytes(octets(body, 2)?))?,
            };
            let flags = *body.get(13)?;
            let outcome = match flags & (FLAG_SYN | FLAG_RST | FLAG_ACK) {
                both if both == FLAG_SYN | FLAG_ACK => Outcome::SynAck,
                both if both == FLAG_RST | FLAG_ACK => Outcome::Refused,
                _ => return None,
            };
            let next = u32::from_be_bytes(octets(body, 8)?);
            believed(tuple, outcome, next, secret)
        }
        ICMP if fragment & LATER_FRAGMENT == 0 => {
            let (kind, code) = (*body.first()?, *body.get(1)?);
            if kind != UNREACHABLE || code == TOO_LARGE {
                return None;
            }
            let quoted = Ipv4::read(body.get(8..)?)?;
            let tcp =
                (quoted.protocol == TCP && quoted.fragment & LATER_FRAGMENT == 0).then_some(quoted.body)?;
            let tuple = Tuple {
                own: quoted.source,
                peer: quoted.destination,
                port: u16::from_be_bytes(octets(tcp, 2)?),
                way: ports.way(u16::from_be_bytes(octets(tcp, 0)?))?,
            };
            if tuple.own != destination {
                return None;
            }
            let next = u32::from_be_bytes(octets(tcp, 4)?).wrapping_add(1);
            believed(tuple, meaning(SO_EE_ORIGIN_ICMP, kind, code, false), next, secret)
        }
        _ => None,
    }
}

fn believed(tuple: Tuple, outcome: Outcome, next: u32, secret: &Secret) -> Option<Answer> {
    (secret.sequence(&tuple).wrapping_add(1) == next).then_some(Answer { tuple, outcome, next })
}

/// A header of IPv4 and what follows it, as far as it was captured or quoted.
struct Ipv4<'a> {
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    fragment: u16,
    body: &'a [u8],
}

impl<'a> Ipv4<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let first = *packet.first()?;
        let length = usize::from(first & 0xf) * 4;
        let is_ipv4 = first >> 4 == 4 && length >= HEADER;
        // What lies beyond the packet's own length is the padding of a short frame.
        let total = usize::from(u16::from_be_bytes(octets(packet, 2)?));
        let body = packet.get(..total.min(packet.len()))?.get(length..)?;
        is_ipv4.then_some(Self {
            protocol: *packet.get(9)?,
            source: octets::<4>(packet, 12)?.into(),
            destination: octets::<4>(packet, 16)?.into(),
            fragment: u16::from_be_bytes(octets(packet, 6)?),
            body,
        })
    }
}

fn octets<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
pub(super) mod tests;

//! Frames: what the scanner's kernel sent, and what a device answers.
//!
//! Checksums of received frames are not looked at: over a veth pair the kernel leaves them unfinished, as
//! it does for a network card that would finish them.

use std::net::Ipv4Addr;

use pnet_base::MacAddr;
use pnet_packet::{
    Packet,
    arp::{ArpHardwareTypes, ArpOperation, ArpOperations, ArpPacket, MutableArpPacket},
    ethernet::{EtherType, EtherTypes, EthernetPacket, MutableEthernetPacket},
    icmp::{self, IcmpCode, IcmpPacket, IcmpType, IcmpTypes, MutableIcmpPacket},
    ip::{IpNextHeaderProtocol, IpNextHeaderProtocols},
    ipv4::{self, Ipv4Packet, MutableIpv4Packet},
    tcp::{self, MutableTcpPacket, TcpPacket},
};

use crate::{Mac, scenario::Station};

pub(super) use pnet_packet::tcp::TcpFlags;

/// IEEE 802's type for local experiments: the lab's own markers (see `Lab::settle`).
const MARKER: EtherType = EtherType(0x88b5);
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP: usize = 20;
const ICMP: usize = 8;
/// An ICMP error quotes the IP header and eight octets of what it is about (RFC 792).
const QUOTE: usize = IPV4 + 8;

/// A frame from the scanner's kernel, as far as the lab cares.
pub(super) enum Received<'a> {
    /// Who has `asked`?
    Arp { from: Station, asked: Ipv4Addr },
    /// An ICMP echo request; `message` is the whole ICMP message.
    Echo { from: Station, to: Station, message: &'a [u8] },
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// Other IPv4, to this address.
    Ip(Ipv4Addr),
    /// The lab's own.
    Marker(u64),
    /// A frame that no simulated device reacts to.
    Other,
}

/// A TCP segment from the scanner.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    pub from: Station,
    pub to: Station,
    pub from_port: u16,
    pub to_port: u16,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub payload: u32,
    /// What an ICMP error about it quotes.
    pub quote: &'a [u8],
}

impl Segment<'_> {
    pub(super) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    pub(super) fn is_syn(&self) -> bool {
        self.has(TcpFlags::SYN) && !self.has(TcpFlags::ACK)
    }

    /// The sequence number after this segment: SYN and FIN count as one octet (RFC 9293, 3.4).
    pub(super) fn next_sequence(&self) -> u32 {
        let controls = u32::from(self.has(TcpFlags::SYN)) + u32::from(self.has(TcpFlags::FIN));
        self.sequence.wrapping_add(self.payload + controls)
    }
}

/// Reads a frame; what is malformed is [`Received::Other`].
pub(super) fn read(frame: &[u8]) -> Received<'_> {
    let Some(ethernet) = EthernetPacket::new(frame) else { return Received::Other };
    let body = &frame[ETHERNET..];
    match ethernet.get_ethertype() {
        EtherTypes::Arp => read_arp(body),
        EtherTypes::Ipv4 => read_ipv4(&ethernet, body),
        MARKER => {
            body.first_chunk().map_or(Received::Other, |octets| Received::Marker(u64::from_be_bytes(*octets)))
        }
        _ => Received::Other,
    }
}

fn read_arp(body: &[u8]) -> Received<'_> {
    match ArpPacket::new(body) {
        Some(arp) if arp.get_operation() == ArpOperations::Request => Received::Arp {
            from: Station { mac: mac(arp.get_sender_hw_addr()), ip: arp.get_sender_proto_addr() },
            asked: arp.get_target_proto_addr(),
        },
        _ => Received::Other,
    }
}

fn read_ipv4<'a>(ethernet: &EthernetPacket<'_>, body: &'a [u8]) -> Received<'a> {
    let Some(ip) = Ipv4Packet::new(body) else { return Received::Other };
    let from = Station { mac: mac(ethernet.get_source()), ip: ip.get_source() };
    let to = Station { mac: mac(ethernet.get_destination()), ip: ip.get_destination() };
    let header = usize::from(ip.get_header_length()) * 4;
    // Short frames are padded: the IP header says where the packet ends.
    let Some(rest) = body.get(header..usize::from(ip.get_total_length())) else { return Received::Other };
    match ip.get_next_level_protocol() {
        IpNextHeaderProtocols::Icmp
            if IcmpPacket::new(rest).is_some_and(|icmp| icmp.get_icmp_type() == IcmpTypes::EchoRequest) =>
        {
            Received::Echo { from, to, message: rest }
        }
        IpNextHeaderProtocols::Tcp => match TcpPacket::new(rest) {
            Some(tcp) => Received::Tcp(Segment {
                from,
                to,
                from_port: tcp.get_source(),
                to_port: tcp.get_destination(),
                sequence: tcp.get_sequence(),
                acknowledgement: tcp.get_acknowledgement(),
                flags: tcp.get_flags(),
                payload: u32::try_from(tcp.payload().len()).unwrap_or(u32::MAX),
                quote: &body[..body.len().min(header + 8).min(QUOTE)],
            }),
            None => Received::Other,
        },
        _ => Received::Ip(to.ip),
    }
}

/// What a TCP answer says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
}

/// "`is` is at ...", said to `to`.
pub(super) fn arp_reply(is: Station, to: Station) -> Vec<u8> {
    arp(ArpOperations::Reply, is, to, to.mac)
}

/// An announcement that this address is at this MAC now (RFC 5227, 2.3).
pub(super) fn arp_announcement(is: Station) -> Vec<u8> {
    let nobody = Station { mac: Mac::new([0; 6]), ip: is.ip };
    arp(ArpOperations::Request, is, nobody, Mac::new([0xff; 6]))
}

fn arp(operation: ArpOperation, from: Station, target: Station, to: Mac) -> Vec<u8> {
    let mut frame = ethernet(from.mac, to, EtherTypes::Arp, MutableArpPacket::minimum_packet_size());
    let mut arp = MutableArpPacket::new(&mut frame[ETHERNET..]).expect("sized for it");
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(operation);
    arp.set_sender_hw_addr(addr(from.mac));
    arp.set_sender_proto_addr(from.ip);
    arp.set_target_hw_addr(addr(target.mac));
    arp.set_target_proto_addr(target.ip);
    frame
}

/// The answer to an echo request: the same message with another type.
pub(super) fn echo_reply(from: Station, to: Station, request: &[u8]) -> Vec<u8> {
    let mut frame = ipv4(from, to, IpNextHeaderProtocols::Icmp, request.len());
    let message = &mut frame[ETHERNET + IPV4..];
    message.copy_from_slice(request);
    finish_icmp(message, IcmpTypes::EchoReply, IcmpCode::new(0));
    frame
}

/// An ICMP destination unreachable (RFC 792, RFC 1812 5.2.7.1) with this code, about the quoted packet.
pub(super) fn unreachable(from: Station, to: Station, code: u8, quote: &[u8]) -> Vec<u8> {
    let mut frame = ipv4(from, to, IpNextHeaderProtocols::Icmp, ICMP + quote.len());
    let message = &mut frame[ETHERNET + IPV4..];
    message[ICMP..].copy_from_slice(quote);
    finish_icmp(message, IcmpTypes::DestinationUnreachable, IcmpCode::new(code));
    frame
}

fn finish_icmp(message: &mut [u8], kind: IcmpType, code: IcmpCode) {
    let mut icmp = MutableIcmpPacket::new(message).expect("sized for it");
    icmp.set_icmp_type(kind);
    icmp.set_icmp_code(code);
    icmp.set_checksum(0);
    let checksum = icmp::checksum(&icmp.to_immutable());
    icmp.set_checksum(checksum);
}

/// A TCP segment without data from the port that `about` went to.
pub(super) fn segment(about: &Segment<'_>, answer: Answer) -> Vec<u8> {
    let mut frame = ipv4(about.to, about.from, IpNextHeaderProtocols::Tcp, TCP);
    let mut tcp = MutableTcpPacket::new(&mut frame[ETHERNET + IPV4..]).expect("sized for it");
    tcp.set_source(about.to_port);
    tcp.set_destination(about.from_port);
    tcp.set_sequence(answer.sequence);
    tcp.set_acknowledgement(answer.acknowledgement);
    tcp.set_data_offset(5);
    tcp.set_flags(answer.flags);
    tcp.set_window(if answer.flags & TcpFlags::RST == 0 { 5840 } else { 0 });
    let checksum = tcp::ipv4_checksum(&tcp.to_immutable(), &about.to.ip, &about.from.ip);
    tcp.set_checksum(checksum);
    frame
}

/// The lab's own frame that carries a number.
pub(super) fn marker(from: Mac, number: u64) -> Vec<u8> {
    let mut frame = ethernet(from, Mac::new([0xff; 6]), MARKER, 8);
    frame[ETHERNET..].copy_from_slice(&number.to_be_bytes());
    frame
}

fn ethernet(from: Mac, to: Mac, kind: EtherType, length: usize) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET + length];
    let mut ethernet = MutableEthernetPacket::new(&mut frame).expect("sized for it");
    ethernet.set_source(addr(from));
    ethernet.set_destination(addr(to));
    ethernet.set_ethertype(kind);
    frame
}

fn ipv4(from: Station, to: Station, protocol: IpNextHeaderProtocol, length: usize) -> Vec<u8> {
    let mut frame = ethernet(from.mac, to.mac, EtherTypes::Ipv4, IPV4 + length);
    let mut ip = MutableIpv4Packet::new(&mut frame[ETHERNET..]).expect("sized for it");
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_total_length(u16::try_from(IPV4 + length).expect("no more than was received"));
    ip.set_flags(ipv4::Ipv4Flags::DontFragment);
    ip.set_ttl(64);
    ip.set_next_level_protocol(protocol);
    ip.set_source(from.ip);
    ip.set_destination(to.ip);
    let checksum = ipv4::checksum(&ip.to_immutable());
    ip.set_checksum(checksum);
    frame
}

fn mac(address: MacAddr) -> Mac {
    Mac::new(address.octets())
}

fn addr(mac: Mac) -> MacAddr {
    MacAddr::from(mac.octets())
}

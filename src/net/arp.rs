//! Sends ARP requests (RFC 826), one broadcast for each address, and reads the replies to this machine.
//!
//! A packet socket bound to ARP on one interface: the kernel delivers no other frame, and none that is addressed to
//! other stations. The channel of the `pnet` crate would receive every frame, those of a scan included. This module
//! sends no replies: the kernel answers for this machine's addresses.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, bind, send},
};
use pnet_packet::{
    arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket},
    ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{
    Lan,
    neighbour_query::{NeighbourQuery, NeighbourReply, is_passing},
};
use crate::model::Mac;

const ETHERNET: usize = EthernetPacket::minimum_packet_size();
const LENGTH: usize = ETHERNET + ArpPacket::minimum_packet_size();

/// The most frames read in one go: a flood of them must not delay everything else.
const MOST: usize = 64;

/// A packet socket for ARP. Requires a tokio runtime.
#[derive(Debug)]
pub struct ArpSocket {
    /// Not a UDP socket: tokio's type for a descriptor that is polled, read by recv(2) and written by send(2). Tokio's
    /// `AsyncFd`, which is meant for this, requires unsafe code.
    socket: UdpSocket,
    lan: Lan,
}

impl ArpSocket {
    /// Opens a socket on this interface.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW` (packet(7)), or if the unit's `RestrictAddressFamilies=` leaves out
    /// `AF_PACKET`, which the kernel reports as an unknown family; else the interface is gone, or no descriptor is
    /// left.
    pub fn open(lan: &Lan) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(EtherTypes::Arp.0.to_be()));
        let socket =
            Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(protocol)).map_err(|error| {
                let forbidden = error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32);
                if forbidden { io::ErrorKind::PermissionDenied.into() } else { error }
            })?;
        bind(socket.as_raw_fd(), &lan.link)?;
        let socket = UdpSocket::from_std(OwnedFd::from(socket).into())?;
        Ok(Self { socket, lan: lan.clone() })
    }
}

impl NeighbourQuery for ArpSocket {
    fn send_query(&mut self, address: Ipv4Addr) -> io::Result<()> {
        let Some(own) = self.lan.own_address(address) else { return Ok(()) };
        // Not through tokio, which sends nothing before it has seen that the socket is writable.
        let frame = question(self.lan.mac, own, address);
        match send(self.socket.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT).map_err(io::Error::from) {
            Err(error) if !is_passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn replies(&mut self) -> io::Result<Vec<NeighbourReply>> {
        self.socket.readable().await?;
        let mut answers = Vec::new();
        let mut frame = [0; LENGTH];
        for _ in 0..MOST {
            // Frames are padded to 60 octets: what follows the answer is cut off.
            match self.socket.try_recv(&mut frame) {
                Ok(length) => answers.extend(read(frame.get(..length).unwrap_or(&frame), &self.lan)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    }
}

/// Builds an ARP request for `asked` from `own`. It carries our own address: without one (RFC 5227's probe) some
/// stations would treat this machine as a new holder of their address and defend it, and others would not answer.
fn question(mac: Mac, own: Ipv4Addr, asked: Ipv4Addr) -> [u8; LENGTH] {
    let mut frame = [0; LENGTH];
    let (head, body) = frame.split_at_mut(ETHERNET);
    if let Some(mut ethernet) = MutableEthernetPacket::new(head) {
        ethernet.set_destination([0xff; 6].into());
        ethernet.set_source(mac.octets().into());
        ethernet.set_ethertype(EtherTypes::Arp);
    }
    if let Some(mut arp) = MutableArpPacket::new(body) {
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(ArpOperations::Request);
        arp.set_sender_hw_addr(mac.octets().into());
        arp.set_sender_proto_addr(own);
        arp.set_target_proto_addr(asked);
    }
    frame
}

/// Reads a reply to one of our requests, as far as a frame shows it: a reply to our MAC and one of our addresses, sent
/// by a single station other than this machine.
fn read(frame: &[u8], lan: &Lan) -> Option<NeighbourReply> {
    let ethernet = EthernetPacket::new(frame)?;
    let arp = ArpPacket::new(frame.get(ETHERNET..)?)?;
    let is_ipv4 = ethernet.get_ethertype() == EtherTypes::Arp
        && arp.get_hardware_type() == ArpHardwareTypes::Ethernet
        && arp.get_protocol_type() == EtherTypes::Ipv4
        && (arp.get_hw_addr_len(), arp.get_proto_addr_len()) == (6, 4);
    let is_ours = ethernet.get_destination().octets() == lan.mac.octets()
        && arp.get_operation() == ArpOperations::Reply
        && arp.get_target_hw_addr().octets() == lan.mac.octets()
        && lan.is_own(arp.get_target_proto_addr());
    let mac = Mac::new(arp.get_sender_hw_addr().octets());
    let is_other = mac.is_unicast() && mac != lan.mac;
    let is_relayed = ethernet.get_source() != arp.get_sender_hw_addr();
    let address = arp.get_sender_proto_addr();
    (is_ipv4 && is_ours && is_other).then_some(NeighbourReply { address, mac, is_relayed })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 7];

    fn lan() -> Lan {
        let link =
            nix::ifaddrs::getifaddrs().unwrap().find_map(|entry| entry.address?.as_link_addr().copied());
        Lan {
            interface: "lan0".to_owned(),
            index: 7,
            mac: OWN,
            nets: vec!["10.0.0.1/24".parse().unwrap(), "192.168.1.5/24".parse().unwrap()],
            link_local: None,
            link: link.unwrap(),
        }
    }

    /// 10.0.0.7's answer; octets by their places in RFC 826, after 14 of Ethernet.
    fn reply() -> Vec<u8> {
        let mut frame = question(Mac::new(OTHER), [10, 0, 0, 7].into(), [10, 0, 0, 1].into()).to_vec();
        frame[..6].copy_from_slice(&OWN.octets());
        frame[21] = 2;
        frame[32..38].copy_from_slice(&OWN.octets());
        frame
    }

    #[test]
    fn a_request_has_the_format_of_rfc_826() {
        let frame = question(OWN, [10, 0, 0, 1].into(), [10, 0, 0, 7].into());
        let expected =
            "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000007";
        let hex: String = frame.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, expected.replace(' ', ""));
        assert_eq!(read(&frame, &lan()), None, "what others ask is no answer");
    }

    #[test]
    fn reads_the_mac_and_the_address_of_a_reply() {
        let answer =
            NeighbourReply { address: [10, 0, 0, 7].into(), mac: Mac::new(OTHER), is_relayed: false };
        assert_eq!(read(&reply(), &lan()), Some(answer));
        let mut relayed = reply();
        relayed[11] = 9;
        assert_eq!(read(&relayed, &lan()), Some(NeighbourReply { is_relayed: true, ..answer }));
    }

    #[test]
    fn replies_to_other_stations_are_dropped() {
        for (at, octet, why) in [
            (5, 9, "another's frame"),
            (13, 0, "not ARP"),
            (15, 6, "another hardware"),
            (17, 1, "another protocol"),
            (18, 8, "longer MACs"),
            (19, 16, "longer addresses"),
            (21, 1, "a question"),
            (22, 3, "a group's MAC"),
            (27, 1, "our own MAC"),
            (37, 9, "to another MAC"),
            (41, 9, "to another address"),
        ] {
            let mut frame = reply();
            frame[at] = octet;
            assert_eq!(read(&frame, &lan()), None, "{why}");
        }
        assert!((0..LENGTH).all(|length| read(&reply()[..length], &lan()).is_none()));
    }

    proptest! {
        #[test]
        fn malformed_input_never_panics(frame in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(answer) = read(&frame, &lan()) {
                prop_assert!(answer.mac.is_unicast());
            }
        }
    }
}

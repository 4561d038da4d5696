//! Sends neighbour solicitations (RFC 4861), one multicast for an IPv6 address, and reads the replies to this machine.
//!
//! A raw ICMP socket of IPv6 that is bound to our own address on one interface. Our question leaves the kernel's own
//! table as it is: the answer is read here, and an entry is made when the first packet needs one.

use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    cmsg_space,
    libc::c_int,
    net::if_::if_nametoindex,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendto, setsockopt, sockopt},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::neighbour_query::is_passing;
use crate::model::Mac;

/// RFC 4861, 4.3 and 4.4: types of messages, and of the options that carry a MAC.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;

/// The flag of a solicited advertisement, as opposed to one sent to all nodes.
const IS_ANSWER: u8 = 0x40;

/// Octets of either message before its options, and of an option with a MAC. Options count in units of eight.
const HEAD: usize = 24;
const OPTION: usize = 8;

/// RFC 4861, 7.1: a router would have decremented it, so a message with the full value comes from this link.
const HOPS: u8 = 255;

/// Longer than any advertisement with a MAC; what follows is cut off.
const LONGEST: usize = 256;

/// A raw socket that asks for one address. Requires a tokio runtime.
#[derive(Debug)]
pub(super) struct NdpSocket {
    /// Not a UDP socket: tokio's type for a descriptor that is polled, as in [`ArpSocket`](super::ArpSocket).
    socket: UdpSocket,
    asked: Ipv6Addr,
    mac: Mac,
    index: u32,
}

impl NdpSocket {
    /// Opens a socket that solicits `asked` from our own address and MAC on this interface.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW` (raw(7)); else the interface is gone, our address is not in use yet,
    /// or no descriptor is left.
    pub(super) fn open(interface: &str, own: Ipv6Addr, mac: Mac, asked: Ipv6Addr) -> io::Result<Self> {
        let index = if_nametoindex(interface)?;
        let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking(), Some(Protocol::ICMPV6))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_hops_v6(HOPS.into())?;
        setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
        socket.bind(&SocketAddrV6::new(own, 0, 0, index).into())?;
        let socket = UdpSocket::from_std(OwnedFd::from(socket).into())?;
        Ok(Self { socket, asked, mac, index })
    }

    /// Sends the solicitation. The kernel may drop it if buffers are short.
    ///
    /// # Errors
    /// The interface is gone or down, or this machine's firewall forbids it.
    pub(super) fn send_query(&self) -> io::Result<()> {
        let to = SockaddrIn6::from(SocketAddrV6::new(solicited_node(self.asked), 0, 0, self.index));
        let question = question(self.mac, self.asked);
        match sendto(self.socket.as_raw_fd(), &question, &to, MsgFlags::MSG_DONTWAIT).map_err(io::Error::from)
        {
            Err(error) if !is_passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits for the MAC that answers. May be dropped at any time.
    ///
    /// # Errors
    /// The interface is gone.
    pub(super) async fn answer(&self) -> io::Result<Mac> {
        loop {
            let found = self.socket.async_io(Interest::READABLE, || self.receive()).await?;
            if let Some(mac) = found {
                return Ok(mac);
            }
        }
    }

    /// Reads one message; returns `None` if it is no answer.
    fn receive(&self) -> io::Result<Option<Mac>> {
        let mut message = [0; LONGEST];
        let mut space = cmsg_space!(c_int);
        let mut parts = [io::IoSliceMut::new(&mut message)];
        let (descriptor, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let received = recvmsg::<()>(descriptor, &mut parts, Some(&mut space), flags)?;
        let hops = received.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv6HopLimit(hops) => Some(hops),
            _ => None,
        });
        let length = received.bytes;
        let message = message.get(..length).unwrap_or(&message);
        let is_near = hops == Some(HOPS.into());
        Ok(read(message, self.asked).filter(|mac| is_near && *mac != self.mac))
    }
}

/// The group that every holder of the address is in (RFC 4291, 2.7.1).
fn solicited_node(asked: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = asked.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Builds a solicitation for `asked`, to be answered to `mac`. The kernel fills in the checksum.
fn question(mac: Mac, asked: Ipv6Addr) -> [u8; HEAD + OPTION] {
    let mut message = [0; HEAD + OPTION];
    message[0] = SOLICITATION;
    message[8..HEAD].copy_from_slice(&asked.octets());
    message[HEAD..HEAD + 2].copy_from_slice(&[SOURCE_MAC, 1]);
    message[HEAD + 2..].copy_from_slice(&mac.octets());
    message
}

/// Returns the MAC in an answer about this address.
fn read(message: &[u8], asked: Ipv6Addr) -> Option<Mac> {
    let [kind, code, _, _, flags, ..] = *message else { return None };
    let is_answer = kind == ADVERTISEMENT && code == 0 && flags & IS_ANSWER != 0;
    let about = message.get(8..HEAD)?;
    if !is_answer || about != asked.octets() {
        return None;
    }
    let mut options = message.get(HEAD..)?;
    while let [kind, units, ..] = *options {
        let option = options.get(..usize::from(units) * OPTION).filter(|option| !option.is_empty())?;
        if kind == TARGET_MAC && units == 1 {
            let mac = option.get(2..)?.try_into().ok().map(Mac::new)?;
            return mac.is_unicast().then_some(mac);
        }
        options = options.get(option.len()..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x1234, 0x5678);
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 7];

    fn answer() -> Vec<u8> {
        let mut message = question(Mac::new(OTHER), ASKED).to_vec();
        (message[0], message[4], message[HEAD]) = (136, 0x60, 2);
        message
    }

    #[test]
    fn a_solicitation_has_the_format_of_rfc_4861() {
        let hex: String =
            question(Mac::new(OTHER), ASKED).iter().map(|octet| format!("{octet:02x}")).collect();
        let expected = "87 00 0000 00000000 fe800000000000000000000012345678 01 01 020000000007";
        assert_eq!(hex, expected.replace(' ', ""));
        assert_eq!(solicited_node(ASKED).to_string(), "ff02::1:ff34:5678");
        assert_eq!(read(&question(Mac::new(OTHER), ASKED), ASKED), None, "a question is no answer");
    }

    #[test]
    fn an_advertisement_names_the_mac_after_other_options() {
        assert_eq!(read(&answer(), ASKED), Some(Mac::new(OTHER)));
        let mut longer = answer();
        longer.splice(HEAD..HEAD, [14, 2].into_iter().chain([0; 14]));
        assert_eq!(read(&longer, ASKED), Some(Mac::new(OTHER)));
    }

    #[test]
    fn other_messages_are_dropped() {
        for (at, octet, why) in [
            (0, 134, "a router's advertisement"),
            (1, 1, "an unknown code"),
            (4, 0x20, "unsolicited"),
            (23, 1, "about another address"),
            (HEAD, 1, "another option"),
            (HEAD + 1, 0, "an option without a length"),
            (HEAD + 1, 2, "a longer MAC"),
            (HEAD + 2, 3, "a group's MAC"),
        ] {
            let mut message = answer();
            message[at] = octet;
            assert_eq!(read(&message, ASKED), None, "{why}");
        }
        assert!((0..HEAD + OPTION).all(|length| read(&answer()[..length], ASKED).is_none()));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(mut message in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&message, ASKED);
            message.splice(..message.len().min(HEAD), answer()[..HEAD].iter().copied());
            let _ = read(&message, ASKED);
        }
    }
}

//! Sends neighbour solicitations (RFC 4861), one multicast for an IPv6 address, and an echo request to all of a link's
//! hosts, and reads the replies to this machine.
//!
//! A raw ICMP socket of IPv6 that is bound to our own address on one interface. Our question leaves the kernel's own
//! table as it is: the answer is read here, and an entry is made when the first packet needs one.

mod message;

use std::{
    hash::{BuildHasher, RandomState},
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

pub(super) use self::message::NdpReply;
use self::message::{ALL_NODES, echo_request, read, solicitation, solicited_node};
use super::neighbour_query::is_passing;
use crate::model::Mac;

/// RFC 4861, 7.1: a router would have decremented it, so a message with the full value comes from this link.
const HOPS: u8 = 255;

/// Longer than any advertisement with a MAC; what follows is cut off.
const LONGEST: usize = 256;

/// A raw socket on one interface. Requires a tokio runtime.
#[derive(Debug)]
pub(super) struct NdpSocket {
    /// Not a UDP socket: tokio's type for a descriptor that is polled, as in [`ArpSocket`](super::ArpSocket).
    socket: UdpSocket,
    mac: Mac,
    index: u32,
    /// Tells the replies to our own echo request from those to another program's.
    identifier: u16,
}

impl NdpSocket {
    /// Opens a socket that asks from our own address and MAC on this interface.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW` (raw(7)); else the interface is gone, our address is not in use yet,
    /// or no descriptor is left.
    #[expect(clippy::cast_possible_truncation, reason = "16 bits of a random number")]
    pub(super) fn open(interface: &str, own: Ipv6Addr, mac: Mac) -> io::Result<Self> {
        let index = if_nametoindex(interface)?;
        let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking(), Some(Protocol::ICMPV6))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_hops_v6(HOPS.into())?;
        socket.set_multicast_loop_v6(false)?;
        setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
        socket.bind(&SocketAddrV6::new(own, 0, 0, index).into())?;
        let socket = UdpSocket::from_std(OwnedFd::from(socket).into())?;
        Ok(Self { socket, mac, index, identifier: RandomState::new().hash_one(index) as u16 })
    }

    /// Sends a solicitation for this address. The kernel may drop it if buffers are short.
    ///
    /// # Errors
    /// The interface is gone or down, or this machine's firewall forbids it.
    pub(super) fn send_query(&self, asked: Ipv6Addr) -> io::Result<()> {
        self.send(&solicitation(self.mac, asked), solicited_node(asked))
    }

    /// Sends an echo request to all hosts of the link (RFC 4443, 4.1; RFC 4291, 2.7.1).
    ///
    /// # Errors
    /// As [`send_query`](Self::send_query).
    pub(super) fn ping_all(&self) -> io::Result<()> {
        self.send(&echo_request(self.identifier), ALL_NODES)
    }

    fn send(&self, message: &[u8], group: Ipv6Addr) -> io::Result<()> {
        let to = SockaddrIn6::from(SocketAddrV6::new(group, 0, 0, self.index));
        match sendto(self.socket.as_raw_fd(), message, &to, MsgFlags::MSG_DONTWAIT).map_err(io::Error::from) {
            Err(error) if !is_passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits for a reply. May be dropped at any time.
    ///
    /// # Errors
    /// The interface is gone.
    pub(super) async fn reply(&self) -> io::Result<NdpReply> {
        loop {
            let found = self.socket.async_io(Interest::READABLE, || self.receive()).await?;
            if let Some(reply) = found {
                return Ok(reply);
            }
        }
    }

    /// Reads one message; returns `None` if it is no reply to this socket.
    fn receive(&self) -> io::Result<Option<NdpReply>> {
        let mut message = [0; LONGEST];
        let mut space = cmsg_space!(c_int);
        let mut parts = [io::IoSliceMut::new(&mut message)];
        let (descriptor, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let received = recvmsg::<SockaddrIn6>(descriptor, &mut parts, Some(&mut space), flags)?;
        let hops = received.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv6HopLimit(hops) => Some(hops),
            _ => None,
        });
        let from = received.address.map(|address| address.ip());
        let length = received.bytes;
        let message = message.get(..length).unwrap_or(&message);
        let is_near = hops == Some(HOPS.into());
        Ok(from.and_then(|from| read(message, from, self.identifier)).filter(|reply| match reply {
            NdpReply::Advertised(_, mac) => is_near && *mac != self.mac,
            NdpReply::Echoed(_) => true,
        }))
    }
}

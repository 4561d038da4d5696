//! Resolves a MAC without privileges: an ICMP echo request makes the kernel resolve the address, and its neighbour
//! table then has the MAC.
//!
//! Alternatives that do not work: connecting a datagram socket sends nothing, so the kernel resolves nothing; the same
//! holds for `MSG_PROBE`, and for a packet that is too large to be sent. A SYN waits in the kernel for the answer
//! and leaves even if its socket has been closed, and an empty datagram would be delivered to a port. Entries of
//! the table that the kernel verifies by itself (`NTF_USE`) take `CAP_NET_ADMIN`.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};

use super::{neighbour_query::is_passing, neighbours::neighbour};
use crate::model::{Address, Mac};

/// How often the table is read.
const LOOK: Duration = Duration::from_millis(50);

/// RFC 792 and RFC 4443: the type of an echo request, here with nothing in it. The kernel fills in the rest.
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;
const LENGTH: usize = 8;

/// A socket for echo requests to peers of this family. The replies are not read: the neighbour table says more.
pub(super) fn socket_for(peer: SocketAddr) -> io::Result<Socket> {
    let protocol = if peer.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    Socket::new(Domain::for_address(peer), Type::DGRAM.nonblocking(), Some(protocol))
}

/// Sends a request.
pub(super) fn send(socket: &Socket, peer: SocketAddr) -> io::Result<usize> {
    let mut request = [0; LENGTH];
    request[0] = if peer.is_ipv4() { ECHO } else { ECHO_V6 };
    socket.send_to(&request, &peer.into())
}

/// A socket for echo requests to one neighbour.
#[derive(Debug)]
pub(super) struct Echo {
    socket: Socket,
    to: SocketAddr,
    address: Address,
}

impl Echo {
    /// Opens a socket.
    ///
    /// # Errors
    /// `PermissionDenied` if this process's group is outside of `net.ipv4.ping_group_range` (icmp(7)); else the
    /// interface is gone or no descriptor is left.
    pub(super) fn open(address: &Address) -> io::Result<Self> {
        let to = match address.ip() {
            IpAddr::V4(ip) => (ip, 0).into(),
            IpAddr::V6(ip) => {
                let index = address.zone().map(if_nametoindex).transpose()?.unwrap_or(0);
                SocketAddrV6::new(ip, 0, 0, index).into()
            }
        };
        Ok(Self { socket: socket_for(to)?, to, address: address.clone() })
    }

    /// Sends a request. The kernel keeps it until the neighbour's MAC is known.
    ///
    /// # Errors
    /// The interface is gone or down, or this machine's firewall forbids it.
    pub(super) fn send_query(&self) -> io::Result<()> {
        match send(&self.socket, self.to) {
            // Errors about the neighbour are ignored: its table shows what the kernel found.
            Err(error) if !is_passing(&error) && error.kind() != io::ErrorKind::HostUnreachable => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until the kernel has an answer of the last half a minute. May be dropped at any time.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) async fn answer(&self) -> io::Result<Mac> {
        loop {
            if let Some(known) = neighbour(&self.address)?.filter(|known| known.is_confirmed) {
                return Ok(known.mac);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the kernel still has an older answer, which it verifies: 5 s after the first packet it asks the old MAC,
    /// three times, and only then broadcasts (arp(7)).
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) fn is_verifying(&self) -> io::Result<bool> {
        Ok(neighbour(&self.address)?.is_some())
    }
}

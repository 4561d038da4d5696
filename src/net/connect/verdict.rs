//! One socket: how it is opened and connected, and what its result means.
//!
//! On Linux a socket is reusable after a refused connect: on a second `connect`, which asks for the outcome,
//! the kernel returns the error and sets the socket back to unconnected (`__inet_stream_connect`; connect(2)
//! calls that state unspecified, for portable programs). So the next probe needs no socket of its own, which
//! saves four of six system calls, the most expensive ones among them.
//!
//! `SO_ERROR` alone cannot tell a router's "host unreachable" from this machine's own finding that no station
//! answered ARP: both are EHOSTUNREACH. With `IP_RECVERR` (ip(7), ipv6(7)) the kernel keeps the ICMP
//! message itself in the socket's error queue: its type, its code and its sender.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc::{SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, sock_extended_err, sockaddr_in6},
    net::if_::if_nametoindex,
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg, setsockopt, sockopt,
    },
};
use socket2::{Domain, Protocol, Socket, Type};

use super::faults::local_error;
use crate::{
    engine::{LocalError, Outcome},
    model::{Address, Reason},
    net::neighbours::has_answered,
};

/// The table is read for probes that wait as long: they are few, and the others are repeated. By then the kernel has
/// asked twice (RFC 4861, 10: a second apart).
const WORTH_A_LOOK: Duration = Duration::from_millis(1500);

/// Where to connect to. A zone is looked up each time, three more system calls: interfaces come and go
/// under the same name, and link-local targets are rare.
pub(in crate::net) fn peer(address: &Address, port: u16) -> Result<SocketAddr, Outcome> {
    match (address.ip(), address.zone()) {
        (IpAddr::V6(ip), Some(zone)) => match if_nametoindex(zone) {
            Ok(index) => Ok(SocketAddrV6::new(ip, port, 0, index).into()),
            Err(_) => Err(Outcome::Local(LocalError::NoRoute)),
        },
        (ip, _) => Ok((ip, port).into()),
    }
}

/// Opens a socket for peers of this family.
pub(super) fn open(peer: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    match peer {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    Ok(socket)
}

/// Starts a connect; on the loopback it may be complete on return.
pub(super) fn connect(socket: &Socket, peer: SocketAddr) -> Result<(), Outcome> {
    match socket.connect(&peer.into()) {
        Ok(()) => Ok(()),
        Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::EINPROGRESS => Ok(()),
            Errno::ECONNREFUSED => Err(Outcome::Refused),
            _ => Err(Outcome::Local(local_error(&error))),
        },
    }
}

/// Returns the outcome of the connect; `None` while it is in progress.
///
/// An ICMP error that comes while the kernel holds the socket's lock wakes us and leaves the connect in progress:
/// for such a socket the error queue is read.
pub(super) fn verdict(socket: &Socket, peer: SocketAddr) -> Option<Outcome> {
    let errno = match socket.connect(&peer.into()) {
        Ok(()) => return Some(accepted(socket, peer)),
        Err(error) => Errno::from_raw(error.raw_os_error().unwrap_or(0)),
    };
    Some(match errno {
        Errno::EALREADY | Errno::EINPROGRESS => return icmp(socket, peer),
        Errno::EISCONN => accepted(socket, peer),
        Errno::ECONNREFUSED => Outcome::Refused,
        // The connection was accepted and reset before this check (a reset while connecting is a refusal).
        Errno::ECONNRESET | Errno::EPIPE => Outcome::Accepted,
        Errno::ETIMEDOUT => Outcome::Silent,
        // The queue is empty only if the kernel had no memory for the message: then its sender is unknown.
        Errno::EHOSTUNREACH | Errno::ENETUNREACH => {
            icmp(socket, peer).unwrap_or(Outcome::Local(LocalError::Memory))
        }
        _ => icmp(socket, peer).unwrap_or(Outcome::Local(LocalError::Other)),
    })
}

/// Judges silence of a peer after this long.
///
/// A link-local address that no device has is silent to the socket: the kernel's own ICMP error about it reaches none,
/// unlike the error about any other address. The neighbour table is read instead.
pub(in crate::net) fn silence(peer: SocketAddr, waited: Duration) -> Outcome {
    let SocketAddr::V6(peer) = peer else { return Outcome::Silent };
    if !peer.ip().is_unicast_link_local() || waited < WORTH_A_LOOK {
        return Outcome::Silent;
    }
    // Not whether the kernel has given up: with the next SYN it asks anew, and its table, which all network namespaces
    // share, is swept of failures as soon as it has 128 entries (`gc_thresh1`, arp(7)). A neighbour that has answered
    // stays in it for a minute.
    match has_answered(*peer.ip(), peer.scope_id()) {
        Ok(true) => Outcome::Silent,
        Ok(false) => Outcome::NoNeighbour,
        Err(error) => Outcome::Local(local_error(&error)),
    }
}

/// Judges a connect that succeeded, perhaps to the wrong peer. A socket that has its own local port as its destination
/// connects to itself (simultaneous open, RFC 9293, 3.5), and 0.0.0.0 leads to the loopback.
fn accepted(socket: &Socket, peer: SocketAddr) -> Outcome {
    let end = |address: SocketAddr| (address.ip(), address.port());
    let local = socket.local_addr().ok().and_then(|local| local.as_socket());
    let connected = socket.peer_addr().ok().and_then(|connected| connected.as_socket());
    if connected.map(end) != Some(end(peer)) {
        return Outcome::Local(LocalError::Other);
    }
    if local.map(end) == Some(end(peer)) {
        return Outcome::Local(LocalError::SelfConnect);
    }
    // Reset on close; harmless if it cannot be set, as the close is then an orderly one.
    let _ = socket.set_linger(Some(Duration::ZERO));
    Outcome::Accepted
}

/// An ICMP message about a socket.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) struct IcmpError {
    pub(in crate::net) origin: u8,
    pub(in crate::net) kind: u8,
    pub(in crate::net) code: u8,
    /// Which host sent it.
    pub(in crate::net) offender: Option<IpAddr>,
    /// Whether this machine generated it.
    pub(in crate::net) own: bool,
}

/// Interprets the first ICMP message in the socket's error queue, if there is one.
fn icmp(socket: &Socket, peer: SocketAddr) -> Option<Outcome> {
    let error = icmp_error(socket.as_raw_fd(), peer)?;
    Some(meaning(error.origin, error.kind, error.code, error.own))
}

/// Reads the first ICMP message in the error queue of a socket that `IP_RECVERR` was set for, if there is one.
pub(in crate::net) fn icmp_error(socket: RawFd, peer: SocketAddr) -> Option<IcmpError> {
    let mut space = cmsg_space!(sock_extended_err, sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket, &mut [], Some(&mut space), flags).ok()?;
    let (error, offender) = message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4RecvErr(error, offender) => {
            Some((error, offender.map(|ip| IpAddr::V4(SockaddrIn::from(ip).ip()))))
        }
        ControlMessageOwned::Ipv6RecvErr(error, offender) => {
            Some((error, offender.map(|ip| IpAddr::V6(SockaddrIn6::from(ip).ip()))))
        }
        _ => None,
    })?;
    let own = offender.is_none() || offender == own_address(peer);
    let (origin, kind, code) = (error.ee_origin, error.ee_type, error.ee_code);
    Some(IcmpError { origin, kind, code, offender, own })
}

/// Returns the source address for this peer. The failed socket no longer has it; a datagram socket finds it out
/// without sending anything.
fn own_address(peer: SocketAddr) -> Option<IpAddr> {
    let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, None).ok()?;
    socket.connect(&peer.into()).ok()?;
    Some(socket.local_addr().ok()?.as_socket()?.ip())
}

/// Interprets an ICMP message about the port. `own`: this machine generated it in response to its own SYN.
pub(in crate::net) fn meaning(origin: u8, kind: u8, code: u8, own: bool) -> Outcome {
    let reason = match (origin, kind, code) {
        // RFC 792, RFC 1122 3.2.2.1, RFC 1812 5.2.7.1
        (SO_EE_ORIGIN_ICMP, 3, 0) => Reason::NetUnreach,
        (SO_EE_ORIGIN_ICMP, 3, 1) => Reason::HostUnreach,
        (SO_EE_ORIGIN_ICMP, 3, 3) => return Outcome::Refused,
        (SO_EE_ORIGIN_ICMP, 3, 9 | 10 | 13) => Reason::AdminProhibited,
        // RFC 4443, 3.1
        (SO_EE_ORIGIN_ICMP6, 1, 0) => Reason::NetUnreach,
        (SO_EE_ORIGIN_ICMP6, 1, 1 | 5 | 6) => Reason::AdminProhibited,
        (SO_EE_ORIGIN_ICMP6, 1, 3) => Reason::HostUnreach,
        (SO_EE_ORIGIN_ICMP6, 1, 4) => return Outcome::Refused,
        (SO_EE_ORIGIN_ICMP | SO_EE_ORIGIN_ICMP6, _, _) => Reason::IcmpError,
        _ => return Outcome::Local(LocalError::Other),
    };
    match (own, reason) {
        (false, reason) => Outcome::Unreachable(reason),
        (true, Reason::HostUnreach) => Outcome::NoNeighbour,
        (true, Reason::AdminProhibited) => Outcome::Local(LocalError::Denied), // our own firewall's REJECT
        (true, _) => Outcome::Local(LocalError::NoRoute),
    }
}

//! One socket: opening it, and what its answer means.
//!
//! `SO_ERROR` alone cannot tell a router that says "host unreachable" from this machine's own verdict that
//! nobody answered ARP: both are EHOSTUNREACH. With `IP_RECVERR` (ip(7), ipv6(7)) the kernel keeps the ICMP
//! message itself in the socket's error queue: its type, its code, and who sent it.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::AsRawFd,
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

use crate::{
    engine::{LocalError, Outcome},
    model::{Address, Reason},
};

/// Where to connect to. A zone is looked up each time, three more system calls: interfaces come and go
/// under the same name, and link-local targets are rare.
pub(super) fn peer(address: &Address, port: u16) -> Result<SocketAddr, Outcome> {
    match (address.ip(), address.zone()) {
        (IpAddr::V6(ip), Some(zone)) => match if_nametoindex(zone) {
            Ok(index) => Ok(SocketAddrV6::new(ip, port, 0, index).into()),
            Err(_) => Err(Outcome::Local(LocalError::NoRoute)),
        },
        (ip, _) => Ok((ip, port).into()),
    }
}

/// A socket whose connect is under way (or over already, on the loopback).
pub(super) fn open(peer: SocketAddr) -> Result<Socket, Outcome> {
    let opened = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(peer), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        match peer {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
        }
        match socket.connect(&peer.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
            _ => Ok(socket),
        }
    };
    opened().map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        _ => Outcome::Local(local_error(&error)),
    })
}

/// What a fault is called that this machine found in itself, before anything could be sent.
pub(super) fn local_error(error: &io::Error) -> LocalError {
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EMFILE | Errno::ENFILE => LocalError::Descriptors,
        Errno::EADDRNOTAVAIL => LocalError::Ports,
        // ENOSPC is epoll's, at /proc/sys/fs/epoll/max_user_watches.
        Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN | Errno::ENOSPC => LocalError::Memory,
        Errno::EPERM | Errno::EACCES => LocalError::Denied,
        // EINVAL: a link-local address without zone. EAFNOSUPPORT: IPv6 is switched off.
        Errno::ENETUNREACH
        | Errno::EHOSTUNREACH
        | Errno::ENETDOWN
        | Errno::ENODEV
        | Errno::EINVAL
        | Errno::EAFNOSUPPORT => LocalError::NoRoute,
        _ => LocalError::Other,
    }
}

/// How the connect ended; `None` while it is under way.
///
/// It is not enough that `SO_ERROR` is 0: it is 0 before the answer too, and an ICMP error that comes while
/// the kernel holds the socket's lock wakes us before `SO_ERROR` shows it. So who says it is connected must
/// have a peer, and who has none is asked for its error queue.
pub(super) fn verdict(socket: &Socket, peer: SocketAddr) -> Option<Outcome> {
    let errno = match socket.take_error() {
        Ok(None) => match socket.peer_addr() {
            Ok(connected) => return Some(accepted(socket, peer, connected.as_socket())),
            Err(_) => return icmp(socket),
        },
        Ok(Some(error)) | Err(error) => Errno::from_raw(error.raw_os_error().unwrap_or(0)),
    };
    Some(match errno {
        Errno::ECONNREFUSED => Outcome::Refused,
        // A reset of what had been accepted before we came to look (a reset while connecting is a refusal).
        Errno::ECONNRESET | Errno::EPIPE => Outcome::Accepted,
        Errno::ETIMEDOUT => Outcome::Silent,
        // The queue is empty only where the kernel had no memory for it.
        Errno::EHOSTUNREACH => icmp(socket).unwrap_or(Outcome::Unreachable(Reason::HostUnreach)),
        Errno::ENETUNREACH => icmp(socket).unwrap_or(Outcome::Unreachable(Reason::NetUnreach)),
        _ => icmp(socket).unwrap_or(Outcome::Local(LocalError::Other)),
    })
}

/// Connected, but to whom? A socket that asks for a port from which the kernel happens to let it ask meets
/// itself (simultaneous open, RFC 9293, 3.5), and 0.0.0.0 leads to the loopback.
fn accepted(socket: &Socket, peer: SocketAddr, connected: Option<SocketAddr>) -> Outcome {
    let end = |address: SocketAddr| (address.ip(), address.port());
    let local = socket.local_addr().ok().and_then(|local| local.as_socket());
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

/// What the ICMP message says that is first in the socket's error queue, if there is one.
fn icmp(socket: &Socket) -> Option<Outcome> {
    let mut space = cmsg_space!(sock_extended_err, sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut [], Some(&mut space), flags).ok()?;
    let (error, offender) = message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4RecvErr(error, offender) => {
            Some((error, offender.map(|ip| IpAddr::V4(SockaddrIn::from(ip).ip()))))
        }
        ControlMessageOwned::Ipv6RecvErr(error, offender) => {
            Some((error, offender.map(|ip| IpAddr::V6(SockaddrIn6::from(ip).ip()))))
        }
        _ => None,
    })?;
    let local = socket.local_addr().ok().and_then(|local| local.as_socket()).map(|local| local.ip());
    Some(meaning(error.ee_origin, error.ee_type, error.ee_code, offender.is_none() || offender == local))
}

/// What an ICMP message says of the port. `own`: this machine made it itself, in answer to its own SYN.
fn meaning(origin: u8, kind: u8, code: u8, own: bool) -> Outcome {
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

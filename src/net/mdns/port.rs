//! Whether the port of multicast DNS can be shared with what else uses it here.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};

/// RFC 6762, 3.
pub const MDNS_PORT: u16 = 5353;

/// Binds the port for an instant, with the options that mdns-sd sets. It joins no group and sends nothing.
///
/// # Errors
/// `AddrInUse` if another socket has the port for itself; else no descriptor is left, or this process may not.
pub fn share_port() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, MDNS_PORT)).into())
}

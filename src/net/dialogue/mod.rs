//! Short dialogues with services, to learn what they are: each is one connection, bounded in time and bytes. What is
//! received is returned as it is; the parsers are elsewhere.
//!
//! | file | sends |
//! |---|---|
//! | `greeting.rs` | nothing |
//! | `ssh_key.rs` | an SSH key exchange, up to the server's host key |
//! | `tls.rs` | a TLS handshake |
//! | `page.rs` | `GET /`, within TLS or without |
//!
//! A connection is reset when it is over: small devices run out of memory for connections that linger.

mod bounded;
mod greeting;
mod page;
mod ssh_key;
mod tls;

use std::{io, time::Duration};

use socket2::SockRef;
use tokio::net::TcpStream;

pub use self::{
    greeting::greeting,
    page::{SecurePage, page, secure_page},
    ssh_key::{SshServer, ssh_key},
};
use super::connect::peer;
use crate::model::Address;

/// How long a connection may take to be established. The kernel sends three SYNs within it, after 0, 1 and 3 seconds: one
/// or two that are lost are no silence.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a dialogue may take that begins with a request.
const REQUEST: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NoConnection {
    /// The device has refused it.
    #[error("connection refused")]
    Refused,
    /// Nothing has come back.
    #[error("no reply")]
    Silent,
    /// A local error, which says nothing about the device.
    #[error(transparent)]
    Local(#[from] io::Error),
}

/// Connects, and closes the connection at once without a byte: whether the device replies.
///
/// # Errors
/// There is no connection; see [`NoConnection`].
pub async fn touch(address: &Address, port: u16) -> Result<(), NoConnection> {
    connect(address, port).await.map(drop)
}

/// Establishes a connection that is reset when it is dropped.
async fn connect(address: &Address, port: u16) -> Result<TcpStream, NoConnection> {
    let peer = peer(address, port).map_err(|_| io::Error::from(io::ErrorKind::NetworkUnreachable))?;
    let connected = match tokio::time::timeout(CONNECT, TcpStream::connect(peer)).await {
        Err(_) => return Err(NoConnection::Silent),
        Ok(connected) => connected,
    };
    let stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => NoConnection::Refused,
        // The kernel's own finding that no station has answered ARP, or a router's word.
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => NoConnection::Silent,
        _ => NoConnection::Local(error),
    })?;
    // A port of this machine may connect to itself (RFC 9293, 3.5), and would receive what it sends.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::from(io::ErrorKind::AddrInUse).into());
    }
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(stream)
}

#[cfg(test)]
mod tests;

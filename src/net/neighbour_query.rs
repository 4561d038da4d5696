//! The interface to the methods that find out which station has an address.

use std::{io, net::Ipv4Addr};

use nix::{
    errno::Errno,
    libc::{ENOBUFS, ENOMEM},
};

use crate::model::Mac;

/// A station's reply that it has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourReply {
    /// The queried address.
    pub address: Ipv4Addr,
    /// The MAC in the reply; a single station's.
    pub mac: Mac,
    /// Whether the frame's sender is another station than the one that it reports: repeaters and clusters send such
    /// replies, and so do attackers. Such a reply counts only if no direct reply arrives.
    pub is_relayed: bool,
}

/// Queries which station has an address.
pub trait NeighbourQuery: Send {
    /// Sends one query. The kernel may drop it if buffers are short: the caller repeats it for a silent address.
    ///
    /// # Errors
    /// Fails if the interface is gone, or down.
    fn send_query(&mut self, address: Ipv4Addr) -> io::Result<()>;

    /// Waits for replies. Some may match no query; the caller knows its own queries. Dropping the future at any time
    /// loses no reply.
    ///
    /// # Errors
    /// As [`NeighbourQuery::send_query`].
    fn replies(&mut self) -> impl Future<Output = io::Result<Vec<NeighbourReply>>> + Send;
}

/// Whether the error is a temporary lack of buffers or memory.
pub(super) fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || matches!(error.raw_os_error(), Some(ENOBUFS | ENOMEM))
}

/// Whether this process, or this kind of interface, cannot use the method at all, rather than only for the moment.
pub(super) fn is_denied(error: &io::Error) -> bool {
    // EAFNOSUPPORT: systemd's RestrictAddressFamilies. EPROTONOSUPPORT: a kernel without such sockets.
    let lacks = [Errno::EAFNOSUPPORT, Errno::EPROTONOSUPPORT].map(|errno| Some(errno as i32));
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported)
        || lacks.contains(&error.raw_os_error())
}

//! How to find out which station has an address, by whichever method this process may use.

use std::{io, net::Ipv4Addr};

use crate::model::Mac;

/// "I have this address."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourReply {
    /// The address that was asked for.
    pub address: Ipv4Addr,
    /// The MAC that the reply gives for it; a single station's.
    pub mac: Mac,
    /// The frame's sender is not the station that it reports: repeaters and clusters do that, and so do forgers. It
    /// counts only where no direct reply arrives.
    pub is_relayed: bool,
}

/// Asks which station has an address.
pub trait NeighbourQuery: Send {
    /// Sends one question. A machine that is short of buffers may drop it: a silent address is asked again.
    ///
    /// # Errors
    /// The interface is gone, or down.
    fn ask(&mut self, address: Ipv4Addr) -> io::Result<()>;

    /// Waits for answers. Some may match no question; the caller knows what it asked. Dropping the future at any time
    /// loses no answer.
    ///
    /// # Errors
    /// As [`NeighbourQuery::ask`].
    fn answers(&mut self) -> impl Future<Output = io::Result<Vec<NeighbourReply>>> + Send;
}

/// Whether the machine was only short of something for a moment.
pub(super) fn is_passing(error: &io::Error) -> bool {
    use nix::libc::{ENOBUFS, ENOMEM};
    error.kind() == io::ErrorKind::WouldBlock || matches!(error.raw_os_error(), Some(ENOBUFS | ENOMEM))
}

//! How to find out who has an address, whichever way is open to us.

use std::{io, net::Ipv4Addr};

use crate::model::Mac;

/// "I have this address."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose.
    pub address: Ipv4Addr,
    /// Who says so; one station's.
    pub mac: Mac,
    /// The frame came from another station than the one that it speaks of: repeaters and clusters do that, and
    /// so do forgers. It counts where nobody says so better.
    pub is_relayed: bool,
}

/// Asks addresses who has them.
pub trait Asker: Send {
    /// Asks one. A machine that is short of buffers may keep it to itself: whoever is silent is asked again.
    ///
    /// # Errors
    /// The interface is gone, or down.
    fn ask(&mut self, address: Ipv4Addr) -> io::Result<()>;

    /// Waits for answers. They may be to nobody's question: whoever asked knows. May be dropped at any time
    /// without losing one.
    ///
    /// # Errors
    /// As [`Asker::ask`].
    fn answers(&mut self) -> impl Future<Output = io::Result<Vec<Answer>>> + Send;
}

/// Whether the machine was only short of something for a moment.
pub(super) fn is_passing(error: &io::Error) -> bool {
    use nix::libc::{ENOBUFS, ENOMEM};
    error.kind() == io::ErrorKind::WouldBlock || matches!(error.raw_os_error(), Some(ENOBUFS | ENOMEM))
}

//! The connection from a site to its hub, as a trait: `app` injects the broker's, tests one that loses messages.

use std::{future::Future, pin::Pin};

use super::{HubAnswer, SiteMessage};

/// An answer that is being waited for.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<HubAnswer, LinkError>> + Send + 'a>>;

/// Why there is no answer. The hub may have received the message all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no connection to the broker.
    #[error("the broker cannot be reached: {0}")]
    NoBroker(String),
    /// The broker knows no such certificate.
    #[error(
        "the broker does not accept this appliance's certificate: it was revoked, or is of another hub; enrol the site \
         again at the hub, by portscan hub enrol, and copy its new certificate here"
    )]
    NotEnrolled,
    /// The certificate is another site's.
    #[error(
        "the broker does not let this appliance report as {0}: its certificate is another site's; write that site's name, \
         or copy the certificate of {0} here"
    )]
    OtherSite(super::SiteName),
    /// The broker is there, and the hub is not.
    #[error("the broker answers and the hub does not; check that portscan hub serve runs there")]
    NoHub,
    /// No answer in time.
    #[error("the hub has not answered within {0:?}")]
    TimedOut(std::time::Duration),
    /// The hub's answer cannot be read.
    #[error("the hub's answer cannot be read: {0}")]
    Unreadable(#[from] super::MessageError),
}

/// Sends messages to the hub.
pub trait HubLink: Send + Sync {
    /// Sends a message and returns the answer. Bounded in time.
    fn ask<'a>(&'a self, message: &'a SiteMessage) -> Asking<'a>;
}

//! Asks a neighbour which services it announces (DNS-SD, RFC 6763).
//!
//! By a few unicast questions, not by browsing with mdns-sd: that sends each question about each type to every device by
//! multicast, again and again (RFC 6762, 5.2; for 48 types 192 packets in the first ten seconds, 384 in four minutes),
//! has every device answer to all, and caches what any device announces about any other. Here only the device itself
//! can answer, to this socket alone.
//!
//! | File | Does |
//! |---|---|
//! | `types.rs` | the service types that matter most, and are asked for first |
//! | `conversation.rs` | decides what to ask next, and what to believe of the answers; no I/O |

mod conversation;
mod types;

use std::{io, net::Ipv4Addr};

use self::conversation::{Conversation, Step};
use super::unicast_mdns::UnicastMdns;
use crate::model::Protocol;

/// What a device announces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Its services, each type and port once, the most telling types first.
    pub services: Vec<AnnouncedService>,
    /// The pairs of its `_device-info._tcp` (model, operating system); empty if it has none.
    pub device_info: TxtPairs,
}

/// One service that a device announces at its own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedService {
    /// The type, in lower case: `_googlecast._tcp`.
    pub service_type: String,
    /// TCP or UDP; types of every other protocol are announced as UDP's (RFC 6763, 4.1.2).
    pub protocol: Protocol,
    /// The port, not 0.
    pub port: u16,
    /// What the service says of itself.
    pub txt: TxtPairs,
}

/// Keys and values of a TXT record (RFC 6763, 6): at most 32, as the device sent them except that invalid UTF-8 is
/// replaced.
pub type TxtPairs = Vec<(String, String)>;

/// Asks the neighbour at this address what it announces. `None`: it does not take part in multicast DNS, or has nothing
/// to announce. Sends at most 96 packets, most often 2 to 10, and takes 32 s at most, most often one.
///
/// # Errors
/// Fails if this machine cannot send: it is out of sockets, or has no route.
pub async fn announced(neighbour: Ipv4Addr) -> io::Result<Option<Announced>> {
    let mdns = UnicastMdns::open(neighbour)?;
    let mut conversation = Conversation::new(neighbour);
    while let Some(Step { questions }) = conversation.next() {
        let asked = mdns.ask(&questions, |answer| conversation.take(answer).then_some(())).await;
        match asked {
            // No socket listens there: the neighbour itself reports that.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
            asked => drop(asked?),
        }
    }
    Ok(conversation.announced())
}

//! Resolves addresses to names: by the system's resolver, and by a query to the neighbour itself.

mod message;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use dns_lookup::{LookupErrorKind, lookup_addr};
use nix::sys::socket::{setsockopt, sockopt::DontRoute};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::UdpSocket, time::timeout};

use super::lookup::{PATIENCE, SystemResolver};
use crate::model::{Address, one_line};

/// The port of multicast DNS.
const PORT: u16 = 5353;

/// The delay before a question is repeated, since a question or an answer may be lost.
const AGAIN: Duration = Duration::from_millis(400);

/// The time limit for an answer, over all questions.
const MDNS_PATIENCE: Duration = Duration::from_secs(1);

/// More than an Ethernet frame holds. Longer messages are truncated, and parsed as far as they go.
const LONGEST: usize = 2048;

/// The longest name and label, in octets (RFC 1035, 2.3.4).
const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;

/// The outcome of a query for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameReply {
    /// The name: at most 255 characters, on one line, without invisible or direction-changing characters; HTML and the
    /// like are left to the caller to escape.
    Name(String),
    /// The answer that there is no name.
    Nameless,
    /// No answer, or no usable one.
    Silence,
}

impl SystemResolver {
    /// Looks up the system's name for an address, from /etc/hosts or a name server (a PTR record). Takes 5 s at most,
    /// on one of the resolver's threads.
    pub async fn name_of(&self, address: &Address) -> NameReply {
        let ip = address.ip();
        match timeout(PATIENCE, self.run(move || Ok(lookup_addr(&ip)))).await {
            Ok(Ok(Ok(name))) => fit(&name).map_or(NameReply::Silence, NameReply::Name),
            Ok(Ok(Err(error)))
                if matches!(error.kind(), LookupErrorKind::NoName | LookupErrorKind::NoData) =>
            {
                NameReply::Nameless
            }
            // The name server fails, or takes too long.
            Ok(_) | Err(_) => NameReply::Silence,
        }
    }
}

/// Queries the neighbour at this address for its own name. The query goes only to this neighbour's port 5353 (RFC 6762,
/// 5.5), and comes from another port than 5353, so that the neighbour answers to it alone (6.7). Nothing is sent
/// through a router, even if the routing table has a route. Takes 1 s at most.
///
/// # Errors
/// Fails if this machine cannot send the query: it is out of sockets, or has no route.
pub async fn mdns_name(neighbour: Ipv4Addr) -> io::Result<NameReply> {
    let socket = socket_to(neighbour)?;
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let question = message::question(id, neighbour);
    let ask = async {
        loop {
            socket.send(&question).await?;
            match timeout(AGAIN, answer(&socket, id, neighbour)).await {
                Ok(answer) => return answer,
                Err(_elapsed) => {}
            }
        }
    };
    match timeout(MDNS_PATIENCE, ask).await {
        // No socket listens there: the neighbour itself reports that.
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(NameReply::Silence),
        Ok(reply) => reply,
        Err(_elapsed) => Ok(NameReply::Silence),
    }
}

/// A socket that only sends to this neighbour, and only takes what comes from its port 5353.
fn socket_to(neighbour: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, DontRoute, &true)?;
    // RFC 6762, 11: so that the neighbour can tell that no router has passed it on.
    socket.set_ttl_v4(255)?;
    socket.connect(&SocketAddr::from((neighbour, PORT)).into())?;
    UdpSocket::from_std(socket.into())
}

/// Returns the first message that answers the question; skips others.
async fn answer(socket: &UdpSocket, id: [u8; 2], neighbour: Ipv4Addr) -> io::Result<NameReply> {
    let mut buffer = [0; LONGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(name) = message::answer(&buffer[..length], id, neighbour).and_then(|name| fit(&name)) {
            return Ok(NameReply::Name(name));
        }
    }
}

/// Accepts a name from the network if it can be a host's, and is not in the form of an address, which would mislead.
fn fit(name: &str) -> Option<String> {
    let name = name.trim_end_matches('.');
    let is_label = |label: &str| (1..=LABEL_MAX).contains(&label.len());
    let is_name = name.len() <= NAME_MAX && name.split('.').all(is_label) && name.parse::<IpAddr>().is_err();
    is_name.then(|| one_line(name, NAME_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_possible_host_names_are_accepted() {
        let label = "x".repeat(LABEL_MAX);
        for name in ["nas", "nas.local", "Büro-Drucker.local", &label, "<b>nas</b>"] {
            assert_eq!(fit(name).as_deref(), Some(name));
        }
        assert_eq!(fit("nas.local.").as_deref(), Some("nas.local"));
        assert_eq!(fit("n\u{202e}as\u{1b}[2J\n").as_deref(), Some("n\u{fffd}as\u{fffd}[2J\u{fffd}"));
        let long = [label.as_str(); 5].join(".");
        for name in ["", ".", "a..b", &format!("{label}x"), &long, "192.0.2.1", "2001:db8::1"] {
            assert_eq!(fit(name), None, "{name}");
        }
    }

    #[tokio::test]
    async fn asks_the_system() {
        let loopback = Address::from(Ipv4Addr::LOCALHOST);
        let reply = SystemResolver::default().name_of(&loopback).await;
        assert!(matches!(&reply, NameReply::Name(name) if name.contains("localhost")), "{reply:?}");
    }

    #[tokio::test]
    async fn a_closed_port_is_silence_at_once() {
        // The loopback, of which 127.0.0.9 is as good as any.
        let reply = timeout(Duration::from_millis(300), mdns_name(Ipv4Addr::new(127, 0, 0, 9))).await;
        assert_eq!(reply.unwrap().unwrap(), NameReply::Silence);
    }
}

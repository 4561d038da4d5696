//! Determines from a request's connection and headers which machine sent it.
//!
//! A forwarder on this machine (socat, `ssh -L -g`, `HAProxy`, docker-proxy) connects from a loopback address on behalf
//! of each of its clients, and adds no header. Its clients still name in Host the address at which they reached the
//! forwarder, so a request counts as this machine's own only if Host names the loopback, or exactly the address and
//! port to which a program here connected. A client that knows of the forwarder can still name the loopback:
//! against that only `trust` without the loopback helps.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use axum::extract::FromRequestParts;
use hyper::{
    Uri,
    header::{self, HeaderMap, HeaderName},
    http::request::Parts,
};
use ipnet::IpNet;
use tokio::net::TcpStream;

use super::host_allowlist::{Authority, authority};

/// The headers that a proxy adds: the peer is the proxy, and the client behind it is unknown.
const FORWARDED: [HeaderName; 6] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// The port of a URL without one.
const HTTP: u16 = 80;

/// The two ends of a connection; an IPv4-mapped address is converted to the IPv4 address.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionEnds {
    pub(super) peer: SocketAddr,
    /// This machine's end.
    local: SocketAddr,
}

impl ConnectionEnds {
    /// # Errors
    /// Fails if the kernel no longer knows the connection.
    pub(super) fn of(stream: &TcpStream, mut peer: SocketAddr) -> io::Result<Self> {
        let mut local = stream.local_addr()?;
        peer.set_ip(peer.ip().to_canonical());
        local.set_ip(local.ip().to_canonical());
        Ok(Self { peer, local })
    }

    /// Whether both ends are on this machine: no other one can complete a handshake from an address of this machine.
    pub(super) fn are_here(self) -> bool {
        self.peer.ip().is_loopback() || self.peer.ip() == self.local.ip()
    }
}

/// The sender of a request. One of the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// A program on this machine, connected from this address.
    ThisMachine(IpAddr),
    /// A client of the proxy or forwarder that is connected from this address.
    Forwarded(IpAddr),
    /// Another machine, with this address.
    Other(IpAddr),
}

impl Sender {
    /// An unknown sender, which is not trusted at all.
    const UNKNOWN: Self = Self::Forwarded(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

    pub(super) fn of(ends: ConnectionEnds, uri: &Uri, headers: &HeaderMap) -> Self {
        let Ok(asked) = authority(uri, headers) else { return Self::UNKNOWN };
        Self::at(ends, asked, FORWARDED.iter().any(|name| headers.contains_key(name)))
    }

    fn at(ends: ConnectionEnds, asked: Authority<'_>, is_forwarded: bool) -> Self {
        let (peer, local) = (ends.peer.ip(), ends.local);
        let names_here = if peer.is_loopback() {
            asked.is_loopback()
        } else {
            asked.ip() == Some(local.ip()) && asked.port.unwrap_or(HTTP) == local.port()
        };
        match (ends.are_here(), names_here) {
            _ if is_forwarded => Self::Forwarded(peer),
            (true, true) => Self::ThisMachine(peer),
            (true, false) => Self::Forwarded(peer),
            (false, _) => Self::Other(peer),
        }
    }

    /// Whether it is a program on this machine.
    pub(super) const fn is_this_machine(self) -> bool {
        matches!(self, Self::ThisMachine(_))
    }

    /// Whether it is in one of these networks; this machine counts as in that of its loopback, from whichever of its
    /// addresses it connects.
    pub(super) fn is_within(self, networks: &[IpNet]) -> bool {
        let has = |address: IpAddr| networks.iter().any(|network| network.contains(&address));
        match self {
            Self::ThisMachine(address @ IpAddr::V4(_)) => has(address) || has(Ipv4Addr::LOCALHOST.into()),
            Self::ThisMachine(address @ IpAddr::V6(_)) => has(address) || has(Ipv6Addr::LOCALHOST.into()),
            Self::Other(address) => has(address),
            Self::Forwarded(_) => false,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // A request without a connection has no sender.
        Ok(parts.extensions.get().copied().unwrap_or(Self::UNKNOWN))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn ends(peer: &str, local: &str) -> ConnectionEnds {
        ConnectionEnds { peer: SocketAddr::new(peer.parse().unwrap(), 40_000), local: local.parse().unwrap() }
    }

    /// The sender of a request by the connection's two ends and the Host.
    fn sender(peer: &str, local: &str, host: &str) -> Sender {
        Sender::at(ends(peer, local), Authority::parse(host).unwrap(), false)
    }

    const HERE: &str = "here";
    const FORWARDER: &str = "forwarder";
    const OTHER: &str = "other";

    #[rstest]
    // Over the loopback, under its own names.
    #[case("127.0.0.1", "127.0.0.1:80", "localhost", HERE)]
    #[case("127.0.0.1", "127.0.0.1:80", "LOCALHOST.:80", HERE)]
    #[case("127.0.0.1", "127.0.0.1:80", "127.0.0.1", HERE)]
    #[case("127.0.0.1", "127.0.1.1:80", "127.0.1.1", HERE)]
    #[case("127.0.0.1", "127.0.0.1:80", "127.9.9.9", HERE)]
    #[case("127.0.0.1", "127.0.0.1:80", "[::ffff:127.0.0.1]", HERE)]
    #[case("127.0.0.1", "127.0.0.1:80", "[::ffff:7f00:1]:80", HERE)]
    #[case("::1", "[::1]:80", "[::1]", HERE)]
    #[case("::1", "[::1]:80", "localhost", HERE)]
    // A tunnel by ssh from a user's own machine: only its two ends can use it.
    #[case("127.0.0.1", "127.0.0.1:80", "localhost:8080", HERE)]
    // Through a forwarder on this machine, under the address at which the client reached the forwarder.
    #[case("127.0.0.1", "127.0.0.1:80", "192.168.1.2:8080", FORWARDER)]
    #[case("127.0.0.1", "127.0.0.1:80", "192.168.1.2", FORWARDER)]
    #[case("127.0.0.1", "127.0.0.1:80", "pi", FORWARDER)]
    #[case("127.0.0.1", "127.0.0.1:80", "portscan.local", FORWARDER)]
    #[case("127.0.0.1", "127.0.0.1:80", "localhost.lan", FORWARDER)]
    #[case("127.0.0.1", "127.0.0.1:80", "0.0.0.0", FORWARDER)]
    #[case("127.0.0.1", "127.0.0.1:80", "[::]", FORWARDER)]
    #[case("127.0.0.1", "127.0.0.1:80", "[::ffff:192.168.1.2]", FORWARDER)]
    #[case("::1", "[::1]:80", "[fd00::2]:8080", FORWARDER)]
    // From this machine to its own address.
    #[case("192.168.1.2", "192.168.1.2:80", "192.168.1.2", HERE)]
    #[case("192.168.1.2", "192.168.1.2:80", "192.168.1.2:80", HERE)]
    #[case("192.168.1.2", "192.168.1.2:8080", "192.168.1.2:8080", HERE)]
    #[case("192.168.1.2", "192.168.1.2:80", "[::ffff:192.168.1.2]", HERE)]
    #[case("fd00::2", "[fd00::2]:80", "[fd00::2]", HERE)]
    #[case("fe80::2", "[fe80::2]:80", "[fe80::2%25eth0]", HERE)]
    // Through a forwarder on this machine that connects to the machine's own address.
    #[case("192.168.1.2", "192.168.1.2:80", "192.168.1.2:8080", FORWARDER)]
    #[case("192.168.1.2", "192.168.1.2:8080", "192.168.1.2", FORWARDER)]
    #[case("192.168.1.2", "192.168.1.2:80", "10.0.0.2", FORWARDER)]
    #[case("192.168.1.2", "192.168.1.2:80", "localhost", FORWARDER)]
    #[case("192.168.1.2", "192.168.1.2:80", "pi.local", FORWARDER)]
    #[case("fd00::2", "[fd00::2]:80", "[fd00::3]", FORWARDER)]
    // Another machine, regardless of its headers.
    #[case("192.168.1.7", "192.168.1.2:80", "192.168.1.2", OTHER)]
    #[case("192.168.1.7", "192.168.1.2:80", "localhost", OTHER)]
    #[case("192.168.1.7", "192.168.1.2:80", "192.168.1.7", OTHER)]
    #[case("fd00::7", "[fd00::2]:80", "[::1]", OTHER)]
    fn a_request_is_this_machines_own_only_under_the_address_that_it_connected_to(
        #[case] peer: &str,
        #[case] local: &str,
        #[case] host: &str,
        #[case] expected: &str,
    ) {
        let address: IpAddr = peer.parse().unwrap();
        let expected = match expected {
            HERE => Sender::ThisMachine(address),
            FORWARDER => Sender::Forwarded(address),
            _ => Sender::Other(address),
        };
        assert_eq!(sender(peer, local, host), expected);
        let asked = Authority::parse(host).unwrap();
        let by_proxy = Sender::at(ends(peer, local), asked, true);
        assert_eq!(by_proxy, Sender::Forwarded(address));
    }

    #[test]
    fn this_machine_is_trusted_with_its_loopback_and_a_forwarder_never() {
        let networks = |text: &str| -> Vec<IpNet> {
            text.split_whitespace().map(|network| network.parse().unwrap()).collect()
        };
        let default = networks("127.0.0.0/8 ::1/128");
        let lan = networks("192.168.1.0/24");
        let own: IpAddr = "192.168.1.2".parse().unwrap();
        for (sender, by_default, by_lan) in [
            (Sender::ThisMachine(Ipv4Addr::LOCALHOST.into()), true, false),
            (Sender::ThisMachine(Ipv6Addr::LOCALHOST.into()), true, false),
            (Sender::ThisMachine(own), true, true),
            (Sender::Forwarded(Ipv4Addr::LOCALHOST.into()), false, false),
            (Sender::Forwarded(own), false, false),
            (Sender::Other(own), false, true),
        ] {
            assert_eq!(
                (sender.is_within(&default), sender.is_within(&lan)),
                (by_default, by_lan),
                "{sender:?}"
            );
            assert!(!sender.is_within(&[]), "{sender:?}");
        }
    }
}

//! Defines which addresses count as one client.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

/// The key for quotas: addresses with the same key count as one client.
///
/// IPv6 addresses count by their /64, within which a host can have any number of addresses (RFC 8981). A link-local
/// address counts by itself and its interface, because all of a network share one /64. An IPv4-mapped address counts as
/// the IPv4 address that it maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PeerKey {
    ip: IpAddr,
    /// The interface's index for a link-local address, else 0.
    scope: u32,
}

/// The first 64 bits.
const NETWORK: u128 = !(u64::MAX as u128);

impl PeerKey {
    /// The key of this address.
    pub(super) fn of(peer: SocketAddr) -> Self {
        let ip = match peer.ip().to_canonical() {
            IpAddr::V6(ip) if ip.is_unicast_link_local() || ip.is_loopback() => IpAddr::V6(ip),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & NETWORK)),
            ip @ IpAddr::V4(_) => ip,
        };
        let scope = match peer {
            SocketAddr::V6(peer) if peer.ip().is_unicast_link_local() => peer.scope_id(),
            _ => 0,
        };
        Self { ip, scope }
    }

    /// Whether the client is a process on this machine, which may be a proxy for many clients.
    pub(super) const fn is_loopback(self) -> bool {
        self.ip.is_loopback()
    }
}

/// As shown in the log: `192.0.2.1`, `2001:db8::/64`, `fe80::1%2`.
impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => write!(f, "{ip}%{}", self.scope),
            IpAddr::V6(ip) if !ip.is_loopback() => write!(f, "{ip}/64"),
            ip => ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(peer: &str) -> String {
        PeerKey::of(peer.parse().unwrap()).to_string()
    }

    #[test]
    fn a_peer_is_shown_as_it_is_counted() {
        for (peer, named) in [
            ("192.0.2.1:40000", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:40000", "192.0.2.1"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:1", "::1"),
            ("[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::/64"),
            ("[fd00::1]:1", "fd00::/64"),
            ("[fe80::1%2]:1", "fe80::1%2"),
        ] {
            assert_eq!(key(peer), named, "{peer}");
        }
    }

    #[test]
    fn addresses_of_one_host_share_a_key_and_those_of_two_do_not() {
        for (one, other, is_shared) in [
            ("192.0.2.1:1", "192.0.2.1:2", true),
            ("192.0.2.1:1", "[::ffff:192.0.2.1]:2", true),
            ("192.0.2.1:1", "192.0.2.2:1", false),
            ("[2001:db8::1]:1", "[2001:db8::ffff:ffff:ffff:ffff]:1", true),
            ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false),
            ("[fe80::1%2]:1", "[fe80::1%2]:2", true),
            ("[fe80::1%2]:1", "[fe80::2%2]:1", false),
            ("[fe80::1%2]:1", "[fe80::1%3]:1", false),
            // The scope is no part of a global address, nor of its key.
            ("[2001:db8::1%2]:1", "[2001:db8::1%3]:1", true),
        ] {
            assert_eq!(key(one) == key(other), is_shared, "{one} {other}");
        }
        assert!(PeerKey::of("127.8.9.1:1".parse().unwrap()).is_loopback());
        assert!(PeerKey::of("[::ffff:127.0.0.1]:1".parse().unwrap()).is_loopback());
        assert!(PeerKey::of("[::1]:1".parse().unwrap()).is_loopback());
        assert!(!PeerKey::of("192.0.2.1:1".parse().unwrap()).is_loopback());
    }
}

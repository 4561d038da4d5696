//! The UDP ports that are scanned by default, what each is sent, and the ports that are never sent anything.

use super::requests::{
    A2S, CLDAP, COAP, DHT, DNS, DTLS, ECHO, EMPTY, HDHOMERUN, IKE, IKE_NAT, JELLYFIN, KERBEROS, LIFX, MDNS,
    MEMCACHED, MOUNT, MS_SQL, MUMBLE, NAT_PMP, NETBIOS, NFS, NTP, OPENVPN, RAKNET, RMCP, RPCBIND, SIP, SLP,
    SNMP_V1, SNMP_V3, SSDP, STUN, TFTP, WS_DISCOVERY, XDMCP,
};
use crate::model::PortSet;

/// A service that answers by UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpService {
    /// The port that it usually has.
    pub port: u16,
    /// Its name, in IANA's words where it has one.
    pub name: &'static str,
    /// What it is sent: the first request first, and the next ones, in turn, if that stays unanswered.
    pub requests: &'static [&'static [u8]],
    /// Whether it answers from another port than the one that was asked.
    pub answers_from_any_port: bool,
}

const fn known(port: u16, name: &'static str, requests: &'static [&'static [u8]]) -> UdpService {
    UdpService { port, name, requests, answers_from_any_port: false }
}

/// The services that are known, ascending by port. Left out are those that answer only to a client with a key
/// (WireGuard, RADIUS, Tailscale), to a datagram of 1,200 bytes (QUIC) or to another port than the asker's (DHCP),
/// those that only listen (syslog), and those whose only answer is long or costs the device something (chargen, RIP,
/// L2TP).
static SERVICES: [UdpService; 40] = [
    known(7, "echo", &[ECHO]),
    known(13, "daytime", &[EMPTY]),
    known(37, "time", &[EMPTY]),
    known(53, "domain", &[DNS]),
    // RFC 1350, 4: the server's end of a transfer has a port of its own.
    UdpService { port: 69, name: "tftp", requests: &[TFTP], answers_from_any_port: true },
    known(88, "kerberos", &[KERBEROS]),
    known(111, "sunrpc", &[RPCBIND]),
    known(123, "ntp", &[NTP]),
    known(137, "netbios-ns", &[NETBIOS]),
    // Version 3 first: it takes no password. Only an agent that does not know it is asked as printers' drivers do.
    known(161, "snmp", &[SNMP_V3, SNMP_V1]),
    known(177, "xdmcp", &[XDMCP]),
    known(389, "ldap", &[CLDAP]),
    known(427, "svrloc", &[SLP]),
    known(500, "isakmp", &[IKE]),
    known(623, "asf-rmcp", &[RMCP]),
    known(853, "domain-s", &[DTLS]),
    known(1194, "openvpn", &[OPENVPN]),
    known(1434, "ms-sql-m", &[MS_SQL]),
    known(1900, "ssdp", &[SSDP]),
    known(2049, "nfs", &[NFS]),
    known(3478, "stun", &[STUN]),
    known(3479, "stun", &[STUN]),
    known(3702, "ws-discovery", &[WS_DISCOVERY]),
    known(4500, "ipsec-nat-t", &[IKE_NAT]),
    known(5060, "sip", &[SIP]),
    known(5349, "stuns", &[DTLS]),
    known(5351, "nat-pmp", &[NAT_PMP]),
    known(5353, "mdns", &[MDNS]),
    known(5683, "coap", &[COAP]),
    known(5684, "coaps", &[DTLS]),
    known(6881, "bittorrent-dht", &[DHT]),
    known(7359, "jellyfin", &[JELLYFIN]),
    known(11_211, "memcache", &[MEMCACHED]),
    known(19_132, "minecraft-bedrock", &[RAKNET]),
    known(20_048, "mountd", &[MOUNT]),
    known(27_015, "source-engine", &[A2S]),
    known(51_413, "bittorrent-dht", &[DHT]),
    known(56_700, "lifx", &[LIFX]),
    known(64_738, "mumble", &[MUMBLE]),
    known(65_001, "hdhomerun", &[HDHOMERUN]),
];

/// Ports of machine controls and debuggers that UDP alone has, by their makers' documents: they are never sent a
/// datagram, as are those to which no connection is made for identification.
const CONTROLS: &[(u16, u16)] = &[
    // FOUNDATION Fieldbus HSE, EtherNet/IP's I/O, Emerson ROC, the debugger of VxWorks.
    (1089, 1091),
    (2222, 2222),
    (4000, 4000),
    (17_185, 17_185),
    // EtherCAT, BACnet/IP's further networks, FL-net.
    (34_980, 34_980),
    (47_808, 47_823),
    (55_000, 55_003),
];

/// Whether a port belongs to a machine control by UDP.
pub fn is_control(port: u16) -> bool {
    CONTROLS.iter().any(|(first, last)| (*first..=*last).contains(&port))
}

/// The service that is known on a port; `None`: it is asked by an empty datagram.
pub fn service(port: u16) -> Option<&'static UdpService> {
    let place = SERVICES.binary_search_by_key(&port, |service| service.port).ok()?;
    SERVICES.get(place)
}

/// The ports of all known services.
pub fn known_ports() -> PortSet {
    SERVICES.iter().map(|service| service.port).collect()
}

#[cfg(test)]
mod tests;

//! The datagrams that ask a service whether it is there, each written from the specification that it names.
//!
//! Each is small, changes nothing at the device, takes no password, and asks for a small answer: no list of peers
//! (`monlist`), no statistics, no transfer. Where a protocol has a message that is for nothing but this (a ping, an
//! `OPTIONS`, the call of procedure 0), it is that one. The test of `services` bounds and decodes them.

/// Any datagram is echoed (RFC 862).
pub(super) const ECHO: &[u8] = b"portscan";
/// A datagram without a byte: enough for the time of day (RFC 867, RFC 868).
pub(super) const EMPTY: &[u8] = b"";

/// DNS (RFC 1035, 4.1): the address of `localhost`, which every server answers by itself (RFC 6761, 6.3).
pub(super) const DNS: &[u8] = b"ps\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01";

/// TFTP (RFC 1350, 5): to read a file that does not exist; the answer is an error, from another port (RFC 1350, 4).
pub(super) const TFTP: &[u8] = b"\0\x01portscan-no-such-file\0octet\0";

/// Kerberos (RFC 4120, 5.4.1): an AS-REQ of a principal in a realm that do not exist, without proof of a password. The
/// answer is a KRB-ERROR.
pub(super) const KERBEROS: &[u8] =
    b"\x6a\x7d\x30\x7b\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a\xa4\x6f\x30\x6d\
    \xa0\x07\x03\x05\0\0\0\0\0\
    \xa1\x15\x30\x13\xa0\x03\x02\x01\x01\xa1\x0c\x30\x0a\x1b\x08portscan\
    \xa2\x0a\x1b\x08PORTSCAN\
    \xa3\x1d\x30\x1b\xa0\x03\x02\x01\x02\xa1\x14\x30\x12\x1b\x06krbtgt\x1b\x08PORTSCAN\
    \xa5\x11\x18\x0f19700101000000Z\
    \xa7\x06\x02\x04pscn\
    \xa8\x05\x30\x03\x02\x01\x12";

/// ONC RPC (RFC 5531, 9): a call of procedure 0, which does nothing, of rpcbind's program 100000, version 2 (RFC 1833).
pub(super) const RPCBIND: &[u8] =
    b"pscn\0\0\0\0\0\0\0\x02\0\x01\x86\xa0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// The same of NFS: program 100003, version 3 (RFC 1813, 3).
pub(super) const NFS: &[u8] =
    b"pscn\0\0\0\0\0\0\0\x02\0\x01\x86\xa3\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// The same of the mount protocol: program 100005, version 3 (RFC 1813, 5).
pub(super) const MOUNT: &[u8] =
    b"pscn\0\0\0\0\0\0\0\x02\0\x01\x86\xa5\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// NTP (RFC 5905, 7.3): a client's request, version 4, mode 3; the last field is the transmit timestamp.
pub(super) const NTP: &[u8] =
    b"\x23\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0portscan";

/// NetBIOS name service (RFC 1002, 4.2.17): the node status of `*`, whose first-level encoding is `CK` and 30 times
/// `A`.
pub(super) const NETBIOS: &[u8] =
    b"ps\0\0\0\x01\0\0\0\0\0\0\x20CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\0\0\x21\0\x01";

/// SNMP version 3 (RFC 3412, 6; RFC 3414, 4): the discovery of the engine, by a GetRequest of nothing without a user.
/// The answer is a report. It takes no password.
pub(super) const SNMP_V3: &[u8] = b"\x30\x3e\x02\x01\x03\
    \x30\x11\x02\x04pscn\x02\x03\0\xff\xe3\x04\x01\x04\x02\x01\x03\
    \x04\x10\x30\x0e\x04\0\x02\x01\0\x02\x01\0\x04\0\x04\0\x04\0\
    \x30\x14\x04\0\x04\0\xa0\x0e\x02\x04pscn\x02\x01\0\x02\x01\0\x30\0";
/// SNMP version 1 (RFC 1157, 4.1.2): sysDescr.0 (RFC 1213) of the community `public`.
pub(super) const SNMP_V1: &[u8] = b"\x30\x29\x02\x01\0\x04\x06public\
    \xa0\x1c\x02\x04pscn\x02\x01\0\x02\x01\0\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\0\x05\0";

/// XDMCP (X.Org, X Display Manager Control Protocol 1.1): a Query without names of authentication.
pub(super) const XDMCP: &[u8] = b"\0\x01\0\x02\0\x01\0";

/// LDAP over UDP (RFC 4511, 4.5.1; MS-ADTS, 6.3.3): one attribute of the root entry.
pub(super) const CLDAP: &[u8] =
    b"\x30\x3b\x02\x01\x01\x63\x36\x04\0\x0a\x01\0\x0a\x01\0\x02\x01\0\x02\x01\0\x01\x01\0\
    \x87\x0bobjectClass\x30\x16\x04\x14supportedLDAPVersion";

/// SLP version 2 (RFC 2608, 8.1): a request for a service that does not exist; asked alone, a server answers that none
/// is there.
pub(super) const SLP: &[u8] =
    b"\x02\x01\0\0\x31\0\0\0\0\0ps\0\x02en\0\0\0\x10service:portscan\0\x07DEFAULT\0\0\0\0";

/// The IKE_SA_INIT (RFC 7296, 1.2) that both of IKE's ports get: one proposal (ChaCha20-Poly1305, HMAC-SHA-256,
/// Curve25519; RFC 7634, RFC 8031), the public key 9 and a nonce. The answer may be that no proposal was chosen.
macro_rules! ike_sa_init {
    () => {
        concat!(
            "portscan\0\0\0\0\0\0\0\0\x21\x20\x22\x08\0\0\0\0\0\0\0\x7c",
            "\x22\0\0\x24\0\0\0\x20\x01\x01\0\x03",
            "\x03\0\0\x08\x01\0\0\x1c\x03\0\0\x08\x02\0\0\x05\0\0\0\x08\x04\0\0\x1f",
            "\x28\0\0\x28\0\x1f\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "\0\0\0\x14portscanportscan"
        )
    };
}
/// IKE version 2 at its own port.
pub(super) const IKE: &[u8] = ike_sa_init!().as_bytes();
/// The same where ESP is carried in UDP, behind the marker that it is not ESP (RFC 3948, 2.2).
pub(super) const IKE_NAT: &[u8] = concat!("\0\0\0\0", ike_sa_init!()).as_bytes();

/// ASF 2.0 (DMTF DSP0136, 3.2.4.3): a presence ping in RMCP, to which a server's management processor answers.
pub(super) const RMCP: &[u8] = b"\x06\0\xff\x06\0\0\x11\xbe\x80\0\0\0";

/// A DTLS 1.2 ClientHello without a cookie (RFC 6347, 4.2.1), with suites of RFC 5289, RFC 7251 and RFC 6655. The
/// answer is a cookie; the server keeps nothing.
pub(super) const DTLS: &[u8] = b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x54\
    \x01\0\0\x48\0\0\0\0\0\0\0\x48\
    \xfe\xfdportscanportscanportscanportscan\0\0\
    \0\x08\xc0\x2b\xc0\x2f\xc0\xae\xc0\xa8\x01\0\
    \0\x16\0\x0a\0\x04\0\x02\0\x17\0\x0d\0\x04\0\x02\x04\x03\0\x0b\0\x02\x01\0";

/// OpenVPN (its protocol documentation, `P_CONTROL_HARD_RESET_CLIENT_V2`): the first packet of a session, without a
/// key.
pub(super) const OPENVPN: &[u8] = b"\x38portscan\0\0\0\0\0";

/// SQL Server's resolution protocol (MC-SQLR, 2.2.3): the port of the instance with the default name, not the list of
/// all.
pub(super) const MS_SQL: &[u8] = b"\x04MSSQLSERVER\0";

/// SSDP (UPnP Device Architecture 2.0, 1.3.2): a search of one device; one answer for each root device.
pub(super) const SSDP: &[u8] =
    b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
    ST: upnp:rootdevice\r\n\r\n";

/// STUN (RFC 8489, 5 and 6): a Binding request without attributes.
pub(super) const STUN: &[u8] = b"\0\x01\0\0\x21\x12\xa4\x42portscan-udp";

/// WS-Discovery (April 2005, 5.2): a probe for any device, in SOAP 1.2.
pub(super) const WS_DISCOVERY: &[u8] = b"<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
    xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\"><s:Header>\
    <a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action>\
    <a:MessageID>urn:uuid:706f7274-7363-416e-8000-000000000001</a:MessageID>\
    <a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header><s:Body>\
    <Probe xmlns=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\"/></s:Body></s:Envelope>";

/// SIP (RFC 3261, 11; RFC 3581): what it can do; with `Max-Forwards: 0` it is passed on to no other server.
pub(super) const SIP: &[u8] = b"OPTIONS sip:portscan.invalid SIP/2.0\r\n\
    Via: SIP/2.0/UDP portscan.invalid;branch=z9hG4bKportscan;rport\r\nMax-Forwards: 0\r\n\
    From: <sip:portscan@portscan.invalid>;tag=portscan\r\nTo: <sip:portscan.invalid>\r\n\
    Call-ID: portscan@portscan.invalid\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

/// NAT-PMP (RFC 6886, 3.2): the external address; it opens no port.
pub(super) const NAT_PMP: &[u8] = b"\0\0";

/// Multicast DNS, asked by unicast from another port (RFC 6762, 5.5 and 6.7): the types of its services (RFC 6763, 9).
pub(super) const MDNS: &[u8] =
    b"ps\0\0\0\x01\0\0\0\0\0\0\x09_services\x07_dns-sd\x04_udp\x05local\0\0\x0c\0\x01";

/// CoAP (RFC 7252, 4.3): an empty confirmable message, its ping. The answer is a reset.
pub(super) const COAP: &[u8] = b"\x40\0ps";

/// BitTorrent's DHT (BEP 5; BEP 43): a ping of a read-only node, which no routing table takes in.
pub(super) const DHT: &[u8] = b"d1:ad2:id20:portscan-udp-scan-00e1:q4:ping2:roi1e1:t2:ps1:y1:qe";

/// Jellyfin's discovery (its documentation, Networking, "Port bindings").
pub(super) const JELLYFIN: &[u8] = b"Who is JellyfinServer?";

/// memcached (its protocol.txt, "UDP protocol"): its version, behind a frame header.
pub(super) const MEMCACHED: &[u8] = b"ps\0\0\0\x01\0\0version\r\n";

/// RakNet (its `MessageIdentifiers.h`): an unconnected ping: a time, the magic number, the client's number.
pub(super) const RAKNET: &[u8] =
    b"\x01\0\0\0\0\0\0\0\0\0\xff\xff\0\xfe\xfe\xfe\xfe\xfd\xfd\xfd\xfd\x12\x34\x56\x78portscan";

/// A game server on Valve's engine (Valve Developer Community, "Server queries"): A2S_INFO; today the answer is a
/// challenge.
pub(super) const A2S: &[u8] = b"\xff\xff\xff\xffTSource Engine Query\0";

/// LIFX lamps (LIFX LAN Protocol, "Packet contents"): GetService, message 2, to all lamps at the address.
pub(super) const LIFX: &[u8] = b"\x24\0\0\x34port\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0";

/// Mumble (its protocol documentation, "UDP ping"): type 0 and a number that is returned.
pub(super) const MUMBLE: &[u8] = b"\0\0\0\0portscan";

/// HDHomeRun (libhdhomerun, `hdhomerun_pkt.h`): a discovery of any device, with its CRC-32.
pub(super) const HDHOMERUN: &[u8] =
    b"\0\x02\0\x0c\x01\x04\xff\xff\xff\xff\x02\x04\xff\xff\xff\xff\x73\xcc\x7d\x8f";

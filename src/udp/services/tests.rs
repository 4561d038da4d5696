//! Each datagram is taken apart by the rules of its specification.

use super::*;

/// The larger of the bounds that a request must keep: no fragment on any link (RFC 791: 576 octets with headers).
const LONGEST: usize = 512;

fn be16(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn the_list_is_ascending_and_every_request_is_small() {
    assert!(SERVICES.windows(2).all(|pair| pair[0].port < pair[1].port), "each port once");
    for service in &SERVICES {
        assert!(!service.requests.is_empty() && !service.name.is_empty(), "{service:?}");
        for request in service.requests {
            assert!(request.len() <= LONGEST, "{}: {} bytes", service.name, request.len());
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(service.name.chars().all(plain), "{}", service.name);
        assert!(!is_control(service.port), "{}", service.name);
        assert_eq!(super::service(service.port), Some(service));
    }
    assert_eq!(super::service(1), None);
    assert_eq!(known_ports().len(), 40);
}

#[test]
fn ports_of_machine_controls_are_known() {
    for port in [2222, 4000, 17_185, 34_980, 47_808, 47_823, 55_003] {
        assert!(is_control(port), "{port}");
    }
    assert!(![53, 161, 2221, 47_824].into_iter().any(is_control));
}

/// A name of labels behind the header; returns what follows.
fn dns_name(mut bytes: &[u8]) -> (Vec<String>, &[u8]) {
    let mut labels = Vec::new();
    while let [length @ 1..=63, rest @ ..] = bytes {
        let (label, rest) = rest.split_at(usize::from(*length));
        labels.push(String::from_utf8(label.to_vec()).unwrap());
        bytes = rest;
    }
    assert_eq!(bytes[0], 0);
    (labels, &bytes[1..])
}

#[test]
fn dns_mdns_and_netbios_ask_one_question() {
    for (request, flags, name, question) in [
        (DNS, 0x0100, vec!["localhost"], [0, 1, 0, 1]),
        (MDNS, 0, vec!["_services", "_dns-sd", "_udp", "local"], [0, 12, 0, 1]),
        (NETBIOS, 0, vec!["CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"], [0, 0x21, 0, 1]),
    ] {
        assert_eq!(be16(request, 2), flags);
        assert_eq!([4, 6, 8, 10].map(|at| be16(request, at)), [1, 0, 0, 0], "one question, nothing else");
        let (labels, rest) = dns_name(&request[12..]);
        assert_eq!((labels, rest), (name.into_iter().map(str::to_owned).collect(), &question[..]));
    }
}

/// The elements of a BER text that has only short lengths; panics unless they fill it.
fn ber(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut elements = Vec::new();
    while let [tag, length, rest @ ..] = bytes {
        assert!(*length < 0x80, "a short length");
        let (value, rest) = rest.split_at(usize::from(*length));
        elements.push((*tag, value));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "nothing is left");
    elements
}

/// The only element of a text.
fn only(bytes: &[u8], tag: u8) -> &[u8] {
    let elements = ber(bytes);
    assert_eq!(elements.len(), 1);
    assert_eq!(elements[0].0, tag);
    elements[0].1
}

#[test]
fn snmp_version_3_discovers_the_engine_without_a_user() {
    let message = ber(only(SNMP_V3, 0x30));
    assert_eq!(message[0], (2, &[3][..]));
    let header = ber(message[1].1);
    assert_eq!(header[2], (4, &[4][..]), "reportable, neither authenticated nor encrypted");
    assert_eq!(header[3], (2, &[3][..]), "the user-based model");
    let security = ber(only(message[2].1, 0x30));
    let expected: [(u8, &[u8]); 6] = [(4, b""), (2, &[0]), (2, &[0]), (4, b""), (4, b""), (4, b"")];
    assert_eq!(security, expected);
    let scoped = ber(message[3].1);
    let (kind, pdu) = scoped[2];
    assert_eq!((kind, ber(pdu).len(), ber(pdu)[3]), (0xa0, 4, (0x30, &b""[..])), "a get of nothing");
    assert_eq!(service(161).unwrap().requests, [SNMP_V3, SNMP_V1], "the community comes second");
}

#[test]
fn snmp_version_1_gets_the_description_and_sets_nothing() {
    let message = ber(only(SNMP_V1, 0x30));
    assert_eq!(message[..2], [(2, &[0][..]), (4, &b"public"[..])]);
    let (kind, pdu) = message[2];
    assert_eq!(kind, 0xa0, "GetRequest; a SetRequest is 0xa3");
    let bindings = ber(pdu)[3].1;
    let binding = ber(only(bindings, 0x30));
    assert_eq!(binding, [(6, &[0x2b, 6, 1, 2, 1, 1, 1, 0][..]), (5, &b""[..])]);
}

#[test]
fn kerberos_asks_for_a_ticket_without_a_password() {
    let request = ber(only(only(KERBEROS, 0x6a), 0x30));
    let numbers: Vec<_> = request.iter().map(|(tag, _)| tag & 0x1f).collect();
    assert_eq!(numbers, [1, 2, 4], "version, type and body; no pre-authentication, which is 3");
    assert_eq!([only(request[0].1, 2), only(request[1].1, 2)], [&[5][..], &[10][..]]);
    let body = ber(only(request[2].1, 0x30));
    assert_eq!(body.iter().map(|(tag, _)| tag & 0x1f).collect::<Vec<_>>(), [0, 1, 2, 3, 5, 7, 8]);
    let name = |field: &[u8]| -> Vec<String> {
        let strings = ber(only(ber(only(field, 0x30))[1].1, 0x30));
        strings.into_iter().map(|(_, text)| String::from_utf8(text.to_vec()).unwrap()).collect()
    };
    assert_eq!(name(body[1].1), ["portscan"]);
    assert_eq!(only(body[2].1, 0x1b), b"PORTSCAN");
    assert_eq!(name(body[3].1), ["krbtgt", "PORTSCAN"]);
    assert_eq!(only(body[4].1, 0x18).len(), 15, "YYYYMMDDHHMMSSZ");
    assert_eq!(only(body[5].1, 2).len(), 4);
}

#[test]
fn ldap_reads_one_attribute_of_the_root() {
    let message = ber(only(CLDAP, 0x30));
    let (tag, search) = message[1];
    assert_eq!(tag, 0x63, "SearchRequest");
    let fields = ber(search);
    assert_eq!(fields[..3], [(4, &b""[..]), (10, &[0][..]), (10, &[0][..])], "the root alone");
    assert_eq!(fields[6], (0x87, &b"objectClass"[..]));
    assert_eq!(only(fields[7].1, 4), b"supportedLDAPVersion");
}

#[test]
fn rpc_calls_procedure_0_which_does_nothing() {
    for (request, program, version) in [(RPCBIND, 100_000, 2), (NFS, 100_003, 3), (MOUNT, 100_005, 3)] {
        assert_eq!(request.len(), 40);
        let words: Vec<u32> = (4..40).step_by(4).map(|at| be32(request, at)).collect();
        assert_eq!(words, [0, 2, program, version, 0, 0, 0, 0, 0], "a call; no credentials");
    }
}

#[test]
fn ntp_asks_for_the_time_as_a_client() {
    assert_eq!(NTP.len(), 48);
    assert_eq!((NTP[0] >> 3 & 7, NTP[0] & 7), (4, 3), "version 4; mode 3, and not 6 or 7, which manage");
    assert_eq!(&NTP[40..], b"portscan", "a transmit timestamp, which the answer repeats");
}

#[test]
fn tftp_reads_and_does_not_write() {
    let fields: Vec<&[u8]> = TFTP[2..].split(|byte| *byte == 0).collect();
    assert_eq!((be16(TFTP, 0), fields), (1, vec![&b"portscan-no-such-file"[..], b"octet", b""]));
    assert!(SERVICES.iter().all(|service| service.answers_from_any_port == (service.port == 69)));
}

/// The payloads of an IKE message: type and length.
fn ike_payloads(message: &[u8]) -> Vec<(u8, usize)> {
    assert_eq!(message.len(), be32(message, 24) as usize, "the length in the header");
    let (mut next, mut at, mut found) = (message[16], 28, Vec::new());
    while next != 0 {
        let length = be16(message, at + 2);
        found.push((next, length));
        next = message[at];
        at += length;
    }
    assert_eq!(at, message.len());
    found
}

#[test]
fn ike_proposes_one_suite() {
    assert_eq!((IKE[17], IKE[18], IKE[19]), (0x20, 34, 8), "version 2, IKE_SA_INIT, from the initiator");
    assert_eq!(ike_payloads(IKE), [(33, 36), (34, 40), (40, 20)], "SA, key exchange, nonce of 16 octets");
    let proposal = &IKE[32..64];
    assert_eq!((be16(proposal, 2), proposal[5], proposal[6], proposal[7]), (32, 1, 0, 3));
    let transforms: Vec<_> =
        proposal[8..].chunks(8).map(|one| (one[0], be16(one, 2), one[4], be16(one, 6))).collect();
    assert_eq!(transforms, [(3, 8, 1, 28), (3, 8, 2, 5), (0, 8, 4, 31)]);
    assert_eq!((be16(&IKE[64..], 4), IKE[64..].len()), (31, 60), "the key is of the proposed group");
    assert_eq!(IKE_NAT, [&[0; 4], IKE].concat());
}

#[test]
fn dtls_says_hello_without_a_cookie() {
    assert_eq!((DTLS[0], be16(DTLS, 11), DTLS.len()), (22, 84, 13 + 84), "a handshake record");
    assert_eq!((DTLS[13], be16(DTLS, 15), be16(DTLS, 23)), (1, 72, 72), "ClientHello, in one fragment");
    let body = &DTLS[25..];
    assert_eq!((be16(body, 0), body[34], body[35]), (0xfefd, 0, 0), "1.2; neither session nor cookie");
    assert_eq!((be16(body, 36), body[46], be16(body, 48)), (8, 1, 22), "suites, compression, extensions");
    let mut extensions = &body[50..];
    while !extensions.is_empty() {
        extensions = &extensions[4 + be16(extensions, 2)..];
    }
}

#[test]
fn slp_asks_for_a_service_that_is_nowhere() {
    assert_eq!((SLP[0], SLP[1], be16(SLP, 3)), (2, 1, SLP.len()));
    let mut fields = Vec::new();
    let mut rest = &SLP[12..];
    while !rest.is_empty() {
        let (field, after) = rest[2..].split_at(be16(rest, 0));
        fields.push(field);
        rest = after;
    }
    let expected: [&[u8]; 6] = [b"en", b"", b"service:portscan", b"DEFAULT", b"", b""];
    assert_eq!(fields, expected);
}

#[test]
fn short_messages_have_the_lengths_of_their_specifications() {
    assert_eq!((STUN.len(), be16(STUN, 0), be16(STUN, 2), be32(STUN, 4)), (20, 1, 0, 0x2112_a442));
    assert_eq!((RMCP.len(), RMCP[3], RMCP[8], RMCP[11]), (12, 6, 0x80, 0), "ASF, presence ping, no data");
    assert_eq!((XDMCP.len(), be16(XDMCP, 0), be16(XDMCP, 2), be16(XDMCP, 4)), (7, 1, 2, 1));
    assert_eq!((OPENVPN.len(), OPENVPN[0] >> 3, OPENVPN[0] & 7), (14, 7, 0));
    assert_eq!((NAT_PMP, COAP.len(), COAP[0], COAP[1]), (&[0, 0][..], 4, 0x40, 0));
    assert_eq!((RAKNET.len(), MUMBLE.len(), LIFX.len()), (33, 12, 36));
    assert_eq!(
        (u16::from_le_bytes([LIFX[0], LIFX[1]]), u16::from_le_bytes([LIFX[2], LIFX[3]])),
        (36, 0x3400)
    );
    assert_eq!(u16::from_le_bytes([LIFX[32], LIFX[33]]), 2, "GetService; the messages that set are others");
    assert_eq!(A2S, b"\xff\xff\xff\xffTSource Engine Query\0");
    assert_eq!((&MEMCACHED[..8], &MEMCACHED[8..]), (&b"ps\0\0\0\x01\0\0"[..], &b"version\r\n"[..]));
    assert_eq!((MS_SQL[0], MS_SQL.last()), (4, Some(&0)));
}

#[test]
fn hdhomeruns_checksum_is_right() {
    let (packet, sum) = HDHOMERUN.split_at(HDHOMERUN.len() - 4);
    assert_eq!((be16(packet, 0), be16(packet, 2)), (2, packet.len() - 4));
    let crc = packet.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    });
    assert_eq!(sum, (!crc).to_le_bytes());
}

#[test]
fn texts_are_complete() {
    let sip = std::str::from_utf8(SIP).unwrap();
    assert!(sip.starts_with("OPTIONS ") && sip.ends_with("\r\n\r\n"));
    for header in ["Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq"] {
        assert!(sip.contains(&format!("\r\n{header}: ")), "RFC 3261, 8.1.1: {header}");
    }
    let ssdp = std::str::from_utf8(SSDP).unwrap();
    assert!(ssdp.starts_with("M-SEARCH * HTTP/1.1\r\n") && ssdp.ends_with("\r\n\r\n"));
    let mut elements = quick_xml::Reader::from_reader(WS_DISCOVERY);
    let mut buffer = Vec::new();
    let mut count = 0;
    while elements.read_event_into(&mut buffer).unwrap() != quick_xml::events::Event::Eof {
        count += 1;
    }
    assert!(count > 10, "well-formed");
    // Bencoded, with the keys in order (BEP 3).
    let dht = std::str::from_utf8(DHT).unwrap();
    let places = ["1:a", "1:q", "2:ro", "1:t", "1:y"].map(|key| dht.find(key).unwrap());
    assert!(places.is_sorted() && dht.starts_with('d') && dht.ends_with('e'));
    assert_eq!("portscan-udp-scan-00".len(), 20);
}

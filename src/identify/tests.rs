//! What real services send, and what must be said of it; what must hold of any bytes.

use proptest::prelude::*;

use super::*;
use crate::model::{DeviceType, is_unseen};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// Greetings as these servers send them: port, bytes; service, product, version.
const GREETINGS: &[(u16, &[u8], &str, Option<&str>, Option<&str>)] = &[
    (22, b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", "ssh", Some("OpenSSH"), Some("9.2p1")),
    (22, b"SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13.5\r\n", "ssh", Some("OpenSSH"), Some("9.6p1")),
    (22, b"SSH-2.0-dropbear_2022.83\r\n", "ssh", Some("Dropbear"), Some("2022.83")),
    (21, b"220 (vsFTPd 3.0.3)\r\n", "ftp", Some("vsftpd"), Some("3.0.3")),
    (21, b"220 ProFTPD Server (Debian) [::ffff:192.0.2.4]\r\n", "ftp", Some("ProFTPD"), None),
    (25, b"220 mail.example.org ESMTP Postfix (Debian/GNU)\r\n", "smtp", Some("Postfix"), None),
    (
        25,
        b"220 a.example ESMTP Exim 4.96 Mon, 06 Jan 2025 10:00:00 +0100\r\n",
        "smtp",
        Some("Exim"),
        Some("4.96"),
    ),
    (
        143,
        b"* OK [CAPABILITY IMAP4rev1 ID STARTTLS] Dovecot (Debian) ready.\r\n",
        "imap",
        Some("Dovecot"),
        None,
    ),
    (110, b"+OK Dovecot (Debian) ready.\r\n", "pop3", Some("Dovecot"), None),
    (
        3306,
        b"\x5b\0\0\0\x0a8.0.36-0ubuntu0.22.04.1\0\x0b\0\0\0abcdefgh\0\xff\xff",
        "mysql",
        Some("MySQL"),
        Some("8.0.36"),
    ),
    (
        3306,
        b"\x5b\0\0\0\x0a5.5.5-10.11.6-MariaDB-0+deb12u1\0\x1e\0\0\0abcdefgh\0\xfe\xf7",
        "mysql",
        Some("MariaDB"),
        Some("10.11.6"),
    ),
    (
        3306,
        b"\x46\0\0\0\xff\x6a\x04Host '192.0.2.7' is not allowed to connect to this MariaDB server",
        "mysql",
        Some("MariaDB"),
        None,
    ),
    (5432, b"E\0\0\0\x3cSFATAL\0VFATAL\0C0A000\0Munsupported\0\0", "postgresql", Some("PostgreSQL"), None),
    (6379, b"-NOAUTH Authentication required.\r\n", "redis", Some("Redis"), None),
    (6379, b"-DENIED Redis is running in protected mode because", "redis", Some("Redis"), None),
    (5900, b"RFB 003.008\n", "vnc", None, None),
    (5900, b"RFB 003.889\n", "vnc", Some("Screen Sharing"), None),
    (
        554,
        b"RTSP/1.0 400 Bad Request\r\nServer: GStreamer RTSP server\r\n\r\n",
        "rtsp",
        Some("GStreamer RTSP server"),
        None,
    ),
    (
        5060,
        b"SIP/2.0 400 Bad\r\nUser-Agent: Asterisk PBX 18.10.0\r\n\r\n",
        "sip",
        Some("Asterisk"),
        Some("18.10.0"),
    ),
    (
        23,
        b"\xff\xfd\x01\xff\xfd\x1f\xff\xfb\x01\xff\xfb\x03\rOpenWrt login: ",
        "telnet",
        Some("OpenWrt"),
        None,
    ),
    (23, b"\xff\xfd\x01\xff\xfd\x1f\xff\xfb\x01\xff\xfb\x03\r(none) login: ", "telnet", None, None),
    (1883, b"\x20\x02\0\x05", "mqtt", None, None),
    (873, b"@RSYNCD: 31.0\n", "rsync", None, None),
];

/// Pages and headers as these devices and programs send them: headers, title; product, version, maker, device type.
#[rustfmt::skip]
const PAGES: &[(&str, &str, Option<&str>, Option<&str>, Option<&str>, Option<DeviceType>)] = &[
    ("Server: nginx/1.22.1", "", Some("nginx"), Some("1.22.1"), None, None),
    ("Server: Apache/2.4.57 (Debian)", "", Some("Apache httpd"), Some("2.4.57"), None, None),
    ("Server: lighttpd/1.4.69", "", Some("lighttpd"), Some("1.4.69"), None, None),
    ("Server: GoAhead-Webs", "", Some("GoAhead"), None, None, None),
    ("Server: Linux/4.4 UPnP/1.0 MiniUPnPd/2.3.1", "", Some("MiniUPnPd"), Some("2.3.1"), None, None),
    ("Server: CUPS/2.4 IPP/2.1", "Home - CUPS 2.4.2", Some("CUPS"), Some("2.4.2"), None, None),
    ("Server: nginx", "nas - Synology DiskStation", Some("DSM"), None, Some("Synology"), Some(DeviceType::Nas)),
    ("Server: http server 1.0", "QNAP Turbo NAS", Some("QTS"), None, Some("QNAP"), Some(DeviceType::Nas)),
    ("", "FRITZ!Box 7590", None, None, Some("AVM"), Some(DeviceType::Router)),
    ("", "UniFi OS", Some("UniFi OS"), None, Some("Ubiquiti"), Some(DeviceType::Router)),
    ("Server: nginx", "hue personal wireless lighting", Some("nginx"), None, Some("Philips"), Some(DeviceType::Hub)),
    ("Server: Linux UPnP/1.0 Sonos/80.1-55014 (ZPS9)", "", Some("Sonos"), Some("80.1-55014"), Some("Sonos"), Some(DeviceType::Speaker)),
    ("", "Shelly Plus 1PM", None, None, Some("Shelly"), None),
    ("", "ESPHome Web Server", Some("ESPHome"), None, None, Some(DeviceType::Microcontroller)),
    ("Server: Python/3.11 aiohttp/3.9.1", "Home Assistant", Some("Home Assistant"), None, None, None),
    ("", "Pi-hole raspberrypi", Some("Pi-hole"), None, None, None),
    ("Server: Kestrel", "Jellyfin", Some("Jellyfin"), None, None, None),
    ("", "Plex", Some("Plex Media Server"), None, None, None),
    ("", "HP LaserJet Pro M404dn&nbsp;&nbsp;&nbsp;192.0.2.20", None, None, Some("HP"), Some(DeviceType::Printer)),
    ("WWW-Authenticate: Basic realm=\"NETGEAR R7000\"", "", None, None, Some("NETGEAR"), Some(DeviceType::Router)),
    ("Server: Web Server", "Login", None, None, None, None),
    ("", "Homepage of the Miller family", None, None, None, None),
];

#[test]
fn real_greetings_are_named() {
    for (port, received, service, product, version) in GREETINGS {
        let found = from_greeting(*port, received, NOW).unwrap_or_else(|| panic!("{service} {product:?}"));
        let said = (found.service.as_deref(), found.product.as_deref(), found.version.as_deref());
        assert_eq!(said, (Some(*service), *product, *version));
        assert_eq!(found.evidence.method, IdentifyMethod::Greeting);
        assert!(!found.tls);
    }
}

#[test]
fn real_pages_are_named() {
    for (header, title, product, version, maker, device_type) in PAGES {
        let response =
            format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n<html><head><title>{title}</title></head>");
        let found = from_http(response.as_bytes(), true, NOW).unwrap();
        let said = (found.product.as_deref(), found.version.as_deref(), found.device.maker.as_deref());
        assert_eq!(said, (*product, *version, *maker), "{header} {title}");
        assert_eq!(found.device.device_type, *device_type, "{header} {title}");
        assert!(found.tls && found.service.as_deref() == Some("http"));
    }
}

#[test]
fn a_description_names_the_device() {
    let xml = include_bytes!("../../tests/corpus/identify/upnp.xml");
    let (device, evidence) = from_upnp_description(xml, NOW).unwrap();
    assert_eq!(device.model.as_deref(), Some("Sonos One S18"));
    assert_eq!(device.device_type, Some(DeviceType::Speaker), "not a media player, as its type says");
    let quoted = "Sonos, Inc., Sonos One, S18, Kitchen & hall, urn:schemas-upnp-org:device:MediaRenderer:1";
    assert_eq!(evidence.text, quoted);
    assert!(from_upnp_description(b"<root/>", NOW).is_none());
}

#[test]
fn what_follows_the_bounds_is_ignored() {
    let mut greeting = b"220 ".to_vec();
    greeting.resize(GREETING_MAX, b' ');
    greeting.extend_from_slice(b"ESMTP Postfix");
    assert_eq!(from_greeting(25, &greeting, NOW).unwrap().product, None);
    let mut page = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    page.resize(RESPONSE_MAX, b' ');
    page.extend_from_slice(b"<title>Grafana</title>");
    assert_eq!(from_http(&page, false, NOW).unwrap().title, None);
    assert!(from_certificate(&[0x30; CERTIFICATE_MAX + 1], NOW).is_none());
}

#[test]
fn empty_blank_and_binary_bytes_are_nothing() {
    for bytes in
        [b"".as_slice(), b"   \r\n ", b"\0\0\0\0\0\0\0\0", &[0xff; 64], &[b' '; 4096], &[b'\n'; 2000]]
    {
        assert!(from_greeting(80, bytes, NOW).is_none() && from_http(bytes, false, NOW).is_none());
        assert!(from_certificate(bytes, NOW).is_none() && from_upnp_description(bytes, NOW).is_none());
    }
    assert!(device_info("").is_none() && device_info("\u{0}").is_none());
}

/// Bytes that resemble greetings: words that the tables and grammars know, among any bytes.
fn greetings() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "SSH-2.0-",
        "220 ",
        "220-",
        "+OK ",
        "* OK [",
        "] ",
        "HTTP/1.1 200 OK\r\n",
        "Server: ",
        "<title>",
        "</title>",
        "WWW-Authenticate: ",
        "realm=\"",
        "RTSP/1.0 ",
        "nginx/1.2",
        "OpenSSH_9",
        "ProFTPD",
        "NETGEAR ",
        "5.5.5-",
        "-rc",
        "RFB 003.889",
        "<device><modelName>",
        "&amp;",
        "&#",
        ";",
        "AP",
        " - ",
        "|",
        "/",
        "(",
        "[",
        "é",
        "İ",
        "\u{202e}",
        "\r\n",
        "\0",
        "HP LaserJet ",
        "iphone",
        "DIR-",
        "version",
        "vv1",
        "\u{ff}\u{fb}",
        "_ipp._tcp",
    ];
    let word = proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec());
    let any = proptest::collection::vec(any::<u8>(), 0..6);
    proptest::collection::vec(prop_oneof![3 => word, 1 => any], 0..40).prop_map(|parts| parts.concat())
}

fn texts(found: PortIdentification) -> Vec<String> {
    let PortIdentification { service, vendor, product, version, title, device, .. } = found;
    [service, vendor, product, version, title, device.maker, device.model].into_iter().flatten().collect()
}

proptest! {
    #[test]
    fn any_bytes_give_short_lines_without_unseen_characters(bytes in greetings(), port: u16) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let txt = ["ty", "md", "model", "usb_MFG", "ci"].map(|key| (key.to_owned(), text.clone()));
        let found = [
            from_greeting(port, &bytes, NOW),
            from_greeting(23, &bytes, NOW),
            from_http(&bytes, false, NOW),
            from_certificate(&bytes, NOW),
            from_service_record("_ipp._tcp", &txt, NOW),
            from_service_record(&text, &[], NOW),
        ];
        for text in found.into_iter().flatten().flat_map(texts) {
            prop_assert!(!text.is_empty() && text.trim() == text && text.chars().count() <= 120);
            prop_assert!(!text.chars().any(is_unseen), "{text:?}");
        }
        from_upnp_description(&bytes, NOW);
        device_info(&text);
    }

    #[test]
    fn a_damaged_certificate_is_none_or_another(at in 0usize..547, bit in 0u8..8) {
        let whole = include_bytes!("../../tests/corpus/identify/certificate-ec.der");
        let mut der = whole.to_vec();
        der[at] ^= 1 << bit;
        if let Some(found) = from_certificate(&der, NOW) {
            let whole = from_certificate(whole, NOW).unwrap();
            prop_assert!(found.certificate.unwrap().fingerprint != whole.certificate.unwrap().fingerprint);
        }
    }
}

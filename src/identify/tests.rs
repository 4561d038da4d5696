//! Texts of real services with the expected identification, and properties that hold for any bytes.

use proptest::prelude::*;

use super::*;
use crate::model::{DeviceType, is_unseen};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// Greetings as these servers send them: port, bytes; service, product and version, empty for what is not said.
#[rustfmt::skip]
const GREETINGS: &[(u16, &[u8], [&str; 3])] = &[
    (22, b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", ["ssh", "OpenSSH", "9.2p1"]),
    (22, b"SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13.5\r\n", ["ssh", "OpenSSH", "9.6p1"]),
    (22, b"SSH-2.0-dropbear_2022.83\r\n", ["ssh", "Dropbear", "2022.83"]),
    (21, b"220 (vsFTPd 3.0.3)\r\n", ["ftp", "vsftpd", "3.0.3"]),
    (21, b"220 ProFTPD Server (Debian) [::ffff:192.0.2.4]\r\n", ["ftp", "ProFTPD", ""]),
    (25, b"220 mail.example.org ESMTP Postfix (Debian/GNU)\r\n", ["smtp", "Postfix", ""]),
    (25, b"220 a.example ESMTP Exim 4.96 Mon, 06 Jan 2025 10:00:00 +0100\r\n", ["smtp", "Exim", "4.96"]),
    (143, b"* OK [CAPABILITY IMAP4rev1 ID STARTTLS] Dovecot (Debian) ready.\r\n", ["imap", "Dovecot", ""]),
    (110, b"+OK Dovecot (Debian) ready.\r\n", ["pop3", "Dovecot", ""]),
    (3306, b"\x5b\0\0\0\x0a8.0.36-0ubuntu0.22.04.1\0\x0b\0\0\0abcdefgh\0\xff\xff", ["mysql", "MySQL", "8.0.36"]),
    (3306, b"\x5b\0\0\0\x0a5.5.5-10.11.6-MariaDB-0+deb12u1\0\x1e\0\0\0abcdefgh\0\xfe\xf7",
        ["mysql", "MariaDB", "10.11.6"]),
    (3306, b"\x46\0\0\0\xff\x6a\x04Host '192.0.2.7' is not allowed to connect to this MariaDB server",
        ["mysql", "MariaDB", ""]),
    (5432, b"E\0\0\0\x3cSFATAL\0VFATAL\0C0A000\0Munsupported\0\0", ["postgresql", "PostgreSQL", ""]),
    (6379, b"-NOAUTH Authentication required.\r\n", ["redis", "Redis", ""]),
    (6379, b"-DENIED Redis is running in protected mode because", ["redis", "Redis", ""]),
    (5900, b"RFB 003.008\n", ["vnc", "", ""]),
    (5900, b"RFB 003.889\n", ["vnc", "Screen Sharing", ""]),
    (554, b"RTSP/1.0 400 Bad Request\r\nServer: GStreamer RTSP server\r\n\r\n", ["rtsp", "GStreamer RTSP server", ""]),
    (5060, b"SIP/2.0 400 Bad\r\nUser-Agent: Asterisk PBX 18.10.0\r\n\r\n", ["sip", "Asterisk", "18.10.0"]),
    (23, b"\xff\xfd\x01\xff\xfd\x1f\xff\xfb\x01\xff\xfb\x03\rOpenWrt login: ", ["telnet", "OpenWrt", ""]),
    (23, b"\r\n\r\nUser Access Verification\r\n\r\nUsername: ", ["telnet", "IOS", ""]),
    (110, b"+OK shed GardenMail 5.2 POP3 Service Ready\r\n", ["pop3", "GardenMail", "5.2"]),
    (25, b"220 mail.example.org SMTP Garden Proxy 4.15 (Release) ready\r\n", ["smtp", "Garden Proxy", "4.15"]),
    (23, b"\xff\xfd\x01\xff\xfd\x1f\xff\xfb\x01\xff\xfb\x03\r(none) login: ", ["telnet", "", ""]),
    (1883, b"\x20\x02\0\x05", ["mqtt", "", ""]),
    (873, b"@RSYNCD: 31.0\n", ["rsync", "", ""]),
];

/// Pages as these devices and programs send them: header, title; product, version and maker of the device, empty for
/// what is not said; the kind of device.
#[rustfmt::skip]
const PAGES: &[(&str, &str, [&str; 3], Option<DeviceType>)] = &[
    ("Server: nginx/1.22.1", "", ["nginx", "1.22.1", ""], None),
    ("Server: Apache/2.4.57 (Debian)", "", ["Apache httpd", "2.4.57", ""], None),
    ("Server: lighttpd/1.4.69", "", ["lighttpd", "1.4.69", ""], None),
    ("Server: GoAhead-Webs", "", ["GoAhead", "", ""], None),
    ("Server: Linux/4.4 UPnP/1.0 MiniUPnPd/2.3.1", "", ["MiniUPnPd", "2.3.1", ""], None),
    ("Server: CUPS/2.4 IPP/2.1", "Home - CUPS 2.4.2", ["CUPS", "2.4.2", ""], None),
    ("Server: nginx", "nas - Synology DiskStation", ["DSM", "", "Synology"], Some(DeviceType::Nas)),
    ("Server: http server 1.0", "QNAP Turbo NAS", ["QTS", "", "QNAP"], Some(DeviceType::Nas)),
    ("", "FRITZ!Box 7590", ["", "", "AVM"], Some(DeviceType::Router)),
    ("", "UniFi OS", ["UniFi OS", "", "Ubiquiti"], Some(DeviceType::Router)),
    ("Server: nginx", "hue personal wireless lighting", ["nginx", "", "Philips"], Some(DeviceType::Hub)),
    ("Server: Linux UPnP/1.0 Sonos/80.1-55014 (ZPS9)", "", ["Sonos", "80.1-55014", "Sonos"], Some(DeviceType::Speaker)),
    ("", "Shelly Plus 1PM", ["", "", "Shelly"], None),
    ("", "ESPHome Web Server", ["ESPHome", "", ""], Some(DeviceType::Microcontroller)),
    ("Server: Python/3.11 aiohttp/3.9.1", "Home Assistant", ["Home Assistant", "", ""], None),
    ("", "Pi-hole raspberrypi", ["Pi-hole", "", ""], None),
    ("Server: Kestrel", "Jellyfin", ["Jellyfin", "", ""], None),
    ("", "Plex", ["Plex Media Server", "", ""], None),
    ("", "HP LaserJet Pro M404dn&nbsp;&nbsp;&nbsp;192.0.2.20", ["", "", "HP"], Some(DeviceType::Printer)),
    ("WWW-Authenticate: Basic realm=\"NETGEAR R7000\"", "", ["", "", "NETGEAR"], Some(DeviceType::Router)),
    ("Server: cloudflare-nginx", "", ["Cloudflare", "", ""], None),
    ("", "SolarWinds Shed Manager", ["Shed Manager", "", ""], None),
    ("", "Cisco IMC Login Page", ["Integrated Management Controller (IMC)", "", "Cisco"], Some(DeviceType::Server)),
    ("", "Dell OpenManage Switch Administrator", ["OpenManage Switch Administrator", "", "Dell"], Some(DeviceType::Switch)),
    ("", "TurnKey Gitea", ["Gitea", "", ""], None),
    ("", "Issues - JIRA of the shed", ["Jira", "", ""], None),
    ("WWW-Authenticate: Basic realm=\"TP-LINK Garden Router GR488\"", "", ["", "", "TP-Link"], None),
    ("Server: Web Server", "Login", ["", "", ""], None),
    ("", "Homepage of the Miller family", ["", "", ""], None),
];

#[test]
fn real_greetings_are_named() {
    for (port, received, expected) in GREETINGS {
        let found = from_greeting(*port, received, NOW).unwrap_or_else(|| panic!("{expected:?}"));
        let said = [&found.service, &found.product, &found.version];
        assert_eq!(said.map(|text| text.as_deref().unwrap_or_default()), *expected);
        assert_eq!(found.evidence.method, IdentifyMethod::Greeting);
        assert!(!found.tls);
    }
}

#[test]
fn real_pages_are_named() {
    for (header, title, expected, device_type) in PAGES {
        let response =
            format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n<html><head><title>{title}</title></head>");
        let found = from_http(response.as_bytes(), true, NOW).unwrap();
        let said = [&found.product, &found.version, &found.device.maker];
        assert_eq!(said.map(|text| text.as_deref().unwrap_or_default()), *expected, "{header} {title}");
        assert_eq!(found.device.device_type, *device_type, "{header} {title}");
        assert!(found.tls && found.service.as_deref() == Some("http"));
    }
}

#[test]
fn a_description_names_the_device() {
    let xml = include_bytes!("../../tests/corpus/identify/upnp.xml");
    let (device, evidence) = from_upnp_description(xml, NOW).unwrap();
    assert_eq!((device.maker.as_deref(), device.model.as_deref()), (Some("Sonos"), Some("Sonos One S18")));
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

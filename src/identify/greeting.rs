//! Determines the grammar of a greeting.

use super::{
    kind::{GREETING_MAX, GreetingKind},
    ssh, telnet,
    text::decode,
};

/// Ports where a `220` that names no protocol is mail.
const SMTP_PORTS: [u16; 4] = [25, 465, 587, 2525];

/// Ports where it is FTP.
const FTP_PORTS: [u16; 4] = [21, 990, 2121, 2221];

/// Ports where a bare prompt is telnet.
const TELNET_PORTS: [u16; 4] = [23, 992, 2323, 4242];

/// The first bytes of protocols that name themselves, with the service's name for nmap and IANA, and the product's
/// name where the tables do not list it.
const NAMED: [(&str, &str); 9] = [
    ("@RSYNCD: ", "rsync"),
    ("OK MPD ", "mpd"),
    ("Asterisk Call Manager/", "asterisk"),
    ("\"IMPLEMENTATION\" ", "sieve"),
    ("{\"class\":\"VERSION\",", "gpsd"),
    ("TS3\n", "teamspeak"),
    ("HTTP/1.", "http"),
    ("RTSP/1.", "rtsp"),
    ("SIP/2.0 ", "sip"),
];

/// The kind of a greeting, by its bytes, or by the port where the bytes are ambiguous.
pub(super) enum Greeting {
    /// One of the grammars.
    Known(GreetingKind, &'static str),
    /// Only the protocol is known.
    Service(&'static str),
}

pub(super) fn recognise(port: u16, greeting: &[u8]) -> Option<Greeting> {
    use Greeting::{Known, Service};
    let text = decode(greeting);
    let folded = text.to_ascii_lowercase();
    if ssh::line(&text).is_some() {
        return Some(Known(GreetingKind::Ssh, "ssh"));
    }
    if text.starts_with("RFB ") && text.len() >= 11 {
        return Some(Known(GreetingKind::Rfb, "vnc"));
    }
    if let Some((_, service)) = NAMED.iter().find(|(start, _)| text.starts_with(start)) {
        return Some(Service(service));
    }
    if is_mysql(greeting) {
        return Some(Known(GreetingKind::Mysql, "mysql"));
    }
    if is_postgresql(greeting) {
        return Some(Known(GreetingKind::Postgresql, "postgresql"));
    }
    if is_connack(greeting) {
        return Some(Known(GreetingKind::Mqtt, "mqtt"));
    }
    if is_telnet(greeting) || (TELNET_PORTS.contains(&port) && is_prompt(&folded)) {
        return Some(Known(GreetingKind::Telnet, "telnet"));
    }
    match text.get(..4).unwrap_or_default() {
        "+OK " | "+OK\r" | "+OK\n" => Some(Known(GreetingKind::Pop3, "pop3")),
        "* OK" | "* PR" | "* BY" => Some(Known(GreetingKind::Imap, "imap")),
        "200 " | "201 " if folded.contains("nntp") || folded.contains("news") => {
            Some(Known(GreetingKind::Nntp, "nntp"))
        }
        "220 " | "220-" | "421 " | "530 " | "554 " => reply(port, &folded),
        "-NOA" | "-DEN" | "+PON" | "-ERR" => {
            let redis = text.starts_with("-NOAUTH ") || folded.contains("redis") || text.starts_with("+PONG");
            redis.then_some(Known(GreetingKind::Redis, "redis"))
        }
        _ => None,
    }
}

/// FTP's and SMTP's replies have one form; most name their protocol.
fn reply(port: u16, folded: &str) -> Option<Greeting> {
    let smtp = Greeting::Known(GreetingKind::Smtp, "smtp");
    let ftp = Greeting::Known(GreetingKind::Ftp, "ftp");
    if folded.contains("smtp") || folded.contains("lmtp") {
        return Some(smtp);
    }
    if folded.contains("ftp") || FTP_PORTS.contains(&port) {
        return Some(ftp);
    }
    SMTP_PORTS.contains(&port).then_some(smtp)
}

/// Three bytes of length, the number 0, and the version of the protocol or the sign of an error.
fn is_mysql(greeting: &[u8]) -> bool {
    let &[low, middle, 0, 0, kind, next, ..] = greeting else { return false };
    let length = usize::from(u16::from_le_bytes([low, middle]));
    let fits = (8..=GREETING_MAX).contains(&length);
    fits && ((kind == 10 && next.is_ascii_digit()) || (kind == 0xff && greeting.len() > 12))
}

/// An error, with its length and the field of its severity.
fn is_postgresql(greeting: &[u8]) -> bool {
    matches!(greeting, [b'E', 0, 0, _, _, b'S', rest @ ..] if rest.len() > 4)
}

/// MQTT 3.1.1: two more bytes, one bit of flags and a code up to 5. MQTT 5: longer.
fn is_connack(greeting: &[u8]) -> bool {
    match greeting {
        [0x20, 2, 0 | 1, 0..=5] => true,
        [0x20, length @ 3..=127, 0 | 1, 0 | 0x80..=0x9f, rest @ ..] => rest.len() + 2 == usize::from(*length),
        _ => false,
    }
}

/// Whether the text begins with an option, as telnet servers send it.
fn is_telnet(greeting: &[u8]) -> bool {
    matches!(greeting, [telnet::INTERPRET_AS_COMMAND, command, option, ..]
        if telnet::WITH_OPTION.contains(command) && *option < 50)
}

fn is_prompt(folded: &str) -> bool {
    ["login:", "username:", "user name:", "password:", "user:"].iter().any(|prompt| folded.contains(prompt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(port: u16, greeting: &[u8]) -> Option<&'static str> {
        recognise(port, greeting).map(|found| match found {
            Greeting::Known(_, service) | Greeting::Service(service) => service,
        })
    }

    #[test]
    fn recognises_protocols_by_their_bytes_on_any_port() {
        for (greeting, name) in [
            (b"SSH-2.0-OpenSSH_9.2p1\r\n".as_slice(), "ssh"),
            (b"RFB 003.008\n", "vnc"),
            (b"220 ProFTPD Server ready\r\n", "ftp"),
            (b"220 mail ESMTP\r\n", "smtp"),
            (b"+OK ready\r\n", "pop3"),
            (b"* OK ready\r\n", "imap"),
            (b"200 news.lan InterNetNews ready\r\n", "nntp"),
            (b"\xff\xfd\x01\xff\xfd\x1flogin: ", "telnet"),
            (b"\x20\x02\x00\x05", "mqtt"),
            (b"E\0\0\0\x1aSFATAL\0C28000\0", "postgresql"),
            (b"\x4a\0\0\0\x0a8.0.36\0", "mysql"),
            (b"-NOAUTH Authentication required.\r\n", "redis"),
            (b"@RSYNCD: 31.0\n", "rsync"),
            (b"OK MPD 0.23.5\n", "mpd"),
        ] {
            assert_eq!(service(40_000, greeting), Some(name));
        }
    }

    #[test]
    fn the_port_decides_only_where_the_bytes_do_not() {
        let bare = b"220 shed ready\r\n";
        assert_eq!(
            (service(21, bare), service(25, bare), service(9, bare)),
            (Some("ftp"), Some("smtp"), None)
        );
        assert_eq!(service(25, b"220 ProFTPD\r\n"), Some("ftp"));
        assert_eq!((service(23, b"shed login: "), service(24, b"shed login: ")), (Some("telnet"), None));
    }

    #[test]
    fn other_bytes_are_none() {
        for greeting in
            [b"".as_slice(), b"hello", b"\x20\x02\0\x09", b"\0\0\0\0\0\0\0", b"ERROR", b"RFB ", b"\xff"]
        {
            assert_eq!(service(21, greeting), None, "{greeting:?}");
        }
    }
}

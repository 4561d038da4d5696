//! Decodes greetings, and finds phrases in them.

use super::version;
use crate::model::is_unseen;

/// A greeting as text: UTF-8 if it is valid, else Latin-1, which every byte sequence is. Line feeds stay, because
/// they divide lines; every other invisible character becomes a space.
pub(super) fn decode(greeting: &[u8]) -> String {
    let whole = match std::str::from_utf8(greeting) {
        Ok(text) => Some(text),
        // Cut off within a character by the bound.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&greeting[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let seen = |c: char| if (is_unseen(c) && c != '\n') || c == '\u{a0}' { ' ' } else { c };
    match whole {
        Some(text) => text.chars().map(seen).collect(),
        None => greeting.iter().map(|byte| seen(char::from(*byte))).collect(),
    }
}

/// Where an ASCII phrase occurs first, in any case.
pub(super) fn find_ignoring_case(text: &str, phrase: &str) -> Option<usize> {
    let (text, phrase) = (text.as_bytes(), phrase.as_bytes());
    text.windows(phrase.len()).position(|window| window.eq_ignore_ascii_case(phrase))
}

/// Whether a name says only what kind of program it is: `httpd/2.0` names no product.
pub(super) fn is_common(name: &str) -> bool {
    const COMMON: [&str; 44] = [
        "board",
        "build",
        "daemon",
        "device",
        "esmtp",
        "firmware",
        "ftp",
        "ftpd",
        "gateway",
        "hardware",
        "host",
        "http",
        "httpd",
        "https",
        "imap",
        "imap4",
        "imap4rev1",
        "kernel",
        "linux",
        "mail",
        "model",
        "nntp",
        "os",
        "pop",
        "pop3",
        "port",
        "product",
        "protocol",
        "release",
        "rev",
        "revision",
        "router",
        "rtsp",
        "server",
        "service",
        "sip",
        "sipua",
        "smtp",
        "software",
        "ssh",
        "sshd",
        "system",
        "version",
        "web",
    ];
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let is_common = |word: &str| {
        let word = word.to_ascii_lowercase();
        COMMON.contains(&word.strip_suffix("server").filter(|rest| !rest.is_empty()).unwrap_or(&word))
    };
    words.all(is_common)
}

/// The most words of a name before a version.
const NAME_WORDS_MAX: usize = 6;

/// Words that mark what follows as a version.
const VERSION_WORDS: [&str; 4] = ["release", "ver", "ver.", "version"];

/// A name and the version behind it.
pub(super) struct Versioned<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    /// Whether a `v` or a word such as "version" stands before the version.
    pub(super) is_marked: bool,
    /// Whether the line ends with the version.
    pub(super) is_last: bool,
}

/// The first name of a line that a version follows: words with capitals, `AnalogX Proxy 4.15`, perhaps with a remark in
/// brackets or a word such as "version" between. The greetings of most unlisted servers have one. The host's name
/// comes first and is no part of it; addresses and dates are no versions.
pub(super) fn versioned(line: &str) -> Option<Versioned<'_>> {
    let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    (1..words.len()).find_map(|at| {
        let word = words[at].trim_start_matches(BRACKETS);
        let version = version::first(word).filter(|version| !is_address_or_date(version))?;
        let has_prefix = word.starts_with(['v', 'V']);
        let before = words[at - 1].trim_start_matches(BRACKETS).to_ascii_lowercase();
        let is_announced = !has_prefix && VERSION_WORDS.contains(&before.as_str());
        let is_version = is_announced || version.contains('.');
        let words_before = &words[..at - usize::from(is_announced)];
        let name = name_at_end(line, words_before).filter(|_| is_version)?;
        let (is_marked, is_last) = (has_prefix || is_announced, at + 1 == words.len());
        Some(Versioned { name, version, is_marked, is_last })
    })
}

/// The product's name that ends words of a line.
fn name_at_end<'a>(line: &'a str, words: &[&'a str]) -> Option<&'a str> {
    let mut end = words.len();
    if words.last().is_some_and(|word| word.ends_with([']', ')'])) {
        end = words.iter().rposition(|word| word.starts_with(BRACKETS))?;
    }
    let mut start = words[..end].iter().rposition(|word| !is_name_word(word)).map_or(0, |at| at + 1);
    start = start.max(end.saturating_sub(NAME_WORDS_MAX));
    // A bracket that opens before the name belongs to none of its words.
    if start > 0 && words[start - 1].strip_prefix(BRACKETS).is_some_and(is_name_word) {
        start -= 1;
    }
    while start < end && PROTOCOLS.contains(&words[start]) {
        start += 1;
    }
    while start < end && PROTOCOLS.contains(&words[end - 1]) {
        if start == 0 {
            return None; // What begins the line before the protocol is the host.
        }
        end -= 1;
    }
    let (first, last) = (words[start..end].first()?, words[start..end].last()?);
    // From the first word's place in the line to the end of the last, with the spaces between as they are.
    let place = |word: &str| word.as_ptr().addr() - line.as_ptr().addr();
    let name = line[place(first)..place(last) + last.len()].trim_start_matches(BRACKETS);
    let is_shouted = start > 0 && !name.contains(|c: char| c.is_ascii_lowercase());
    (name.len() >= 3 && !is_common(name) && !is_shouted).then_some(name)
}

/// What may open before a name or a version.
const BRACKETS: [char; 2] = ['(', '['];

/// Protocols that stand before or behind a name.
const PROTOCOLS: [&str; 8] = ["ESMTP", "IMAP", "IMAP4", "IMAP4rev1", "POP", "POP3", "SMTP", "Welcome"];

/// Whether a word can be of a product's name: letters, perhaps digits and marks within, and a capital. A host in
/// capitals is not told from one; a domain is.
fn is_name_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.contains(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/'))
}

/// Whether numbers between dots are an address, or a date as in `06.01.2025`.
fn is_address_or_date(version: &str) -> bool {
    let is_year = |number: &str| number.parse().is_ok_and(|year: u16| (1980..2100).contains(&year));
    let is_date = version.split('.').count() == 3 && version.rsplit('.').next().is_some_and(is_year);
    is_date || version.parse::<std::net::Ipv4Addr>().is_ok()
}

/// The text of a reply without its code: `220 ` and `220-` of each line of FTP, SMTP and NNTP (RFC 959 4.2), for any
/// code of three digits. Lines stay lines.
pub(super) fn without_reply_codes(text: &str) -> String {
    let strip = |line: &str| {
        let code = line.get(..3).is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        match line.as_bytes().get(3) {
            Some(b' ' | b'-') if code => line[4..].to_owned(),
            _ => line.to_owned(),
        }
    };
    text.lines().map(strip).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_broken_utf_8_as_latin_1() {
        assert_eq!(decode("Küche".as_bytes()), "Küche");
        assert_eq!(decode(b"K\xfcche"), "Küche");
        assert_eq!(decode(b"K\xc3"), "K", "cut off within a character");
    }

    #[test]
    fn characters_that_are_not_seen_become_spaces() {
        assert_eq!(decode(b"a\0b\x1b[31mc\r\nd\x7f"), "a b [31mc \nd ");
        assert_eq!(decode("a\u{202e}b\u{200b}c\u{a0}d".as_bytes()), "a b c d");
    }

    #[test]
    fn kinds_of_programs_are_no_names() {
        for name in ["httpd", "Web Server", "WebServer", "SSH_server", "FTP-Server", "RTSP server", "", "-"] {
            assert!(is_common(name), "{name}");
        }
        for name in ["thttpd", "Gardenia Server", "web3", "VMware-httpd"] {
            assert!(!is_common(name), "{name}");
        }
    }

    #[test]
    fn finds_the_name_before_a_version() {
        let found = |line: &str| versioned(line).map(|found| format!("{}|{}", found.name, found.version));
        for (line, expected) in [
            ("shed.lan SMTP Garden Proxy 4.15 (Release) ready", "Garden Proxy|4.15"),
            ("shed ESMTP GardenMail [Free Edition] 1.91; Fri", "GardenMail|1.91"),
            ("shed POP3 server (Garden POP3 Server 2.2.0) ready", "Garden POP3 Server|2.2.0"),
            ("[Gardenia 1.24 POP3 Server] service ready", "Gardenia|1.24"),
            ("shed Gardenia IMAP4rev1 v42.02 server ready.", "Gardenia|42.02"),
            ("GW7 v1.2.1 - Garden Gateway", "GW7|1.2.1"),
            ("GardenOS version 3.04.C, copyright", "GardenOS|3.04.C"),
            ("GardenOS release 9 (Rose)", "GardenOS|9"),
        ] {
            assert_eq!(found(line).as_deref(), Some(expected));
        }
        for line in [
            "shed POP3 Server (Version 1.020h) ready.",
            "shed SHED v2000.70 server ready",
            "MAIL1 ESMTP 2.4.6 ready",
            "Montag 06.01.2025",
            "Connected from 192.0.2.7",
            "Printer 192.0.2.7",
            "Software Version 3.2.1",
            "Firmware version : 1.6",
            "IMAP4rev1 2004.357 at",
            "Garden 9",
            "1.2 3.4",
            "",
        ] {
            assert_eq!(found(line), None, "{line}");
        }
    }

    #[test]
    fn strips_codes_of_replies() {
        assert_eq!(
            without_reply_codes("220-one\n220 two\n  three\n22\né20 x"),
            "one\ntwo\n  three\n22\né20 x"
        );
    }
}

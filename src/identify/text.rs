//! Decodes greetings, and finds phrases in them.

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
    const COMMON: [&str; 25] = [
        "build", "daemon", "device", "ftp", "ftpd", "gateway", "host", "http", "httpd", "https", "mail",
        "port", "release", "router", "rtsp", "server", "service", "sip", "sipua", "smtp", "ssh", "sshd",
        "system", "version", "web",
    ];
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let is_common = |word: &str| {
        let word = word.to_ascii_lowercase();
        COMMON.contains(&word.strip_suffix("server").filter(|rest| !rest.is_empty()).unwrap_or(&word))
    };
    words.all(is_common)
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
    fn strips_codes_of_replies() {
        assert_eq!(
            without_reply_codes("220-one\n220 two\n  three\n22\né20 x"),
            "one\ntwo\n  three\n22\né20 x"
        );
    }
}

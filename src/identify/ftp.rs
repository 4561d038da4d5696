//! FTP's first reply: `220` and free text (RFC 959 5.4), often "NAME FTP server VERSION ready".

use super::{
    claims::Claims,
    table::{MODELS, Preference, Table},
    text::{find_ignoring_case, is_common, without_reply_codes},
    version,
};

const TABLE: Table = Table::new(include_str!("tables/ftp.txt"));

pub(super) fn parse(text: &str) -> Claims {
    let text = without_reply_codes(text);
    let found = TABLE.find(&text, Preference::Longest).or(MODELS.find(&text, Preference::Longest));
    if found.product.is_some() {
        return found;
    }
    // The name before a version is the device's if a table knows the device.
    let found = if found.is_empty() { Claims::unlisted(&text) } else { found };
    bracketed(&text).or(found)
}

/// A product that no table lists: in brackets behind "FTP", with a version: `(Gardenia-2.6.2)`, `(Gardenia 1.3)`.
fn bracketed(text: &str) -> Claims {
    let bracketed = find_ignoring_case(text, "ftp")
        .and_then(|at| text[at..].split_once('('))
        .and_then(|(_, rest)| rest.split_once(')'));
    let Some((within, _)) = bracketed else { return Claims::default() };
    let Some((name, rest)) = within.split_once([' ', '/', '-']) else { return Claims::default() };
    let is_name = name.len() >= 3 && name.chars().all(char::is_alphabetic) && !is_common(name);
    match version::following(rest) {
        Some(version) if is_name && version.contains('.') => Claims::software("", name, version),
        _ => Claims::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_replies_of_several_lines() {
        let found = parse("220-Welcome to our mirror\n220-Be nice\n220 (vsFTPd 3.0.3)\n");
        assert_eq!((found.product.as_deref(), found.version.as_deref()), (Some("vsftpd"), Some("3.0.3")));
    }

    #[test]
    fn names_an_unlisted_product_in_brackets() {
        let found = parse("220 shed.lan FTP server (Gardenia 2.11) ready.");
        assert_eq!((found.product.as_deref(), found.version.as_deref()), (Some("Gardenia"), Some("2.11")));
        let found = parse("220 Garden FTP Server 4.3 ready");
        assert_eq!(found.product.as_deref(), Some("Garden FTP Server"));
        for text in [
            "220 shed FTP server (Revision 1.1 Version 6.4) ready.",
            "220 shed.lan FTP server ready.",
            "220 FTP (version 6.4)",
            "220 FTP (Port 6.4)",
            "220 FTP (Shed at 10.0.0.1)",
            "220",
            "220-",
            "FTP ()",
            "ftp(a/1",
        ] {
            assert_eq!(parse(text).product, None, "{text}");
        }
    }
}

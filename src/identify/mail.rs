//! Mail and news: greetings of SMTP (RFC 5321 4.2), POP3 (RFC 1939 4), IMAP (RFC 9051 7.1) and NNTP (RFC 3977 5.1).
//! Each is a code or status, the host's name, and free words that name the server.

use super::{
    claims::Claims,
    ssh::raspberry_pi,
    table::{Preference, Table},
    text::{find_ignoring_case, without_reply_codes},
};
use crate::model::strip_prefix_ignoring_case;

const SMTP: Table = Table::new(include_str!("tables/smtp.txt"));
/// Parses POP3's and IMAP's greetings: one product speaks both, with the same text.
const MAILBOX: Table = Table::new(include_str!("tables/mailbox.txt"));
const NNTP: Table = Table::new(include_str!("tables/nntp.txt"));

pub(super) fn parse_smtp(text: &str) -> Claims {
    let text = without_reply_codes(text);
    let listed = SMTP.find(&text, Preference::Longest);
    if listed.is_empty() { Claims::unlisted(&text) } else { listed }
}

pub(super) fn parse_pop3(text: &str) -> Claims {
    mailbox(MAILBOX, strip_prefix_ignoring_case(text, "+OK").unwrap_or(text))
}

pub(super) fn parse_imap(text: &str) -> Claims {
    let text = text.trim_start_matches(['*', ' ']);
    let text = ["OK ", "PREAUTH ", "BYE "]
        .iter()
        .find_map(|status| strip_prefix_ignoring_case(text, status))
        .unwrap_or(text);
    // A response code in brackets comes before the text.
    let text = match text.trim_start().strip_prefix('[') {
        Some(code) => code.split_once(']').map_or("", |(_, text)| text),
        None => text,
    };
    mailbox(MAILBOX, text)
}

pub(super) fn parse_nntp(text: &str) -> Claims {
    mailbox(NNTP, &without_reply_codes(text))
}

fn mailbox(table: Table, text: &str) -> Claims {
    let found = table.find(text.trim(), Preference::Longest);
    let found = if found.is_empty() { Claims::unlisted(text.trim()) } else { found };
    let raspbian = find_ignoring_case(text, "(Raspbian)").is_some();
    if raspbian { found.or(raspberry_pi()) } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn software_of(found: &Claims) -> (Option<&str>, Option<&str>) {
        (found.product.as_deref(), found.version.as_deref())
    }

    #[test]
    fn names_the_server_in_smtp_greetings() {
        let found = parse_smtp("220 mail.lan ESMTP Postfix (Debian/GNU)\r\n");
        assert_eq!(software_of(&found), (Some("Postfix"), None));
        let found = parse_smtp("220 mail.lan ESMTP Exim 4.96 Mon, 06 Jan 2025 10:00:00 +0100");
        assert_eq!(software_of(&found), (Some("Exim"), Some("4.96")));
        let found = parse_smtp("220-mail.lan ESMTP Gardenia 3.2.1; no spam\n220 please");
        assert_eq!(software_of(&found), (Some("Gardenia"), Some("3.2.1")));
        let found = parse_smtp("220 mail.lan SMTP Garden Proxy 4.15 (Release) ready");
        assert_eq!(software_of(&found), (Some("Garden Proxy"), Some("4.15")));
        for text in ["220 mail.lan ESMTP ready", "220 x SMTP Server 1.2", "220 exim.example.net ESMTP"] {
            assert!(parse_smtp(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn names_the_server_in_pop3_and_imap_greetings() {
        let capability = "* OK [CAPABILITY IMAP4rev1 ID STARTTLS] Dovecot (Debian) here.";
        assert_eq!(software_of(&parse_imap(capability)), (Some("Dovecot"), None));
        assert_eq!(software_of(&parse_pop3("+OK Dovecot here.")), (Some("Dovecot"), None));
        let found = parse_pop3("+OK shed GardenMail 5.2 POP3 Service Ready");
        assert_eq!(software_of(&found), (Some("GardenMail"), Some("5.2")));
        let model = parse_pop3("+OK Dovecot (Raspbian) here.").device.model;
        assert_eq!(model.as_deref(), Some("Raspberry Pi"));
        assert!(parse_imap("* OK [CAPABILITY IMAP4rev1 Dovecot").is_empty(), "a capability is no name");
        assert!(parse_imap("* OK ready").is_empty() && parse_pop3("+OK").is_empty());
    }

    #[test]
    fn names_the_server_in_nntp_greetings() {
        let found = parse_nntp("200 news.lan InterNetNews NNRP server INN 2.6.4 ready (posting ok)");
        assert_eq!(software_of(&found), (Some("INN"), Some("2.6.4")));
    }
}

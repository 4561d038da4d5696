//! A message as a mail: text and HTML as alternatives (RFC 5322, RFC 2046).
//!
//! Not by mail-builder 2: it needs a newer Rust than this project promises, it always writes a date, even if the
//! clock is not synchronised, and it draws the boundary at random, so a mail that is sent again would differ.
//!
//! Names of devices come from the network. The only header that contains them is the subject, which is one line, and
//! encoded unless it is plain ASCII. The HTML contains them escaped.

use std::fmt::Write as _;

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;

use crate::{
    config::MailConfig,
    messages::{AlertMessage, PortExplanation},
    model::{AlertSeverity, escape_markup, one_line},
};

/// The longest subject, in characters.
const MOST_SUBJECT: usize = 250;

/// The longest subject that is written as it is: with the header's name it is one line of 78 (RFC 5322, 2.1.1).
const PLAIN_SUBJECT: usize = 69;

/// The most bytes of one encoded word, before the encoding: with its marks and the header's name, its line has no more
/// than the 76 characters that RFC 2047 (2) allows.
const ENCODED_WORD: usize = 39;

/// The longest line of a part (RFC 2045, 6.7).
const LINE: usize = 76;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// The message.
    pub message: &'a AlertMessage,
    /// The channel's name.
    pub channel: &'a str,
    /// The sender and the recipients.
    pub config: &'a MailConfig,
    /// Whether the text is the built-in one: only then its lines get explanations.
    pub is_explained: bool,
    /// The time, if the clock is trusted; without it, the server dates the mail (RFC 6409, 8.2).
    pub at: Option<Timestamp>,
}

/// Writes the mail, in lines that end with CRLF.
pub fn mail(mail: &Mail<'_>) -> String {
    let Mail { message, config, at, .. } = mail;
    let mut text = String::with_capacity(4096);
    let mut header = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        _ = write!(text, "{name}: {value}\r\n");
    };
    if let Some(at) = at {
        header("Date", &at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string());
    }
    header("From", &format!("portscan <{}>", config.from));
    header("To", &config.to.join(",\r\n "));
    header("Subject", &subject(&message.title));
    header("Message-ID", &mail.id(&message.key));
    if message.thread != message.key {
        header("In-Reply-To", &mail.id(&message.thread));
        header("References", &mail.id(&message.thread));
    }
    // No machine shall answer (RFC 3834, 5).
    header("Auto-Submitted", "auto-generated");
    if message.severity == AlertSeverity::High && !message.is_resolved {
        header("Importance", "high");
    }
    header("MIME-Version", "1.0");
    // "=_" cannot be in what is encoded as quoted-printable.
    let boundary = format!("=_{}", message.key);
    header("Content-Type", &format!("multipart/alternative;\r\n boundary=\"{boundary}\""));
    for (kind, part) in [("plain", mail.plain()), ("html", mail.html())] {
        _ = write!(
            text,
            "\r\n--{boundary}\r\nContent-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: \
             quoted-printable\r\n\r\n{}",
            quoted_printable(&part)
        );
    }
    _ = write!(text, "\r\n--{boundary}--\r\n");
    text
}

impl Mail<'_> {
    /// Returns the Message-ID of the mail with this key. It contains the channel, because two channels may group the
    /// same events differently, and a mailbox that gets both mails must not drop one as a copy of the other.
    fn id(&self, key: &str) -> String {
        let domain = self.config.from.rsplit_once('@').map_or("portscan.invalid", |(_, domain)| domain);
        format!("<{key}.{}@{domain}>", self.channel)
    }

    /// Returns the lines of the text, each with its explanations.
    fn lines(&self) -> impl Iterator<Item = (&str, &[PortExplanation])> {
        self.message
            .explained_lines()
            .map(|(line, known)| (line, if self.is_explained { known } else { &[] }))
    }

    fn plain(&self) -> String {
        let Self { message, .. } = self;
        let mut text = format!("{}\n\n", message.title);
        for (line, explanations) in self.lines() {
            _ = writeln!(text, "{line}");
            for known in explanations {
                _ = writeln!(text, "    {}", known.sentence());
            }
        }
        _ = write!(text, "\nOpen the page: {}\n", message.link);
        text
    }

    fn html(&self) -> String {
        let Self { message, .. } = self;
        let mut text = format!(
            "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{0}</title></head>\n<body \
             style=\"font-family:sans-serif\">\n<h3>{0}</h3>\n",
            escape_markup(&message.title)
        );
        for (line, explanations) in self.lines() {
            _ = write!(text, "<p>{}", escape_markup(line));
            for known in explanations {
                _ = write!(text, "<br>\n<small>{}</small>", escape_markup(&known.sentence()));
            }
            text.push_str("</p>\n");
        }
        _ = write!(
            text,
            "<p><a href=\"{}\">Open the page</a></p>\n</body></html>\n",
            escape_markup(&message.link)
        );
        text
    }
}

/// Returns the subject, unchanged or as encoded words (RFC 2047).
fn subject(title: &str) -> String {
    let title = one_line(title, MOST_SUBJECT);
    let is_plain = title.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') && !title.contains("=?");
    if is_plain && title.len() <= PLAIN_SUBJECT && title.trim() == title && !title.is_empty() {
        return title;
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in title.chars() {
        if word.len() + c.len_utf8() > ENCODED_WORD {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let encoded = words.iter().map(|word| format!("=?utf-8?B?{}?=", BASE64_STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join("\r\n ")
}

/// The text as quoted-printable (RFC 2045, 6.7), its lines ended by CRLF.
fn quoted_printable(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + text.len() / 4);
    for line in text.lines() {
        let bytes = line.as_bytes();
        let mut column = 0;
        for (index, &byte) in bytes.iter().enumerate() {
            let is_last = index + 1 == bytes.len();
            let is_plain = (byte.is_ascii_graphic() && byte != b'=') || (byte == b' ' && !is_last);
            let width = if is_plain { 1 } else { 3 };
            // Room for the mark that the line goes on.
            if column + width > LINE - 1 {
                encoded.push_str("=\r\n");
                column = 0;
            }
            match is_plain {
                true => encoded.push(char::from(byte)),
                false => _ = write!(encoded, "={byte:02X}"),
            }
            column += width;
        }
        encoded.push_str("\r\n");
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::MailSecurity,
        messages::{Origin, samples},
    };

    fn config() -> MailConfig {
        MailConfig {
            security: MailSecurity::Tls,
            from: "portscan@example.org".to_owned(),
            to: vec!["me@example.org".to_owned(), "you@example.org".to_owned()],
            user: None,
            password_file: None,
        }
    }

    fn written(message: &AlertMessage) -> String {
        let at = "2026-11-29T10:00:00Z".parse().ok();
        mail(&Mail { message, channel: "office", config: &config(), is_explained: true, at })
    }

    fn sample(name: &str) -> AlertMessage {
        samples().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    #[test]
    fn a_mail_has_both_alternatives_with_their_explanation() {
        insta::assert_snapshot!(written(&sample("unexpected")).replace('\r', ""), @r##"
        Date: Sun, 29 Nov 2026 10:00:00 +0000
        From: portscan <portscan@example.org>
        To: me@example.org,
         you@example.org
        Subject: printer (192.0.2.7): port 23/tcp opened, unexpected
        Message-ID: <5d0c4ffb2a9e11aa-41.office@example.org>
        Auto-Submitted: auto-generated
        Importance: high
        MIME-Version: 1.0
        Content-Type: multipart/alternative;
         boundary="=_5d0c4ffb2a9e11aa-41"

        --=_5d0c4ffb2a9e11aa-41
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: quoted-printable

        printer (192.0.2.7): port 23/tcp opened, unexpected

        port 23/tcp opened, unexpected
            23/tcp: usually Telnet. Passwords travel in the clear. Switch it off.

        Open the page: http://portscan.local/#/device/02:00:00:00:00:07

        --=_5d0c4ffb2a9e11aa-41
        Content-Type: text/html; charset=utf-8
        Content-Transfer-Encoding: quoted-printable

        <!DOCTYPE html>
        <html><head><meta charset=3D"utf-8"><title>printer (192.0.2.7): port 23/tcp=
         opened, unexpected</title></head>
        <body style=3D"font-family:sans-serif">
        <h3>printer (192.0.2.7): port 23/tcp opened, unexpected</h3>
        <p>port 23/tcp opened, unexpected<br>
        <small>23/tcp: usually Telnet. Passwords travel in the clear. Switch it off=
        .</small></p>
        <p><a href=3D"http://portscan.local/#/device/02:00:00:00:00:07">Open the pa=
        ge</a></p>
        </body></html>

        --=_5d0c4ffb2a9e11aa-41--
        "##);
    }

    #[test]
    fn what_brings_an_earlier_mail_up_to_date_is_an_answer_to_it() {
        let text = written(&sample("resolved"));
        let earlier = "<5d0c4ffb2a9e11aa-40.office@example.org>";
        for header in ["In-Reply-To", "References"] {
            assert!(text.contains(&format!("\r\n{header}: {earlier}\r\n")), "{text}");
        }
        assert!(text.contains("\r\nMessage-ID: <5d0c4ffb2a9e11aa-41.office@example.org>\r\n"), "{text}");
    }

    #[test]
    fn a_hostile_name_adds_no_header_and_no_markup() {
        let origin =
            Origin { appliance: "a1".to_owned(), page: "http://portscan.local".to_owned(), site: None };
        for name in [
            "x\r\nBcc: evil@example.org",
            "x\n\nbody",
            "<script>alert(1)</script>\"'&",
            "=?utf-8?B?QmNjOg==?=",
            "x\u{85}\u{2028}y\0z",
            "\r\n.\r\nMAIL FROM:<a@b>",
            " ",
            "",
            &"\u{1f4a9}".repeat(500),
            &"long ".repeat(200),
        ] {
            let message =
                AlertMessage { title: name.to_owned(), text: name.to_owned(), ..origin.test("office", 1) };
            let text = written(&message);
            assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let names: Vec<_> = head
                .split("\r\n")
                .filter(|line| !line.starts_with(' '))
                .map(|line| line.split_once(": ").unwrap().0)
                .collect();
            let expected = [
                "Date",
                "From",
                "To",
                "Subject",
                "Message-ID",
                "Auto-Submitted",
                "MIME-Version",
                "Content-Type",
            ];
            assert_eq!(names, expected, "{text}");
            let html = body.split_once("text/html").unwrap().1;
            assert!(!html.contains("<script"), "{text}");
            assert!(text.split("\r\n").all(|line| line.is_ascii() && line.len() <= 78), "{text}");
            assert_eq!(body.matches("--=_a1-test-1").count(), 3, "{text}");
        }
    }

    #[test]
    fn text_is_encoded_as_the_standards_say() {
        assert_eq!(subject("port 23/tcp opened"), "port 23/tcp opened");
        assert_eq!(subject("\u{fc}ber"), "=?utf-8?B?w7xiZXI=?=");
        assert_eq!(quoted_printable("a=b \n\u{fc}"), "a=3Db=20\r\n=C3=BC\r\n");
        assert_eq!(quoted_printable(&"x".repeat(80)), format!("{}=\r\nxxxxx\r\n", "x".repeat(75)));
    }

    #[test]
    fn without_a_trusted_clock_there_is_no_date() {
        let message = sample("test");
        let text = mail(&Mail {
            message: &message,
            channel: "office",
            config: &config(),
            is_explained: true,
            at: None,
        });
        assert!(text.starts_with("From: portscan <portscan@example.org>\r\n"), "{text}");
    }
}

//! The keys that only channels of the type `email` have.

use std::net::IpAddr;

use super::{
    channel::{ChannelUrl, MailConfig, MailSecurity},
    parse,
    table::Section,
};

/// The most recipients of a channel.
const MOST_RECIPIENTS: usize = 20;

/// The longest address, in bytes (RFC 5321, 4.5.3.1.3, without the brackets).
const LONGEST_ADDRESS: usize = 254;

/// The schemes of a URL, in the order of [`MailSecurity`].
pub(super) const SCHEMES: [&str; 3] = ["smtps", "smtp+starttls", "smtp"];

/// Reads the keys. `url` is the channel's, if it is valid.
pub(super) fn read(section: &mut Section<'_, '_>, url: Option<&ChannelUrl>) -> Option<MailConfig> {
    let from = section.required("from", "\"portscan@example.org\"", mail_address);
    let is_there = section.has("to");
    let to = section.list("to", mail_address);
    match &to {
        None if !is_there => {
            section.fault("`to` is missing here; write to = [\"me@example.org\"]");
        }
        Some(to) if to.is_empty() => {
            section.fault_of("to", "this names nobody; write to = [\"me@example.org\"]")
        }
        Some(to) if to.len() > MOST_RECIPIENTS => {
            let text = format!(
                "these are more than {MOST_RECIPIENTS} recipients; write the address of a list instead"
            );
            section.fault_of("to", text);
        }
        _ => {}
    }
    let user = section.one("user", user_name);
    let password_file = section.one("password_file", parse::path);
    match (&user, &password_file) {
        (Some(_), None) => section.fault_of("user", "a user needs a password; write password_file, too"),
        (None, Some(_)) => section.fault_of("password_file", "a password needs a user; write user, too"),
        _ => {}
    }
    let url = url?;
    let security = MailSecurity::of(url.reveal());
    if url.has_path() {
        section.fault_of(
            "url",
            "this URL ends with a path, which a mail server has not; write smtps://HOST:465",
        );
    }
    if security == MailSecurity::Clear && password_file.is_some() && !is_loopback(url.host()) {
        section.fault_of(
            "url",
            "the password would travel in the clear; write smtps:// or smtp+starttls://, or drop user and password_file",
        );
    }
    Some(MailConfig { security, from: from?, to: to?, user, password_file })
}

/// Whether the host is this machine, whatever a name server says.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Parses a mail address of RFC 5321 (4.1.2) in the plain form that people use: no quotes, no comments, no IP address
/// in place of the domain. Such an address can be put into a command and a header unchanged.
fn mail_address(text: &str) -> Result<String, String> {
    let is_atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_valid = text.rsplit_once('@').is_some_and(|(local, domain)| {
        text.len() <= LONGEST_ADDRESS
            && local.len() <= 64
            && local.split('.').all(|part| !part.is_empty() && part.chars().all(is_atom))
            && domain.split('.').all(is_label)
    });
    let start: String = text.chars().take(60).collect();
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err(format!("{start:?} is not a mail address; write the address alone, as me@example.org"))
    }
}

fn user_name(text: &str) -> Result<String, &'static str> {
    // NUL separates the user from the password (RFC 4616).
    let is_valid = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err("a user's name has 1 to 255 bytes and no control characters")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_carry_anything_else() {
        for text in ["me@example.org", "o'neil+scan@a-b.example", "root@localhost", "a.b@192.example"] {
            assert_eq!(mail_address(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "me",
            "@example.org",
            "me@",
            "me@-a.org",
            "me@a..org",
            ".me@a.org",
            "me <me@a.org>",
            "a@b@c.org",
            "me@a.org\r\nBcc: x@y.org",
            "me@a.org>",
            "\"a b\"@a.org",
            "mé@a.org",
            "me@a.org, you@a.org",
            "me@[::1]",
        ] {
            assert!(mail_address(text).is_err(), "{text}");
        }
        assert!(mail_address(&format!("{}@a.org", "x".repeat(65))).is_err());
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.8.8.8", true),
            ("::1", true),
            ("localhost", true),
            ("localhost.example.org", false),
            ("192.0.2.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}

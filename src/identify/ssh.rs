//! SSH: `SSH-protoversion-softwareversion SP comments` (RFC 4253 4.2).

use super::{
    claims::Claims,
    table::{Preference, Table},
    text::is_common,
    version,
};
use crate::model::DeviceIdentification;

const TABLE: Table = Table::new(include_str!("tables/ssh.txt"));

pub(super) fn parse(text: &str) -> Claims {
    let software = software(text);
    let (name, comments) = software.split_once(' ').unwrap_or((software, ""));
    let listed = TABLE.find(software, Preference::First);
    let found = if listed.product.is_some() { listed } else { unlisted(name).or(listed) };
    if comments.starts_with("Raspbian") { found.or(raspberry_pi()) } else { found }
}

/// The line that identifies the server. Lines before it, which a server may send, do not begin with `SSH-`.
pub(super) fn line(text: &str) -> Option<&str> {
    text.lines().find(|line| line.starts_with("SSH-"))
}

/// Returns the software and the comments, which follow the protocol's version.
fn software(text: &str) -> &str {
    let line = line(text).or_else(|| text.lines().next()).unwrap_or_default();
    let software =
        line.strip_prefix("SSH-").and_then(|rest| rest.split_once('-')).map_or(line, |(_, rest)| rest);
    software.trim()
}

/// Finds a product that no table lists: its name up to the mark before the version. A name without a version may be
/// anything, even a host's name.
fn unlisted(name: &str) -> Claims {
    let (product, version) = version::split_name(name);
    let is_name = product.len() >= 3
        && !is_common(product)
        && product.chars().all(|c| c.is_ascii_graphic())
        && product.starts_with(|c: char| c.is_ascii_alphabetic());
    if is_name && !version.is_empty() { Claims::software("", product, version) } else { Claims::default() }
}

/// Raspbian runs on nothing else.
pub(super) fn raspberry_pi() -> Claims {
    let text = |text: &str| Some(text.to_owned());
    let device = DeviceIdentification {
        maker: text("Raspberry Pi"),
        model: text("Raspberry Pi"),
        ..DeviceIdentification::default()
    };
    Claims::of_device(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn software_of(text: &str) -> (Option<String>, Option<String>) {
        let found = parse(text);
        (found.product, found.version)
    }

    fn some(product: &str, version: &str) -> (Option<String>, Option<String>) {
        (Some(product.to_owned()), Some(version.to_owned()))
    }

    #[test]
    fn names_listed_software_with_and_without_the_protocol() {
        for text in ["SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13.5\n", "OpenSSH_9.6p1 Ubuntu-3ubuntu13.5"] {
            assert_eq!(software_of(text), some("OpenSSH", "9.6p1"));
        }
        assert_eq!(software_of("SSH-2.0-dropbear_2022.83"), some("Dropbear", "2022.83"));
        assert_eq!(parse("SSH-1.99-Cisco-2.0").vendor.as_deref(), Some("Cisco"));
    }

    #[test]
    fn splits_the_name_from_the_version_of_unlisted_software() {
        assert_eq!(software_of("SSH-2.0-Gardenia_1.4.2 rose"), some("Gardenia", "1.4.2"));
        assert_eq!(software_of("SSH-2.0-garden-shed-0.3"), some("garden-shed", "0.3"));
        for text in ["SSH-2.0-Gardenia", "SSH-2.0-Server-V1.0", "SSH-2.0--", "SSH-2.0-", "SSH-"] {
            assert!(parse(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn skips_the_lines_before_the_identification() {
        assert_eq!(software_of("Authorised users only\nSSH-2.0-OpenSSH_8.4\n"), some("OpenSSH", "8.4"));
    }

    #[test]
    fn a_raspberry_pi_is_known_by_its_distribution() {
        let found = parse("SSH-2.0-OpenSSH_8.4p1 Raspbian-5+deb11u3");
        assert_eq!(found.device.model.as_deref(), Some("Raspberry Pi"));
        assert!(parse("SSH-2.0-OpenSSH_8.4p1 Debian-5+deb11u3").device.is_empty());
    }
}

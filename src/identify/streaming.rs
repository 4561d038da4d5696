//! Media and telephony: RTSP's `Server` (RFC 7826 18.48), SIP's `Server` and `User-Agent` (RFC 3261 20.35, 20.41).
//! Their grammar is HTTP's; phones write their model instead of a product.

use super::{
    claims::Claims,
    table::{MODELS, Preference, Table},
    text::{is_common, versioned},
    version,
};

const RTSP: Table = Table::new(include_str!("tables/rtsp.txt"));
const SIP: Table = Table::new(include_str!("tables/sip.txt"));

pub(super) fn parse_rtsp(text: &str) -> Claims {
    parse(RTSP, text)
}

pub(super) fn parse_sip(text: &str) -> Claims {
    parse(SIP, text)
}

fn parse(table: Table, text: &str) -> Claims {
    // Poly's phones put UA, for user agent, between their model and their version.
    let line = text.lines().next().unwrap_or_default().trim().replace("-UA/", "/");
    let line = line.as_str();
    let found = table.find(line, Preference::Longest).or(MODELS.find(line, Preference::Longest));
    if found.is_empty() { unlisted(line) } else { found }
}

/// A product that no table lists: `name/version`, or a name and a version.
fn unlisted(line: &str) -> Claims {
    if let Some(found) = versioned(line) {
        return Claims::from(found);
    }
    let Some((name, version)) = line.split_once('/') else { return Claims::default() };
    let version = version::first(version).unwrap_or_default();
    let is_name = name.len() >= 3
        && !is_common(name)
        && name.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '-' | ' ' | '_'));
    if is_name && version.contains('.') { Claims::software("", name, version) } else { Claims::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeviceType;

    #[test]
    fn names_sip_servers_and_phones() {
        let found = parse_sip("Asterisk PBX 18.10.0~dfsg");
        let software = (found.product.as_deref(), found.version.as_deref());
        assert_eq!(software, (Some("Asterisk"), Some("18.10.0~dfsg")));
        let device = parse_sip("Yealink SIP-T46S 66.86.0.15").device;
        assert_eq!(device.maker.as_deref(), Some("Yealink"));
        assert_eq!(device.model.as_deref(), Some("SIP-T46S"));
        assert_eq!(device.device_type, Some(DeviceType::DeskPhone));
    }

    #[test]
    fn names_an_unlisted_product_with_a_version() {
        let found = parse_rtsp("Gardenia/1.4 (linux)");
        assert_eq!((found.product.as_deref(), found.version.as_deref()), (Some("Gardenia"), Some("1.4")));
        let found = parse_sip("Garden IP Phone Version 2.0.51");
        assert_eq!(
            (found.product.as_deref(), found.version.as_deref()),
            (Some("Garden IP Phone"), Some("2.0.51"))
        );
        assert!(
            parse_rtsp("Gardenia").is_empty()
                && parse_sip("SIP server/1.2").is_empty()
                && parse_sip("").is_empty()
        );
    }
}

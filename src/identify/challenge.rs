//! HTTP's challenge: a scheme and parameters, of which the realm names the device (RFC 9110 11.6.1).

use super::{
    claims::Claims,
    table::{MODELS, Preference, Table},
    text::find_ignoring_case,
};

const TABLE: Table = Table::new(include_str!("tables/realm.txt"));

pub(super) fn parse(text: &str) -> Claims {
    let realm = realm(text);
    let mut found = TABLE.find(realm, Preference::Longest).or(MODELS.find(realm, Preference::Longest));
    if found.device.maker.is_some() && found.device.model.is_none() {
        found.device.model = last_model(realm);
    }
    found
}

/// The model at the end of a realm that describes the device, as `MAKER Wireless Router WR841N`.
fn last_model(realm: &str) -> Option<String> {
    let (_, word) = realm.rsplit_once(' ')?;
    let is_model = (3..=MODEL_MAX).contains(&word.len())
        && word.bytes().filter(u8::is_ascii_digit).count() >= DIGITS_MIN
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+'));
    is_model.then(|| word.to_owned())
}

/// The fewest digits of a model at the end of a realm: rooms and numbered devices have one or two.
const DIGITS_MIN: usize = 3;

/// The longest model at the end of a realm, in bytes; longer words are serial numbers.
const MODEL_MAX: usize = 16;

/// The first realm; the whole text if there is none.
fn realm(text: &str) -> &str {
    let Some(at) = find_ignoring_case(text, "realm=") else { return text.trim() };
    let value = &text[at + "realm=".len()..];
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default().trim(),
        None => value.split([',', ' ']).next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_realm_of_any_scheme() {
        assert_eq!(realm("Basic realm=\"NETGEAR R6400\", charset=\"UTF-8\""), "NETGEAR R6400");
        assert_eq!(realm("Digest qop=auth, Realm=printer, nonce=1"), "printer");
        assert_eq!(realm("Negotiate"), "Negotiate");
        assert_eq!(realm("Basic realm=\""), "");
    }

    #[test]
    fn names_the_device() {
        let found = parse("Basic realm=\"NETGEAR R6400\"");
        assert_eq!(
            (found.device.maker.as_deref(), found.device.model.as_deref()),
            (Some("NETGEAR"), Some("R6400"))
        );
        let device = parse("Basic realm=\"TP-LINK Garden Router GR488\"").device;
        assert_eq!((device.maker.as_deref(), device.model.as_deref()), (Some("TP-Link"), Some("GR488")));
        assert_eq!(parse("Basic realm=\"TP-LINK Router Room12\"").device.model, None);
        assert!(parse("Basic realm=\"Please log in\"").is_empty());
    }
}

//! HTTP's challenge: a scheme and parameters, of which the realm names the device (RFC 9110 11.6.1).

use super::{
    claims::Claims,
    table::{MODELS, Preference, Table},
    text::find_ignoring_case,
};

const TABLE: Table = Table::new(include_str!("tables/realm.txt"));

pub(super) fn parse(text: &str) -> Claims {
    let realm = realm(text);
    TABLE.find(realm, Preference::Longest).or(MODELS.find(realm, Preference::Longest))
}

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
        assert!(parse("Basic realm=\"Please log in\"").is_empty());
    }
}

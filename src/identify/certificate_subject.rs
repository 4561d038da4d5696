//! A certificate's subject: attributes `TYPE=value` between commas, escaped by backslashes (RFC 4514 2, 3).

use super::{
    claims::Claims,
    table::{Preference, Table},
};

/// Its keys are attributes, as `o=synology inc`.
const TABLE: Table = Table::new(include_str!("tables/certificate_subject.txt"));

/// Attributes that name the device, the most specific first: a unit is often a product line, a common name a serial
/// number, an organisation the maker.
const TELLING: [&str; 3] = ["ou", "cn", "o"];

pub(super) fn parse(text: &str) -> Claims {
    let attributes = attributes(text.lines().next().unwrap_or_default());
    let mut found = Claims::default();
    for telling in TELLING {
        for (name, value) in &attributes {
            if name.eq_ignore_ascii_case(telling) {
                found = found.or(TABLE.find(&format!("{telling}={value}"), Preference::Longest));
            }
        }
    }
    found
}

/// The attributes and their values without escapes. Hexadecimal pairs (`\C3\A9`) stay as they are: no key has any.
fn attributes(subject: &str) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    let mut attribute = String::new();
    let mut characters = subject.chars();
    loop {
        match characters.next() {
            Some('\\') => attribute.extend(characters.next()),
            Some(c) if !matches!(c, ',' | '+') => attribute.push(c),
            end => {
                if let Some((name, value)) = attribute.split_once('=') {
                    attributes.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                attribute.clear();
                if end.is_none() {
                    return attributes;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separates_attributes_at_unescaped_commas() {
        let expected = [("CN", "nas.lan"), ("O", "Shed, Inc."), ("OU", "A+B"), ("C", "TW")];
        let found = attributes("CN=nas.lan,O=Shed\\, Inc.+OU=A\\+B,C=TW");
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_trailing_escape_and_a_value_without_name_are_harmless() {
        assert_eq!(attributes("\\"), []);
        assert_eq!(attributes(",,=,x\\"), [(String::new(), String::new())]);
    }

    #[test]
    fn names_the_maker_by_its_organisation() {
        assert_eq!(parse("CN=nas,O=Synology Inc.,C=TW").device.maker.as_deref(), Some("Synology"));
        assert!(parse("CN=nas,O=Home,C=TW").is_empty());
    }
}

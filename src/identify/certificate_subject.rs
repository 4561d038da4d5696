//! A certificate's subject: attributes `TYPE=value` between commas, escaped by backslashes (RFC 4514 2, 3).

use super::{
    claims::Claims,
    table::{Preference, Table},
};
use crate::model::Mac;

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
    if found.device.model.is_none() {
        let names = attributes.iter().filter(|(name, _)| name.eq_ignore_ascii_case("cn"));
        found.device.model = names.filter_map(|(_, name)| model_before_mac(name)).next();
    }
    found
}

/// The model that devices put before their hardware address: `AM-200-00107fb7b1e2`, `RFS6000-B1-C1-11-11-11-11`. It has
/// capitals and a digit: names of hosts before an address have not.
fn model_before_mac(name: &str) -> Option<String> {
    let is_mac =
        |text: &str| text.strip_prefix(['-', '_', ' ']).is_some_and(|mac| mac.parse::<Mac>().is_ok());
    let (model, _) = ["-00-00-00-00-00-00", "-000000000000"]
        .iter()
        .filter_map(|form| name.split_at_checked(name.len().checked_sub(form.len())?))
        .find(|(_, address)| is_mac(address))?;
    let is_model = (3..=MODEL_MAX).contains(&model.len())
        && model.starts_with(|c: char| c.is_ascii_alphabetic())
        && model.contains(|c: char| c.is_ascii_digit())
        && model.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    is_model.then(|| model.to_owned())
}

/// The longest model before an address, in bytes.
const MODEL_MAX: usize = 24;

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

    #[test]
    fn takes_the_model_before_the_hardware_address() {
        let model = |subject: &str| parse(subject).device.model;
        assert_eq!(model("CN=SH20_5CF4AB000000").as_deref(), Some("SH20"));
        assert_eq!(model("CN=SH6000-B1-C1-11-11-11-11,O=Home").as_deref(), Some("SH6000"));
        let device = parse("CN=SH-200-00107fb7b1e2,O=Synology Inc.").device;
        assert_eq!((device.maker.as_deref(), device.model.as_deref()), (Some("Synology"), Some("SH-200")));
        for subject in
            ["CN=shed1-00107fb7b1e2", "CN=00107fb7b1e2", "CN=X12-00107fb7b1eg", "CN=é-00107fb7b1e2"]
        {
            assert_eq!(model(subject), None, "{subject}");
        }
    }
}

//! Telnet: a server's text before its log-in, among options that it negotiates (RFC 854).

use super::{
    claims::Claims,
    table::{MODELS, Preference, Table},
    text::{decode, versioned},
};
use crate::model::DeviceIdentification;

const TABLE: Table = Table::new(include_str!("tables/telnet.txt"));

/// The beginnings of lines that name a model.
const LABELS: [&str; 4] = ["model", "model name", "model no", "product model"];

/// The longest model that such a line may name, in bytes.
const MODEL_MAX: usize = 32;

pub(super) const INTERPRET_AS_COMMAND: u8 = 255;
const SUBNEGOTIATION: u8 = 250;
const SUBNEGOTIATION_END: u8 = 240;

/// WILL, WONT, DO and DONT, each followed by an option.
pub(super) const WITH_OPTION: std::ops::RangeInclusive<u8> = 251..=254;

pub(super) fn parse(greeting: &[u8]) -> Claims {
    let text = text(greeting);
    let found = TABLE.find(&text, Preference::Longest).or(MODELS.find(&text, Preference::Longest));
    let device = DeviceIdentification { model: labelled_model(&text), ..DeviceIdentification::default() };
    let found = found.or(Claims { device, ..Claims::default() });
    if found.is_empty() { unlisted(&text) } else { found }
}

/// A system that no table lists: a name before a version that is marked as one. Others are times and measurements.
fn unlisted(text: &str) -> Claims {
    let marked = text.lines().filter_map(versioned).find(|found| found.is_marked);
    marked.map_or_else(Claims::default, Claims::from)
}

/// Returns the model that a line names as such: `Model name : NE-4110S`.
fn labelled_model(text: &str) -> Option<String> {
    let value = text.lines().filter_map(|line| {
        let (label, value) = line.split_once(':')?;
        let label = label.trim();
        LABELS.iter().any(|known| label.eq_ignore_ascii_case(known)).then(|| value.trim())
    });
    let mut named = value.filter(|value| {
        (2..=MODEL_MAX).contains(&value.len())
            && value.contains(|c: char| c.is_ascii_digit())
            && value.chars().all(|c| c.is_ascii_alphanumeric() || " -+/_.".contains(c))
    });
    named.next().map(str::to_owned)
}

/// Returns the text that a person would see.
pub(super) fn text(greeting: &[u8]) -> String {
    decode(&without_commands(greeting))
}

/// The text without the commands in it.
fn without_commands(greeting: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(greeting.len());
    let mut bytes = greeting.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != INTERPRET_AS_COMMAND {
            text.push(byte);
            continue;
        }
        match bytes.next() {
            Some(SUBNEGOTIATION) => while bytes.next().is_some_and(|byte| byte != SUBNEGOTIATION_END) {},
            Some(command) if WITH_OPTION.contains(&command) => {
                bytes.next();
            }
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_negotiations() {
        let greeting = b"\xff\xfb\x01\xff\xfd\x18\xff\xfa\x18\x01\xff\xf0\r\nMikroTik v7.12\r\nLogin: ";
        assert_eq!(parse(greeting).device.maker.as_deref(), Some("MikroTik"));
        assert_eq!(without_commands(b"a\xff\xf1b\xff\xfb"), b"ab");
        assert_eq!(without_commands(b"\xff\xfaendless"), b"");
        assert_eq!(without_commands(b"\xff"), b"");
    }

    #[test]
    fn takes_the_model_from_a_line_that_says_so() {
        let model = |text: &str| parse(text.as_bytes()).device.model;
        assert_eq!(model("Model name : SHED-4110\r\nSerial No. : 12\r\n").as_deref(), Some("SHED-4110"));
        assert_eq!(model("Hello\r\nMODEL:   Shed 6000A\r\n").as_deref(), Some("Shed 6000A"));
        for text in ["Model: none", "Model: <b>1</b>", "Role model: 1x", "Model:", "Model 1x"] {
            assert_eq!(model(text), None, "{text}");
        }
    }

    #[test]
    fn names_an_unlisted_system_by_its_version() {
        let found = parse(b"\r\nGardenOS version 3.04.C.6, copyright (c) 2020 Shed Ltd.\r\n\r\nLogin: ");
        assert_eq!(
            (found.product.as_deref(), found.version.as_deref()),
            (Some("GardenOS"), Some("3.04.C.6"))
        );
        assert!(parse(b"Temperature 23.5\r\nLogin: ").is_empty());
        assert!(parse(b"RICOH shell.\r\nUser access verification.\r\nlogin:").product.is_none());
    }

    #[test]
    fn names_nothing_for_a_bare_prompt() {
        assert!(parse(b"\r\nlogin: ").is_empty());
    }
}

//! Telnet: what a server says before its log-in, among options that it negotiates (RFC 854).

use super::{
    claims::Claims,
    table::{MODELS, Preference, Table},
    text::decode,
};

const TABLE: Table = Table::new(include_str!("tables/telnet.txt"));

pub(super) const INTERPRET_AS_COMMAND: u8 = 255;
const SUBNEGOTIATION: u8 = 250;
const SUBNEGOTIATION_END: u8 = 240;

/// WILL, WONT, DO and DONT, each followed by an option.
pub(super) const WITH_OPTION: std::ops::RangeInclusive<u8> = 251..=254;

pub(super) fn parse(greeting: &[u8]) -> Claims {
    let text = text(greeting);
    TABLE.find(&text, Preference::Longest).or(MODELS.find(&text, Preference::Longest))
}

/// What a person sees of it.
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
    fn names_nothing_for_a_bare_prompt() {
        assert!(parse(b"\r\nlogin: ").is_empty());
    }
}

//! MQTT: CONNACK (MQTT 3.1.1 3.2, MQTT 5 3.2). Only user properties of MQTT 5 can name the broker.

use super::claims::Claims;

/// The first byte of the packet.
const CONNACK: u8 = 0x20;

/// Before the properties: type, remaining length, flags, reason, and the properties' length.
const HEADER: usize = 5;

/// A user property's identifier (MQTT 5 2.2.2.2).
const USER_PROPERTY: u8 = 0x26;

pub(super) fn parse(greeting: &[u8]) -> Claims {
    if greeting.first() != Some(&CONNACK) {
        return Claims::default();
    }
    let mut properties = greeting.get(HEADER..).unwrap_or_default();
    while let Some((&identifier, rest)) = properties.split_first() {
        let Some(length) = (if identifier == USER_PROPERTY { Some(0) } else { fixed_length(identifier) })
        else {
            return Claims::default();
        };
        if identifier == USER_PROPERTY {
            let Some((name, rest)) = string(rest) else { return Claims::default() };
            let Some((value, rest)) = string(rest) else { return Claims::default() };
            if matches!(name, "broker" | "server" | "broker-name") {
                return Claims::software("", value, "");
            }
            properties = rest;
        } else {
            properties = rest.get(length..).unwrap_or_default();
        }
    }
    Claims::default()
}

/// Returns the length of a CONNACK property, if it is fixed. Other properties are texts, and parsing ends there.
fn fixed_length(identifier: u8) -> Option<usize> {
    match identifier {
        // Maximum QoS, retain, wildcard, identifiers, shared subscriptions available.
        0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Some(1),
        // Receive maximum, topic alias maximum, keep alive.
        0x21 | 0x22 | 0x13 => Some(2),
        // Session expiry, maximum packet size.
        0x11 | 0x27 => Some(4),
        _ => None,
    }
}

/// A text after two bytes of its length.
fn string(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CONNACK of MQTT 5 with these properties.
    fn connack(properties: &[u8]) -> Vec<u8> {
        [&[CONNACK, 3, 0, 0, 0], properties].concat()
    }

    #[test]
    fn reads_the_user_property_behind_properties_of_fixed_length() {
        let found = parse(&connack(b"\x22\0\x0a\x24\x01\x26\0\x06broker\0\x08Gardenia"));
        assert_eq!(found.product.as_deref(), Some("Gardenia"));
    }

    #[test]
    fn names_nothing_else() {
        for greeting in
            [b"".as_slice(), b"\x20\x02\0\0", b"\x20\x02\0\x05", b"\x30\x02\0\0\0\x26\0\x06broker\0\x01x"]
        {
            assert!(parse(greeting).is_empty(), "{greeting:?}");
        }
        for properties in [
            b"\x26".as_slice(),
            b"\x26\xff\xff",
            b"\x26\0\x06broker",
            b"\x26\0\x06broker\0\x02\xff\xfe",
            b"\x11\0",
        ] {
            assert!(parse(&connack(properties)).is_empty(), "{properties:?}");
        }
    }
}

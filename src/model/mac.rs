//! Hardware addresses, which identify devices.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A 48-bit IEEE MAC address.
///
/// Prints as `B8:27:EB:AC:14:3E` (upper case, colons), the form of the portscan API; reads any case with
/// colons, hyphens, dots (`b827.ebac.143e`) or nothing between the digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

/// Why a text is not a [`Mac`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a MAC address; write it as B8:27:EB:AC:14:3E")]
pub struct MacError(pub String);

impl Mac {
    /// The address with these octets, most significant first.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The six octets, most significant first.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Lower case with colons, the form of lanscan's API.
    pub fn to_lower(self) -> String {
        self.to_string().to_ascii_lowercase()
    }

    /// Whether the address is locally administered, not assigned by the IEEE (bit 1 of octet 0, IEEE 802-2014, 8.2.2):
    /// phones randomise theirs, so such an address may be gone tomorrow.
    pub const fn is_locally_administered(self) -> bool {
        self.0[0] & 0b10 != 0
    }

    /// Whether the address can belong to one station: not multicast or broadcast (bit 0 of octet 0) and not all zero,
    /// which incomplete neighbour entries show.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let error = || MacError(text.chars().take(40).collect());
        let digits: Vec<u8> = match text.len() {
            12 => text.bytes().collect(),
            14 => split_groups(text, 4, b'.').ok_or_else(error)?,
            17 => split_groups(text, 2, b':').or_else(|| split_groups(text, 2, b'-')).ok_or_else(error)?,
            _ => return Err(error()),
        };
        let mut octets = [0; 6];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            *octet = hex(pair[0]).zip(hex(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(error)?;
        }
        Ok(Self(octets))
    }
}

/// The digits of `text` if `separator` follows every `group` characters and occurs nowhere else.
fn split_groups(text: &str, group: usize, separator: u8) -> Option<Vec<u8>> {
    let at_separator = |index: usize| index % (group + 1) == group;
    text.bytes().enumerate().all(|(index, byte)| at_separator(index) == (byte == separator)).then(|| {
        text.bytes().enumerate().filter(|&(index, _)| !at_separator(index)).map(|(_, byte)| byte).collect()
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl TryFrom<String> for Mac {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_usual_spelling() {
        for text in
            ["b8:27:eb:ac:14:3e", "B8-27-EB-AC-14-3E", "b827.ebac.143e", "B827EBAC143E", "b8:27:EB:ac:14:3E"]
        {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), "B8:27:EB:AC:14:3E", "{text}");
        }
    }

    #[test]
    fn refuses_texts_that_only_look_like_one() {
        for text in [
            "",
            "b8:27:eb:ac:14",
            "b8:27:eb:ac:14:3g",
            "b8:27-eb:ac:14:3e",
            "b8:27:eb:ac:14:3e:00",
            "b82:7eb:ac14:3e",
            "é8:27:eb:ac:14:3e",
            "b8 27 eb ac 14 3e",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn recognises_local_and_group_addresses() {
        let mac = |text: &str| text.parse::<Mac>().unwrap();
        assert!(mac("02:00:00:00:00:01").is_locally_administered());
        assert!(!mac("B8:27:EB:AC:14:3E").is_locally_administered());
        assert!(!mac("FF:FF:FF:FF:FF:FF").is_unicast());
        assert!(!mac("00:00:00:00:00:00").is_unicast());
        assert!(!mac("01:00:5E:00:00:FB").is_unicast());
    }
}

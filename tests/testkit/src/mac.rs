//! Hardware addresses of simulated devices.

use std::{fmt, str::FromStr};

use pnet_base::{MacAddr, ParseMacAddrErr};
use serde::{Deserialize, Serialize, Serializer};

/// A hardware address, printed as the API prints it: `02:00:00:00:00:FE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// As `ip` and lanscan print it.
    pub fn to_lower(self) -> String {
        MacAddr::from(self.0).to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_lower().to_ascii_uppercase())
    }
}

impl FromStr for Mac {
    type Err = ParseMacAddrErr;

    fn from_str(text: &str) -> Result<Self, ParseMacAddrErr> {
        text.parse().map(|mac: MacAddr| Self(mac.octets()))
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{text}: {error:?}"))
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

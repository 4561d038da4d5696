//! The names of a device, and their sources.

use std::str::FromStr;

use jiff::Timestamp;

/// The source of a device's name. In the order of precedence: the owner, then what others report about the device, then
/// what the device reports about itself, then what a name server has for its address, which may be the router's guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameSource {
    /// The owner, here.
    Owner,
    /// The owner, in the configuration.
    Config,
    /// A feed, the configuration's list of hosts, or an imported report.
    Feed,
    /// The device itself, by multicast DNS.
    Mdns,
    /// The machine's resolver: a name server, or /etc/hosts.
    Dns,
}

/// A device's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name itself.
    pub text: String,
    /// Its source.
    pub source: NameSource,
    /// When the name was last reported or, for a feed, which reports it every minute, first reported; `None` if
    /// unknown.
    pub at: Option<Timestamp>,
}

impl NameSource {
    /// All sources, in the order of precedence.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Config, Self::Feed, Self::Mdns, Self::Dns];

    /// Its name in the database and in APIs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Config => "config",
            Self::Feed => "feed",
            Self::Mdns => "mdns",
            Self::Dns => "dns",
        }
    }
}

/// A text that is not the name of a [`NameSource`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a source of names")]
pub struct NameSourceError(String);

impl FromStr for NameSource {
    type Err = NameSourceError;

    fn from_str(text: &str) -> Result<Self, NameSourceError> {
        let found = Self::ALL.into_iter().find(|source| source.as_str() == text);
        found.ok_or_else(|| NameSourceError(text.to_owned()))
    }
}

impl Name {
    /// The name to show, of all that a device has.
    pub fn shown(names: &[Self]) -> Option<&Self> {
        names.iter().min_by_key(|name| name.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owners_name_comes_first() {
        let name = |source: NameSource| Name { text: source.as_str().to_owned(), source, at: None };
        let mut names: Vec<Name> = NameSource::ALL.into_iter().rev().map(name).collect();
        for source in NameSource::ALL {
            assert_eq!(Name::shown(&names).unwrap().source, source);
            assert_eq!(source.as_str().parse(), Ok(source));
            names.pop();
        }
        assert_eq!(Name::shown(&names), None);
        assert!("unknown".parse::<NameSource>().is_err());
    }
}

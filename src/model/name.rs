//! What a device is called, and who says so.

use std::str::FromStr;

use jiff::Timestamp;

/// Who calls a device by a name. In the order of precedence: what the owner says, then what others say of the
/// device, then what it says of itself, then what a name server has under its address, which may be the
/// router's guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameSource {
    /// The owner, here.
    Owner,
    /// The owner, in the configuration.
    Config,
    /// A feed, the configuration's list of hosts, or somebody else's report.
    Feed,
    /// The device itself, asked by multicast DNS's protocol.
    Mdns,
    /// The machine's resolver: a name server, or /etc/hosts.
    Dns,
}

/// A device's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name itself.
    pub text: String,
    /// Who calls it so.
    pub source: NameSource,
    /// When it was last said, or first by a feed, which says it every minute; `None` where nobody knows.
    pub at: Option<Timestamp>,
}

impl NameSource {
    /// All, in the order of precedence.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Config, Self::Feed, Self::Mdns, Self::Dns];

    /// The word that stands for it.
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

/// A word that stands for no [`NameSource`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is nobody who gives names")]
pub struct NameSourceError(String);

impl FromStr for NameSource {
    type Err = NameSourceError;

    fn from_str(text: &str) -> Result<Self, NameSourceError> {
        let found = Self::ALL.into_iter().find(|source| source.as_str() == text);
        found.ok_or_else(|| NameSourceError(text.to_owned()))
    }
}

impl Name {
    /// The one to show, of all that a device has.
    pub fn shown(names: &[Self]) -> Option<&Self> {
        names.iter().min_by_key(|name| name.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owners_word_comes_first() {
        let name = |source: NameSource| Name { text: source.as_str().to_owned(), source, at: None };
        let mut names: Vec<Name> = NameSource::ALL.into_iter().rev().map(name).collect();
        for source in NameSource::ALL {
            assert_eq!(Name::shown(&names).unwrap().source, source);
            assert_eq!(source.as_str().parse(), Ok(source));
            names.pop();
        }
        assert_eq!(Name::shown(&names), None);
        assert!("nobody".parse::<NameSource>().is_err());
    }
}

//! The name of a site.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a site is called: 1 to 32 of a-z, 0-9 and hyphen, neither first nor last a hyphen. So it is a subject's part, a
/// file's name, a path's segment and a host name's label as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SiteName(String);

/// Why a text is not a site's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a site's name; write 1 to 32 of a-z, 0-9 and -, with no - at either end")]
pub struct SiteNameError;

impl SiteName {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SiteName {
    type Err = SiteNameError;

    fn from_str(text: &str) -> Result<Self, SiteNameError> {
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_name = (1..=32).contains(&text.len())
            && text.chars().all(valid)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if is_name { Ok(Self(text.to_owned())) } else { Err(SiteNameError) }
    }
}

impl TryFrom<String> for SiteName {
    type Error = SiteNameError;

    fn try_from(text: String) -> Result<Self, SiteNameError> {
        text.parse()
    }
}

impl From<SiteName> for String {
    fn from(name: SiteName) -> Self {
        name.0
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_subject_a_file_and_a_path_as_it_is() {
        for name in ["a", "house-3", "7", "a-b-c", &"x".repeat(32)] {
            assert_eq!(name.parse::<SiteName>().unwrap().as_str(), name);
        }
        for text in ["", "-a", "a-", "House", "a.b", "a/b", "*", ">", "..", "ü", &"x".repeat(33)] {
            assert_eq!(text.parse::<SiteName>(), Err(SiteNameError), "{text}");
        }
    }
}

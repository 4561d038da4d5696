//! The names of a fleet's members.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a name; write 1 to 32 of a-z, 0-9 and -, with no - at either end")]
pub struct FleetNameError;

/// A type of names: 1 to 32 of a-z, 0-9 and hyphen, neither first nor last a hyphen. So a name is a subject's part, a
/// file's name, a path's segment and a host name's label as it is.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = FleetNameError;

            fn from_str(text: &str) -> Result<Self, FleetNameError> {
                if is_name(text) { Ok(Self(text.to_owned())) } else { Err(FleetNameError) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = FleetNameError;

            fn try_from(text: String) -> Result<Self, FleetNameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// What a site is called: 1 to 32 of a-z, 0-9 and hyphen.
    SiteName
);
name!(
    /// What a worker is called: 1 to 32 of a-z, 0-9 and hyphen. A site may have the same name.
    WorkerName
);

fn is_name(text: &str) -> bool {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=32).contains(&text.len())
        && text.chars().all(valid)
        && !text.starts_with('-')
        && !text.ends_with('-')
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
            assert_eq!(text.parse::<SiteName>(), Err(FleetNameError), "{text}");
        }
    }
}

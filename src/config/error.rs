//! The faults of a configuration, and how they are reported.

use std::{fmt, path::PathBuf};

/// All faults, at least one; prints one per line, in the order of the layers and lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The faults.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where to mend it.
    pub place: Place,
    /// What is wrong and how to mend it.
    pub text: String,
}

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1, and the key (`feed.url`; empty for faults of syntax).
    Line {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The key.
        key: String,
    },
    /// A whole file, that cannot be read for instance.
    File(PathBuf),
    /// An environment variable.
    Variable(&'static str),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line, key } if key.is_empty() => write!(f, "{}:{line}", file.display()),
            Self::Line { file, line, key } => write!(f, "{}:{line}: {key}", file.display()),
            Self::File(file) => file.display().fmt(f),
            Self::Variable(name) | Self::Flag(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

//! How ports are asked; the engine and its prober decide probe by probe.

use std::{fmt, str::FromStr};

/// How a scan asks ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeMethod {
    /// By bare SYNs where they are possible and seen to be answered, else by connects.
    Auto,
    /// By TCP connects, which need no privileges.
    #[default]
    Connect,
    /// As `Auto`; that SYNs are not possible is worth a warning, or an error.
    Syn,
}

/// Why a text is not a [`ProbeMethod`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a method; write \"connect\", \"syn\", or \"auto\" for SYNs where they are possible")]
pub struct ProbeMethodError(pub String);

impl ProbeMethod {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Connect, Self::Syn];

    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Connect => "connect",
            Self::Syn => "syn",
        }
    }

    /// Whether bare SYNs may ask.
    pub const fn allows_syns(self) -> bool {
        matches!(self, Self::Auto | Self::Syn)
    }
}

impl fmt::Display for ProbeMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProbeMethod {
    type Err = ProbeMethodError;

    fn from_str(text: &str) -> Result<Self, ProbeMethodError> {
        let found = Self::ALL.into_iter().find(|method| text.eq_ignore_ascii_case(method.as_str()));
        found.ok_or_else(|| ProbeMethodError(text.chars().take(40).collect()))
    }
}

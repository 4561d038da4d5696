//! The names of the timing templates; the engine defines their meaning.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How aggressive a scan is, from paranoid to insane, in nmap's spelling (`-T0` to `-T5`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Timing {
    /// One probe every few minutes.
    T0,
    /// One probe every few seconds.
    T1,
    /// A few probes a second.
    T2,
    /// Gentle with small devices: the appliance's default.
    #[default]
    T3,
    /// For a LAN you own.
    T4,
    /// For speed.
    T5,
}

/// Why a text is not a [`Timing`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a timing template; write T0 (slowest) to T5 (fastest)")]
pub struct TimingError(pub String);

impl Timing {
    /// Every template, slowest first.
    pub const ALL: [Self; 6] = [Self::T0, Self::T1, Self::T2, Self::T3, Self::T4, Self::T5];
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}", *self as u8)
    }
}

impl FromStr for Timing {
    type Err = TimingError;

    /// Reads `T3`, `t3`, `3` and nmap's names (`normal`).
    fn from_str(text: &str) -> Result<Self, TimingError> {
        const NAMES: [&str; 6] = ["paranoid", "sneaky", "polite", "normal", "aggressive", "insane"];
        let lower = text.to_ascii_lowercase();
        let digit = lower.strip_prefix('t').unwrap_or(&lower);
        let found = Self::ALL
            .into_iter()
            .find(|timing| digit == (*timing as u8).to_string() || lower == NAMES[*timing as usize]);
        found.ok_or_else(|| TimingError(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for Timing {
    type Error = TimingError;

    fn try_from(text: String) -> Result<Self, TimingError> {
        text.parse()
    }
}

impl From<Timing> for String {
    fn from(timing: Timing) -> Self {
        timing.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_nmaps_spellings() {
        for text in ["T3", "t3", "3", "normal"] {
            assert_eq!(text.parse(), Ok(Timing::T3));
        }
        for text in ["", "T6", "T", "fast", "33"] {
            assert!(text.parse::<Timing>().is_err(), "{text}");
        }
    }
}

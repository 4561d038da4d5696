//! How often the disk is written to.

use std::time::Duration;

/// How often the disk is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Least time from a commit of finished hosts to the next: the first host after a pause is committed at
    /// once, what follows together, at most this much later. Default 10 s.
    pub commit: Duration,
    /// Time between tries while the disk takes nothing. Default 5 s.
    pub retry: Duration,
    /// From one look whether the file is still there to the next. Default 10 s.
    pub look: Duration,
    /// From one check of the whole file to the next. Default a week.
    pub check: Duration,
    /// The same while damage is known or suspected. Default 10 min.
    pub recheck: Duration,
}

impl Pace {
    /// What a card bears for years.
    pub const DEFAULT: Self = Self {
        commit: Duration::from_secs(10),
        retry: Duration::from_secs(5),
        look: Duration::from_secs(10),
        check: Duration::from_secs(7 * 24 * 3600),
        recheck: Duration::from_secs(600),
    };
}

impl Default for Pace {
    fn default() -> Self {
        Self::DEFAULT
    }
}

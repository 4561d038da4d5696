//! How often the disk is written to.

use std::time::Duration;

/// How often the disk is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskPace {
    /// Least time between two commits of finished hosts: the first host after a pause is committed at once, later ones
    /// together after at most this time. Default 10 s.
    pub commit: Duration,
    /// Time between retries while the disk accepts no writes. Default 5 s.
    pub retry: Duration,
    /// Time between two checks that the path still leads to the file. Default 10 s.
    pub look: Duration,
    /// Time between two checks of the whole file. Default a week.
    pub check: Duration,
    /// The same while damage is known or suspected. Default 10 min.
    pub recheck: Duration,
}

impl DiskPace {
    /// What an SD card bears for years.
    pub const DEFAULT: Self = Self {
        commit: Duration::from_secs(10),
        retry: Duration::from_secs(5),
        look: Duration::from_secs(10),
        check: Duration::from_secs(7 * 24 * 3600),
        recheck: Duration::from_secs(600),
    };
}

impl Default for DiskPace {
    fn default() -> Self {
        Self::DEFAULT
    }
}

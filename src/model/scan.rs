//! The id of a scan, and the reason for it.

/// The id of a scan: Unix seconds of its start, as portmantool's clients expect, or one more than the previous id if
/// the clock is behind. Ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanId(pub i64);

/// Why a scan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScanKind {
    /// A scheduled run over a scanner's targets; resumed after a crash.
    Run,
    /// One device that was just seen and was never scanned before, or too long ago.
    Seen,
    /// Requested by the user.
    Manual,
    /// A second scan of ports that seem to have changed.
    Confirm,
    /// Made by another scanner. Its observations are ordered among ours by their time.
    Import,
}

impl ScanKind {
    /// Its name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Seen => "seen",
            Self::Manual => "manual",
            Self::Confirm => "confirm",
            Self::Import => "import",
        }
    }
}

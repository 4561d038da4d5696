//! What the hub knows of a site's connection.

use jiff::Timestamp;

/// The state of a site, as the hub sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SiteState {
    /// It has credentials and has never reported.
    #[default]
    Never,
    /// It reports, and the hub has all that it had when it last read its database.
    Current,
    /// It reports, and the hub does not have all of its data yet.
    CatchingUp,
    /// It was not heard for a while: its devices are shown as they were.
    Silent,
    /// Its reports are refused.
    Refused,
}

/// The hub's knowledge of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteStatus {
    /// The state.
    pub state: SiteState,
    /// Why reports are refused, and what mends it.
    pub refusal: Option<String>,
    /// When it was last heard, by the hub's clock.
    pub heard: Option<Timestamp>,
    /// The version of its program.
    pub version: Option<String>,
    /// The host name of its machine.
    pub host: Option<String>,
    /// Its problems, as sentences.
    pub problems: Vec<String>,
    /// Its notices, as sentences.
    pub notices: Vec<String>,
}

impl SiteState {
    /// Returns the word for it in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Current => "current",
            Self::CatchingUp => "catching-up",
            Self::Silent => "silent",
            Self::Refused => "refused",
        }
    }
}

//! One finding about the machine, which `portscan doctor` and the page's Health show.

use serde::Serialize;

/// A finding about something that the appliance uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What it is about.
    pub subject: &'static str,
    /// Its state.
    pub state: DiagnosisState,
    /// Whether the appliance cannot do its work without it.
    pub essential: bool,
    /// What was found, in one sentence without a full stop.
    pub detail: String,
    /// The command or line that mends it.
    pub mend: Option<String>,
}

/// The state of something that the appliance uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DiagnosisState {
    /// It is there.
    Ok,
    /// It is lacking, or there is not enough of it.
    Lacking,
    /// It is not used, or its state is unknown.
    NotChecked,
}

impl DiagnosisState {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Lacking => "lacking",
            Self::NotChecked => "not checked",
        }
    }
}

impl Diagnosis {
    /// It is there.
    pub fn ok(subject: &'static str, detail: impl Into<String>) -> Self {
        Self { subject, state: DiagnosisState::Ok, essential: false, detail: detail.into(), mend: None }
    }

    /// The appliance does its work without it, but less well.
    pub fn lacking(
        subject: &'static str,
        detail: impl Into<String>,
        mend: impl Into<Option<String>>,
    ) -> Self {
        let mend = mend.into();
        Self { state: DiagnosisState::Lacking, mend, ..Self::ok(subject, detail) }
    }

    /// The appliance cannot do its work without it.
    pub fn essential(
        subject: &'static str,
        detail: impl Into<String>,
        mend: impl Into<Option<String>>,
    ) -> Self {
        Self { essential: true, ..Self::lacking(subject, detail, mend) }
    }

    /// It is not used, or its state is unknown.
    pub fn not_checked(
        subject: &'static str,
        detail: impl Into<String>,
        mend: impl Into<Option<String>>,
    ) -> Self {
        Self { state: DiagnosisState::NotChecked, ..Self::lacking(subject, detail, mend) }
    }

    /// Whether the appliance cannot do its work because of it.
    pub fn is_fatal(&self) -> bool {
        self.essential && self.state == DiagnosisState::Lacking
    }
}

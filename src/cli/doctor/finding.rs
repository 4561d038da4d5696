//! One line of `portscan doctor`.

use serde::Serialize;

/// What was found about one thing that the appliance uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Diagnosis {
    /// What it is about.
    pub(super) subject: &'static str,
    pub(super) state: DiagnosisState,
    /// Whether the appliance cannot do its work without it.
    pub(super) essential: bool,
    /// What was found, in one sentence without a full stop.
    pub(super) detail: String,
    /// The command or line that mends it.
    pub(super) mend: Option<String>,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DiagnosisState {
    Ok,
    Lacking,
    NotChecked,
}

impl DiagnosisState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Lacking => "lacking",
            Self::NotChecked => "not checked",
        }
    }
}

impl Diagnosis {
    pub(super) fn ok(subject: &'static str, detail: impl Into<String>) -> Self {
        Self { subject, state: DiagnosisState::Ok, essential: false, detail: detail.into(), mend: None }
    }

    /// The appliance does its work without it, but less well.
    pub(super) fn lacking(
        subject: &'static str,
        detail: impl Into<String>,
        mend: impl Into<Option<String>>,
    ) -> Self {
        let mend = mend.into();
        Self { state: DiagnosisState::Lacking, mend, ..Self::ok(subject, detail) }
    }

    pub(super) fn essential(
        subject: &'static str,
        detail: impl Into<String>,
        mend: impl Into<Option<String>>,
    ) -> Self {
        Self { essential: true, ..Self::lacking(subject, detail, mend) }
    }

    pub(super) fn not_checked(
        subject: &'static str,
        detail: impl Into<String>,
        mend: impl Into<Option<String>>,
    ) -> Self {
        Self { state: DiagnosisState::NotChecked, ..Self::lacking(subject, detail, mend) }
    }
}

//! The kinds of alerts, and their severities.

use super::{ChangeEvent, ChangeKind, IdentityPart, PortFindingKind, state::words};

/// The kind of an alert.
///
/// A new kind needs a variant here, with its name and severity, and a line in [`AlertKind::of`] or, if it has no
/// change event, a source in `service::alerts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertKind {
    /// A port that is not expected to be open has opened.
    Unexpected,
    /// A port that is expected to be open has closed, or a device with expectations is gone.
    Missing,
    /// A device was seen for the first time.
    NewDevice,
    /// A port shows another SSH host key than before.
    HostKey,
    /// A device that is tagged as critical and has no expectations is gone.
    DeviceGone,
    /// What listens on a port calls for action.
    Advice,
    /// A certificate expires soon, or has expired.
    Certificate,
    /// The appliance itself is in trouble: a feed is down, the disk is full.
    Appliance,
}

/// How urgent an alert is, from the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertSeverity {
    /// Worth knowing.
    Low,
    /// Worth a look today.
    Normal,
    /// Worth a look now.
    High,
}

impl AlertKind {
    /// Returns the kind of the alert about this change; `None` if the change raises none. Without a baseline no
    /// change does, because the store marks none.
    pub fn of(event: &ChangeEvent) -> Option<Self> {
        if !event.alert {
            return None;
        }
        match event.kind {
            ChangeKind::Opened(..) => Some(Self::Unexpected),
            ChangeKind::Closed(..) | ChangeKind::Gone => Some(Self::Missing),
            ChangeKind::New => Some(Self::NewDevice),
            ChangeKind::Replaced { part: IdentityPart::HostKey, .. } => Some(Self::HostKey),
            ChangeKind::Found { finding: PortFindingKind::Advice, .. } => Some(Self::Advice),
            ChangeKind::Found { finding: PortFindingKind::CertificateExpires, .. } => Some(Self::Certificate),
            // These changes are usually the owner's doing.
            ChangeKind::Replaced { part: IdentityPart::Certificate | IdentityPart::Product, .. }
            | ChangeKind::Moved { .. }
            | ChangeKind::Back
            | ChangeKind::SnoozeEnded { .. } => None,
        }
    }

    /// How urgent it is where no rule decides.
    pub const fn severity(self) -> AlertSeverity {
        match self {
            Self::Unexpected | Self::HostKey | Self::DeviceGone | Self::Appliance => AlertSeverity::High,
            Self::Missing | Self::NewDevice | Self::Advice | Self::Certificate => AlertSeverity::Normal,
        }
    }
}

words!(
    AlertKind,
    "unexpected, missing, new-device, host-key, device-gone, advice, certificate, appliance",
    Unexpected = "unexpected",
    Missing = "missing",
    NewDevice = "new-device",
    HostKey = "host-key",
    DeviceGone = "device-gone",
    Advice = "advice",
    Certificate = "certificate",
    Appliance = "appliance",
);
words!(AlertSeverity, "low, normal, high", Low = "low", Normal = "normal", High = "high");

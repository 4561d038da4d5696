//! What is worth an alert, and how urgent it is.

use super::{ChangeEvent, ChangeKind, IdentityPart, PortFindingKind, state::words};

/// What an alert is about.
///
/// Another kind is a variant here, with its name and its severity, and a line in [`AlertKind::of`] or, if no change event
/// tells of it, a source of its own in `service::alerts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertKind {
    /// A port opened that is not expected to be open.
    Unexpected,
    /// A port closed that is expected to be open, or a device is gone of which something is expected.
    Missing,
    /// A device was seen for the first time.
    NewDevice,
    /// A port shows another SSH host key than before.
    HostKey,
    /// A device is gone that its owner has tagged as critical, and of which nothing is expected.
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
    /// Returns what an alert about this change is about; `None` if the change is no reason for one. Before the first
    /// baseline none is: the store marks no change.
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
            // Their owners renew certificates and software.
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

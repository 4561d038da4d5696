//! Change events: what changed, on which device, when; and the filter with which a reader selects them.

use jiff::Timestamp;

use super::{Address, DeviceKey, PortSet, Protocol, ScanId, state::words};

/// A confirmed change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeEvent {
    /// Ascending; a reader continues after the greatest id that it has.
    pub id: i64,
    /// When the change was found, by the wall clock of then.
    pub at: Timestamp,
    /// The scan that found it; `None` if a feed reported it.
    pub scan: Option<ScanId>,
    /// The device that changed.
    pub device: DeviceKey,
    /// The device's address at that time.
    pub address: Address,
    /// What changed.
    pub kind: ChangeKind,
    /// Whether the change differed from the expected state of that time, if there was a baseline.
    pub alert: bool,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The device was seen for the first time. Its open ports are part of this change.
    New,
    /// Ports opened: one, or too many to report one by one.
    Opened(Protocol, PortSet),
    /// Ports closed.
    Closed(Protocol, PortSet),
    /// The device has another address.
    Moved {
        /// The previous address.
        from: Address,
    },
    /// The device has not been seen for a long time.
    Gone,
    /// The device was seen again after it was gone.
    Back,
    /// A port shows another identity than before.
    Replaced {
        /// The part that changed.
        part: IdentityPart,
        /// The port's protocol.
        protocol: Protocol,
        /// The one port.
        ports: PortSet,
        /// The old value, in words.
        from: String,
        /// The new value.
        to: String,
    },
    /// A finding about an open port that the owner should know.
    Found {
        /// The kind of the finding.
        finding: PortFindingKind,
        /// The port's protocol.
        protocol: Protocol,
        /// The one port.
        ports: PortSet,
        /// What was found, in words.
        text: String,
    },
    /// The owner's snooze of the device's alerts has ended.
    SnoozeEnded {
        /// The last event before the snooze began; what happened since is reported now.
        after: i64,
    },
}

/// The parts of a port's identity that are reported when they change. A version is not one of them: updates are
/// normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityPart {
    /// The SSH host key: the device was installed anew, or another one answers.
    HostKey,
    /// The certificate.
    Certificate,
    /// The software.
    Product,
}

/// The kind of a finding about an open port; each finding is reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortFindingKind {
    /// What listens there calls for action.
    Advice,
    /// Its certificate expires soon, or has expired.
    CertificateExpires,
}

/// Which change events a reader asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeFilter {
    /// Only events with greater ids.
    pub after: i64,
    /// Only events since then, by the wall clock.
    pub since: Option<Timestamp>,
    /// Only events of this device.
    pub device: Option<DeviceKey>,
}

words!(
    IdentityPart,
    "host-key, certificate, product",
    HostKey = "host-key",
    Certificate = "certificate",
    Product = "product",
);

words!(
    PortFindingKind,
    "advice, certificate-expires",
    Advice = "advice",
    CertificateExpires = "certificate-expires",
);

impl ChangeKind {
    /// The kinds that carry no data.
    const PLAIN: [Self; 3] = [Self::New, Self::Gone, Self::Back];

    /// Returns the kind that has this name and carries no data.
    pub fn plain(name: &str) -> Option<Self> {
        Self::PLAIN.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Its name in the database and in APIs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Opened(..) => "opened",
            Self::Closed(..) => "closed",
            Self::Moved { .. } => "moved",
            Self::Gone => "gone",
            Self::Back => "back",
            Self::Replaced { part, .. } => part.as_str(),
            Self::Found { finding, .. } => finding.as_str(),
            Self::SnoozeEnded { .. } => "snooze-ended",
        }
    }

    /// The ports that changed, with their protocol.
    pub const fn ports(&self) -> Option<(Protocol, &PortSet)> {
        match self {
            Self::Opened(protocol, ports)
            | Self::Closed(protocol, ports)
            | Self::Replaced { protocol, ports, .. }
            | Self::Found { protocol, ports, .. } => Some((*protocol, ports)),
            _ => None,
        }
    }

    /// The previous address of a device that has moved.
    pub const fn previous_address(&self) -> Option<&Address> {
        if let Self::Moved { from } = self { Some(from) } else { None }
    }

    /// What was found of a port.
    pub fn found(&self) -> Option<&str> {
        if let Self::Found { text, .. } = self { Some(text) } else { None }
    }

    /// Returns the old and the new identity of a port.
    pub fn replaced(&self) -> Option<(&str, &str)> {
        if let Self::Replaced { from, to, .. } = self { Some((from, to)) } else { None }
    }
}

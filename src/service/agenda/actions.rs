//! What the agenda and its caller say to each other.

use crate::model::{Device, DeviceKey, PortSet, ScanId, ScanKind, ScanStatus, Timing};

/// Names a run for as long as the agenda lives; the store's [`ScanId`] comes with the first write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub(super) u64);

/// Names a look at a device for as long as the agenda lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookId(pub(super) u64);

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open a scan in the store and look these names up, then call [`Agenda::begun`](super::Agenda::begun).
    Begin {
        /// To be given back.
        run: RunId,
        /// The scanner's name.
        scanner: String,
        /// Why it runs.
        kind: ScanKind,
        /// What it looks at.
        ports: PortSet,
        /// Target names without an address yet.
        names: Vec<String>,
    },
    /// Look these names up for a run that has its scan already, then call
    /// [`Agenda::resolved`](super::Agenda::resolved).
    Resolve {
        /// To be given back.
        run: RunId,
        /// Never empty.
        names: Vec<String>,
    },
    /// Look at a device, then call [`Agenda::looked`](super::Agenda::looked).
    Look(Look),
    /// End a look early; [`Agenda::looked`](super::Agenda::looked) still follows.
    Cancel(LookId),
    /// Close a scan, once all that was found in it is stored.
    End {
        /// Which.
        scan: ScanId,
        /// How it ended.
        status: ScanStatus,
    },
}

/// One look at one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// To be given back.
    pub id: LookId,
    /// The scan it belongs to.
    pub scan: ScanId,
    /// Whom.
    pub device: Device,
    /// Which ports.
    pub ports: PortSet,
    /// Whether the device's own rule has no say in which ports.
    pub is_exact: bool,
    /// How hard.
    pub timing: Timing,
}

/// How a look ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookOutcome {
    /// With a result, which belongs to this device (whose MAC may only now be known).
    Result(DeviceKey),
    /// Nobody is there, or somebody else is: nothing to store, no fault of the run's.
    Absent,
    /// Some ports have no verdict: it vanished, or was stopped.
    Partial,
    /// A fault of this machine's.
    Failed,
}

/// What to look at now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// All that this scanner looks at; all that any does.
    Scanner(Option<String>),
    /// Just one device.
    Device {
        /// Which device.
        key: DeviceKey,
        /// The scanner whose ports and timing hold; the first over the feed, if none is named.
        scanner: Option<String>,
        /// These ports, whatever is configured.
        ports: Option<PortSet>,
    },
}

/// Why it is not looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Not configured.
    #[error("there is no scanner \"{asked}\"; name one of these: {known}")]
    UnknownScanner {
        /// The name.
        asked: String,
        /// Those there are.
        known: String,
    },
    /// Neither is it in the feed, nor is there a result.
    #[error("{0} is not known; a device is once a feed names it or it has a result")]
    UnknownDevice(DeviceKey),
    /// The owner said never.
    #[error(
        "{0} must not be scanned; take it out of `exclude`, or out of the [[device]] with `scan = false`"
    )]
    Unwanted(DeviceKey),
    /// No targets.
    #[error("there is nobody to look at yet: the feed names no device that may be scanned")]
    NoTargets,
    /// Nothing could be kept.
    #[error("the database cannot be written, so nothing is scanned")]
    Paused,
}

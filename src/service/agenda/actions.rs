//! The messages between the agenda and its caller.

use super::Scope;
use crate::model::{Device, DeviceKey, PortSet, ProbeMethod, ScanId, ScanKind, ScanStatus, Timing};

/// Identifies a run for as long as the agenda lives. The store's [`ScanId`] comes with the first write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub(super) u64);

/// Identifies a look at a device for as long as the agenda lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookId(pub(super) u64);

/// What the caller must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open a scan in the store and resolve these names, then call [`Agenda::begun`](super::Agenda::begun).
    Begin {
        /// The run to name in the reply.
        run: RunId,
        /// The scanner's name.
        scanner: String,
        /// The reason for the run.
        kind: ScanKind,
        /// The ports that it scans.
        ports: PortSet,
        /// Target names that have no address yet.
        names: Vec<String>,
    },
    /// Resolve these names for a run that already has a scan, then call [`Agenda::resolved`](super::Agenda::resolved).
    Resolve {
        /// The run to name in the reply.
        run: RunId,
        /// Never empty.
        names: Vec<String>,
    },
    /// Look at a device, then call [`Agenda::looked`](super::Agenda::looked).
    Look(Look),
    /// End a look early. [`Agenda::looked`](super::Agenda::looked) must still follow.
    Cancel(LookId),
    /// Close a scan after everything found in it is stored, then call [`Agenda::closed`](super::Agenda::closed).
    End {
        /// The scan to close.
        scan: ScanId,
        /// How it ended.
        status: ScanStatus,
    },
}

/// One look at one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The id to name in the reply.
    pub id: LookId,
    /// The scan it belongs to.
    pub scan: ScanId,
    /// The device to scan.
    pub device: Device,
    /// The ports to scan, by what is known of the device now.
    pub ports: PortSet,
    /// How to choose the ports again once the device's MAC is known, because a rule may name it.
    pub scope: Scope,
    /// The timing.
    pub timing: Timing,
    /// How ports are asked.
    pub method: ProbeMethod,
}

/// How a look ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookOutcome {
    /// A result, which belongs to this device. Its MAC may have been learned only during the look.
    Result(DeviceKey),
    /// The device is not present, or another one has its address. There is nothing to store, and the run has not
    /// failed.
    Absent,
    /// Some ports have no verdict: the device vanished, or the look was stopped.
    Partial,
    /// A fault of this machine.
    Failed,
}

/// What a user wants scanned now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// All targets of this scanner, or of every scanner if none is named.
    Scanner(Option<String>),
    /// A single device.
    Device {
        /// The device.
        key: DeviceKey,
        /// The scanner that gives ports and timing. Without a name, the first scanner over the feed.
        scanner: Option<String>,
        /// These ports, whatever the configuration says.
        ports: Option<PortSet>,
    },
}

/// Why a scan is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// No such scanner is configured.
    #[error("there is no scanner \"{asked}\"; name one of these: {known}")]
    UnknownScanner {
        /// The name in the order.
        asked: String,
        /// The names that are configured.
        known: String,
    },
    /// The device is not in the feed and has no result.
    #[error("{0} is not known; a device is once a feed names it or it has a result")]
    UnknownDevice(DeviceKey),
    /// The configuration excludes the device.
    #[error(
        "{0} must not be scanned; take it out of `exclude`, or out of the [[device]] with `scan = false`"
    )]
    Unwanted(DeviceKey),
    /// There are no targets.
    #[error("there is no device to scan yet: the feed names none that may be scanned")]
    NoTargets,
    /// The store cannot write.
    #[error("the database cannot be written, so nothing is scanned")]
    Paused,
}

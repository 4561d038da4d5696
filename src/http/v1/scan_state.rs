//! The state of a device's scan: what its current state covers, and the scan that is running or being stored.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, runs::Share};
use crate::{
    model::Protocol,
    service::{directory::DeviceDirectory, runner::LookView},
    store::DeviceRecord,
};

/// When a device was scanned, and how much of it.
#[derive(Serialize, ToSchema)]
pub(super) struct ScannedBody {
    /// When its newest result was begun, by the clock at that time.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// The number of TCP ports that have a state, by this scan or an earlier one.
    #[schema(maximum = 65535)]
    ports: u32,
    /// Whether these are all the ports that are to be scanned on it.
    complete: bool,
}

impl ScannedBody {
    /// `None`: it was never scanned.
    pub(super) fn of(host: &DeviceRecord, directory: &DeviceDirectory) -> Option<Self> {
        let coverage = host.coverage();
        let complete = directory.is_complete(&host.device, &coverage);
        host.scanned.map(|time| Self { time, ports: coverage.len(), complete })
    }
}

/// The scans of devices without a stored result when the response was begun.
pub(super) struct ScanState {
    looks: Vec<LookView>,
    /// By the wall clock.
    pub(super) now: Timestamp,
}

impl ScanState {
    /// Reads them. Call this before anything is read from the store: then a finding is in one of the two, whenever
    /// its result is stored.
    pub(super) fn read(api: &Api) -> Self {
        Self { looks: api.runs.live().looks(), now: api.clock.wall() }
    }

    /// The looks at a device, at any of its addresses.
    fn looks_at(&self, host: &DeviceRecord) -> impl Iterator<Item = &LookView> {
        let is_at = |look: &LookView| match (look.device.mac, host.device.mac) {
            (Some(one), Some(other)) => one == other,
            _ => host.addresses.iter().any(|at| at.is_present && at.address == look.device.address),
        };
        self.looks.iter().filter(move |look| is_at(look))
    }

    /// Returns the progress of the scan of a device, of several the largest; `None` if none is running. Second scans
    /// of a few ports do not count for a device with a result.
    pub(super) fn scanning(&self, host: &DeviceRecord) -> Option<Share> {
        let looks = self.looks_at(host).filter(|look| !look.is_confirming);
        let largest = looks.max_by_key(|look| look.ports)?;
        Some(Share { done: largest.settled.into(), total: largest.ports.into() })
    }

    /// The TCP ports that only these looks have found open, each with its scan.
    pub(super) fn found(&self, host: &DeviceRecord) -> Vec<(u16, i64)> {
        let is_new = |port: u16| !host.is_open(Protocol::Tcp, port);
        let found =
            self.looks_at(host).flat_map(|look| look.open_ports.iter().map(|&port| (port, look.scan.0)));
        let mut found: Vec<(u16, i64)> = found.filter(|&(port, _)| is_new(port)).collect();
        found.sort_unstable();
        found.dedup_by_key(|(port, _)| *port);
        found
    }
}

//! One run: a scan with an id, its devices to do, and how they turned out.

use std::collections::{HashSet, VecDeque};

use super::Looked;
use crate::{
    config::ScannerConfig,
    model::{Address, Device, DeviceKey, Moment, PortSet, ScanStatus, Timing},
    store::{ScanId, ScanKind},
};

/// Names a run for as long as the agenda lives; the store's [`ScanId`] comes with the first write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub(super) u64);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) scanner: String,
    pub(super) kind: ScanKind,
    pub(super) ports: PortSet,
    pub(super) timing: Timing,
    pub(super) deadline: Moment,
    /// `None` until the store has opened it.
    pub(super) scan: Option<ScanId>,
    pub(super) todo: VecDeque<Device>,
    pub(super) in_progress: usize,
    /// Resumed, and not yet told of its devices: the ones that are done already.
    resumed: Option<HashSet<DeviceKey>>,
    stopped: bool,
    results: usize,
    partial: usize,
    failed: usize,
}

impl Run {
    pub(super) fn new(config: &ScannerConfig, kind: ScanKind, deadline: Moment) -> Self {
        Self {
            scanner: config.name.clone(),
            kind,
            ports: config.ports.clone(),
            timing: config.timing,
            deadline,
            scan: None,
            todo: VecDeque::new(),
            in_progress: 0,
            resumed: None,
            stopped: false,
            results: 0,
            partial: 0,
            failed: 0,
        }
    }

    /// Makes it the rest of a scan that has an id already.
    pub(super) fn resume(&mut self, scan: ScanId, done: HashSet<DeviceKey>) {
        self.scan = Some(scan);
        self.results = done.len();
        self.resumed = Some(done);
    }

    /// Resumed, but the feed has told of no device yet.
    pub(super) fn awaits_targets(&self) -> bool {
        self.resumed.is_some() && !self.stopped
    }

    pub(super) fn enqueue(&mut self, mut devices: VecDeque<Device>) {
        if let Some(done) = self.resumed.take() {
            devices.retain(|device| !done.contains(&device.key()));
        }
        self.todo.append(&mut devices);
    }

    pub(super) fn begun(&mut self, scan: ScanId, addresses: Vec<Address>) {
        self.scan = Some(scan);
        let new =
            addresses.into_iter().filter(|address| self.todo.iter().all(|device| device.address != *address));
        let new: Vec<Device> = new.map(|address| Device { address, mac: None, name: None }).collect();
        self.todo.extend(new);
    }

    /// Nothing further is started; what is in progress is to be cancelled.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.partial += self.todo.len();
        self.todo.clear();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn has_work(&self) -> bool {
        self.scan.is_some() && !self.todo.is_empty()
    }

    pub(super) fn is_through(&self) -> bool {
        let opened = self.scan.is_some() || self.stopped;
        opened && self.todo.is_empty() && self.in_progress == 0 && !self.awaits_targets()
    }

    pub(super) fn count(&mut self, looked: &Looked) {
        self.in_progress -= 1;
        match looked {
            Looked::Result(_) => self.results += 1,
            Looked::Absent => {}
            Looked::Partial => self.partial += 1,
            Looked::Failed => self.failed += 1,
        }
    }

    pub(super) fn status(&self) -> ScanStatus {
        match (self.results, self.partial, self.failed) {
            (0, 0, 1..) => ScanStatus::Failed,
            (_, 0, 0) if !self.stopped => ScanStatus::Complete,
            _ => ScanStatus::Partial,
        }
    }
}

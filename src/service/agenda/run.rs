//! One run: a scan with an id, its devices to do, and how they turned out.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use super::{Looked, Order};
use crate::{
    config::{ScannerConfig, Targets},
    model::{Device, DeviceKey, Moment, PortSet, ScanStatus, Timing},
    store::{ScanId, ScanKind},
};

/// A run ends after twice its interval, but never before a day has passed: a /24 of silent devices takes
/// hours, and hourly runs that outlast their hour are delayed, not cut.
const MIN_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// The longest that a resumed run waits for the feed to name its devices; then what is known counts.
const TARGETS_WAIT: Duration = Duration::from_secs(120);

/// Names a run for as long as the agenda lives; the store's [`ScanId`] comes with the first write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub(super) u64);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) scanner: String,
    pub(super) kind: ScanKind,
    pub(super) targets: Targets,
    pub(super) ports: PortSet,
    /// The ports of single devices, in place of the run's and of the device's own rule.
    pub(super) exact: HashMap<DeviceKey, PortSet>,
    pub(super) timing: Timing,
    /// What it was asked for with, if it was.
    pub(super) order: Option<Order>,
    pub(super) began: Moment,
    pub(super) deadline: Moment,
    /// `None` until the store has opened it.
    pub(super) scan: Option<ScanId>,
    /// No device twice.
    pub(super) todo: VecDeque<Device>,
    /// Further addresses of those devices, for where nobody is at the first: one result per device and run,
    /// and always the same address's, or the two would seem to change from run to run.
    elsewhere: HashMap<DeviceKey, VecDeque<Device>>,
    pub(super) in_progress: usize,
    /// The devices that had their answer before an interruption.
    pub(super) done: HashSet<DeviceKey>,
    /// Its names are being looked up although the scan is open: it was resumed.
    pub(super) resolving: bool,
    /// Resumed, and not yet told of its devices: until when it waits for them.
    awaits_until: Option<Moment>,
    stopped: bool,
    results: usize,
    partial: usize,
    failed: usize,
    absent: usize,
    /// Of the devices that this process is through with.
    pub(super) ports_done: u64,
}

impl Run {
    pub(super) fn new(config: &ScannerConfig, kind: ScanKind, now: Moment) -> Self {
        Self {
            scanner: config.name.clone(),
            kind,
            targets: config.targets.clone(),
            ports: config.ports.clone(),
            exact: HashMap::new(),
            timing: config.timing,
            order: None,
            began: now,
            deadline: now + (config.interval * 2).max(MIN_DEADLINE),
            scan: None,
            todo: VecDeque::new(),
            elsewhere: HashMap::new(),
            in_progress: 0,
            done: HashSet::new(),
            resolving: false,
            awaits_until: None,
            stopped: false,
            results: 0,
            partial: 0,
            failed: 0,
            absent: 0,
            ports_done: 0,
        }
    }

    /// Second looks at these ports of these devices.
    pub(super) fn confirm(due: Vec<(Device, PortSet)>, now: Moment) -> Self {
        let ports = due.iter().fold(PortSet::default(), |all, (_, ports)| all.union(ports));
        let config = ScannerConfig {
            name: ScanKind::Confirm.as_str().to_owned(),
            interval: Duration::ZERO,
            at: None,
            targets: Targets::List(Vec::new()),
            ports,
            timing: Timing::T3,
        };
        let mut run = Self::new(&config, ScanKind::Confirm, now);
        run.exact = due.iter().map(|(device, ports)| (device.key(), ports.clone())).collect();
        run.enqueue(due.into_iter().map(|(device, _)| device).collect());
        run
    }

    pub(super) fn is_confirming(&self) -> bool {
        self.kind == ScanKind::Confirm
    }

    /// The later a run may wait, the greater.
    pub(super) fn rank(&self) -> u8 {
        match self.kind {
            ScanKind::Confirm => 0,
            ScanKind::Seen | ScanKind::Manual => 1,
            ScanKind::Run | ScanKind::Import => 2,
        }
    }

    /// Makes it the rest of a scan that has an id already.
    pub(super) fn resume(&mut self, scan: ScanId, done: HashSet<DeviceKey>, now: Moment) {
        self.scan = Some(scan);
        self.results = done.len();
        self.done = done;
        self.awaits_until = Some(now + TARGETS_WAIT);
    }

    /// Resumed, but nobody could tell yet whom it looks at.
    pub(super) const fn awaits_targets(&self) -> bool {
        self.awaits_until.is_some()
    }

    /// Until when it waits to be told whom it looks at, if it does.
    pub(super) const fn awaited_until(&self) -> Option<Moment> {
        self.awaits_until
    }

    /// Adds devices; of one that has several addresses the first is looked at, the others if that is in vain.
    pub(super) fn enqueue(&mut self, devices: Vec<Device>) {
        self.awaits_until = None;
        let mut queued: HashSet<DeviceKey> = self.todo.iter().map(Device::key).collect();
        for device in devices {
            if queued.insert(device.key()) {
                self.todo.push_back(device);
            } else {
                self.elsewhere.entry(device.key()).or_default().push_back(device);
            }
        }
    }

    /// Nobody is at a device's address: the next one of its addresses is as good, if there is one.
    pub(super) fn try_elsewhere(&mut self, device: &Device) {
        let others = self.elsewhere.get_mut(&device.key());
        match others.and_then(VecDeque::pop_front) {
            Some(next) => self.todo.push_front(next),
            None if self.done.contains(&device.key()) => {}
            None => self.absent += 1,
        }
    }

    /// How many devices it is through with, whatever came of it.
    pub(super) fn ended(&self) -> usize {
        self.results + self.partial + self.failed + self.absent
    }

    /// Nothing further is started; what is in progress is to be cancelled.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.partial += self.todo.len();
        self.todo.clear();
        self.elsewhere.clear();
        self.resolving = false;
        self.awaits_until = None;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn has_work(&self) -> bool {
        self.scan.is_some() && !self.todo.is_empty()
    }

    pub(super) fn is_through(&self) -> bool {
        let opened = self.scan.is_some() || self.stopped;
        opened && self.todo.is_empty() && self.in_progress == 0 && !self.resolving && !self.awaits_targets()
    }

    pub(super) fn count(&mut self, device: &Device, looked: &Looked, ports: u32) {
        self.in_progress -= 1;
        self.ports_done += u64::from(ports);
        match looked {
            Looked::Result(_) => self.results += 1,
            Looked::Absent if self.stopped => self.absent += 1,
            Looked::Absent => self.try_elsewhere(device),
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

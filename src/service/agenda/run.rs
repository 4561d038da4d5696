//! One run: a scan with an id, the devices that it has yet to scan, and their outcomes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use super::{
    LookOutcome, Order, Scope,
    scope::{listed, scope_of},
};
use crate::{
    config::{ScannerConfig, ScannerPorts, Targets},
    model::{
        Address, Device, Endpoint, Mac, Moment, PortSet, ProbeMethod, ScanId, ScanKind, ScanStatus, Timing,
    },
};

/// The shortest deadline. A run ends after twice its interval, but never before a day has passed: a /24 of silent
/// devices takes hours, and hourly runs that outlast their hour are delayed, not cut.
const MIN_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// The longest that a resumed run waits for the feed to name its devices. After that, it continues with those that are
/// known.
const TARGETS_WAIT: Duration = Duration::from_secs(120);

/// The devices that are being scanned.
#[derive(Debug, Default)]
pub(super) struct Busy {
    macs: HashMap<Mac, Address>,
    addresses: HashSet<Address>,
}

impl Busy {
    pub(super) fn insert(&mut self, device: &Device) {
        self.macs.extend(device.mac.map(|mac| (mac, device.address.clone())));
        self.addresses.insert(device.address.clone());
    }

    /// Whether it is scanned, at this address or at another of its addresses.
    pub(super) fn has(&self, device: &Device) -> bool {
        self.addresses.contains(&device.address) || self.has_elsewhere(device)
    }

    /// Whether it is scanned at another of its addresses.
    fn has_elsewhere(&self, device: &Device) -> bool {
        device.mac.and_then(|mac| self.macs.get(&mac)).is_some_and(|address| *address != device.address)
    }
}

/// A run in progress.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) scanner: String,
    pub(super) kind: ScanKind,
    pub(super) targets: Targets,
    pub(super) ports: PortSet,
    pub(super) scope: Scope,
    /// A device that was scanned within this time is left out.
    pub(super) skips_fresh: Option<Duration>,
    /// The ports of single endpoints, which replace the run's and those of the device's own rule.
    pub(super) exact: HashMap<Endpoint, PortSet>,
    pub(super) timing: Timing,
    pub(super) method: ProbeMethod,
    /// The order that a user gave for it, if any.
    pub(super) order: Option<Order>,
    pub(super) began: Moment,
    pub(super) deadline: Moment,
    /// `None` until the store has opened it.
    pub(super) scan: Option<ScanId>,
    /// The devices to scan. No address occurs twice: a device that has several is scanned at each.
    pub(super) todo: VecDeque<Device>,
    /// Every address that was ever queued.
    queued: HashSet<Address>,
    pub(super) in_progress: usize,
    /// The addresses that had their result before an interruption, each with the MAC that was there.
    done: HashMap<Address, Option<Mac>>,
    /// Whether its names are being resolved although the scan is open, because it was resumed.
    pub(super) resolving: bool,
    /// Until when a resumed run waits for its devices.
    awaits_until: Option<Moment>,
    stopped: bool,
    results: usize,
    partial: usize,
    failed: usize,
    absent: usize,
    /// Ports of the devices that this process has finished.
    pub(super) ports_done: u64,
}

impl Run {
    pub(super) fn new(config: &ScannerConfig, kind: ScanKind, now: Moment) -> Self {
        Self {
            scanner: config.name.clone(),
            kind,
            targets: config.targets.clone(),
            ports: listed(&config.ports),
            scope: scope_of(&config.ports),
            skips_fresh: None,
            exact: HashMap::new(),
            timing: config.timing,
            method: config.method,
            order: None,
            began: now,
            deadline: now + (config.interval * 2).max(MIN_DEADLINE),
            scan: None,
            todo: VecDeque::new(),
            queued: HashSet::new(),
            in_progress: 0,
            done: HashMap::new(),
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

    /// Creates a run that takes second looks at these ports of these devices.
    pub(super) fn confirm(due: Vec<(Device, PortSet)>, now: Moment) -> Self {
        let ports = due.iter().fold(PortSet::default(), |all, (_, ports)| all.union(ports));
        let config = ScannerConfig {
            name: ScanKind::Confirm.as_str().to_owned(),
            interval: Duration::ZERO,
            at: None,
            targets: Targets::List(Vec::new()),
            ports: ScannerPorts::Listed(ports),
            timing: Timing::T3,
            // A second look by connects does not share a fault of a first one by SYNs.
            method: ProbeMethod::Connect,
        };
        let mut run = Self::new(&config, ScanKind::Confirm, now);
        run.exact = due.iter().map(|(device, ports)| (device.endpoint(), ports.clone())).collect();
        run.enqueue(due.into_iter().map(|(device, _)| device).collect());
        run
    }

    /// Creates a run that scans the commonest ports of devices without a result.
    pub(super) fn quick(config: &ScannerConfig, now: Moment) -> Self {
        let config = ScannerConfig { ports: ScannerPorts::Common, ..config.clone() };
        Self::new(&config, ScanKind::Seen, now)
    }

    pub(super) fn is_confirming(&self) -> bool {
        self.kind == ScanKind::Confirm
    }

    /// Whether it scans the commonest ports of devices without a result.
    pub(super) fn is_quick(&self) -> bool {
        self.kind == ScanKind::Seen && self.scope == Scope::Common
    }

    /// The priority among runs: the greater it is, the longer the run may wait.
    pub(super) fn rank(&self) -> u8 {
        match self.kind {
            ScanKind::Confirm => 0,
            ScanKind::Seen if self.is_quick() => 1,
            ScanKind::Seen | ScanKind::Manual => 2,
            ScanKind::Run | ScanKind::Import => 3,
        }
    }

    /// Makes the run continue a scan that already has an id.
    pub(super) fn resume(&mut self, scan: ScanId, done: Vec<Device>, now: Moment) {
        self.scan = Some(scan);
        self.results = done.len();
        self.done = done.into_iter().map(|device| (device.address, device.mac)).collect();
        self.awaits_until = Some(now + TARGETS_WAIT);
    }

    /// Whether it was resumed, and its targets are not known yet.
    pub(super) const fn awaits_targets(&self) -> bool {
        self.awaits_until.is_some()
    }

    /// Until when it waits for its targets, if it does.
    pub(super) const fn awaited_until(&self) -> Option<Moment> {
        self.awaits_until
    }

    /// Adds devices, each at the address that it has here.
    pub(super) fn enqueue(&mut self, devices: Vec<Device>) {
        self.awaits_until = None;
        let fresh = devices.into_iter().filter(|device| self.queued.insert(device.address.clone()));
        self.todo.extend(fresh);
    }

    /// How many addresses are or were queued.
    pub(super) fn queued(&self) -> usize {
        self.queued.len()
    }

    /// Whether an address is or was queued.
    pub(super) fn has_queued(&self, address: &Address) -> bool {
        self.queued.contains(address)
    }

    /// Whether a device had its result at its address before an interruption. Two records of which one has no MAC
    /// count as the same device.
    pub(super) fn is_done(&self, device: &Device) -> bool {
        let same = |mac: &Option<Mac>| mac.is_none() || device.mac.is_none() || *mac == device.mac;
        self.done.get(&device.address).is_some_and(same)
    }

    /// Counts a device that was to be scanned but has gone, or must not be scanned.
    pub(super) fn skip(&mut self, device: &Device) {
        if !self.is_done(device) {
            self.absent += 1;
        }
    }

    /// Counts the devices that are finished, whatever the outcome.
    pub(super) fn ended(&self) -> usize {
        self.results + self.partial + self.failed + self.absent
    }

    /// Stops the run: no further look starts, and those in progress must be cancelled.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.partial += self.todo.len();
        self.todo.clear();
        self.resolving = false;
        self.awaits_until = None;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Returns the first device that may be scanned now. A device is never scanned at two of its addresses at once:
    /// the device bears the load, and the engine's limits apply to an address. It is not scanned twice at once at one
    /// address either, unless a user requests it, because a look may take hours. Second looks are a few probes, and
    /// need not wait. `first` are the devices that wait for a quick look, which comes before any other.
    pub(super) fn next_free(&self, busy: &Busy, first: &Busy) -> Option<usize> {
        self.scan?;
        self.todo.iter().position(|device| match self.kind {
            ScanKind::Confirm => true,
            ScanKind::Manual => !busy.has_elsewhere(device),
            ScanKind::Run | ScanKind::Seen | ScanKind::Import => {
                !busy.has(device) && (self.is_quick() || !first.has(device))
            }
        })
    }

    pub(super) fn is_through(&self) -> bool {
        let opened = self.scan.is_some() || self.stopped;
        opened && self.todo.is_empty() && self.in_progress == 0 && !self.resolving && !self.awaits_targets()
    }

    pub(super) fn count(&mut self, looked: &LookOutcome, ports: u32) {
        self.in_progress -= 1;
        self.ports_done += u64::from(ports);
        match looked {
            LookOutcome::Result(_) => self.results += 1,
            LookOutcome::Absent => self.absent += 1,
            LookOutcome::Partial => self.partial += 1,
            LookOutcome::Failed => self.failed += 1,
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

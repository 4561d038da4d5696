//! What is to be looked at next: pure, driven by [`super::runner`].
//!
//! The agenda turns time, the feed's devices and the configuration into runs, and runs into looks at single
//! devices, at most [`MAX_IN_PROGRESS`] at once. It does no I/O: every method takes the time and the
//! caller carries out the [`Action`]s that [`Agenda::poll`] returns.

mod results;
mod run;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use results::Results;
use run::Run;
pub use run::RunId;

use crate::{
    config::{Config, ScannerConfig, Targets},
    model::{Address, Device, DeviceKey, PortSet, ScanStatus, TargetSpec, Timing},
    service::schedule::{LastStart, Times, is_due},
    store::{ScanId, ScanKind},
};

/// Devices in progress at once, over all runs: few enough that the first results come early, enough to
/// keep a Pi busy while single hosts are paced.
pub const MAX_IN_PROGRESS: usize = 16;

/// A run ends after twice its interval, but never before a day has passed: a /24 of silent devices takes
/// hours, and hourly runs that outlast their hour are delayed, not cut.
const MIN_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// Names a look at a device for as long as the agenda lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookId(u64);

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open a scan in the store and look these names up, then call [`Agenda::begun`].
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
    /// Look at a device, then call [`Agenda::looked`].
    Look(Look),
    /// End a look early; [`Agenda::looked`] still follows.
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
    /// How hard.
    pub timing: Timing,
}

/// How a look ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// With a result, which belongs to this device (whose MAC may only now be known).
    Result(DeviceKey),
    /// Nobody is there, or somebody else is: nothing to store, no fault of the run's.
    Absent,
    /// Some ports have no verdict: it vanished, or was stopped.
    Partial,
    /// A fault of this machine's.
    Failed,
}

/// A configured scanner and where it stands.
#[derive(Debug)]
struct Scanner {
    config: ScannerConfig,
    last: LastStart,
    run: Option<RunId>,
}

/// A look under way.
#[derive(Debug)]
struct Assignment {
    run: RunId,
    device: Device,
    cancelled: bool,
}

/// The agenda: see the module's documentation.
#[derive(Debug)]
pub struct Agenda {
    config: Arc<Config>,
    /// The feed's devices, as last told.
    devices: Vec<Device>,
    scanners: Vec<Scanner>,
    /// In order of age; scans of devices on sight go first.
    runs: BTreeMap<RunId, Run>,
    looks: BTreeMap<LookId, Assignment>,
    results: Results,
    paused: bool,
    next_run: u64,
    next_look: u64,
}

impl Agenda {
    /// An agenda for a store that holds results of these devices, found at these times.
    pub fn new(
        config: Arc<Config>,
        stored: impl IntoIterator<Item = (Device, Timestamp)>,
        times: &Times,
    ) -> Self {
        let scanners = config
            .scanners
            .iter()
            .map(|config| Scanner { config: config.clone(), last: LastStart::Never(times.now), run: None })
            .collect();
        Self {
            config,
            devices: Vec::new(),
            scanners,
            runs: BTreeMap::new(),
            looks: BTreeMap::new(),
            results: Results::new(stored),
            paused: false,
            next_run: 0,
            next_look: 0,
        }
    }

    /// Tells when a scanner's last run started, from what an earlier process persisted.
    pub fn restore(&mut self, scanner: &str, last: LastStart) {
        if let Some(scanner) = self.scanners.iter_mut().find(|known| known.config.name == scanner) {
            scanner.last = last;
        }
    }

    /// Takes up a run that an earlier process left unfinished; the devices in `done` have their result.
    /// A scan whose scanner is configured no more is closed as partial.
    pub fn resume(
        &mut self,
        scanner: &str,
        scan: ScanId,
        done: HashSet<DeviceKey>,
        times: &Times,
    ) -> Option<Action> {
        let Some(index) =
            self.scanners.iter().position(|known| known.config.name == scanner && known.run.is_none())
        else {
            return Some(Action::End { scan, status: ScanStatus::Partial });
        };
        let id = self.new_run();
        let config = &self.scanners[index].config;
        let mut run = Run::new(config, ScanKind::Run, times.now + deadline(config));
        run.resume(scan, done);
        self.runs.insert(id, run);
        self.scanners[index].run = Some(id);
        None
    }

    /// Takes the feed's devices as they are now.
    pub fn set_devices(&mut self, devices: Vec<Device>) {
        let before: HashSet<DeviceKey> = self.devices.iter().map(Device::key).collect();
        for device in devices.iter().filter(|device| !before.contains(&device.key())) {
            self.results.seen_again(&device.key());
        }
        self.devices = devices;
    }

    /// Takes a new configuration. Runs under way go on with what they started with, except that devices
    /// now excluded are left at once and runs of scanners that are gone end.
    pub fn reconfigure(&mut self, config: Arc<Config>, times: &Times) {
        let mut old = std::mem::take(&mut self.scanners);
        for config in &config.scanners {
            let known = old.iter().position(|scanner| scanner.config.name == config.name);
            let (last, run) = match known.map(|index| old.swap_remove(index)) {
                Some(scanner) => (scanner.last, scanner.run),
                None => (LastStart::Never(times.now), None),
            };
            self.scanners.push(Scanner { config: config.clone(), last, run });
        }
        for run in old.into_iter().filter_map(|scanner| scanner.run) {
            if let Some(run) = self.runs.get_mut(&run) {
                run.stop();
            }
        }
        self.config = config;
    }

    /// Stops or resumes the start of new looks: while the store can take nothing, there is no point.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// A begun scan's id, and the addresses that its names had.
    pub fn begun(&mut self, run: RunId, scan: ScanId, addresses: Vec<Address>) {
        if let Some(run) = self.runs.get_mut(&run) {
            run.begun(scan, addresses);
        }
    }

    /// A scan that could not be opened: its run is forgotten and comes due again a minute later.
    pub fn begin_failed(&mut self, run: RunId) {
        self.runs.remove(&run);
        for scanner in self.scanners.iter_mut().filter(|scanner| scanner.run == Some(run)) {
            scanner.run = None;
        }
    }

    /// How a look ended.
    pub fn looked(&mut self, look: LookId, looked: &Looked, times: &Times) {
        let Some(assignment) = self.looks.remove(&look) else { return };
        match looked {
            Looked::Result(key) => self.results.found(&assignment.device, key, times.now),
            _ => self.results.tried(assignment.device.key(), times.now),
        }
        if let Some(run) = self.runs.get_mut(&assignment.run) {
            run.count(looked);
        }
    }

    /// When each scanner's last run started, to be persisted.
    pub fn schedules(&self, times: &Times) -> Vec<(String, Duration)> {
        let age =
            |scanner: &Scanner| scanner.last.age(times.now).map(|age| (scanner.config.name.clone(), age));
        self.scanners.iter().filter_map(age).collect()
    }

    /// What is to be done now. To be called after every change, and every few seconds for the clock's sake.
    pub fn poll(&mut self, times: &Times) -> Vec<Action> {
        let mut actions = self.end_runs(times);
        if !self.paused {
            self.begin_runs(times, &mut actions);
            self.begin_seen(times, &mut actions);
            self.start_looks(&mut actions);
        }
        actions
    }

    fn new_run(&mut self) -> RunId {
        self.next_run += 1;
        RunId(self.next_run)
    }

    /// Cancels what must not go on, and closes the runs that are through.
    fn end_runs(&mut self, times: &Times) -> Vec<Action> {
        let mut actions = Vec::new();
        for run in self.runs.values_mut().filter(|run| run.deadline <= times.now) {
            run.stop();
        }
        for (id, look) in &mut self.looks {
            let stopped = self.runs.get(&look.run).is_none_or(Run::is_stopped);
            if (stopped || self.config.is_excluded(&look.device)) && !look.cancelled {
                look.cancelled = true;
                actions.push(Action::Cancel(*id));
            }
        }
        let through: Vec<RunId> =
            self.runs.iter().filter(|(_, run)| run.is_through()).map(|(id, _)| *id).collect();
        for id in through {
            let Some(run) = self.runs.remove(&id) else { continue };
            if let Some(scan) = run.scan {
                actions.push(Action::End { scan, status: run.status() });
            }
            for scanner in self.scanners.iter_mut().filter(|scanner| scanner.run == Some(id)) {
                scanner.run = None;
            }
        }
        actions
    }

    /// Starts the runs that are due. One that has nobody to look at yet stays due: the feed may be late.
    fn begin_runs(&mut self, times: &Times, actions: &mut Vec<Action>) {
        for index in 0..self.scanners.len() {
            let scanner = &self.scanners[index];
            let config = scanner.config.clone();
            if scanner.run.is_some() || !is_due(config.interval, config.at, scanner.last, times) {
                continue;
            }
            let (devices, names) = self.targets(&config.targets);
            if devices.is_empty() && names.is_empty() {
                continue;
            }
            let mut run = Run::new(&config, ScanKind::Run, times.now + deadline(&config));
            run.enqueue(devices);
            let id = self.insert(run, names, actions);
            self.scanners[index].run = Some(id);
            self.scanners[index].last = LastStart::at(times.now);
        }
    }

    /// Starts a scan of the devices that need a look between runs: never seen before, missed by the last
    /// run, or with a result that has expired.
    fn begin_seen(&mut self, times: &Times, actions: &mut Vec<Action>) {
        let Some(scanner) = self.scanners.iter().find(|scanner| scanner.config.targets == Targets::Feed)
        else {
            return;
        };
        let busy: HashSet<DeviceKey> = self
            .runs
            .values()
            .flat_map(|run| run.todo.iter().map(Device::key))
            .chain(self.looks.values().map(|look| look.device.key()))
            .collect();
        let resuming = self.runs.values().any(Run::awaits_targets);
        if resuming {
            return;
        }
        let last_run = scanner.last.age(times.now).filter(|_| scanner.run.is_none());
        let needy: VecDeque<Device> = self
            .scannable()
            .filter(|device| !busy.contains(&device.key()))
            .filter(|device| self.results.needs_look(device, last_run, self.config.cache_expiry, times))
            .cloned()
            .collect();
        if needy.is_empty() {
            return;
        }
        let config = scanner.config.clone();
        let mut run = Run::new(&config, ScanKind::Seen, times.now + deadline(&config));
        run.enqueue(needy);
        self.insert(run, Vec::new(), actions);
    }

    fn insert(&mut self, run: Run, names: Vec<String>, actions: &mut Vec<Action>) -> RunId {
        let id = self.new_run();
        let (scanner, kind, ports) = (run.scanner.clone(), run.kind, run.ports.clone());
        self.runs.insert(id, run);
        actions.push(Action::Begin { run: id, scanner, kind, ports, names });
        id
    }

    /// Fills the free places: scans on sight first, then runs in turn, so that none starves another.
    fn start_looks(&mut self, actions: &mut Vec<Action>) {
        self.feed_resumed();
        while self.looks.len() < MAX_IN_PROGRESS {
            let next = self
                .runs
                .iter()
                .filter(|(_, run)| run.has_work())
                .min_by_key(|(id, run)| (run.kind != ScanKind::Seen, run.in_progress, **id))
                .map(|(id, _)| *id);
            let Some(id) = next else { return };
            let Some(run) = self.runs.get_mut(&id) else { return };
            let (Some(scan), Some(device)) = (run.scan, run.todo.pop_front()) else { return };
            if self.config.is_excluded(&device) {
                continue;
            }
            run.in_progress += 1;
            let rule = self.config.rule_for(&device);
            let ports = rule.and_then(|rule| rule.ports.clone()).unwrap_or_else(|| run.ports.clone());
            let timing = rule.and_then(|rule| rule.timing).unwrap_or(run.timing);
            self.next_look += 1;
            let look = LookId(self.next_look);
            self.looks.insert(look, Assignment { run: id, device: device.clone(), cancelled: false });
            actions.push(Action::Look(Look { id: look, scan, device, ports, timing }));
        }
    }

    /// Gives resumed runs their targets as soon as the feed has told of any device.
    fn feed_resumed(&mut self) {
        let waiting: Vec<RunId> =
            self.runs.iter().filter(|(_, run)| run.awaits_targets()).map(|(id, _)| *id).collect();
        for id in waiting {
            let config =
                self.scanners.iter().find(|scanner| scanner.run == Some(id)).map(|found| &found.config);
            let Some(targets) = config.map(|config| config.targets.clone()) else { continue };
            let (devices, _) = self.targets(&targets);
            if let Some(run) = self.runs.get_mut(&id).filter(|_| !devices.is_empty()) {
                run.enqueue(devices);
            }
        }
    }

    fn scannable(&self) -> impl Iterator<Item = &Device> {
        let wanted = |device: &&Device| {
            !self.config.is_excluded(device) && self.config.rule_for(device).is_none_or(|rule| rule.scan)
        };
        self.devices.iter().filter(wanted)
    }

    /// The devices that targets stand for, and the names that still need an address.
    fn targets(&self, targets: &Targets) -> (VecDeque<Device>, Vec<String>) {
        let Targets::List(specs) = targets else { return (self.scannable().cloned().collect(), Vec::new()) };
        let mut devices = VecDeque::new();
        let mut names = Vec::new();
        for spec in specs {
            match spec {
                TargetSpec::Name(name) => names.push(name.clone()),
                TargetSpec::Mac(_) => {
                    devices.extend(
                        self.devices.iter().filter(|known| spec.matches(&known.address, known.mac)).cloned(),
                    );
                }
                _ => devices.extend(spec.addresses().map(|address| self.device_at(address))),
            }
        }
        let mut seen = HashSet::new();
        devices.retain(|device| !self.config.is_excluded(device) && seen.insert(device.address.clone()));
        (devices, names)
    }

    /// The feed's device at an address, or one known by the address alone.
    fn device_at(&self, address: Address) -> Device {
        let known = self.devices.iter().find(|device| device.address == address).cloned();
        known.unwrap_or(Device { address, mac: None, name: None })
    }
}

fn deadline(config: &ScannerConfig) -> Duration {
    (config.interval * 2).max(MIN_DEADLINE)
}

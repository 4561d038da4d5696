//! Decides what to scan next. Pure, driven by [`super::runner`].
//!
//! The agenda turns time, the feed's devices and the configuration into runs, and runs into looks at single devices,
//! at most [`MAX_IN_PROGRESS`] at once. It does no I/O: every method takes the time, and the caller carries out the
//! [`Action`]s that [`Agenda::poll`] returns.

mod actions;
mod doubts;
mod orders;
mod places;
mod progress;
mod quick;
mod results;
mod run;
mod scope;
mod start;
mod targets;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

pub use self::{
    actions::{Action, Look, LookId, LookOutcome, Order, OrderError, RunId},
    places::MAX_IN_PROGRESS,
    progress::RunProgress,
    scope::{Scope, usual_ports},
    targets::is_wanted,
};
use self::{
    doubts::Doubts,
    results::{Extent, Results},
    run::Run,
};
use crate::{
    config::{Config, ScannerConfig},
    model::{Address, Allowance, Device, Endpoint, Moment, PortSet, ScanId, ScanKind, ScanStatus, StateAge},
    service::schedule::{LastStart, Times},
};

/// The longest wait for a feed that has not answered yet, which takes 10 s at most. Without the wait, a run could
/// start with half of the devices, and the others would get scans of their own.
const FEED_WAIT: Duration = Duration::from_secs(15);

/// Scans between runs allowed within [`SIGHTS_STRETCH`], and at once. Each costs some pages of the SD card. If
/// devices keep appearing one by one, which an attacker can cause, all that appear within ten minutes share a scan.
const SIGHTS: u32 = 24;

/// The period of [`SIGHTS`].
const SIGHTS_STRETCH: Duration = Duration::from_secs(4 * 3600);

/// The pause after a scan that could not be opened.
const BEGIN_RETRY: Duration = Duration::from_secs(60);

/// A configured scanner and its schedule.
#[derive(Debug)]
struct Scanner {
    config: ScannerConfig,
    last: LastStart,
    run: Option<RunId>,
}

/// A look in progress.
#[derive(Debug)]
struct Assignment {
    run: RunId,
    device: Device,
    scope: Scope,
    began: Moment,
    /// The ports that it scans, except for those that were open earlier.
    ports: PortSet,
    cancelled: bool,
}

/// The agenda. See the module's documentation.
#[derive(Debug)]
pub struct Agenda {
    config: Arc<Config>,
    /// The feed's devices, as last reported.
    devices: BTreeMap<Address, Device>,
    /// Since when a source of the feed has yet to report; `None` once all have.
    incomplete_since: Option<Moment>,
    scanners: Vec<Scanner>,
    /// The runs by age, except that scans of newly seen devices come first.
    runs: BTreeMap<RunId, Run>,
    /// Runs that are over and have yet to be closed, because their last results are being stored.
    closing: BTreeMap<RunId, Run>,
    looks: BTreeMap<LookId, Assignment>,
    results: Results,
    doubts: Doubts,
    /// The allowance of scans between runs.
    sights: Allowance,
    paused: bool,
    /// No scan is opened before this time.
    begin_after: Moment,
    next_run: u64,
    next_look: u64,
}

impl Agenda {
    /// Creates an agenda for a store that holds results of this age and coverage.
    pub fn new(config: Arc<Config>, stored: Vec<StateAge>, times: &Times) -> Self {
        let scanners = config
            .scanners
            .iter()
            .map(|config| Scanner { config: config.clone(), last: LastStart::Never(times.now), run: None })
            .collect();
        let mut agenda = Self {
            config,
            devices: BTreeMap::new(),
            incomplete_since: Some(times.now),
            scanners,
            runs: BTreeMap::new(),
            closing: BTreeMap::new(),
            looks: BTreeMap::new(),
            results: Results::default(),
            doubts: Doubts::default(),
            sights: Allowance::new(SIGHTS, SIGHTS_STRETCH),
            paused: false,
            begin_after: times.now,
            next_run: 0,
            next_look: 0,
        };
        for StateAge { device, oldest, coverage } in stored {
            let extent = agenda.extent(&device, &coverage);
            agenda.results.found_earlier(&device, extent, oldest);
        }
        agenda
    }

    /// Restores when a scanner's last run started, as an earlier process persisted it.
    pub fn restore(&mut self, scanner: &str, last: LastStart) {
        if let Some(scanner) = self.scanners.iter_mut().find(|known| known.config.name == scanner) {
            scanner.last = last;
        }
    }

    /// Resumes a run that an earlier process left unfinished. The devices in `done` have their result at their
    /// addresses. [`Agenda::poll`] finds its targets and names again. If its scanner is no longer configured, the scan
    /// is closed as partial.
    pub fn resume(
        &mut self,
        scanner: &str,
        scan: ScanId,
        done: Vec<Device>,
        times: &Times,
    ) -> Option<Action> {
        let Some(index) =
            self.scanners.iter().position(|known| known.config.name == scanner && known.run.is_none())
        else {
            return Some(Action::End { scan, status: ScanStatus::Partial });
        };
        let id = self.new_run();
        let mut run = Run::new(&self.scanners[index].config, ScanKind::Run, times.now);
        run.resume(scan, done, times.now);
        self.runs.insert(id, run);
        self.scanners[index].run = Some(id);
        None
    }

    /// Replaces the feed's devices. `complete` says whether every source has reported.
    pub fn set_devices(&mut self, devices: Vec<Device>, complete: bool, times: &Times) {
        let before: HashSet<Endpoint> = self.devices.values().map(Device::endpoint).collect();
        for endpoint in devices.iter().map(Device::endpoint).filter(|endpoint| !before.contains(endpoint)) {
            self.results.seen_again(&endpoint);
        }
        self.results.drop_spent(times.now);
        self.results.relocate(devices.iter());
        self.devices = devices.into_iter().map(|device| (device.address.clone(), device)).collect();
        self.incomplete_since = (!complete).then(|| self.incomplete_since.unwrap_or(times.now));
    }

    /// Whether the feed's devices are known, or have been waited for long enough.
    fn feed_is_known(&self, times: &Times) -> bool {
        self.incomplete_since.is_none_or(|since| times.now.since(since) >= FEED_WAIT)
    }

    /// Takes a new configuration. Runs in progress continue with what they started with, with two exceptions: looks at
    /// devices that are now excluded end at once, and runs of scanners that are gone end.
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

    /// Stops or resumes the start of new looks, which are pointless while the store cannot write.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Takes the id of a scan that was opened, and the addresses of its names. If its run is gone by then, the scan is
    /// closed.
    pub fn begun(
        &mut self,
        run: RunId,
        scan: ScanId,
        addresses: Vec<Address>,
        times: &Times,
    ) -> Option<Action> {
        let Some(begun) = self.runs.get_mut(&run) else {
            return Some(Action::End { scan, status: ScanStatus::Partial });
        };
        begun.scan = Some(scan);
        self.record_start(run, times);
        self.resolved(run, addresses);
        None
    }

    /// Takes the addresses of a run's names.
    pub fn resolved(&mut self, run: RunId, addresses: Vec<Address>) {
        let Some(targets) = self.runs.get(&run).map(|run| run.targets.clone()) else { return };
        let devices = self.named(&targets, addresses);
        if let Some(run) = self.runs.get_mut(&run).filter(|run| !run.is_stopped()) {
            run.resolving = false;
            run.enqueue(devices);
        }
    }

    /// Drops a run after its scan could not be opened. It comes due again a minute later, as if it had not been tried.
    pub fn begin_failed(&mut self, run: RunId, times: &Times) {
        self.forget_run(run);
        self.begin_after = times.now + BEGIN_RETRY;
    }

    /// Takes the outcome of a look.
    pub fn looked(&mut self, look: LookId, looked: &LookOutcome, times: &Times) {
        let Some(assignment) = self.looks.remove(&look) else { return };
        // A look at one port does not renew the device's result.
        let is_confirming = self.runs.get(&assignment.run).is_some_and(Run::is_confirming);
        match looked {
            _ if is_confirming => {}
            LookOutcome::Result(key) => {
                let extent = self.extent(&assignment.device, &assignment.ports);
                self.results.found(&assignment.device, key, extent, times.now);
            }
            _ => self.results.tried(assignment.device.endpoint(), times.now),
        }
        if let Some(run) = self.runs.get_mut(&assignment.run) {
            run.count(looked, assignment.ports.len());
        }
    }

    /// Records that a scan was closed after [`Action::End`]: its run is shown no longer.
    pub fn closed(&mut self, scan: ScanId) {
        self.closing.retain(|_, run| run.scan != Some(scan));
    }

    /// Whether a look in progress is a second look at ports that seem to have changed.
    pub fn is_confirming(&self, look: LookId) -> bool {
        let run = self.looks.get(&look).and_then(|look| self.runs.get(&look.run));
        run.is_some_and(Run::is_confirming)
    }

    /// Returns when each scanner's last run started, to be persisted.
    pub fn schedules(&self, times: &Times) -> Vec<(String, Duration)> {
        let age =
            |scanner: &Scanner| scanner.last.age(times.now).map(|age| (scanner.config.name.clone(), age));
        self.scanners.iter().filter_map(age).collect()
    }

    /// Returns what must be done now. Call it after every change, and every few seconds because time passes.
    pub fn poll(&mut self, times: &Times) -> Vec<Action> {
        let mut actions = Vec::new();
        self.cancel_looks(times, &mut actions);
        if !self.paused {
            if times.now >= self.begin_after {
                self.begin_confirming(times, &mut actions);
                self.begin_quick(times, &mut actions);
                self.begin_runs(times, &mut actions);
                self.begin_seen(times, &mut actions);
            }
            self.supply_resumed(times, &mut actions);
            self.start_looks(times, &mut actions);
        }
        self.end_runs(&mut actions);
        actions
    }

    fn new_run(&mut self) -> RunId {
        self.next_run += 1;
        RunId(self.next_run)
    }

    fn forget_run(&mut self, id: RunId) -> Option<Run> {
        for scanner in self.scanners.iter_mut().filter(|scanner| scanner.run == Some(id)) {
            scanner.run = None;
        }
        self.runs.remove(&id)
    }

    /// Cancels the looks that must not continue.
    fn cancel_looks(&mut self, times: &Times, actions: &mut Vec<Action>) {
        for run in self.runs.values_mut().filter(|run| run.deadline <= times.now) {
            run.stop();
        }
        for (id, look) in &mut self.looks {
            let stopped = self.runs.get(&look.run).is_none_or(Run::is_stopped);
            if (stopped || !is_wanted(&self.config, &look.device)) && !look.cancelled {
                look.cancelled = true;
                actions.push(Action::Cancel(*id));
            }
        }
    }

    /// Closes the runs that are complete.
    fn end_runs(&mut self, actions: &mut Vec<Action>) {
        let through: Vec<RunId> =
            self.runs.iter().filter(|(_, run)| run.is_through()).map(|(id, _)| *id).collect();
        for id in through {
            let Some(run) = self.forget_run(id) else { continue };
            if let Some(scan) = run.scan {
                actions.push(Action::End { scan, status: run.status() });
                self.closing.insert(id, run);
            }
        }
    }
}

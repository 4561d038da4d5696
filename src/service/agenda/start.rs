//! What is begun: runs that are due, scans on sight, and looks while there are free places.

use std::collections::HashSet;

use super::{
    Action, Agenda, Assignment, CONFIRMING, Look, LookId, MAX_IN_PROGRESS, Run, RunId,
    targets::{is_wanted, need_feed},
};
use crate::{
    config::Targets,
    model::{Device, DeviceKey},
    service::schedule::{LastStart, Times, is_due},
    store::ScanKind,
};

impl Agenda {
    /// Starts the runs that are due. One that has nobody to look at yet stays due: the feed may be late.
    pub(super) fn begin_runs(&mut self, times: &Times, actions: &mut Vec<Action>) {
        for index in 0..self.scanners.len() {
            let scanner = &self.scanners[index];
            let config = &scanner.config;
            let waits = need_feed(&config.targets) && !self.feed_is_known(times);
            if waits || scanner.run.is_some() || !is_due(config.interval, config.at, scanner.last, times) {
                continue;
            }
            self.begin_run(index, times, actions);
        }
    }

    /// Starts a scanner's run; `None` if it has nobody to look at yet.
    pub(super) fn begin_run(
        &mut self,
        index: usize,
        times: &Times,
        actions: &mut Vec<Action>,
    ) -> Option<RunId> {
        let config = self.scanners[index].config.clone();
        let (devices, names) = self.targets(&config.targets);
        if devices.is_empty() && names.is_empty() {
            return None;
        }
        let mut run = Run::new(&config, ScanKind::Run, times.now);
        run.enqueue(devices);
        let id = self.insert(run, names, actions);
        self.scanners[index].run = Some(id);
        Some(id)
    }

    /// Starts a scan of the devices that need a look between runs: never seen before, missed by the last
    /// run, or with a result that has expired.
    pub(super) fn begin_seen(&mut self, times: &Times, actions: &mut Vec<Action>) {
        let awaited = self.runs.values().any(|run| run.targets == Targets::Feed && run.awaits_targets());
        if awaited || !self.feed_is_known(times) {
            return;
        }
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
        let last_run = scanner.last.age(times.now).filter(|_| scanner.run.is_none());
        let needy: Vec<Device> = self
            .scannable()
            .filter(|device| !busy.contains(&device.key()))
            .filter(|device| self.results.needs_look(device, last_run, self.config.cache_expiry, times))
            .cloned()
            .collect();
        if needy.is_empty() {
            return;
        }
        let mut run = Run::new(&scanner.config, ScanKind::Seen, times.now);
        run.enqueue(needy);
        self.insert(run, Vec::new(), actions);
    }

    pub(super) fn insert(&mut self, run: Run, names: Vec<String>, actions: &mut Vec<Action>) -> RunId {
        let id = self.new_run();
        let (scanner, kind, ports) = (run.scanner.clone(), run.kind, run.ports.clone());
        self.runs.insert(id, run);
        actions.push(Action::Begin { run: id, scanner, kind, ports, names });
        id
    }

    /// Gives resumed runs their targets as soon as the feed can tell them, or with what is known by then
    /// when it takes too long.
    pub(super) fn supply_resumed(&mut self, times: &Times, actions: &mut Vec<Action>) {
        let told = self.feed_is_known(times) && !self.devices.is_empty();
        let ready = |run: &&RunId| {
            self.runs[*run]
                .awaited_until()
                .is_some_and(|limit| told || times.now >= limit || !need_feed(&self.runs[*run].targets))
        };
        let ready: Vec<RunId> = self.runs.keys().filter(ready).copied().collect();
        for id in ready {
            let (devices, names) = self.targets(&self.runs[&id].targets);
            let Some(run) = self.runs.get_mut(&id) else { continue };
            if devices.is_empty() && names.is_empty() {
                run.stop();
                continue;
            }
            run.enqueue(devices);
            if !names.is_empty() {
                run.resolving = true;
                actions.push(Action::Resolve { run: id, names });
            }
        }
    }

    /// Fills the free places: single devices first, then runs in turn, so that none starves another.
    pub(super) fn start_looks(&mut self, actions: &mut Vec<Action>) {
        loop {
            let confirming = |run: &Run| if run.is_confirming() { CONFIRMING } else { 0 };
            let next = self
                .runs
                .iter()
                .filter(|(_, run)| run.has_work() && self.looks.len() < MAX_IN_PROGRESS + confirming(run))
                .min_by_key(|(id, run)| (run.rank(), run.in_progress, **id))
                .map(|(id, _)| *id);
            let Some(id) = next else { return };
            let Some(queued) = self.runs.get_mut(&id).and_then(|run| run.todo.pop_front()) else { return };
            // What was queued hours ago may have moved, gone, or been excluded since.
            let run = &self.runs[&id];
            let device = match run.is_confirming() {
                true => self.findable(&queued),
                false => self.present(&run.targets, &queued),
            };
            let device = device.filter(|device| {
                is_wanted(&self.config, device)
                    && !self.results.keys(device).any(|key| self.runs[&id].done.contains(&key))
            });
            let Some(run) = self.runs.get_mut(&id) else { return };
            match (device, run.scan) {
                (Some(device), Some(scan)) => {
                    run.in_progress += 1;
                    let rule = self.config.rule_for(&device);
                    let exact = run.exact.get(&queued.key());
                    let is_exact = exact.is_some();
                    let ports = exact.or(rule.and_then(|rule| rule.ports.as_ref())).unwrap_or(&run.ports);
                    let ports = ports.clone();
                    let timing = rule.and_then(|rule| rule.timing).unwrap_or(run.timing);
                    self.next_look += 1;
                    let look = LookId(self.next_look);
                    let asked = ports.len();
                    let assignment =
                        Assignment { run: id, device: device.clone(), ports: asked, cancelled: false };
                    self.looks.insert(look, assignment);
                    actions.push(Action::Look(Look { id: look, scan, device, ports, is_exact, timing }));
                }
                _ => run.try_elsewhere(&queued),
            }
        }
    }

    /// The start of a run that the store has now opened counts from here.
    pub(super) fn note_start(&mut self, run: RunId, times: &Times) {
        for scanner in self.scanners.iter_mut().filter(|scanner| scanner.run == Some(run)) {
            scanner.last = LastStart::at(times.now);
        }
    }
}

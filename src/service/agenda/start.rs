//! Starts runs that are due, scans on sight, and looks while there are free places.

use std::collections::{HashMap, HashSet};

use super::{
    Action, Agenda, Assignment, CONFIRMING, Look, LookId, MAX_IN_PROGRESS, Run, RunId,
    targets::{is_wanted, need_feed},
};
use crate::{
    config::Targets,
    model::{Address, Device, DeviceKey, Endpoint, Mac, ScanId, ScanKind},
    service::schedule::{LastStart, Times, is_due},
};

impl Agenda {
    /// Starts the runs that are due. One that has no devices yet stays due, because the feed may be late.
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

    /// Starts a scanner's run. Returns `None` if it has no devices yet.
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

    /// Starts a scan of the devices that need a look between runs: those that were never scanned, that the last run
    /// missed, or that have an expired result.
    pub(super) fn begin_seen(&mut self, times: &Times, actions: &mut Vec<Action>) {
        let awaited = self.runs.values().any(|run| run.targets == Targets::Feed && run.awaits_targets());
        if awaited || !self.feed_is_known(times) {
            return;
        }
        let Some(scanner) = self.scanners.iter().find(|scanner| scanner.config.targets == Targets::Feed)
        else {
            return;
        };
        let busy: HashSet<Endpoint> = self
            .runs
            .values()
            .flat_map(|run| run.todo.iter().map(Device::endpoint))
            .chain(self.looks.values().map(|look| look.device.endpoint()))
            .collect();
        // A device that waits for its turn and has moved is scanned where it is by then.
        let is_moving = |endpoint: &&Endpoint| {
            self.devices.get(&endpoint.address).is_none_or(|here| here.key() != endpoint.device)
        };
        let moving: HashSet<&DeviceKey> =
            busy.iter().filter(is_moving).map(|endpoint| &endpoint.device).collect();
        let last_run = scanner.last.age(times.now).filter(|_| scanner.run.is_none());
        let needy: Vec<Device> = self
            .scannable()
            .filter(|device| !busy.contains(&device.endpoint()) && !moving.contains(&device.key()))
            .filter(|device| self.results.needs_look(device, last_run, self.config.cache_expiry, times))
            .cloned()
            .collect();
        if needy.is_empty() || !self.sights.take(times.now) {
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

    /// Gives resumed runs their targets as soon as the feed has reported, or with the devices that are known when that
    /// takes too long.
    pub(super) fn supply_resumed(&mut self, times: &Times, actions: &mut Vec<Action>) {
        let is_known = self.feed_is_known(times) && !self.devices.is_empty();
        let ready = |run: &&RunId| {
            self.runs[*run]
                .awaited_until()
                .is_some_and(|limit| is_known || times.now >= limit || !need_feed(&self.runs[*run].targets))
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
        let at = |device: &Device| Some((device.mac?, device.address.clone()));
        let mut busy: HashMap<Mac, Address> =
            self.looks.values().filter_map(|look| at(&look.device)).collect();
        while let Some((id, queued)) = self.next_queued(&busy) {
            // A device that was queued hours ago may have moved, gone, or been excluded since.
            let run = &self.runs[&id];
            let device = match run.is_confirming() {
                true => self.findable(&queued),
                false => self.present(run, &queued),
            };
            let device = device.filter(|device| is_wanted(&self.config, device) && !run.is_done(device));
            match device.zip(run.scan) {
                Some((device, scan)) => {
                    busy.extend(at(&device));
                    let look = self.assign(id, scan, &queued, device);
                    actions.push(Action::Look(look));
                }
                None => {
                    if let Some(run) = self.runs.get_mut(&id) {
                        run.skip(&queued);
                    }
                }
            }
        }
    }

    /// Takes the next device out of its run, if there is a free place for it.
    fn next_queued(&mut self, busy: &HashMap<Mac, Address>) -> Option<(RunId, Device)> {
        let confirming = |run: &Run| if run.is_confirming() { CONFIRMING } else { 0 };
        let (id, index) = self
            .runs
            .iter()
            .filter(|(_, run)| self.looks.len() < MAX_IN_PROGRESS + confirming(run))
            .filter_map(|(id, run)| Some((id, run, run.next_free(busy)?)))
            .min_by_key(|(id, run, _)| (run.rank(), run.in_progress, **id))
            .map(|(id, _, index)| (*id, index))?;
        let queued = self.runs.get_mut(&id)?.todo.remove(index)?;
        Some((id, queued))
    }

    /// Starts a look at a device, which was queued as it was then.
    fn assign(&mut self, id: RunId, scan: ScanId, queued: &Device, device: Device) -> Look {
        let run = &self.runs[&id];
        let rule = self.config.rule_for(&device);
        let exact = run.exact.get(&queued.endpoint());
        let is_exact = exact.is_some();
        let ports = exact.or(rule.and_then(|rule| rule.ports.as_ref())).unwrap_or(&run.ports).clone();
        let timing = rule.and_then(|rule| rule.timing).unwrap_or(run.timing);
        self.next_look += 1;
        let look = LookId(self.next_look);
        let assignment = Assignment { run: id, device: device.clone(), ports: ports.len(), cancelled: false };
        self.looks.insert(look, assignment);
        if let Some(run) = self.runs.get_mut(&id) {
            run.in_progress += 1;
        }
        Look { id: look, scan, device, ports, is_exact, timing }
    }

    /// Counts the start of a run from now, when the store has opened its scan.
    pub(super) fn record_start(&mut self, run: RunId, times: &Times) {
        for scanner in self.scanners.iter_mut().filter(|scanner| scanner.run == Some(run)) {
            scanner.last = LastStart::at(times.now);
        }
    }
}

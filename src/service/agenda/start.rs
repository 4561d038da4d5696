//! Starts runs that are due, scans on sight, and looks while there are free places.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use super::{
    Action, Agenda, Assignment, Look, LookId, Run, RunId, Scope,
    run::Busy,
    targets::{is_wanted, need_feed},
};
use crate::{
    config::Targets,
    model::{Device, DeviceKey, Endpoint, Moment, ScanId, ScanKind},
    service::schedule::{LastStart, Times, due_in, is_due},
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
            self.begin_run(index, true, times, actions);
        }
    }

    /// Returns in what time the next run will be due, as far as that is known; see [`due_in`].
    pub fn next_due(&self, now: Moment) -> Option<Duration> {
        let waiting = self.scanners.iter().filter(|scanner| scanner.run.is_none());
        waiting
            .filter_map(|scanner| due_in(scanner.config.interval, scanner.config.at, scanner.last, now))
            .min()
    }

    /// Starts a scanner's run, because it is due or because a user wants it. Returns `None` if it has no devices yet.
    pub(super) fn begin_run(
        &mut self,
        index: usize,
        is_due: bool,
        times: &Times,
        actions: &mut Vec<Action>,
    ) -> Option<RunId> {
        let config = self.scanners[index].config.clone();
        let (devices, names) = self.targets(&config.targets);
        if devices.is_empty() && names.is_empty() {
            return None;
        }
        let mut run = Run::new(&config, ScanKind::Run, times.now);
        // What a full look covers anyway, or has just covered, is not scanned again.
        run.skips_fresh = (is_due && run.scope == Scope::Common).then_some(config.interval / 2);
        // A run without any look would count as a complete scan, even while the devices get their first one.
        if names.is_empty() && run.skips_fresh.is_some_and(|age| self.are_covered(&devices, age, times)) {
            self.scanners[index].last = LastStart::at(times.now);
            return None;
        }
        run.enqueue(devices);
        let id = self.insert(run, names, actions);
        self.scanners[index].run = Some(id);
        Some(id)
    }

    /// Whether each of these devices has a result that is no older than this, is being scanned, or is about to get a
    /// quick look.
    fn are_covered(&self, devices: &[Device], age: Duration, times: &Times) -> bool {
        let busy = self.awaiting_quick_or_scanned();
        devices.iter().all(|device| busy.has(device) || self.results.is_fresh(device, age, times))
    }

    /// Starts a scan of the devices that need a look between runs: those that were never scanned, that the last run
    /// missed, or that have an expired result.
    pub(super) fn begin_seen(&mut self, times: &Times, actions: &mut Vec<Action>) {
        let awaited = self.runs.values().any(|run| run.targets == Targets::Feed && run.awaits_targets());
        if awaited || !self.feed_is_known(times) {
            return;
        }
        let Some(scanner) = self.feed_scanner() else { return };
        let busy: HashSet<Endpoint> = self
            .runs
            .values()
            .flat_map(|run| run.todo.iter().map(Device::endpoint))
            .chain(self.looks.values().map(|look| look.device.endpoint()))
            .collect();
        // A device that has moved while it waits for its turn is scanned at its new address.
        let is_moving = |endpoint: &&Endpoint| {
            self.devices.get(&endpoint.address).is_none_or(|here| here.key() != endpoint.device)
        };
        let moving: HashSet<&DeviceKey> =
            busy.iter().filter(is_moving).map(|endpoint| &endpoint.device).collect();
        let last_run = scanner.last.age(times.now).filter(|_| scanner.run.is_none());
        let needy: Vec<Device> = self
            .scannable()
            .filter(|device| !busy.contains(&device.endpoint()) && !moving.contains(&device.key()))
            .filter(|device| !self.needs_quick(device, times))
            .filter(|device| self.results.needs_look(device, last_run, self.config.cache_expiry, times))
            .cloned()
            .collect();
        let run = Run::new(&scanner.config, ScanKind::Seen, times.now);
        self.begin_or_join(needy, run, times, actions);
    }

    /// Gives devices to the run between runs that is open and like this one, or else starts this one. Devices that turn
    /// up one by one, or end a quick look one by one, would take an entry of their own in the list of scans each.
    pub(super) fn begin_or_join(
        &mut self,
        devices: Vec<Device>,
        mut run: Run,
        times: &Times,
        actions: &mut Vec<Action>,
    ) {
        let is_like = |open: &&mut Run| {
            !open.is_stopped()
                && (open.kind, open.scope, &open.scanner) == (run.kind, run.scope, &run.scanner)
        };
        let again: Vec<Device> = match self.runs.values_mut().find(is_like) {
            Some(open) => {
                let (again, new) = devices.into_iter().partition(|device| open.has_queued(&device.address));
                open.enqueue(new);
                again
            }
            None => devices,
        };
        if !again.is_empty() && self.sights.take(times.now) {
            run.enqueue(again);
            self.insert(run, Vec::new(), actions);
        }
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
    pub(super) fn start_looks(&mut self, times: &Times, actions: &mut Vec<Action>) {
        let mut busy = Busy::default();
        self.looks.values().for_each(|look| busy.insert(&look.device));
        self.skip_fresh(&busy, times);
        let first = self.awaiting_quick();
        while let Some((id, queued)) = self.next_queued(&busy, &first, times.now) {
            // A device that was queued hours ago may have moved, gone, or been excluded since.
            let run = &self.runs[&id];
            let device = match run.is_confirming() {
                true => self.findable(&queued),
                false => self.present(run, &queued),
            };
            let device = device.filter(|device| is_wanted(&self.config, device) && !run.is_done(device));
            match device.zip(run.scan) {
                Some((device, scan)) => {
                    busy.insert(&device);
                    let look = self.assign(id, scan, &queued, device, times.now);
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
    fn next_queued(&mut self, busy: &Busy, first: &Busy, now: Moment) -> Option<(RunId, Device)> {
        let (id, index) = self
            .runs
            .iter()
            .filter(|(_, run)| self.has_place(run, now))
            .filter_map(|(id, run)| Some((id, run, run.next_free(busy, first)?)))
            .min_by_key(|(id, run, _)| (run.rank(), run.in_progress, **id))
            .map(|(id, _, index)| (*id, index))?;
        let queued = self.runs.get_mut(&id)?.todo.remove(index)?;
        Some((id, queued))
    }

    /// Starts a look at a device, which was queued as it was then.
    fn assign(&mut self, id: RunId, scan: ScanId, queued: &Device, device: Device, now: Moment) -> Look {
        let run = &self.runs[&id];
        let rule = self.config.rule_for(&device);
        let timing = rule.and_then(|rule| rule.timing).unwrap_or(run.timing);
        let method = run.method;
        let (ports, scope) = match run.exact.get(&queued.endpoint()) {
            Some(exact) => (exact.clone(), Scope::Exact),
            None => (self.ports_in(run.scope, &run.ports, &device), run.scope),
        };
        self.next_look += 1;
        let look = LookId(self.next_look);
        let assignment = Assignment {
            run: id,
            device: device.clone(),
            scope,
            began: now,
            ports: ports.clone(),
            cancelled: false,
        };
        self.looks.insert(look, assignment);
        if let Some(run) = self.runs.get_mut(&id) {
            run.in_progress += 1;
        }
        Look { id: look, scan, device, ports, scope, timing, method }
    }

    /// Leaves out the devices of scheduled looks at the commonest ports that have a result which is new enough, or
    /// that are being scanned.
    fn skip_fresh(&mut self, busy: &Busy, times: &Times) {
        for run in self.runs.values_mut() {
            let Some(age) = run.skips_fresh.filter(|_| run.scan.is_some()) else { continue };
            let is_fresh = |device: &Device| busy.has(device) || self.results.is_fresh(device, age, times);
            let (fresh, todo) = std::mem::take(&mut run.todo).into_iter().partition(is_fresh);
            run.todo = todo;
            VecDeque::iter(&fresh).for_each(|device| run.skip(device));
        }
    }

    /// Counts the start of a run from now, when the store has opened its scan.
    pub(super) fn record_start(&mut self, run: RunId, times: &Times) {
        for scanner in self.scanners.iter_mut().filter(|scanner| scanner.run == Some(run)) {
            scanner.last = LastStart::at(times.now);
        }
    }
}

//! The progress of each run.

use std::{collections::BTreeMap, time::Duration};

use super::{Agenda, Run, RunId};
use crate::model::{Device, Moment, ScanId};

/// A run in progress, without what only the engine knows of its looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunProgress {
    /// The run.
    pub run: RunId,
    /// Its id, once the store has opened it.
    pub scan: Option<ScanId>,
    /// Its scanner's name.
    pub scanner: String,
    /// The time since it was begun, or resumed.
    pub elapsed: Duration,
    /// Devices that are finished, whatever the outcome.
    pub hosts_done: usize,
    /// The finished devices, those in progress and those that wait.
    pub hosts: usize,
    /// Ports of the devices that this process has finished.
    pub ports_done: u64,
    /// Those ports, and the ports of the devices in progress and of those that wait.
    pub ports: u64,
}

impl Agenda {
    /// Returns the runs in progress and those that have yet to be [closed](Self::closed), oldest first.
    pub fn runs_under_way(&self, now: Moment) -> Vec<RunProgress> {
        let runs: BTreeMap<RunId, &Run> =
            self.runs.iter().chain(&self.closing).map(|(id, run)| (*id, run)).collect();
        runs.into_iter().map(|(id, run)| self.progress_of(id, run, now)).collect()
    }

    fn progress_of(&self, id: RunId, run: &Run, now: Moment) -> RunProgress {
        let looks = self.looks.values().filter(|look| look.run == id);
        let waiting = || run.todo.iter().filter(|device| !run.is_done(device));
        let ports_waiting: u64 = waiting().map(|device| u64::from(self.count_ports(run, device))).sum();
        let ports_looked: u64 = looks.map(|look| u64::from(look.ports.len())).sum();
        RunProgress {
            run: id,
            scan: run.scan,
            scanner: run.scanner.clone(),
            elapsed: now.since(run.began),
            hosts_done: run.ended(),
            hosts: run.ended() + run.in_progress + waiting().count(),
            ports_done: run.ports_done,
            ports: run.ports_done + ports_looked + ports_waiting,
        }
    }

    /// Counts the ports of a device that a run scans. Most devices have no ports of their own, and this is called for
    /// every device of every run each second.
    fn count_ports(&self, run: &Run, device: &Device) -> u32 {
        let has_own = self.config.rule_for(device).is_some_and(|rule| rule.ports.is_some())
            || run.exact.contains_key(&device.endpoint());
        if has_own { self.ports_of(run, device).len() } else { run.ports.len() }
    }

    /// Ends the run in progress that has this id, and returns whether there was one. Its devices are not scanned
    /// between runs for a while; otherwise scans on sight would continue what the user has stopped.
    pub fn stop(&mut self, scan: ScanId, now: Moment) -> bool {
        let Some((id, run)) = self.runs.iter_mut().find(|(_, run)| run.scan == Some(scan)) else {
            return false;
        };
        let looked_at = self.looks.values().filter(|look| look.run == *id).map(|look| look.device.endpoint());
        for endpoint in run.todo.iter().map(Device::endpoint).chain(looked_at) {
            self.results.put_off(endpoint, now);
        }
        run.stop();
        true
    }
}

//! How far each run is.

use std::time::Duration;

use super::{Agenda, LookId, Run, RunId};
use crate::model::{Device, Moment, ScanId};

/// A run under way, but for what the engine knows of the looks in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunProgress {
    /// Which.
    pub run: RunId,
    /// Its id, once the store has opened it.
    pub scan: Option<ScanId>,
    /// Its scanner's name.
    pub scanner: String,
    /// Since it was begun, or resumed.
    pub elapsed: Duration,
    /// Devices that are through, whatever came of it.
    pub hosts_done: usize,
    /// Those, the ones in progress and the ones that wait.
    pub hosts: usize,
    /// Ports of the devices that this process is through with.
    pub ports_done: u64,
    /// Ports of those, of the ones in progress and of the ones that wait.
    pub ports: u64,
    /// The looks in progress, each with its device and how many of its ports are looked at.
    pub looks: Vec<(LookId, Device, u32)>,
}

impl Agenda {
    /// The runs under way, oldest first.
    pub fn runs_under_way(&self, now: Moment) -> Vec<RunProgress> {
        self.runs.iter().map(|(id, run)| self.progress_of(*id, run, now)).collect()
    }

    fn progress_of(&self, id: RunId, run: &Run, now: Moment) -> RunProgress {
        let looks = || self.looks.iter().filter(|(_, look)| look.run == id);
        let waiting = || run.todo.iter().filter(|device| !run.is_done(device));
        let ports_waiting: u64 = waiting().map(|device| u64::from(self.ports_of(run, device))).sum();
        let ports_looked: u64 = looks().map(|(_, look)| u64::from(look.ports)).sum();
        RunProgress {
            run: id,
            scan: run.scan,
            scanner: run.scanner.clone(),
            elapsed: now.since(run.began),
            hosts_done: run.ended(),
            hosts: run.ended() + run.in_progress + waiting().count(),
            ports_done: run.ports_done,
            ports: run.ports_done + ports_looked + ports_waiting,
            looks: looks().map(|(id, look)| (*id, look.device.clone(), look.ports)).collect(),
        }
    }

    /// How many ports of a device a run looks at.
    fn ports_of(&self, run: &Run, device: &Device) -> u32 {
        let rule = || self.config.rule_for(device).and_then(|rule| rule.ports.as_ref());
        run.exact.get(&device.endpoint()).or_else(rule).unwrap_or(&run.ports).len()
    }

    /// Ends a run that is under way under this id; whether there is one. Its devices are left alone for a
    /// while, or scans on sight would take up what was stopped.
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

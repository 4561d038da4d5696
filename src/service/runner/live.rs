//! The state of the runs in progress that is not in the store yet: the looks with their findings, and the progress of
//! the runs.
//!
//! The runner keeps each look from its start until the store has its result: a result waits up to ten seconds for its
//! commit, and its findings must stay visible in the meantime. Clients read the looks here, without asking the
//! runner, which may be busy, and wait here for changes, of which there are none while nothing is scanned.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::sync::watch;

use crate::{
    model::{Device, PortSet, ScanId},
    service::{
        agenda::{Look, LookId},
        look::LookProgress,
        scanner::{JobProgress, ProgressSender},
    },
};

/// The runs in progress; all clones refer to the same ones.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    looks: Mutex<BTreeMap<LookId, LiveLook>>,
    found: watch::Sender<()>,
    runs: watch::Sender<Vec<RunCounts>>,
}

/// A look without a result in the store yet.
#[derive(Debug)]
struct LiveLook {
    scan: ScanId,
    /// As the result names it, once the look has ended.
    device: Device,
    is_confirming: bool,
    /// How many ports were to be scanned before it began.
    ports: u32,
    /// The ports that were open by the device's state before the look.
    open_before: Arc<OnceLock<PortSet>>,
    progress: watch::Receiver<JobProgress>,
    stage: Stage,
}

/// Where a look is on its way into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// It has ended, and its result is being stored.
    Ended,
    /// The store has its result. It is kept for the listeners alone: the first result after a pause is committed at
    /// once, perhaps before the last of them has woken and read what was found.
    Stored,
    /// As `Stored`, and long enough for every listener.
    Told,
}

/// A look without a result in the store yet, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookView {
    /// The scan it belongs to.
    pub scan: ScanId,
    /// The device. Its MAC may be known only once the look has ended.
    pub device: Device,
    /// Whether it is a second look at ports that seem to have changed.
    pub is_confirming: bool,
    /// Whether it has ended, and only its commit is waited for.
    pub has_ended: bool,
    /// How many of its ports are scanned.
    pub ports: u32,
    /// Ports with a verdict.
    pub settled: u32,
    /// Open ports found so far.
    pub open: u32,
    /// The first of them, in the order in which they answered; see [`OPEN_PORTS`](crate::service::scanner::OPEN_PORTS).
    pub open_ports: Vec<u16>,
    /// Those of these that were not open by the device's state when the look began.
    pub new_ports: PortSet,
}

/// The progress of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunCounts {
    /// The id of its scan.
    pub id: ScanId,
    /// Devices that are finished, whatever the outcome, with their results in the store.
    pub hosts_done: usize,
    /// All devices of the run.
    pub hosts: usize,
    /// Ports with a verdict.
    pub ports_done: u64,
    /// Ports of all devices together.
    pub ports: u64,
}

impl Live {
    /// Returns the looks without a result in the store. A result that the store gets after this call is in
    /// what is read from the store after it, or in this list: read the list first.
    pub fn looks(&self) -> Vec<LookView> {
        let looks = self.lock();
        let unstored = looks.values().filter(|look| matches!(look.stage, Stage::Running | Stage::Ended));
        unstored.map(LiveLook::view).collect()
    }

    /// Returns the same looks and those of the last seconds, for a reader that [was woken](Self::found).
    pub fn recent_looks(&self) -> Vec<LookView> {
        self.lock().values().map(LiveLook::view).collect()
    }

    /// Changes whenever looks have found further open ports, at most 250 ms after their verdicts.
    pub fn found(&self) -> watch::Receiver<()> {
        self.0.found.subscribe()
    }

    /// Returns the progress of the runs, oldest first. It changes at their starts and ends, and every few seconds in
    /// between.
    pub fn runs(&self) -> watch::Receiver<Vec<RunCounts>> {
        self.0.runs.subscribe()
    }

    /// Adds a look that begins now. Returns where it publishes its progress.
    pub(super) fn begin(&self, look: &Look, is_confirming: bool) -> LookProgress {
        let (progress, followed) = watch::channel(JobProgress::default());
        let open_before = Arc::default();
        let live = LiveLook {
            scan: look.scan,
            device: look.device.clone(),
            is_confirming,
            ports: look.ports.len(),
            open_before: Arc::clone(&open_before),
            progress: followed,
            stage: Stage::Running,
        };
        self.lock().insert(look.id, live);
        LookProgress { job: ProgressSender { progress, found: self.0.found.clone() }, open_before }
    }

    /// Keeps the findings of a look that has ended with a result for this device, until the store has the result.
    pub(super) fn keep(&self, look: LookId, device: &Device) {
        if let Some(live) = self.lock().get_mut(&look) {
            live.stage = Stage::Ended;
            live.device = device.clone();
        }
    }

    /// Records that the store has the result of a look that was kept.
    pub(super) fn stored(&self, look: LookId) {
        if let Some(live) = self.lock().get_mut(&look) {
            live.stage = Stage::Stored;
        }
    }

    /// Removes the looks with results that were stored before the last call. To be called every few seconds.
    pub(super) fn remove_told(&self) {
        let mut looks = self.lock();
        looks.retain(|_, look| look.stage != Stage::Told);
        looks
            .values_mut()
            .filter(|look| look.stage == Stage::Stored)
            .for_each(|look| look.stage = Stage::Told);
    }

    /// Removes a look with what it has found, because it has no result.
    pub(super) fn remove(&self, look: LookId) {
        self.lock().remove(&look);
    }

    /// Removes all looks and runs.
    pub(super) fn clear(&self) {
        self.lock().clear();
        self.publish(Vec::new());
    }

    /// Publishes the progress of the runs.
    pub(super) fn publish(&self, runs: Vec<RunCounts>) {
        self.0.runs.send_if_modified(|last| {
            let is_changed = *last != runs;
            *last = runs;
            is_changed
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LookId, LiveLook>> {
        // Every change under the lock is a single step, so a poisoned table is still consistent.
        self.0.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveLook {
    fn view(&self) -> LookView {
        let JobProgress { counts, open_ports } = self.progress.borrow().clone();
        let found: PortSet = open_ports.iter().copied().collect();
        LookView {
            scan: self.scan,
            device: self.device.clone(),
            is_confirming: self.is_confirming,
            has_ended: self.stage != Stage::Running,
            // Ports that were open earlier are scanned beside those that were counted before the look began.
            ports: counts.ports.max(self.ports),
            settled: counts.settled,
            // An earlier job of this look, which was begun anew more gently, may have found more.
            open: counts.open.max(u32::try_from(open_ports.len()).unwrap_or(u32::MAX)),
            new_ports: self.open_before.get().map_or_else(|| found.clone(), |open| found.minus(open)),
            open_ports,
        }
    }
}

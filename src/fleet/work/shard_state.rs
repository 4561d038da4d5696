//! What is known of a shard: which worker has it, and which of its hosts are finished.

use std::{collections::BTreeSet, mem};

use super::{LEASE, Pool, ShardPurpose};
use crate::{engine::Progress, fleet::WorkerName, model::Moment};

/// How often a shard is begun without a host of it being finished before its hosts are given up: it may be the one that
/// kills workers.
const ATTEMPTS: u32 = 5;

/// A shard in a queue or in work.
#[derive(Debug)]
pub(super) struct ShardState {
    pub(super) pool: Pool,
    pub(super) purpose: ShardPurpose,
    /// How many times it was put into its queue before.
    pub(super) attempt: u32,
    /// What its holder has said of the hosts that it scans.
    pub(super) progress: Progress,
    /// The places of its hosts among all targets, and whether each is finished.
    hosts: Vec<(usize, bool)>,
    /// The worker that has it, and how often the queue had handed it out then.
    holder: Option<(WorkerName, u32)>,
    /// All that have or had it.
    holders: BTreeSet<WorkerName>,
    /// How often it was begun since a host of it was finished.
    begun: u32,
    /// When its holder was heard, or it was put into its queue.
    heard: Moment,
}

/// What becomes of a worker that begins a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It has the shard, of which the hosts at these places are finished.
    Has(Vec<u16>),
    /// The same, and another delivery was begun before.
    Again(Vec<u16>),
    /// The worker that has it may be scanning.
    Later,
    /// Its delivery was held up: another one was begun since.
    Overtaken,
    /// It was begun too often.
    TooOften,
}

impl ShardState {
    /// A shard with the targets at these places.
    pub(super) fn new(pool: Pool, purpose: ShardPurpose, places: Vec<usize>, now: Moment) -> Self {
        Self {
            pool,
            purpose,
            attempt: 0,
            progress: Progress::default(),
            hosts: places.into_iter().map(|place| (place, false)).collect(),
            holder: None,
            holders: BTreeSet::new(),
            begun: 0,
            heard: now,
        }
    }

    /// The places of its hosts among all targets.
    pub(super) fn targets(&self) -> impl Iterator<Item = usize> {
        self.hosts.iter().map(|(target, _)| *target)
    }

    /// The place among all targets of the host at this place of the shard.
    pub(super) fn target(&self, place: usize) -> Option<usize> {
        self.hosts.get(place).map(|(target, _)| *target)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.hosts.iter().all(|(_, done)| *done)
    }

    /// Whether a worker has or had it.
    pub(super) fn was_held_by(&self, worker: &WorkerName) -> bool {
        self.holders.contains(worker)
    }

    /// Whether more than one worker had it.
    pub(super) fn changed_hands(&self) -> bool {
        self.holders.len() > 1
    }

    /// Whether its holder was silent for so long that the queue may have lost it.
    pub(super) fn is_overdue(&self, now: Moment) -> bool {
        !self.is_finished() && now.since(self.heard) >= 2 * LEASE
    }

    /// It is put into its queue once more, which counts its deliveries anew.
    pub(super) fn repeat(&mut self, now: Moment) {
        self.attempt += 1;
        self.holder = None;
        self.heard = now;
    }

    /// A worker begins it, to which the queue has handed it so.
    pub(super) fn begin(&mut self, worker: &WorkerName, delivery: u32, now: Moment) -> Beginning {
        match &self.holder {
            // The answer was lost.
            Some((holder, known)) if holder == worker && *known == delivery => {
                self.heard = now;
                return Beginning::Has(self.finished());
            }
            Some((_, known)) if *known >= delivery => return Beginning::Overtaken,
            // The queue has given it away too early: a thief with a worker's key can make it do so.
            Some(_) if now.since(self.heard) < LEASE => return Beginning::Later,
            _ if self.begun == ATTEMPTS => return Beginning::TooOften,
            _ => {}
        }
        let is_first = self.holders.is_empty();
        self.begun += 1;
        self.holder = Some((worker.clone(), delivery));
        self.holders.insert(worker.clone());
        self.heard = now;
        if is_first { Beginning::Has(self.finished()) } else { Beginning::Again(self.finished()) }
    }

    /// The places, within the shard, of the hosts that are finished.
    fn finished(&self) -> Vec<u16> {
        (0..).zip(&self.hosts).filter(|(_, (_, done))| *done).map(|(place, _)| place).collect()
    }

    /// A worker says how far it is. Returns whether it has the shard.
    pub(super) fn advance(&mut self, worker: &WorkerName, progress: Progress, now: Moment) -> bool {
        let is_holder = self.is_held_by(worker);
        if is_holder {
            self.heard = now;
            self.progress = progress;
        }
        is_holder
    }

    fn is_held_by(&self, worker: &WorkerName) -> bool {
        self.holder.as_ref().is_some_and(|(holder, _)| holder == worker)
    }

    /// A worker gives it back, which is no failure. Returns whether it had the shard.
    pub(super) fn leave(&mut self, worker: &WorkerName) -> bool {
        let is_holder = self.is_held_by(worker);
        if is_holder {
            self.holder = None;
            self.begun = self.begun.saturating_sub(1);
            self.progress = Progress::default();
        }
        is_holder
    }

    /// The host at this place is finished. Returns whether it was not before.
    pub(super) fn finish(&mut self, worker: &WorkerName, place: usize, now: Moment) -> bool {
        if self.is_held_by(worker) {
            self.heard = now;
            self.begun = 1;
        }
        self.hosts.get_mut(place).is_some_and(|(_, done)| !mem::replace(done, true))
    }

    /// Gives up its unfinished hosts, and returns their places among all targets.
    pub(super) fn give_up(&mut self) -> Vec<usize> {
        let left = self.hosts.iter_mut().filter(|(_, done)| !done);
        left.map(|(target, done)| {
            *done = true;
            *target
        })
        .collect()
    }
}

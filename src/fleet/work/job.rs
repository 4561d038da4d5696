//! The account of a scan that workers share: which shard is next, what is done, and by which worker.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    HostOutcome, JobAnswer, JobName, Pool, Shard, ShardId, ShardPurpose, WorkerAnnouncement, WorkerReport,
    plan::{hosts_of_shard, is_sparse},
    shard_state::{Beginning, ShardState},
};
use crate::{
    engine::{Liveness, Progress, ScanSettings},
    fleet::WorkerName,
    model::{Address, HostReport, HostStatus, Mac, Moment},
};

/// A worker that has said nothing for this long is counted as gone; it announces itself every 5 s.
const GONE: Duration = Duration::from_secs(15);

/// Shards in the queue or in work, for each worker of a pool: enough for the hosts that a worker asks at once in a
/// discovery, and few enough that a shard which was just cut is not behind a thousand others.
const AHEAD: usize = 24;

/// A scan in progress.
#[derive(Debug)]
pub struct FleetJob {
    name: JobName,
    settings: ScanSettings,
    /// The targets. What is told of a host names its place here.
    hosts: Vec<Address>,
    pools: BTreeMap<Pool, PoolHosts>,
    shards: Vec<ShardState>,
    workers: BTreeMap<WorkerName, (WorkerAnnouncement, Moment)>,
    totals: JobTotals,
    stopped: bool,
}

/// The hosts of a pool that are in no shard yet.
#[derive(Debug, Default)]
struct PoolHosts {
    to_discover: VecDeque<usize>,
    to_scan: VecDeque<usize>,
    /// Shards that are not finished, and how many of them are discoveries.
    under_way: usize,
    discoveries: usize,
}

/// What a scan has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobTotals {
    /// Hosts with a result.
    pub finished: usize,
    /// Hosts of shards that were given up.
    pub given_up: usize,
    /// Shards that another worker, or the same once more, has continued.
    pub taken_over: usize,
    /// Hosts of which a second result came, which was not taken.
    pub twice: usize,
    /// What the workers have said of the hosts that they scan.
    pub in_progress: Progress,
}

/// What a report has brought.
#[derive(Clone, Debug, PartialEq)]
pub enum JobEvent {
    /// What was found at the target at this place.
    Scanned(usize, Box<HostReport>, Option<Mac>),
    /// The worker does not scan the target at this place, and this is why.
    Refused(usize, String),
    /// The targets at these places were given up.
    GivenUp(Vec<usize>),
    /// The worker's report is not about what it was asked.
    Nonsense(WorkerName),
}

impl FleetJob {
    /// A scan of these hosts, each in its pool, with so many workers for each pool.
    pub fn new(
        name: JobName,
        settings: ScanSettings,
        hosts: Vec<(Address, Pool)>,
        workers: BTreeMap<WorkerName, (WorkerAnnouncement, Moment)>,
    ) -> Self {
        let mut pools: BTreeMap<Pool, PoolHosts> = BTreeMap::new();
        for (place, (_, pool)) in hosts.iter().enumerate() {
            pools.entry(*pool).or_default().to_scan.push_back(place);
        }
        for hosts in pools.values_mut() {
            if settings.liveness == Liveness::Check && is_sparse(hosts.to_scan.len()) {
                hosts.to_discover = std::mem::take(&mut hosts.to_scan);
            }
        }
        Self {
            name,
            settings,
            hosts: hosts.into_iter().map(|(address, _)| address).collect(),
            pools,
            shards: Vec::new(),
            workers,
            totals: JobTotals::default(),
            stopped: false,
        }
    }

    /// The pools that it has hosts in.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.keys()
    }

    /// The next shard for a queue, with its queue; `None`: none is due now. Scans come before discoveries, so that the
    /// first results come early.
    pub fn next_shard(&mut self, now: Moment) -> Option<(Pool, Shard)> {
        if self.stopped {
            return None;
        }
        let (workers, settings) = (&self.workers, &self.settings);
        let (pool, purpose, places) = self.pools.iter_mut().find_map(|(pool, hosts)| {
            let of_pool = workers.values().filter(|(known, _)| known.networks.contains(pool)).count();
            if hosts.under_way >= AHEAD * of_pool.max(1) {
                return None;
            }
            let all_found = hosts.to_discover.is_empty() && hosts.discoveries == 0;
            // Towards the end shards become smaller, so that no worker is idle while another one has many hosts.
            let known = if all_found { hosts.to_scan.len() } else { usize::MAX };
            let size = hosts_of_shard(settings, known, of_pool);
            let (purpose, queue, most) = match hosts.to_scan.len() {
                0 => (ShardPurpose::Discovery, &mut hosts.to_discover, super::SHARD_HOSTS),
                found if found >= size => (ShardPurpose::Scan, &mut hosts.to_scan, size),
                _ => (ShardPurpose::Discovery, &mut hosts.to_discover, super::SHARD_HOSTS),
            };
            let places: Vec<usize> = queue.drain(..most.min(queue.len())).collect();
            if places.is_empty() {
                return None;
            }
            hosts.under_way += 1;
            hosts.discoveries += usize::from(purpose == ShardPurpose::Discovery);
            Some((*pool, purpose, places))
        })?;
        self.shards.push(ShardState::new(pool, purpose, places, now));
        Some((pool, self.shard(self.shards.len() - 1)?))
    }

    fn shard(&self, index: usize) -> Option<Shard> {
        let state = &self.shards[index];
        Some(Shard {
            job: self.name,
            id: ShardId { number: u32::try_from(index).ok()?, attempt: state.attempt },
            purpose: state.purpose,
            settings: self.settings.clone(),
            hosts: state.targets().map(|place| self.hosts[place].clone()).collect(),
        })
    }

    /// Whether a shard was silent for so long that its queue may have lost it.
    pub fn misses_shards(&self, now: Moment) -> bool {
        self.shards.iter().any(|state| state.is_overdue(now))
    }

    /// The shards of a pool that were silent for long, to be put into its queue once more: it has none any more.
    pub fn repeat_shards(&mut self, pool: &Pool, now: Moment) -> Vec<Shard> {
        let is_lost = |state: &ShardState| state.pool == *pool && state.is_overdue(now);
        let lost: Vec<usize> = (0..self.shards.len()).filter(|index| is_lost(&self.shards[*index])).collect();
        for index in &lost {
            self.shards[*index].repeat(now);
        }
        lost.into_iter().filter_map(|index| self.shard(index)).collect()
    }

    /// A worker says that it is there.
    pub fn announce(&mut self, worker: WorkerName, announcement: WorkerAnnouncement, now: Moment) {
        self.workers.insert(worker, (announcement, now));
    }

    /// How many workers were heard of late.
    pub fn workers(&self, now: Moment) -> usize {
        self.workers.values().filter(|(_, heard)| now.since(*heard) < GONE).count()
    }

    /// The pools with hosts to scan of which no worker was heard for this long.
    pub fn deserted(&self, now: Moment, silence: Duration) -> impl Iterator<Item = &Pool> {
        let is_there = move |pool: &Pool| {
            self.workers
                .values()
                .any(|(known, heard)| known.networks.contains(pool) && now.since(*heard) < silence)
        };
        let has_hosts = |hosts: &PoolHosts| {
            hosts.under_way > 0 || !hosts.to_scan.is_empty() || !hosts.to_discover.is_empty()
        };
        let waiting = self.pools.iter().filter(move |(_, hosts)| has_hosts(hosts)).map(|(pool, _)| pool);
        waiting.filter(move |pool| !is_there(pool))
    }

    /// Takes a report, and returns its answer, and what it has brought.
    pub fn receive(
        &mut self,
        worker: &WorkerName,
        report: WorkerReport,
        now: Moment,
    ) -> (JobAnswer, Option<JobEvent>) {
        let id = report.shard();
        let known = usize::try_from(id.number).ok().and_then(|number| self.shards.get_mut(number));
        let Some(state) = known.filter(|_| !self.stopped) else { return (JobAnswer::Drop, None) };
        let is_over = state.is_finished() || id.attempt != state.attempt;
        let is_holders = match report {
            WorkerReport::Host(_, place, outcome) => {
                return self.take(worker, id, usize::from(place), *outcome, now);
            }
            _ if is_over => return (JobAnswer::Drop, None),
            WorkerReport::Begun(_, delivery) => return self.begin(worker, id, delivery, now),
            WorkerReport::Progress(_, progress) => state.advance(worker, progress, now),
            WorkerReport::Left(_) => state.leave(worker),
        };
        (if is_holders { JobAnswer::Continue(Vec::new()) } else { JobAnswer::NotYours }, None)
    }

    fn begin(
        &mut self,
        worker: &WorkerName,
        id: ShardId,
        delivery: u32,
        now: Moment,
    ) -> (JobAnswer, Option<JobEvent>) {
        let state = &mut self.shards[id.number as usize];
        let reaches = |(known, _): &(WorkerAnnouncement, Moment)| known.networks.contains(&state.pool);
        if !self.workers.get(worker).is_some_and(reaches) {
            // Its announcement is on the way, or it has no business in this queue.
            return (JobAnswer::Later, None);
        }
        match state.begin(worker, delivery, now) {
            Beginning::Has(finished) => (JobAnswer::Continue(finished), None),
            Beginning::Again(finished) => {
                self.totals.taken_over += 1;
                (JobAnswer::Continue(finished), None)
            }
            Beginning::Later => (JobAnswer::Later, None),
            Beginning::Overtaken => (JobAnswer::NotYours, None),
            Beginning::TooOften => {
                let left = state.give_up();
                self.totals.given_up += left.len();
                let (pool, purpose) = (state.pool, state.purpose);
                self.end_shard(pool, purpose);
                (JobAnswer::Drop, Some(JobEvent::GivenUp(left)))
            }
        }
    }

    /// Takes a host's result, also from a worker that has lost the shard: what is finished is finished.
    fn take(
        &mut self,
        worker: &WorkerName,
        id: ShardId,
        place: usize,
        outcome: HostOutcome,
        now: Moment,
    ) -> (JobAnswer, Option<JobEvent>) {
        let state = &mut self.shards[id.number as usize];
        let nonsense = || (JobAnswer::NotYours, Some(JobEvent::Nonsense(worker.clone())));
        let Some(target) = state.target(place).filter(|_| state.was_held_by(worker)) else {
            return nonsense();
        };
        let event = match outcome {
            HostOutcome::Refused(reason) => JobEvent::Refused(target, reason),
            HostOutcome::Scanned(host) => {
                let ports = state.purpose.ports(&self.settings);
                match host.into_result(&self.hosts[target], &ports) {
                    Some((report, mac)) => JobEvent::Scanned(target, Box::new(report), mac),
                    None => return nonsense(),
                }
            }
        };
        let answer = JobAnswer::Continue(Vec::new());
        if !state.finish(worker, place, now) {
            // One worker repeats a report whose answer was lost.
            self.totals.twice += usize::from(state.changed_hands());
            return (answer, None);
        }
        let (pool, purpose, is_over) = (state.pool, state.purpose, state.is_finished());
        if is_over {
            self.end_shard(pool, purpose);
        }
        let is_there = matches!(&event, JobEvent::Scanned(_, report, _) if report.status != HostStatus::Down);
        if purpose == ShardPurpose::Discovery && is_there {
            if let Some(hosts) = self.pools.get_mut(&pool) {
                hosts.to_scan.push_back(target);
            }
            return (answer, None);
        }
        self.totals.finished += 1;
        (answer, Some(event))
    }

    fn end_shard(&mut self, pool: Pool, purpose: ShardPurpose) {
        if let Some(hosts) = self.pools.get_mut(&pool) {
            hosts.under_way -= 1;
            hosts.discoveries -= usize::from(purpose == ShardPurpose::Discovery);
        }
    }

    /// Ends the scan: from now on each worker that reports is told to stop.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether every host has a result, or was given up.
    pub fn is_over(&self) -> bool {
        self.totals.finished + self.totals.given_up == self.hosts.len()
    }

    /// What it has come to.
    pub fn totals(&self) -> JobTotals {
        let is_scan = |state: &&ShardState| state.purpose == ShardPurpose::Scan && !state.is_finished();
        let in_progress = self.shards.iter().filter(is_scan).map(|state| state.progress).sum();
        JobTotals { in_progress, ..self.totals }
    }
}

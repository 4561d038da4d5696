//! The account of a scan that workers share: which shard is next, what is done, and by which worker.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    Announcement, HELD, HostOutcome, JobAnswer, JobName, LEASE, Pool, Purpose, Shard, ShardId, WorkerReport,
    plan::{hosts_of_shard, is_sparse},
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

/// How often a shard is begun before its hosts are given up: it may be the one that kills workers.
const ATTEMPTS: u32 = 5;

/// A scan in progress.
#[derive(Debug)]
pub struct FleetJob {
    name: JobName,
    settings: ScanSettings,
    /// The targets. What is told of a host names its place here.
    hosts: Vec<Address>,
    pools: BTreeMap<Pool, PoolHosts>,
    shards: Vec<ShardState>,
    workers: BTreeMap<WorkerName, (Announcement, Moment)>,
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

#[derive(Debug)]
struct ShardState {
    pool: Pool,
    purpose: Purpose,
    attempt: u32,
    /// The places of its hosts among all, and whether each is finished.
    hosts: Vec<(usize, bool)>,
    /// The worker that has it, and how often the queue had handed it out then.
    holder: Option<(WorkerName, u32)>,
    begun: u32,
    heard: Moment,
    progress: Progress,
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

impl ShardState {
    fn is_finished(&self) -> bool {
        self.hosts.iter().all(|(_, done)| *done)
    }

    /// The places, within the shard, of the hosts that are finished.
    fn finished(&self) -> Vec<u16> {
        (0..).zip(&self.hosts).filter(|(_, (_, done))| *done).map(|(place, _)| place).collect()
    }
}

impl FleetJob {
    /// A scan of these hosts, each in its pool, with so many workers for each pool.
    pub fn new(
        name: JobName,
        settings: ScanSettings,
        hosts: Vec<(Address, Pool)>,
        workers: BTreeMap<WorkerName, (Announcement, Moment)>,
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
                0 => (Purpose::Discovery, &mut hosts.to_discover, super::SHARD_HOSTS),
                found if found >= size => (Purpose::Scan, &mut hosts.to_scan, size),
                _ => (Purpose::Discovery, &mut hosts.to_discover, super::SHARD_HOSTS),
            };
            let places: Vec<usize> = queue.drain(..most.min(queue.len())).collect();
            if places.is_empty() {
                return None;
            }
            hosts.under_way += 1;
            hosts.discoveries += usize::from(purpose == Purpose::Discovery);
            Some((*pool, purpose, places))
        })?;
        self.shards.push(ShardState {
            pool,
            purpose,
            attempt: 0,
            hosts: places.into_iter().map(|place| (place, false)).collect(),
            holder: None,
            begun: 0,
            heard: now,
            progress: Progress::default(),
        });
        Some((pool, self.shard(self.shards.len() - 1)?))
    }

    fn shard(&self, index: usize) -> Option<Shard> {
        let state = &self.shards[index];
        Some(Shard {
            job: self.name,
            id: ShardId { number: u32::try_from(index).ok()?, attempt: state.attempt },
            purpose: state.purpose,
            settings: self.settings.clone(),
            hosts: state.hosts.iter().map(|(place, _)| self.hosts[*place].clone()).collect(),
        })
    }

    /// Whether a shard was silent for so long that its queue may have lost it.
    pub fn misses_shards(&self, now: Moment) -> bool {
        self.overdue(now).next().is_some()
    }

    /// The shards that were silent for long, to be put into their queues once more: their queues have none any more.
    pub fn repeat_shards(&mut self, now: Moment) -> Vec<(Pool, Shard)> {
        let overdue: Vec<usize> = self.overdue(now).collect();
        for index in &overdue {
            let state = &mut self.shards[*index];
            state.attempt += 1;
            // The queue counts its deliveries anew.
            state.holder = None;
            state.heard = now;
        }
        overdue.into_iter().filter_map(|index| Some((self.shards[index].pool, self.shard(index)?))).collect()
    }

    fn overdue(&self, now: Moment) -> impl Iterator<Item = usize> {
        let silent = move |state: &ShardState| !state.is_finished() && now.since(state.heard) >= 2 * LEASE;
        self.shards.iter().enumerate().filter(move |(_, state)| silent(state)).map(|(index, _)| index)
    }

    /// A worker says that it is there.
    pub fn announce(&mut self, worker: WorkerName, announcement: Announcement, now: Moment) {
        self.workers.insert(worker, (announcement, now));
    }

    /// How many workers were heard of late.
    pub fn workers(&self, now: Moment) -> usize {
        self.workers.values().filter(|(_, heard)| now.since(*heard) < GONE).count()
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
        if let WorkerReport::Host(_, place, outcome) = report {
            return self.take(worker, id, usize::from(place), *outcome, now);
        }
        if state.is_finished() || id.attempt != state.attempt {
            return (JobAnswer::Drop, None);
        }
        match report {
            // One that was held up: the queue has handed the shard out again since.
            WorkerReport::Begun(_, delivery)
                if state.holder.as_ref().is_some_and(|(_, later)| *later >= delivery) =>
            {
                (JobAnswer::Drop, None)
            }
            // The queue has given it away before the lease has ended: another holder of a key may have made it do so.
            WorkerReport::Begun(..) if state.holder.is_some() && now.since(state.heard) < HELD => {
                (JobAnswer::Later, None)
            }
            WorkerReport::Begun(..) if state.begun == ATTEMPTS => {
                let event = self.give_up(id);
                (JobAnswer::Drop, Some(event))
            }
            WorkerReport::Begun(_, delivery) => {
                self.totals.taken_over += usize::from(state.begun > 0);
                state.begun += 1;
                state.holder = Some((worker.clone(), delivery));
                state.heard = now;
                (JobAnswer::Continue(state.finished()), None)
            }
            _ if state.holder.as_ref().is_none_or(|(holder, _)| holder != worker) => (JobAnswer::Drop, None),
            WorkerReport::Progress(_, progress) => {
                state.heard = now;
                state.progress = progress;
                (JobAnswer::Continue(Vec::new()), None)
            }
            WorkerReport::Left(_) => {
                state.holder = None;
                state.progress = Progress::default();
                (JobAnswer::Continue(Vec::new()), None)
            }
            WorkerReport::Host(..) => (JobAnswer::Drop, None),
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
        let number = id.number as usize;
        let state = &mut self.shards[number];
        let Some((target, done)) = state.hosts.get_mut(place) else {
            return (JobAnswer::Drop, Some(JobEvent::Nonsense(worker.clone())));
        };
        let target = *target;
        let event = match outcome {
            HostOutcome::Refused(reason) => JobEvent::Refused(target, reason),
            HostOutcome::Scanned(host) => {
                let ports = state.purpose.ports(&self.settings);
                match host.into_result(&self.hosts[target], &ports) {
                    Some((report, mac)) => JobEvent::Scanned(target, Box::new(report), mac),
                    None => return (JobAnswer::Drop, Some(JobEvent::Nonsense(worker.clone()))),
                }
            }
        };
        let answer = JobAnswer::Continue(Vec::new());
        if std::mem::replace(done, true) {
            self.totals.twice += 1;
            return (answer, None);
        }
        if state.holder.as_ref().is_some_and(|(holder, _)| holder == worker) {
            state.heard = now;
        }
        let (pool, purpose, is_over) = (state.pool, state.purpose, state.is_finished());
        if is_over {
            state.progress = Progress::default();
            self.end_shard(pool, purpose);
        }
        let is_there = matches!(&event, JobEvent::Scanned(_, report, _) if report.status != HostStatus::Down);
        if purpose == Purpose::Discovery && is_there {
            if let Some(hosts) = self.pools.get_mut(&pool) {
                hosts.to_scan.push_back(target);
            }
            return (answer, None);
        }
        self.totals.finished += 1;
        (answer, Some(event))
    }

    fn give_up(&mut self, id: ShardId) -> JobEvent {
        let state = &mut self.shards[id.number as usize];
        let left: Vec<usize> =
            state.hosts.iter().filter(|(_, done)| !done).map(|(target, _)| *target).collect();
        state.hosts.iter_mut().for_each(|(_, done)| *done = true);
        state.progress = Progress::default();
        self.totals.given_up += left.len();
        let (pool, purpose) = (state.pool, state.purpose);
        self.end_shard(pool, purpose);
        JobEvent::GivenUp(left)
    }

    fn end_shard(&mut self, pool: Pool, purpose: Purpose) {
        if let Some(hosts) = self.pools.get_mut(&pool) {
            hosts.under_way -= 1;
            hosts.discoveries -= usize::from(purpose == Purpose::Discovery);
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
        let of_scans = self.shards.iter().filter(|state| state.purpose == Purpose::Scan);
        let in_progress = of_scans.fold(Progress::default(), |sum, ShardState { progress, .. }| Progress {
            ports: sum.ports.saturating_add(progress.ports),
            settled: sum.settled.saturating_add(progress.settled),
            open: sum.open.saturating_add(progress.open),
            probes: sum.probes.saturating_add(progress.probes),
        });
        JobTotals { in_progress, ..self.totals }
    }
}

//! The scheduler: hosts take turns, probe by probe, within this machine's bounds.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use foldhash::fast::FixedState;

use crate::model::{Address, Moment};

use super::{
    host::ActiveHost,
    job::{Event, HostJob, JobId, Progress},
    probe::{LocalError, Outcome, Probe, ProbeId, Reply},
    quota::{Quota, QuotaLevel},
    running_job::RunningJob,
    start_deadline::StartDeadline,
    stats::{Bounds, Stats},
    turn::{SOON, SendBudget, TurnStep},
    window::{GlobalWindow, LATE},
};

/// How long the backoff of a host without jobs is remembered: until the next day's scan.
const MEMORY: Duration = Duration::from_secs(26 * 3600);

/// How long its round trips are remembered: by then a gadget has roamed, or its radio has gone to sleep.
const RTT_MEMORY: Duration = Duration::from_secs(300);

/// How many hosts without jobs are remembered: some 600 bytes each.
const REMEMBERED: usize = 1024;

/// How long all hosts pause if the connection table is full, unless the driver reports it again: longer than the time
/// from one of its checks to the next.
const FULL: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct HostId(u64);

/// A probe in flight.
#[derive(Clone, Copy, Debug)]
struct LaunchedProbe {
    host: HostId,
    launched: Moment,
    /// Whether it is charged to the quota already.
    charged: bool,
}

/// A host and its places in the queues.
#[derive(Debug)]
struct QueuedHost {
    host: ActiveHost,
    /// In `ready`.
    ready: bool,
    /// In `blocked_on_sockets`.
    blocked_on_sockets: bool,
    /// In `blocked_on_quota`.
    blocked_on_quota: bool,
    /// In `timers`, at this moment.
    timer: Option<Moment>,
    /// Since when it has no jobs.
    idle: Option<Moment>,
}

/// The engine. Its driver calls [`poll`](Self::poll), launches the probes that it returns, and calls again at the
/// moment that it returned, or earlier after a reply or a new job.
#[derive(Debug)]
pub struct Engine {
    seed: u64,
    global: GlobalWindow,
    start_deadline: StartDeadline,
    quota: Quota,
    hosts: BTreeMap<HostId, QueuedHost>,
    by_address: HashMap<Address, HostId>,
    jobs: HashMap<JobId, HostId>,
    /// The ids are its own, so the hash need not withstand chosen ones.
    flights: HashMap<ProbeId, LaunchedProbe, FixedState>,
    /// Hosts that may have a probe to send, in turn.
    ready: VecDeque<HostId>,
    /// Hosts with a next probe that waits for a free socket; they come first once one is free.
    blocked_on_sockets: VecDeque<HostId>,
    /// Hosts with a next probe that waits for the quota of unanswered probes; they come first once there is enough.
    blocked_on_quota: VecDeque<HostId>,
    timers: BTreeSet<(Moment, HostId)>,
    /// Hosts without jobs, by when their last job ended; some have jobs again.
    idle: VecDeque<(Moment, HostId)>,
    /// Events that replies caused, to be returned by the next poll.
    events: Vec<Event>,
    stats: Stats,
    last_id: u64,
}

impl Engine {
    /// An engine within these bounds; `seed` keys the permutation of the port space.
    pub fn new(bounds: Bounds, seed: u64) -> Self {
        Self {
            seed,
            global: GlobalWindow::new(bounds.in_flight),
            start_deadline: StartDeadline::default(),
            quota: Quota::new(bounds.silent),
            hosts: BTreeMap::new(),
            by_address: HashMap::new(),
            jobs: HashMap::new(),
            flights: HashMap::default(),
            ready: VecDeque::new(),
            blocked_on_sockets: VecDeque::new(),
            blocked_on_quota: VecDeque::new(),
            timers: BTreeSet::new(),
            idle: VecDeque::new(),
            events: Vec::new(),
            stats: Stats::default(),
            last_id: 0,
        }
    }

    /// Takes a job. Jobs on one address share that host's window, pace and time-outs.
    pub fn submit(&mut self, job: HostJob, now: Moment) -> JobId {
        let id = JobId(self.new_id());
        let host = match self.by_address.get(&job.address) {
            Some(&host) => host,
            None => {
                let host = HostId(self.new_id());
                self.by_address.insert(job.address.clone(), host);
                let queued = QueuedHost {
                    host: ActiveHost::new(job.address.clone()),
                    ready: false,
                    blocked_on_sockets: false,
                    blocked_on_quota: false,
                    timer: None,
                    idle: None,
                };
                self.hosts.insert(host, queued);
                host
            }
        };
        self.jobs.insert(id, host);
        let run = RunningJob::new(id, job, self.seed, now);
        if let Some(queued) = self.hosts.get_mut(&host) {
            if queued.idle.take().is_some_and(|since| now.since(since) >= RTT_MEMORY) {
                queued.host.forget_round_trips();
            }
            queued.host.add(run, now);
        }
        self.make_ready(host);
        id
    }

    /// Ends a job with what is known; its `Finished` comes with the next poll.
    pub fn cancel(&mut self, job: JobId, _now: Moment) {
        if let Some(&host) = self.jobs.get(&job) {
            self.hosts.get_mut(&host).into_iter().for_each(|queued| queued.host.cancel(job));
            self.make_ready(host);
        }
    }

    /// Takes the reply to a probe. A second reply to one probe is ignored.
    pub fn reply(&mut self, reply: Reply) {
        let in_flight = self.flights.len();
        let Some(LaunchedProbe { host, launched, charged }) = self.flights.remove(&reply.id) else { return };
        self.stats.note_reply(&reply, launched);
        let silent = reply.outcome.is_answer() == Some(false);
        match (charged, silent) {
            (true, false) => self.quota.refund(),
            (false, true) => self.quota.charge(reply.ended),
            _ => {}
        }
        if is_shortage(reply.outcome) {
            self.global.shrink(reply.ended, in_flight);
        }
        match reply.outcome {
            Outcome::NotStarted => self.start_deadline.note_missed(reply.ended),
            _ => self.start_deadline.note_start(reply.started.since(launched)),
        }
        if let Some(queued) = self.hosts.get_mut(&host) {
            queued.host.reply(&reply, &mut self.events);
        }
        self.make_ready(host);
    }

    /// Appends the probes to launch and the events; returns when to call again at the latest, `None`: only after a
    /// reply or a new job.
    pub fn poll(&mut self, now: Moment, probes: &mut Vec<Probe>, events: &mut Vec<Event>) -> Option<Moment> {
        while let Some(&(at, host)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, host));
            self.hosts.get_mut(&host).into_iter().for_each(|queued| queued.timer = None);
            self.make_ready(host);
        }
        let first_new = events.len();
        events.append(&mut self.events);
        let paused = Some(self.start_deadline.paused_until()).filter(|&until| until > now);
        let mut soon = paused;
        loop {
            let window = self.global.size(now);
            let in_flight = self.flights.len();
            let budget = SendBudget {
                has_socket: in_flight < window && paused.is_none(),
                is_tight: self.global.is_tight(in_flight),
                quota: self.quota.level(now),
                start_within: self.start_deadline.start_within(),
            };
            let Some(host) = self.next_in_turn(budget) else { break };
            let before = events.len();
            self.serve(host, now, budget, probes, events);
            // A report of 65,535 ports is work enough for one call; probes must not wait for another.
            if events[before..].iter().any(|event| matches!(event, Event::Finished(..))) {
                soon = Some(now + SOON);
                break;
            }
        }
        for event in &events[first_new..] {
            if let Event::Finished(job, _) = event {
                self.jobs.remove(job);
            }
        }
        self.stats.set_gauges(self.jobs.len(), self.global.size(now));
        self.forget(now);
        let waiting = [&self.ready, &self.blocked_on_sockets, &self.blocked_on_quota]
            .iter()
            .any(|hosts| !hosts.is_empty());
        let enough =
            Some(self.quota.enough_at()).filter(|&enough| enough > now && !self.blocked_on_quota.is_empty());
        let first = self.timers.first().map(|&(at, _)| at);
        first.into_iter().chain(soon.filter(|_| waiting)).chain(enough).min()
    }

    /// Takes this machine's present bounds. If the connection table is full, no probe leaves for 3 s.
    pub fn set_bounds(&mut self, bounds: Bounds, now: Moment) {
        if bounds.full {
            self.start_deadline.pause_until(now + FULL);
        }
        self.global.set_bound(bounds.in_flight, now);
        self.quota.set(bounds.silent);
    }

    /// Takes how late the driver was, after the moment that [`poll`](Self::poll) had returned.
    pub fn woken_late(&mut self, by: Duration, now: Moment) {
        self.stats.lag.note(by);
        if by > LATE {
            self.global.lag(now, self.flights.len());
        }
    }

    /// The progress of a job; `None` once it has finished.
    pub fn progress(&self, job: JobId) -> Option<Progress> {
        self.hosts.get(self.jobs.get(&job)?)?.host.progress(job)
    }

    /// The open ports that a job has found so far, in the order of the replies; none once it has finished.
    pub fn open_ports(&self, job: JobId) -> impl Iterator<Item = u16> {
        let host = self.jobs.get(&job).and_then(|host| self.hosts.get(host));
        host.into_iter().flat_map(move |entry| entry.host.open_ports(job))
    }

    /// Counts since start.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn make_ready(&mut self, host: HostId) {
        if let Some(queued) = self.hosts.get_mut(&host)
            && !std::mem::replace(&mut queued.ready, true)
        {
            self.ready.push_back(host);
        }
    }

    /// The host that is next. Hosts that waited for a socket or for the quota come first.
    fn next_in_turn(&mut self, budget: SendBudget) -> Option<HostId> {
        if budget.has_socket
            && budget.quota == QuotaLevel::Enough
            && let Some(host) = self.blocked_on_quota.pop_front()
        {
            self.hosts.get_mut(&host).into_iter().for_each(|queued| queued.blocked_on_quota = false);
            return Some(host);
        }
        if budget.has_socket
            && let Some(host) = self.blocked_on_sockets.pop_front()
        {
            self.hosts.get_mut(&host).into_iter().for_each(|queued| queued.blocked_on_sockets = false);
            return Some(host);
        }
        let host = self.ready.pop_front()?;
        self.hosts.get_mut(&host).into_iter().for_each(|queued| queued.ready = false);
        Some(host)
    }

    /// Lets a host send one probe, or notes when it may.
    fn serve(
        &mut self,
        id: HostId,
        now: Moment,
        budget: SendBudget,
        probes: &mut Vec<Probe>,
        events: &mut Vec<Event>,
    ) {
        let probe_id = ProbeId(self.new_id());
        let Some(queued) = self.hosts.get_mut(&id) else { return };
        let wake = match queued.host.next(probe_id, now, budget, events) {
            TurnStep::Launch(probe) => {
                let charged = queued.host.expects_silence();
                if charged {
                    self.quota.charge(now);
                }
                self.flights.insert(probe.id, LaunchedProbe { host: id, launched: now, charged });
                self.stats.note_launch();
                self.start_deadline.note_launch(now);
                probes.push(probe);
                self.make_ready(id);
                return;
            }
            TurnStep::Wait(at) => at,
            TurnStep::BlockedOnSockets(at) => {
                if !std::mem::replace(&mut queued.blocked_on_sockets, true) {
                    self.blocked_on_sockets.push_back(id);
                }
                at
            }
            TurnStep::BlockedOnQuota(at) => {
                if !std::mem::replace(&mut queued.blocked_on_quota, true) {
                    self.blocked_on_quota.push_back(id);
                }
                at
            }
        };
        queued.timer.into_iter().for_each(|at| _ = self.timers.remove(&(at, id)));
        queued.timer = wake;
        self.timers.extend(wake.map(|at| (at, id)));
        if queued.host.is_idle() && queued.idle.is_none() {
            queued.idle = Some(now);
            self.idle.push_back((now, id));
        }
    }

    /// Forgets hosts that had no job for a while, and the oldest of too many.
    fn forget(&mut self, now: Moment) {
        while let Some(&(since, id)) = self.idle.front()
            && (now.since(since) >= MEMORY || self.idle.len() > REMEMBERED)
        {
            self.idle.pop_front();
            if let Some(queued) = self.hosts.get(&id).filter(|queued| queued.idle == Some(since)) {
                self.by_address.remove(queued.host.address());
                self.hosts.remove(&id);
            }
        }
    }
}

/// Whether an outcome shows that this machine has too few sockets. A missing route and a self-connect do not, and
/// neither does a probe that was not started, which shows a lack of time.
const fn is_shortage(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Local(error) => {
            !matches!(error, LocalError::NoRoute | LocalError::LinkDown | LocalError::SelfConnect)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Link, Liveness},
        model::{PortSet, Timing},
    };

    fn job(host: u32) -> HostJob {
        HostJob {
            address: Address::from(std::net::Ipv4Addr::from(0x0a00_0000 + host)),
            ports: PortSet::default(),
            first: Vec::new(),
            timing: Timing::T3,
            by_syn: false,
            max_in_flight: 1,
            max_retries: None,
            max_rate: None,
            liveness: Liveness::Assume,
            link: Link::OnLink,
            deadline: None,
            sits_out: Duration::MAX,
        }
    }

    #[test]
    fn returns_one_report_per_poll() {
        let mut engine = Engine::new(Bounds { in_flight: 10, silent: None, full: false }, 1);
        let (mut probes, mut events) = (Vec::new(), Vec::new());
        (0..3).for_each(|host| _ = engine.submit(job(host), Moment::ZERO));
        let mut poll = || {
            let wake = engine.poll(Moment::ZERO, &mut probes, &mut events);
            (wake, events.len())
        };
        let soon = Some(Moment::ZERO + SOON);
        assert_eq!([poll(), poll(), poll()], [(soon, 1), (soon, 2), (None, 3)]);
    }

    #[test]
    fn hosts_without_jobs_are_forgotten_oldest_first_and_all_in_time() {
        let mut engine = Engine::new(Bounds { in_flight: 10, silent: None, full: false }, 1);
        let (mut probes, mut events) = (Vec::new(), Vec::new());
        for host in 0..3000_u32 {
            engine.submit(job(host), Moment::ZERO);
            assert_eq!(engine.poll(Moment::ZERO, &mut probes, &mut events), None);
        }
        assert_eq!((events.len(), engine.jobs.len(), engine.hosts.len()), (3000, 0, REMEMBERED));
        engine.poll(Moment::ZERO + MEMORY, &mut probes, &mut events);
        assert_eq!((engine.hosts.len(), engine.by_address.len(), engine.idle.len()), (0, 0, 0));
        assert!(probes.is_empty());
    }
}

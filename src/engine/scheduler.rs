//! Whose turn it is: hosts take turns, probe by probe, within this machine's bounds.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use crate::model::{Address, Moment};

use super::{
    haste::Haste,
    host::Host,
    job::{Event, HostJob, JobId, Progress},
    probe::{LocalError, Outcome, Probe, ProbeId, Reply},
    quota::{Left, Quota},
    run::Run,
    stats::{Bounds, Stats},
    turn::{Room, SOON, Step},
    window::{GlobalWindow, LATE},
};

/// How long it is remembered that a host without jobs is fragile: until the next day's scan.
const MEMORY: Duration = Duration::from_secs(26 * 3600);

/// How long its round trips are: by then a gadget has roamed, or its radio has gone to sleep.
const RTT_MEMORY: Duration = Duration::from_secs(300);

/// How many hosts without jobs are remembered: some 600 bytes each.
const REMEMBERED: usize = 1024;

/// How long nothing leaves when the connection table is full, unless the driver says so again: longer than
/// from one of its looks to the next.
const FULL: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct HostId(u64);

/// A probe under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    host: HostId,
    launched: Moment,
    /// Whether its silence is paid for already.
    charged: bool,
}

/// A host and where it stands in the queues.
#[derive(Debug)]
struct Seat {
    host: Host,
    /// In `ready`.
    ready: bool,
    /// In `starved`.
    starved: bool,
    /// In `hushed`.
    hushed: bool,
    /// In `timers`, at this moment.
    timer: Option<Moment>,
    /// Since when it has no jobs.
    idle: Option<Moment>,
}

/// The engine. Drive it so: whatever happens, call [`poll`](Self::poll), launch the probes it gives, and call
/// again when a reply, a job or the moment it returned is there.
#[derive(Debug)]
pub struct Engine {
    seed: u64,
    global: GlobalWindow,
    haste: Haste,
    quota: Quota,
    hosts: BTreeMap<HostId, Seat>,
    by_address: HashMap<Address, HostId>,
    jobs: HashMap<JobId, HostId>,
    flights: HashMap<ProbeId, Flight>,
    /// Hosts that may have something to send, in turn.
    ready: VecDeque<HostId>,
    /// Hosts that have, but no socket was free; first in turn when one is.
    starved: VecDeque<HostId>,
    /// Hosts that have, but whose silence there is no quota for; first in turn when there is.
    hushed: VecDeque<HostId>,
    timers: BTreeSet<(Moment, HostId)>,
    /// Hosts without jobs, in the order in which they became so; some have jobs again.
    idle: VecDeque<(Moment, HostId)>,
    /// What replies led to, to be told with the next poll.
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
            haste: Haste::default(),
            quota: Quota::new(bounds.silent),
            hosts: BTreeMap::new(),
            by_address: HashMap::new(),
            jobs: HashMap::new(),
            flights: HashMap::new(),
            ready: VecDeque::new(),
            starved: VecDeque::new(),
            hushed: VecDeque::new(),
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
                let seat = Seat {
                    host: Host::new(job.address.clone()),
                    ready: false,
                    starved: false,
                    hushed: false,
                    timer: None,
                    idle: None,
                };
                self.hosts.insert(host, seat);
                host
            }
        };
        self.jobs.insert(id, host);
        let run = Run::new(id, job, self.seed, now);
        if let Some(seat) = self.hosts.get_mut(&host) {
            if seat.idle.take().is_some_and(|since| now.since(since) >= RTT_MEMORY) {
                seat.host.forget_round_trips();
            }
            seat.host.add(run, now);
        }
        self.make_ready(host);
        id
    }

    /// Ends a job with what is known; its `Finished` comes with the next poll.
    pub fn cancel(&mut self, job: JobId, _now: Moment) {
        if let Some(&host) = self.jobs.get(&job) {
            self.hosts.get_mut(&host).into_iter().for_each(|seat| seat.host.cancel(job));
            self.make_ready(host);
        }
    }

    /// Takes what became of a probe. A second reply to one probe is ignored.
    pub fn reply(&mut self, reply: Reply) {
        let in_flight = self.flights.len();
        let Some(Flight { host, launched, charged }) = self.flights.remove(&reply.id) else { return };
        self.stats.ended(&reply, launched);
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
            Outcome::NotStarted => self.haste.unstarted(reply.ended),
            _ => self.haste.started(reply.started.since(launched)),
        }
        if let Some(seat) = self.hosts.get_mut(&host) {
            seat.host.reply(&reply, &mut self.events);
        }
        self.make_ready(host);
    }

    /// Appends what is to be launched and told now; returns when to call again at the latest, `None` when
    /// only a reply or a job can change anything.
    pub fn poll(&mut self, now: Moment, probes: &mut Vec<Probe>, events: &mut Vec<Event>) -> Option<Moment> {
        while let Some(&(at, host)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, host));
            self.hosts.get_mut(&host).into_iter().for_each(|seat| seat.timer = None);
            self.make_ready(host);
        }
        let told = events.len();
        events.append(&mut self.events);
        let resting = Some(self.haste.until()).filter(|&until| until > now);
        let mut soon = resting;
        loop {
            let window = self.global.size(now);
            let in_flight = self.flights.len();
            let room = Room {
                free: in_flight < window && resting.is_none(),
                tight: self.global.is_tight(in_flight),
                left: self.quota.left(now),
                start_within: self.haste.start_within(),
            };
            let Some(host) = self.next_in_turn(room) else { break };
            let before = events.len();
            self.serve(host, now, room, probes, events);
            // A report of 65,535 ports is work enough; what was to be launched must not wait for another.
            if events[before..].iter().any(|event| matches!(event, Event::Finished(..))) {
                soon = Some(now + SOON);
                break;
            }
        }
        for event in &events[told..] {
            if let Event::Finished(job, _) = event {
                self.jobs.remove(job);
            }
        }
        self.stats.now(self.jobs.len(), self.global.size(now));
        self.forget(now);
        let waiting = [&self.ready, &self.starved, &self.hushed].iter().any(|hosts| !hosts.is_empty());
        let enough = Some(self.quota.enough_at()).filter(|&enough| enough > now && !self.hushed.is_empty());
        let first = self.timers.first().map(|&(at, _)| at);
        first.into_iter().chain(soon.filter(|_| waiting)).chain(enough).min()
    }

    /// Takes this machine's bounds as they are by now. Nothing leaves for 3 s where the table is full.
    pub fn set_bounds(&mut self, bounds: Bounds, now: Moment) {
        if bounds.full {
            self.haste.rest(now + FULL);
        }
        self.global.set_bound(bounds.in_flight, now);
        self.quota.set(bounds.silent);
    }

    /// Takes by how much the driver missed the moment that [`poll`](Self::poll) had asked for.
    pub fn woken_late(&mut self, by: Duration, now: Moment) {
        self.stats.lag.note(by);
        if by > LATE {
            self.global.lag(now, self.flights.len());
        }
    }

    /// How far a job is; `None` once it has finished.
    pub fn progress(&self, job: JobId) -> Option<Progress> {
        self.hosts.get(self.jobs.get(&job)?)?.host.progress(job)
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
        if let Some(seat) = self.hosts.get_mut(&host)
            && !std::mem::replace(&mut seat.ready, true)
        {
            self.ready.push_back(host);
        }
    }

    /// The host whose turn it is. Who waited comes before who did not.
    fn next_in_turn(&mut self, room: Room) -> Option<HostId> {
        if room.free
            && room.left == Left::Enough
            && let Some(host) = self.hushed.pop_front()
        {
            self.hosts.get_mut(&host).into_iter().for_each(|seat| seat.hushed = false);
            return Some(host);
        }
        if room.free
            && let Some(host) = self.starved.pop_front()
        {
            self.hosts.get_mut(&host).into_iter().for_each(|seat| seat.starved = false);
            return Some(host);
        }
        let host = self.ready.pop_front()?;
        self.hosts.get_mut(&host).into_iter().for_each(|seat| seat.ready = false);
        Some(host)
    }

    /// Lets a host send one probe, or notes when it will.
    fn serve(
        &mut self,
        id: HostId,
        now: Moment,
        room: Room,
        probes: &mut Vec<Probe>,
        events: &mut Vec<Event>,
    ) {
        let probe_id = ProbeId(self.new_id());
        let Some(seat) = self.hosts.get_mut(&id) else { return };
        let wake = match seat.host.next(probe_id, now, room, events) {
            Step::Launch(probe) => {
                let charged = seat.host.expects_silence();
                if charged {
                    self.quota.charge(now);
                }
                self.flights.insert(probe.id, Flight { host: id, launched: now, charged });
                self.stats.launched();
                self.haste.launched(now);
                probes.push(probe);
                self.make_ready(id);
                return;
            }
            Step::Wait(at) => at,
            Step::Starved(at) => {
                if !std::mem::replace(&mut seat.starved, true) {
                    self.starved.push_back(id);
                }
                at
            }
            Step::Hushed(at) => {
                if !std::mem::replace(&mut seat.hushed, true) {
                    self.hushed.push_back(id);
                }
                at
            }
        };
        seat.timer.into_iter().for_each(|at| _ = self.timers.remove(&(at, id)));
        seat.timer = wake;
        self.timers.extend(wake.map(|at| (at, id)));
        if seat.host.is_idle() && seat.idle.is_none() {
            seat.idle = Some(now);
            self.idle.push_back((now, id));
        }
    }

    /// Forgets hosts that had no job for a while, and the oldest of too many.
    fn forget(&mut self, now: Moment) {
        while let Some(&(since, id)) = self.idle.front()
            && (now.since(since) >= MEMORY || self.idle.len() > REMEMBERED)
        {
            self.idle.pop_front();
            if let Some(seat) = self.hosts.get(&id).filter(|seat| seat.idle == Some(since)) {
                self.by_address.remove(seat.host.address());
                self.hosts.remove(&id);
            }
        }
    }
}

/// Whether a fault says that this machine has too few sockets. A missing way and a self-connect do not, nor does a
/// probe that was not started: what lacks then is time.
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
    fn one_report_a_poll() {
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
    fn hosts_without_jobs_are_forgotten_the_oldest_first_and_all_in_time() {
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

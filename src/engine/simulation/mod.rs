//! A simulation for the engine: a clock that jumps to the next event, hosts that answer or do not, a kernel that
//! retransmits, a prober that fails. Nothing here waits.
//!
//! The behaviour of hosts, and the files that describe it, are shared with the lab (`tests/testkit`, `tests/scenarios`):
//! what happens here in virtual time can be reproduced there on a real network.

mod device;
mod dozing;
mod flaps;
mod properties;
mod protection;
mod scenarios;
mod syns;
mod worlds;

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    num::NonZeroU32,
    time::Duration,
};

use fastrand::Rng;
use testkit::{
    Ports,
    scenario::{Behaviour, Scenario},
};

use super::{
    Bounds, Engine, Event, HostJob, JobId, Link, Liveness, LocalError, Outcome, Passage, Probe, ProbeId,
    Reach, Reply, order::mix, tick::tick_of,
};
use crate::model::{Address, HostReport, Moment, PortState, Timing};
use device::{SimulatedHost, peak};
use flaps::Wire;

const SECOND: Duration = Duration::from_secs(1);

/// A machine without bounds.
const BOUNDS: Bounds = Bounds { in_flight: 4096, silent: None, full: false };

/// When a simulation begins: late enough for moments that are long past.
const START: Moment = Moment::from_start(Duration::from_secs(100));

/// What fails on this machine.
#[derive(Clone, Copy, Debug, Default)]
struct Troubles {
    /// Most sockets that can be open.
    descriptors: Option<usize>,
    /// The share of connects that fail with this local error, until then.
    fault: Option<(LocalError, f64, Moment)>,
    /// The prober starts a probe only after up to this long.
    late: Duration,
    /// One probe in so many misses its deadline.
    hiccup: Option<u64>,
    /// The firewall blocks connects to this port.
    blocked: Option<u16>,
    /// The firewall drops bare SYNs from then on.
    drops_syns: Option<Moment>,
    /// The firewall refuses to send bare SYNs.
    denies_syns: bool,
}

/// An event in the network or the kernel.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// A SYN leaves, with its number among those of the socket.
    Syn(ProbeId, u8),
    /// A connect ends with this outcome.
    End(ProbeId, Outcome),
    /// The kernel closes a connection to this port of this host, be it a late one.
    Close(ProbeId, usize, u16),
    /// The driver must learn of this reply, unless it has already collected it.
    Announce(ProbeId),
}

#[derive(Debug)]
struct Socket {
    host: usize,
    port: u16,
    by_syn: bool,
    started: Moment,
    give_up: Duration,
    reply_within: Duration,
    passage: Passage,
    /// Whether it holds a descriptor; a connect that failed at once does not.
    open: bool,
}

#[derive(Debug)]
struct World {
    engine: Engine,
    bounds: Bounds,
    now: Moment,
    hosts: Vec<SimulatedHost>,
    by_address: HashMap<Address, usize>,
    /// How the hosts are reached.
    link: Link,
    /// Whether jobs may ask by bare SYNs.
    by_syn: bool,
    troubles: Troubles,
    wire: Wire,
    rng: Rng,
    agenda: BTreeMap<(Moment, u64), Happening>,
    happenings: u64,
    sockets: HashMap<ProbeId, Socket>,
    /// The number of probes that hold a descriptor.
    open_sockets: usize,
    /// When ARP fails for a host.
    arp: HashMap<usize, Moment>,
    wake: Option<Moment>,
    /// Replies that wait for the driver to wake up, and whether one of them does not wait.
    replies: Vec<Reply>,
    announced: bool,
    /// How often the driver woke up, and how often it had probes for the prober.
    wake_ups: u64,
    batches: u64,
    /// The running jobs, each with its host and its bound of sockets.
    jobs: BTreeMap<JobId, (usize, u16)>,
    up: Vec<JobId>,
    reports: BTreeMap<JobId, HostReport>,
    most_sockets: usize,
    launched: u64,
    /// Bare SYNs among them, and the jobs for which they were given up.
    syns: u64,
    syns_lost: Vec<JobId>,
    /// When the unanswered probes left: each is an entry in a firewall's connection table.
    unanswered: Vec<Moment>,
}

/// Linux before 6.5 retransmits a SYN after 1 s and 3 s, later versions after 1, 2, 3 and 4 s.
const RETRANSMITS: [u64; 4] = [1, 2, 3, 4];

const ARP_FAILS: Duration = Duration::from_millis(3050);

impl World {
    /// Neighbours 192.0.2.1 and up.
    fn new(devices: Vec<Behaviour>, seed: u64) -> Self {
        Self::within(devices, seed, BOUNDS)
    }

    fn bounded(devices: Vec<Behaviour>, seed: u64, in_flight: u32) -> Self {
        Self::within(devices, seed, Bounds { in_flight, ..BOUNDS })
    }

    fn within(devices: Vec<Behaviour>, seed: u64, bounds: Bounds) -> Self {
        let numbered = (1_u8..).zip(devices).map(|(host, device)| ([192, 0, 2, host].into(), device));
        Self::with(numbered.collect(), seed, bounds)
    }

    /// The world of a scenario file.
    fn of(scenario: &Scenario, seed: u64) -> Self {
        let hosts = scenario.hosts().into_iter().map(|host| (host.station.ip, host.behaviour));
        let no_port = scenario.machine.no_port;
        let troubles = Troubles {
            descriptors: scenario.machine.descriptors.map(|most| most as usize),
            fault: no_port.map(|trouble| (LocalError::Ports, trouble.share, START + trouble.lasts)),
            ..Troubles::default()
        };
        Self { troubles, ..Self::with(hosts.collect(), seed, BOUNDS) }
    }

    fn with(devices: Vec<(Ipv4Addr, Behaviour)>, seed: u64, bounds: Bounds) -> Self {
        // No two worlds have hosts with the same random numbers.
        let seeds = (0..).map(|host| mix(mix(seed).wrapping_add(host)));
        let host =
            |((address, device), seed): ((Ipv4Addr, _), _)| SimulatedHost::new(address.into(), device, seed);
        let hosts: Vec<SimulatedHost> = devices.into_iter().zip(seeds).map(host).collect();
        let by_address = hosts.iter().zip(0..).map(|(host, index)| (host.address.clone(), index)).collect();
        Self {
            engine: Engine::new(bounds, seed),
            bounds,
            now: START,
            hosts,
            by_address,
            link: Link::OnLink,
            by_syn: false,
            syns: 0,
            syns_lost: Vec::new(),
            troubles: Troubles::default(),
            wire: Wire::new(),
            rng: Rng::with_seed(mix(!seed)),
            agenda: BTreeMap::new(),
            happenings: 0,
            sockets: HashMap::new(),
            open_sockets: 0,
            arp: HashMap::new(),
            wake: Some(Moment::ZERO),
            replies: Vec::new(),
            announced: false,
            wake_ups: 0,
            batches: 0,
            jobs: BTreeMap::new(),
            up: Vec::new(),
            reports: BTreeMap::new(),
            most_sockets: 0,
            launched: 0,
            unanswered: Vec::new(),
        }
    }

    /// A job as the appliance submits it.
    fn job(&self, host: usize, ports: &str) -> HostJob {
        HostJob {
            address: self.hosts[host].address.clone(),
            ports: ports.parse().unwrap(),
            first: Vec::new(),
            timing: Timing::T3,
            by_syn: self.by_syn,
            max_in_flight: 50,
            max_retries: None,
            max_rate: None,
            liveness: Liveness::Check,
            link: self.link,
            deadline: None,
            sits_out: Duration::MAX,
        }
    }

    fn submit(&mut self, job: HostJob) -> JobId {
        let host = self.by_address[&job.address];
        let bound = job.max_in_flight;
        let id = self.engine.submit(job, self.now);
        self.jobs.insert(id, (host, bound));
        self.wake = Some(self.now);
        id
    }

    fn cancel(&mut self, job: JobId) {
        self.engine.cancel(job, self.now);
        self.wake = Some(self.now);
    }

    /// Wakes up the driver, later than the engine ordered by this much.
    fn wake_late(&mut self, by: Duration) {
        self.engine.woken_late(by, self.now);
        self.wake = Some(self.now);
        self.step();
    }

    /// Advances to the next event, which may wake up the driver. Returns false if there is none.
    fn step(&mut self) -> bool {
        let happens = self.agenda.keys().next().map(|&(at, _)| at);
        let Some(next) = happens.into_iter().chain(self.wake).min() else { return false };
        self.now = self.now.max(next);
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let ((at, _), happening) = entry.remove_entry();
            self.happen(at, happening);
        }
        if self.wake.is_none_or(|wake| wake > self.now) && !self.announced {
            return true;
        }
        self.wake_ups += 1;
        // If it wakes up for its timer, chance decides whether it comes to the waiting replies before.
        if !std::mem::take(&mut self.announced) && !self.replies.is_empty() && self.rng.bool() {
            self.poll();
        }
        std::mem::take(&mut self.replies).into_iter().for_each(|reply| self.engine.reply(reply));
        self.poll();
        true
    }

    fn poll(&mut self) {
        let (mut probes, mut events) = (Vec::new(), Vec::new());
        self.wake = self.engine.poll(self.now, &mut probes, &mut events);
        assert!(self.wake.is_none_or(|wake| wake > self.now), "a poll that is due again at once");
        for event in events {
            match event {
                Event::HostUp(job) => self.up.push(job),
                Event::SynsLost(job) => self.syns_lost.push(job),
                Event::Finished(job, report) => {
                    assert!(self.jobs.remove(&job).is_some(), "finished twice, or never submitted");
                    assert!(self.engine.progress(job).is_none());
                    self.reports.insert(job, *report);
                }
            }
        }
        self.batches += u64::from(!probes.is_empty());
        for probe in probes {
            self.launch(&probe);
        }
        self.assert_progress();
    }

    /// Asserts that the numbers for a progress bar add up. Not for hundreds of jobs, which would take long.
    fn assert_progress(&self) {
        for progress in self.jobs.keys().take(3).filter_map(|&job| self.engine.progress(job)) {
            assert!(progress.open <= progress.settled && progress.settled <= progress.ports, "{progress:?}");
        }
    }

    /// Runs until every job has its report; returns the simulated time.
    fn run(&mut self) -> Duration {
        let start = self.now;
        while !self.jobs.is_empty() {
            assert!(self.step(), "jobs wait for an event that never comes: {:?}", self.jobs);
            assert!(self.now.since(start) < Duration::from_secs(40_000), "no end: {:?}", self.jobs);
        }
        self.now.since(start)
    }

    /// Steps until this moment.
    fn run_until(&mut self, until: Moment) {
        while self.now < until && self.step() {}
    }

    fn plan(&mut self, at: Moment, happening: Happening) {
        self.happenings += 1;
        self.agenda.insert((at, self.happenings), happening);
    }

    fn launch(&mut self, probe: &Probe) {
        self.launched += 1;
        let host = self.by_address[&probe.address];
        let bounds = self.jobs.values().filter(|(other, _)| *other == host).map(|&(_, bound)| bound);
        let bound = bounds.min().expect("a probe for a host without a job");
        let hiccup = self.troubles.hiccup.is_some_and(|every| self.launched.is_multiple_of(every));
        let late = self.troubles.late.mul_f64(self.rng.f64());
        let started = if hiccup { probe.start_by + Duration::from_millis(1) } else { self.now + late };
        let reach = self.wire.reach(probe, started);
        let passage = if let Reach::Open(passage) = reach { passage } else { Passage::LOCAL };
        let &Probe { port, by_syn, give_up, reply_within, .. } = probe;
        self.syns += u64::from(by_syn);
        let socket = Socket { host, port, by_syn, started, give_up, reply_within, passage, open: false };
        self.sockets.insert(probe.id, socket);
        self.hosts[host].sockets += 1;
        let towards = self.hosts[host].sockets;
        assert!(towards <= usize::from(bound.max(1)), "{towards} sockets towards one host, {bound} allowed");
        assert!(self.sockets.len() <= self.bounds.in_flight as usize, "{} sockets", self.sockets.len());
        let closed = match reach {
            Reach::Open(_) => None,
            Reach::Closed => Some(Outcome::Local(LocalError::LinkDown)),
            Reach::NoRoute => Some(Outcome::Local(LocalError::NoRoute)),
        };
        let outcome = closed.or_else(|| self.trouble(probe, started));
        if let Some(outcome) = outcome {
            return self.plan(started, Happening::End(probe.id, outcome));
        }
        self.sockets.get_mut(&probe.id).unwrap().open = true;
        self.open_sockets += 1;
        self.most_sockets = self.most_sockets.max(self.open_sockets);
        self.plan(started + probe.give_up, Happening::End(probe.id, Outcome::Silent));
        self.plan(started, Happening::Syn(probe.id, 0));
    }

    /// When ARP fails for a packet to an absent host.
    fn arp_fails(&mut self, host: usize, now: Moment) -> Moment {
        let asking = self.arp.get(&host).copied().filter(|&fails| fails > now);
        let fails = asking.unwrap_or(now + ARP_FAILS);
        self.arp.insert(host, fails);
        fails
    }

    fn trouble(&mut self, probe: &Probe, started: Moment) -> Option<Outcome> {
        if started > probe.start_by {
            return Some(Outcome::NotStarted);
        }
        if self.troubles.blocked == Some(probe.port) || (probe.by_syn && self.troubles.denies_syns) {
            return Some(Outcome::Local(LocalError::Denied));
        }
        let (fault, share, until) = self.troubles.fault.unwrap_or((LocalError::Other, 0.0, Moment::ZERO));
        if started < until && self.rng.f64() < share {
            return Some(Outcome::Local(fault));
        }
        let full = self.troubles.descriptors.is_some_and(|limit| self.open_sockets >= limit);
        full.then_some(Outcome::Local(LocalError::Descriptors))
    }

    fn happen(&mut self, at: Moment, happening: Happening) {
        match happening {
            Happening::Syn(id, number) => {
                let Some(socket) = self.sockets.get(&id) else { return };
                let (host, port, started, give_up) =
                    (socket.host, socket.port, socket.started, socket.give_up);
                let by_syn = socket.by_syn;
                if by_syn && self.troubles.drops_syns.is_some_and(|from| from <= at) {
                    return;
                }
                // The carrier is gone, and ARP fails, of which a bare SYN learns nothing.
                if !self.hosts[host].is_neighbour(at) || !self.wire.carries(at) {
                    let fails = self.arp_fails(host, at);
                    if !by_syn {
                        self.plan(fails, Happening::End(id, Outcome::NoNeighbour));
                    }
                    return;
                }
                if let Some((due, outcome)) = self.hosts[host].receive(id, port, at) {
                    let told = match outcome {
                        Outcome::Accepted if by_syn => Outcome::SynAck,
                        outcome => outcome,
                    };
                    self.plan(due, Happening::End(id, told));
                    if outcome == Outcome::Accepted {
                        self.plan(due, Happening::Close(id, host, port));
                    }
                }
                let after = RETRANSMITS.get(usize::from(number)).map(|&after| Duration::from_secs(after));
                if let Some(after) = after.filter(|&after| after < give_up && !by_syn) {
                    self.plan(started + after, Happening::Syn(id, number + 1));
                }
            }
            Happening::End(_, outcome) if outcome.is_answer() == Some(true) && !self.wire.carries(at) => {}
            Happening::End(id, outcome) => {
                let Some(socket) = self.sockets.remove(&id) else { return };
                if outcome.is_answer() == Some(false) {
                    self.unanswered.push(socket.started);
                }
                self.hosts[socket.host].sockets -= 1;
                self.open_sockets -= usize::from(socket.open);
                let outcome = self.wire.judged(outcome, socket.passage, at);
                let started = socket.started;
                self.replies.push(Reply { id, started, left_by: started, ended: at, outcome });
                let waits = outcome.is_answer().map_or(Duration::ZERO, |_| socket.reply_within);
                self.plan(at + waits, Happening::Announce(id));
            }
            Happening::Announce(id) => self.announced |= self.replies.iter().any(|reply| reply.id == id),
            Happening::Close(id, host, port) => self.hosts[host].manners.release(id.0, port),
        }
    }

    /// The most SYNs to a host within any window of this length.
    fn peak(&mut self, host: usize, span: Duration) -> usize {
        self.hosts[host].syns.sort_unstable();
        peak(&self.hosts[host].syns, span)
    }

    fn assert_polite(&mut self) {
        for host in 0..self.hosts.len() {
            let tenth = self.peak(host, Duration::from_millis(100));
            let second = self.peak(host, Duration::from_secs(1));
            assert!(tenth <= 30 && second <= 300, "{tenth} SYN in 100 ms, {second} in 1 s");
        }
    }
}

/// How a report compares with the truth, over the ports that it covers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Comparison {
    /// Open ports that were found, and all open ports.
    found: usize,
    there: usize,
    /// Reported open, but not open.
    phantoms: usize,
    /// Reported filtered but closed, or closed but filtered.
    mistaken: usize,
    /// Reported closed, but not closed.
    false_closed: usize,
}

fn compare(report: &HostReport, host: &SimulatedHost) -> Comparison {
    let mut comparison = Comparison::default();
    let listed: HashMap<u16, PortState> = report.findings.iter().map(|f| (f.port, f.state)).collect();
    assert_eq!(listed.len(), report.findings.len(), "one finding per port");
    assert!(report.findings.is_sorted(), "ascending");
    assert!(
        report.findings.iter().all(|f| report.coverage.contains(f.port) && f.state != report.default_state)
    );
    for port in report.coverage.iter() {
        let said = listed.get(&port).copied().unwrap_or(report.default_state);
        let truth = host.state(port);
        comparison.there += usize::from(truth == PortState::Open);
        comparison.false_closed += usize::from(said == PortState::Closed && said != truth);
        match (said == truth, said, truth) {
            (true, PortState::Open, _) => comparison.found += 1,
            (true, ..) => {}
            (false, PortState::Open, _) => comparison.phantoms += 1,
            (false, _, PortState::Open) => {}
            (false, ..) => comparison.mistaken += 1,
        }
    }
    comparison
}

/// A wired neighbour that refuses all ports but these.
fn neighbour(open: &str) -> Behaviour {
    Behaviour {
        open: ports(open),
        rtt: SECOND * 6 / 10_000,
        jitter: SECOND * 3 / 10_000,
        ..Behaviour::default()
    }
}

/// The ports of a simulated host.
fn ports(text: &str) -> Ports {
    text.parse().unwrap()
}

//! What the jobs of one address share: its round trips, its window, its pace, its health, its sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::model::{Address, Moment};

use super::{
    board::{Ending, Mark},
    check::CHECK_WAIT,
    health::{FRAGILE, Health, OUTAGE},
    job::{Event, JobId, Link, Progress},
    pacer::{Pacer, START_WITHIN},
    probe::{LocalError, Outcome, Probe, ProbeId, Reply},
    rtt::{ENOUGH, Rtt},
    run::{Ask, Purpose, Run, Want},
    timing::BEFORE_RETRANSMIT,
    window::Window,
};

/// First looks after which the share of silent ones is taken seriously.
const TELLING: u32 = 64;

/// Silent first looks after which a round trip is worth measuring on a port that answers.
const SILENCES: u32 = 8;

/// Window of a host that was seen to suffer.
const FRAGILE_WINDOW: usize = 4;

/// Time-out towards a neighbour that never answered anything: ARP has shown that it is near, and a dozing
/// WiFi client takes 0.3 s. Waiting longer for each of 65,535 silent ports would cost hours.
const MUTE_NEIGHBOUR: Duration = Duration::from_millis(300);

/// How late an unpaced probe may leave.
const START_EVENTUALLY: Duration = Duration::from_secs(1);

/// This machine, seen by a host that wants to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Whether another socket may be opened at all.
    pub(super) free: bool,
    /// Whether sockets are scarce.
    pub(super) tight: bool,
}

/// What a host does next.
#[derive(Debug)]
pub(super) enum Step {
    /// This probe leaves; ask again.
    Launch(Probe),
    /// Nothing before a reply, or this moment.
    Wait(Option<Moment>),
    /// It would send if there were a free socket; the moment as in `Wait`.
    Starved(Option<Moment>),
}

/// A probe under way.
#[derive(Debug)]
struct Flight {
    job: JobId,
    port: u16,
    purpose: Purpose,
    /// When its window slot is given to another; `None` if it has none.
    timeout: Option<Moment>,
}

/// One address.
#[derive(Debug)]
pub(super) struct Host {
    address: Address,
    runs: Vec<Run>,
    /// Whose turn it is.
    turn: usize,
    flights: BTreeMap<ProbeId, Flight>,
    /// Probes that hold a window slot, by the moment at which they lose it.
    slots: BTreeSet<(Moment, ProbeId)>,
    rtt: Rtt,
    window: Window,
    pacer: Pacer,
    health: Health,
    faults: Faults,
    fragile: bool,
    /// First looks that ended, and those of them that were silent.
    looks: u32,
    silences: u32,
}

/// Why an ask cannot be granted now.
enum Denied {
    Until(Moment),
    Reply,
    Sockets,
}

impl Host {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            runs: Vec::new(),
            turn: 0,
            flights: BTreeMap::new(),
            slots: BTreeSet::new(),
            rtt: Rtt::default(),
            window: Window::new(0),
            pacer: Pacer::default(),
            health: Health::default(),
            faults: Faults::default(),
            fragile: false,
            looks: 0,
            silences: 0,
        }
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    /// Whether nothing is asked of it and nothing under way.
    pub(super) fn is_idle(&self) -> bool {
        self.runs.is_empty() && self.flights.is_empty()
    }

    pub(super) fn add(&mut self, run: Run, now: Moment) {
        if self.runs.is_empty() {
            self.window = Window::new(run.template().window);
            (self.looks, self.silences) = (0, 0);
        }
        if !self.runs.iter().any(Run::is_scanning) {
            self.health.start_afresh(now);
        }
        self.runs.push(run);
    }

    pub(super) fn cancel(&mut self, job: JobId) {
        self.runs.iter_mut().filter(|run| run.id() == job).for_each(Run::cancel);
    }

    pub(super) fn progress(&self, job: JobId) -> Option<Progress> {
        self.runs.iter().find(|run| run.id() == job).map(Run::progress)
    }

    /// The next probe, or how long there is none.
    pub(super) fn next(&mut self, id: ProbeId, now: Moment, room: Room, events: &mut Vec<Event>) -> Step {
        while self.slots.first().is_some_and(|&(timeout, _)| timeout <= now) {
            self.slots.pop_first();
        }
        let mut wait = Waiting::default();
        if let Some((run, ask)) = self.canary(now, &mut wait) {
            match self.allow(run, &ask, now, room) {
                Ok(()) => return Step::Launch(self.launch(id, run, &ask, now, room)),
                Err(denied) => wait.note(denied),
            }
        }
        let mut asked = 0;
        while asked < self.runs.len() {
            let run = self.turn % self.runs.len();
            match self.want(run, now) {
                Want::Ended(ending) => {
                    self.end(run, ending, now, events);
                    asked = 0;
                    continue;
                }
                Want::Until(at) => wait.until(at),
                Want::Reply => {}
                Want::Confirmation if !self.health.has_canary() => self.runs[run].trust_silence(),
                Want::Confirmation if self.health.want_canary() => return self.next(id, now, room, events),
                Want::Confirmation => {}
                Want::Probe(ask) => match self.allow(run, &ask, now, room) {
                    Ok(()) => {
                        self.turn = run + 1;
                        return Step::Launch(self.launch(id, run, &ask, now, room));
                    }
                    Err(denied) => wait.note(denied),
                },
            }
            self.runs[run].deadline().into_iter().for_each(|deadline| wait.until(deadline));
            asked += 1;
            self.turn = run + 1;
        }
        wait.step()
    }

    /// What a job wants, as far as the host's health lets it.
    fn want(&mut self, run: usize, now: Moment) -> Want {
        let fresh = self.health.was_heard_lately(now);
        let run = &mut self.runs[run];
        if fresh && run.is_check_fresh() {
            run.assume_up();
        }
        match run.want(now) {
            Want::Ended(ending) => Want::Ended(ending),
            _ if run.is_scanning() && self.health.is_gone(now) => {
                Want::Ended(Ending::partial("the host went silent while it was scanned"))
            }
            _ if run.is_scanning() && self.health.is_suspended() => Want::Reply,
            want => want,
        }
    }

    /// A canary, if one is due, on the account of the job whose turn it is.
    fn canary(&mut self, now: Moment, wait: &mut Waiting) -> Option<(usize, Ask)> {
        let mut turns = (0..self.runs.len()).map(|offset| (self.turn + offset) % self.runs.len());
        let run = turns.find(|&run| self.runs[run].is_scanning())?;
        let hurried = self.runs[run].template().delay.is_zero();
        if hurried && self.silences >= SILENCES && self.rtt.samples() < ENOUGH {
            self.health.want_canary();
        }
        let (port, at) = self.health.canary()?;
        if at > now {
            wait.until(at);
            return None;
        }
        // Where no port ever answered, ARP is what is in question.
        let patience = if self.health.has_canary() { BEFORE_RETRANSMIT } else { CHECK_WAIT };
        Some((run, Ask { port, purpose: Purpose::Canary, wait: Some(patience) }))
    }

    /// Whether this probe may leave now.
    fn allow(&mut self, run: usize, ask: &Ask, now: Moment, room: Room) -> Result<(), Denied> {
        let not_before = |at: Moment| if at > now { Err(Denied::Until(at)) } else { Ok(()) };
        not_before(self.faults.until)?;
        if self.flights.len() >= self.sockets() {
            return Err(Denied::Reply);
        }
        let checking = |flight: &Flight| matches!(flight.purpose, Purpose::Check(_));
        if self.runs[run].is_check_fresh() && self.flights.values().any(checking) {
            return Err(Denied::Reply);
        }
        let window = if self.fragile { FRAGILE_WINDOW } else { self.window.size() };
        let windowed = matches!(ask.purpose, Purpose::Port(_)) && !self.runs[run].is_patient();
        if let Some(&(timeout, _)) = self.slots.first().filter(|_| windowed && self.slots.len() >= window) {
            return Err(Denied::Until(timeout));
        }
        not_before(self.runs[run].paced_until())?;
        if self.is_paced() {
            not_before(self.pacer.next(now))?;
        }
        if room.free { Ok(()) } else { Err(Denied::Sockets) }
    }

    /// Most sockets that may be open towards the host: every job's bound and template holds for all.
    fn sockets(&self) -> usize {
        let bound = |run: &Run| run.job().max_in_flight.clamp(1, run.template().sockets);
        self.runs.iter().map(bound).min().unwrap_or(1).into()
    }

    fn is_paced(&self) -> bool {
        self.fragile || self.runs.iter().any(|run| run.template().paced)
    }

    fn is_mute(&self) -> bool {
        self.looks >= TELLING && self.silences * 2 > self.looks
    }

    fn timeout(&self, run: usize) -> Duration {
        let near = self.runs[run].job().link == Link::OnLink && self.is_mute();
        self.rtt.timeout(if near { MUTE_NEIGHBOUR } else { BEFORE_RETRANSMIT })
    }

    fn launch(&mut self, id: ProbeId, run: usize, ask: &Ask, now: Moment, room: Room) -> Probe {
        let timeout = self.timeout(run);
        let crowded = self.flights.len() * 5 > self.sockets() * 4;
        // A socket kept past the time-out gives a late answer its chance. Where most are silent, or sockets
        // run out, that chance costs more than another pass.
        let usual = || match self.runs[run].template().give_up {
            most if room.tight || crowded || self.is_mute() => timeout.min(most),
            most => most,
        };
        let give_up = ask.wait.unwrap_or_else(usual);
        let slot = matches!(ask.purpose, Purpose::Port(_)).then(|| now + timeout.min(give_up));
        let paced = self.is_paced();
        self.pacer.take(now, give_up, paced);
        self.health.sent();
        if ask.purpose == Purpose::Canary {
            self.health.canary_left(now);
        }
        self.slots.extend(slot.map(|timeout| (timeout, id)));
        self.runs[run].left(ask, now);
        let flight = Flight { job: self.runs[run].id(), port: ask.port, purpose: ask.purpose, timeout: slot };
        self.flights.insert(id, flight);
        let start_by = now + if paced { START_WITHIN } else { START_EVENTUALLY };
        Probe { id, address: self.address.clone(), port: ask.port, start_by, give_up }
    }

    /// What became of a probe. Ends jobs that this decides.
    pub(super) fn reply(&mut self, reply: &Reply, events: &mut Vec<Event>) {
        let Some(flight) = self.flights.remove(&reply.id) else { return };
        let used = self.slots.len();
        flight.timeout.into_iter().for_each(|timeout| _ = self.slots.remove(&(timeout, reply.id)));
        if flight.purpose == Purpose::Canary {
            self.health.canary_back();
        }
        match reply.outcome {
            Outcome::Accepted => self.answered(&flight, reply, Mark::Open, used, events),
            Outcome::Refused => self.answered(&flight, reply, Mark::Closed, used, events),
            Outcome::Unreachable(reason) => {
                self.answered(&flight, reply, Mark::unreachable(reason), used, events);
            }
            Outcome::Silent => self.silent(&flight, reply, used, events),
            Outcome::NoNeighbour => self.no_neighbour(&flight, reply.ended, events),
            Outcome::Local(error) => self.fault(&flight, Some(error), reply.ended, events),
            Outcome::NotStarted => self.fault(&flight, None, reply.ended, events),
        }
    }

    fn run_of(&mut self, flight: &Flight) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.id() == flight.job)
    }

    fn answered(&mut self, flight: &Flight, reply: &Reply, mark: Mark, used: usize, events: &mut Vec<Event>) {
        self.faults = Faults::default();
        let rtt = reply.ended.since(reply.started);
        let port = match mark {
            Mark::Open => Some((flight.port, true)),
            Mark::Closed => Some((flight.port, false)),
            _ => None,
        };
        let routed = self.run_of(flight).is_some_and(|run| run.job().link == Link::Routed);
        // A router's "host unreachable" is what it says of a host that is not there.
        let alive = port.is_some() || !(routed && matches!(mark, Mark::NetUnreach | Mark::HostUnreach));
        if port.is_some() {
            self.rtt.sample(rtt);
        }
        if alive {
            self.alive(reply.ended, port, events);
            self.window.grow(used);
        }
        self.count_look(flight, false);
        if let Some(run) = self.run_of(flight) {
            if alive {
                run.note_answer(reply.ended);
            } else if matches!(flight.purpose, Purpose::Check(_)) {
                run.check_silent();
            }
            if run.settle(flight.purpose, mark, rtt, false) {
                self.shrink(reply.ended);
            }
        }
        if !alive && flight.purpose == Purpose::Canary {
            self.canary_lost(reply.ended);
        }
    }

    fn silent(&mut self, flight: &Flight, reply: &Reply, used: usize, events: &mut Vec<Event>) {
        self.faults = Faults::default();
        self.count_look(flight, true);
        match flight.purpose {
            // The kernel would have said so if ARP had failed.
            Purpose::Canary if !self.health.has_canary() => self.alive(reply.ended, None, events),
            Purpose::Canary => self.canary_lost(reply.ended),
            Purpose::Check(_) => {
                let neighbour = self.run_of(flight).is_some_and(|run| run.job().link == Link::OnLink);
                self.run_of(flight).into_iter().for_each(Run::check_silent);
                if neighbour {
                    self.alive(reply.ended, None, events);
                }
            }
            Purpose::Port(_) => self.window.grow(used),
        }
        let doubt = self.health.has_canary();
        if let Some(run) = self.run_of(flight) {
            run.settle(flight.purpose, Mark::Silent, Duration::ZERO, doubt);
        }
    }

    /// A fact about the host, never about a port.
    fn no_neighbour(&mut self, flight: &Flight, now: Moment, events: &mut Vec<Event>) {
        self.faults = Faults::default();
        self.run_of(flight).into_iter().for_each(|run| run.returned(flight.port, flight.purpose));
        if flight.purpose == Purpose::Canary || !self.health.is_suspended() {
            self.health.neighbour_lost();
        }
        let absent = |run: &Run| !run.is_up() || (run.is_patient() && run.id() == flight.job);
        self.end_all(absent, &Ending::down("nobody answers ARP at the address"), now, events);
    }

    /// This machine's fault; `None`: the probe was not started in time.
    fn fault(&mut self, flight: &Flight, error: Option<LocalError>, now: Moment, events: &mut Vec<Event>) {
        self.run_of(flight).into_iter().for_each(|run| run.returned(flight.port, flight.purpose));
        if self.faults.note(error, now) {
            let (up, down) = (
                Ending::partial("no route from this machine any more"),
                Ending::down("no route from this machine"),
            );
            self.end_all(Run::is_up, &up, now, events);
            self.end_all(|_| true, &down, now, events);
        }
    }

    fn canary_lost(&mut self, now: Moment) {
        self.health.canary_lost();
        self.shrink(now);
        self.runs.iter_mut().for_each(Run::note_loss);
    }

    fn shrink(&mut self, now: Moment) {
        let timeout = self.rtt.timeout(BEFORE_RETRANSMIT);
        self.window.shrink(now, timeout);
    }

    fn count_look(&mut self, flight: &Flight, silent: bool) {
        let purpose = flight.purpose;
        if self.run_of(flight).is_some_and(|run| run.is_first_look(purpose)) {
            self.looks += 1;
            self.silences += u32::from(silent);
        }
    }

    /// A sign of life: told to every job, and what it means for the silence before.
    fn alive(&mut self, now: Moment, port: Option<(u16, bool)>, events: &mut Vec<Event>) {
        let lost = self.health.heard(now, port);
        if lost >= FRAGILE && !self.fragile {
            self.fragile = true;
            self.pacer.be_gentle();
        }
        let mut given_up = Vec::new();
        for run in &mut self.runs {
            if run.hear() {
                events.push(Event::HostUp(run.id()));
            }
            if lost < OUTAGE {
                run.trust_silence();
            } else if run.is_scanning() && !run.distrust_silence() {
                given_up.push(run.id());
            }
        }
        let ending = Ending::partial("the host went silent again and again while it was scanned");
        self.end_all(|run| given_up.contains(&run.id()), &ending, now, events);
    }

    fn end_all(
        &mut self,
        which: impl Fn(&Run) -> bool,
        ending: &Ending,
        now: Moment,
        events: &mut Vec<Event>,
    ) {
        while let Some(run) = self.runs.iter().position(&which) {
            self.end(run, ending.clone(), now, events);
        }
    }

    fn end(&mut self, run: usize, ending: Ending, now: Moment, events: &mut Vec<Event>) {
        let mut run = self.runs.remove(run);
        events.push(Event::Finished(run.id(), Box::new(run.report(ending, now))));
    }
}

/// The earliest of several reasons to look again.
#[derive(Debug, Default)]
struct Waiting {
    at: Option<Moment>,
    starved: bool,
}

impl Waiting {
    fn until(&mut self, at: Moment) {
        self.at = Some(self.at.map_or(at, |earlier| earlier.min(at)));
    }

    fn note(&mut self, denied: Denied) {
        match denied {
            Denied::Until(at) => self.until(at),
            Denied::Reply => {}
            Denied::Sockets => self.starved = true,
        }
    }

    fn step(self) -> Step {
        if self.starved { Step::Starved(self.at) } else { Step::Wait(self.at) }
    }
}

/// Faults of this machine's in a row, without any probe that got out meanwhile: what keeps a broken machine
/// from trying the same thing a thousand times a second.
#[derive(Debug, Default)]
struct Faults {
    row: u32,
    no_route: u32,
    until: Moment,
}

/// Pauses after a fault: from 10 ms, doubling.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A route that is missing for a moment (an interface that comes up) is given longer.
const NO_ROUTE_PAUSE: Duration = Duration::from_millis(250);

/// No route so often in a row: it is not for a moment.
const NO_ROUTE: u32 = 3;

/// A self-connect is a coincidence of one in 28,000 and is simply tried again.
const COINCIDENCES: u32 = 3;

impl Faults {
    /// Takes a fault; true if there is no way to the host. What comes back during a pause belongs to the
    /// fault that began it.
    fn note(&mut self, error: Option<LocalError>, now: Moment) -> bool {
        if now < self.until {
            return false;
        }
        self.row += 1;
        self.no_route = if error == Some(LocalError::NoRoute) { self.no_route + 1 } else { 0 };
        let pause = match error {
            Some(LocalError::SelfConnect) if self.row <= COINCIDENCES => Duration::ZERO,
            Some(LocalError::NoRoute) => NO_ROUTE_PAUSE,
            _ => PAUSE,
        };
        self.until = now + (pause * (1 << (self.row - 1).min(7))).min(LONGEST_PAUSE);
        self.no_route >= NO_ROUTE
    }
}

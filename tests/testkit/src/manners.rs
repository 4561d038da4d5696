//! How a device reacts to packets, both in the lab and in the engine's simulation. No packet, no socket, no clock:
//! moments and ports go in, moments and reactions come out.
//!
//! The whole round-trip time is on the way back; the way to the device takes none.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use fastrand::Rng;

use crate::{
    Mac, Moment, PortState, Ports,
    scenario::{Behaviour, Burst, Police, Unopened, When},
};

/// The reaction of a port to a SYN, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// SYN-ACK.
    Accepts,
    /// RST.
    Refuses,
    /// ICMP "administratively prohibited" from the host.
    Rejects,
    /// ICMP "host unreachable" from its router.
    Unreachable,
}

/// A device's behaviour, and its state.
#[derive(Debug)]
pub struct Manners {
    behaviour: Behaviour,
    here: bool,
    vanished: Option<Moment>,
    scheduled: Schedule,
    /// SYNs that left for it, lost ones too, and the first of them.
    syns: usize,
    first_syn: Option<Moment>,
    silent_until: Moment,
    reboots: usize,
    awake: Awake,
    recent_syns: VecDeque<Moment>,
    rsts: Ration,
    errors: Ration,
    bucket: Option<Bucket>,
    /// Connections, by client and port. Those whose SYN-ACK was lost stay for good.
    held: HashSet<(u64, u16)>,
    jams: Option<Jams>,
    rng: Rng,
}

/// The part of the scenario's plan that is still to come.
#[derive(Debug, Default)]
struct Schedule {
    vanished: bool,
    back_at: Option<Moment>,
    handed_over: bool,
}

#[derive(Debug, Default)]
struct Awake {
    last_heard: Option<Moment>,
    since: Moment,
}

/// A limit of events in each second; the first event begins the second.
#[derive(Debug, Default)]
struct Ration {
    since: Option<Moment>,
    used: u32,
}

impl Ration {
    fn allows(&mut self, limit: Option<u32>, at: Moment) -> bool {
        let Some(limit) = limit else { return true };
        if self.since.is_none_or(|since| at.since(since) >= Duration::from_secs(1)) {
            *self = Self { since: Some(at), used: 0 };
        }
        self.used += 1;
        self.used <= limit
    }
}

/// A policer's tokens.
#[derive(Debug)]
struct Bucket {
    police: Police,
    tokens: f64,
    filled: Moment,
}

impl Bucket {
    fn full(police: Police) -> Self {
        Self { police, tokens: police.burst.into(), filled: Moment::ZERO }
    }

    fn passes(&mut self, at: Moment) -> bool {
        let earned = at.since(self.filled).as_secs_f64() * f64::from(self.police.rate);
        self.tokens = (self.tokens + earned).min(self.police.burst.into());
        self.filled = at;
        let passes = self.tokens >= 1.0;
        self.tokens -= if passes { 1.0 } else { 0.0 };
        passes
    }
}

/// A link with bursts of loss.
#[derive(Debug)]
struct Jams {
    burst: Burst,
    jammed: bool,
    until: Moment,
}

impl Jams {
    fn jammed(&mut self, at: Moment, rng: &mut Rng) -> bool {
        while self.until <= at {
            self.jammed ^= self.until > Moment::ZERO;
            let mean = if self.jammed { self.burst.lasts } else { self.burst.every };
            // Exponential; never zero, or this would not end.
            self.until += mean.mul_f64(-(1.0 - rng.f64()).ln()) + Duration::from_nanos(1);
        }
        self.jammed
    }
}

impl Manners {
    pub fn new(behaviour: Behaviour, seed: u64) -> Self {
        let jams = |burst| Jams { burst, jammed: false, until: Moment::ZERO };
        Self {
            here: !behaviour.absent,
            vanished: None,
            scheduled: Schedule::default(),
            syns: 0,
            first_syn: None,
            silent_until: Moment::ZERO,
            reboots: 0,
            awake: Awake::default(),
            recent_syns: VecDeque::new(),
            rsts: Ration::default(),
            errors: Ration::default(),
            bucket: behaviour.police.map(Bucket::full),
            held: HashSet::new(),
            jams: behaviour.burst.map(jams),
            rng: Rng::with_seed(seed),
            behaviour,
        }
    }

    /// The ports that are open now.
    pub fn open_ports(&self) -> Ports {
        match self.behaviour.default {
            Unopened::Open => {
                Ports::all().iter().filter(|&port| self.state(port) == PortState::Open).collect()
            }
            _ => self.behaviour.open.clone(),
        }
    }

    /// Returns the state that a scan must find for a port.
    pub fn state(&self, port: u16) -> PortState {
        match self.reaction(port) {
            Some(Reaction::Accepts) => PortState::Open,
            Some(Reaction::Refuses) => PortState::Closed,
            _ => PortState::Filtered,
        }
    }

    fn reaction(&self, port: u16) -> Option<Reaction> {
        match self.behaviour.default {
            _ if self.behaviour.open.contains(port) => Some(Reaction::Accepts),
            _ if self.behaviour.filtered.contains(port) => None,
            _ if self.behaviour.rejected.contains(port) => Some(Reaction::Rejects),
            Unopened::Closed => Some(Reaction::Refuses),
            Unopened::Filtered => None,
            Unopened::Rejected => Some(Reaction::Rejects),
            Unopened::Unreachable => Some(Reaction::Unreachable),
            Unopened::Open => Some(Reaction::Accepts),
        }
    }

    pub fn open(&mut self, port: u16) {
        self.behaviour.open.insert(port);
    }

    pub fn close(&mut self, port: u16) {
        self.behaviour.open.remove(port);
    }

    pub fn is_here(&self) -> bool {
        self.here
    }

    pub fn vanish(&mut self, at: Moment) {
        self.here = false;
        self.vanished = Some(at);
        self.held.clear();
    }

    pub fn appear(&mut self) {
        self.here = true;
    }

    /// When it was last observed to go silent permanently.
    pub fn vanished(&self) -> Option<Moment> {
        self.vanished
    }

    /// The number of its failures.
    pub fn reboots(&self) -> usize {
        self.reboots
    }

    /// Records that a SYN has left for it, even if the SYN will be lost.
    pub fn asked(&mut self, at: Moment) {
        self.syns += 1;
        self.first_syn.get_or_insert(at);
    }

    /// Applies the scenario's plan up to now; returns the MAC of a device that has just taken over the address.
    pub fn advance(&mut self, now: Moment) -> Option<Mac> {
        if let Some(plan) = self.behaviour.vanish
            && !self.scheduled.vanished
            && let Some(at) = self.reached(plan.when, now)
        {
            self.scheduled.vanished = true;
            self.scheduled.back_at = plan.back.map(|back| at + back);
            self.vanish(at);
        }
        if self.scheduled.back_at.is_some_and(|back| back <= now) {
            self.scheduled.back_at = None;
            self.appear();
        }
        let plan = self.behaviour.handover.as_ref().filter(|_| !self.scheduled.handed_over)?;
        self.reached(plan.when, now)?;
        self.scheduled.handed_over = true;
        self.behaviour.open = plan.open.clone();
        self.held.clear();
        Some(plan.mac)
    }

    fn reached(&self, when: When, now: Moment) -> Option<Moment> {
        match when {
            When::AfterSyns(syns) => (self.syns >= syns).then_some(now),
            When::After(delay) => self.first_syn.map(|first| first + delay).filter(|at| *at <= now),
        }
    }

    /// Returns when the device handles a packet that arrives now; `None`: never.
    pub fn hears(&mut self, at: Moment) -> Option<Moment> {
        if !self.here || at < self.silent_until || self.loses(at) {
            return None;
        }
        let Some(wake) = self.behaviour.wake else { return Some(at) };
        if self.awake.last_heard.is_none_or(|last| at.since(last) >= wake.idle) {
            self.awake.since = at + wake.delay + wake.jitter.mul_f64(self.rng.f64());
        }
        self.awake.last_heard = Some(at);
        Some(at.max(self.awake.since))
    }

    /// Returns when an answer that is sent at this time arrives; `None`: never.
    pub fn answers(&mut self, at: Moment) -> Option<Moment> {
        let jitter = self.behaviour.jitter.mul_f64(self.rng.f64());
        (!self.loses(at)).then_some(at + self.behaviour.rtt + jitter)
    }

    fn loses(&mut self, at: Moment) -> bool {
        let jammed = self.jams.as_mut().is_some_and(|jams| jams.jammed(at, &mut self.rng));
        self.rng.f64() < self.behaviour.loss || jammed
    }

    /// Handles a SYN from this client (any number that tells attempts apart); returns the reaction, and when it
    /// arrives.
    pub fn syn(&mut self, at: Moment, client: u64, port: u16) -> Option<(Moment, Reaction)> {
        if self.bucket.as_mut().is_some_and(|bucket| !bucket.passes(at)) {
            return None;
        }
        let heard = self.hears(at)?;
        if self.overloaded(at) {
            return None;
        }
        let reaction = self.reaction(port)?;
        let reacts = match reaction {
            Reaction::Accepts => self.accepts(client, port),
            Reaction::Refuses => self.rsts.allows(self.behaviour.rst_rate, heard),
            Reaction::Rejects | Reaction::Unreachable => self.errors.allows(self.behaviour.icmp_rate, heard),
        };
        if reacts { Some((self.answers(heard)?, reaction)) } else { None }
    }

    /// Fails if this is one SYN too many.
    fn overloaded(&mut self, at: Moment) -> bool {
        let Some(limit) = self.behaviour.reboot else { return false };
        self.recent_syns.push_back(at);
        let window = Duration::from_millis(100);
        while self.recent_syns.front().is_some_and(|&first| at.since(first) >= window) {
            self.recent_syns.pop_front();
        }
        let overloaded = self.recent_syns.len() > limit.syns;
        if overloaded {
            self.silence(at + limit.silent);
            self.recent_syns.clear();
            self.held.clear();
            self.reboots += 1;
        }
        overloaded
    }

    /// Ignores everything until then.
    pub fn silence(&mut self, until: Moment) {
        self.silent_until = until;
    }

    fn accepts(&mut self, client: u64, port: u16) -> bool {
        let others = self.held.iter().filter(|&&held| held != (client, port));
        let (all, at_port) =
            others.fold((0, 0), |(all, at_port), held| (all + 1, at_port + usize::from(held.1 == port)));
        let accepts = self.behaviour.backlog.is_none_or(|backlog| at_port < backlog)
            && self.behaviour.connections.is_none_or(|most| all < most);
        if accepts {
            self.held.insert((client, port));
        }
        accepts
    }

    /// Whether this connection exists.
    pub fn holds(&self, client: u64, port: u16) -> bool {
        self.held.contains(&(client, port))
    }

    /// Records that the client has ended its connection.
    pub fn release(&mut self, client: u64, port: u16) {
        self.held.remove(&(client, port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Reboot, Vanish};

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    /// How many of so many SYNs are answered, one each millisecond and each at another port.
    fn answered(behaviour: Behaviour, syns: u16) -> usize {
        answered_since(1, behaviour, syns)
    }

    fn answered_since(first: u64, behaviour: Behaviour, syns: u16) -> usize {
        let mut manners = Manners::new(behaviour, 1);
        let asked = (first..).zip(1..=syns);
        asked.filter(|&(millis, port)| manners.syn(at(millis), port.into(), port).is_some()).count()
    }

    #[test]
    fn what_is_limited_is_given_so_often_and_no_more() {
        let refusing = Behaviour::default;
        assert_eq!(answered(refusing(), 3000), 3000);
        let rationing = || Behaviour { rst_rate: Some(200), ..refusing() };
        assert_eq!(answered(rationing(), 2999), 600);
        assert_eq!(answered_since(700, rationing(), 999), 200, "a second begins with whoever asks first");
        let rejecting = Behaviour { default: Unopened::Rejected, icmp_rate: Some(1), ..refusing() };
        assert_eq!(answered(rejecting, 2999), 3);
        let police = Some(Police { rate: 500, burst: 100 });
        assert_eq!(answered(Behaviour { police, ..refusing() }, 2000), 100 + 1000 - 1);
    }

    #[test]
    fn links_lose_as_much_as_told() {
        let plain = Behaviour::default;
        let lossy = answered(Behaviour { loss: 0.1, ..plain() }, 20_000);
        // 1 - 0.9^2 = 19 % of 20,000; one standard deviation is 55.
        assert!((15_925..=16_475).contains(&lossy), "{lossy}");
        let (every, lasts) = (Duration::from_millis(90), Duration::from_millis(10));
        let jammed = answered(Behaviour { burst: Some(Burst { every, lasts }), ..plain() }, 20_000);
        // A tenth of 20 s in some 200 jams: one standard deviation is some 200.
        assert!((17_000..=19_000).contains(&jammed), "{jammed}");
    }

    #[test]
    fn who_is_overrun_reboots_and_comes_back() {
        let reboot = Some(Reboot { syns: 20, silent: Duration::from_millis(400) });
        let mut manners = Manners::new(Behaviour { reboot, ..Behaviour::default() }, 1);
        let mut hears = |millis, port: u16| manners.syn(at(millis), port.into(), port).is_some();
        assert!((1..=20).all(|port| hears(0, port)) && hears(100, 21), "no more than 20 within 100 ms");
        assert!((22..=40).all(|port| hears(110, port)) && !hears(199, 41), "too many");
        assert!(!hears(598, 42) && hears(599, 43));
        assert_eq!(manners.reboots(), 1);
    }

    #[test]
    fn who_leaves_comes_back_when_he_is_to() {
        let back = Some(Duration::from_millis(300));
        let vanish = Some(Vanish { when: When::AfterSyns(3), back });
        let mut manners = Manners::new(Behaviour { vanish, ..Behaviour::default() }, 1);
        let mut hears = |millis, port: u16| {
            manners.asked(at(millis));
            manners.advance(at(millis));
            manners.syn(at(millis), port.into(), port).is_some()
        };
        assert!(hears(1, 1) && hears(2, 2) && !hears(3, 3), "the third is too much");
        assert!(!hears(302, 4) && hears(303, 5));
    }

    #[test]
    fn a_full_port_and_a_full_stack_accept_nobody() {
        let open = || Behaviour { default: Unopened::Open, ..Behaviour::default() };
        let mut printer = Manners::new(Behaviour { backlog: Some(1), ..open() }, 1);
        assert!(printer.syn(at(1), 1, 9100).is_some() && printer.syn(at(2), 2, 9100).is_none());
        assert!(printer.syn(at(3), 1, 9100).is_some(), "the same again");
        assert!(printer.syn(at(4), 2, 631).is_some(), "another port");
        printer.release(1, 9100);
        assert!(printer.syn(at(5), 2, 9100).is_some());
        assert_eq!(answered(Behaviour { connections: Some(5), ..open() }, 100), 5);
    }

    #[test]
    fn who_is_not_listed_follows_the_default_and_open_ports_come_first() {
        let [open, filtered, rejected] =
            ["22", "20-30", "25-40"].map(|ports| ports.parse::<Ports>().expect("ports"));
        let manners = Manners::new(Behaviour { open, filtered, rejected, ..Behaviour::default() }, 1);
        let reactions = [22, 21, 25, 35, 41].map(|port| manners.reaction(port));
        let (refuses, rejects) = (Some(Reaction::Refuses), Some(Reaction::Rejects));
        assert_eq!(reactions, [Some(Reaction::Accepts), None, None, rejects, refuses]);
    }
}

//! One simulated device: what it does with a packet, and when.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use fastrand::Rng;
use portscan::model::{Moment, PortSet};

use super::{
    record::Record,
    scenario::{Behaviour, Burst, Host, Unopened, When},
    wire::{self, Answer, Segment, Station, TcpFlags},
};

/// What a device wants sent, and when.
pub type Due = (Moment, Vec<u8>);

/// ICMP codes of "destination unreachable" (RFC 792, RFC 1812).
const HOST_UNREACHABLE: u8 = 1;
const ADMIN_PROHIBITED: u8 = 13;

/// A device and all that it remembers.
pub struct Device {
    pub station: Station,
    pub record: Record,
    /// When it was last seen to go silent for good.
    pub vanished: Option<Moment>,
    behaviour: Behaviour,
    listed: PortSet,
    here: bool,
    scheduled: Schedule,
    silent_until: Moment,
    awake: Awake,
    recent_syns: VecDeque<Moment>,
    rsts: (Moment, u32),
    connections: HashMap<(u16, u16), Connection>,
    way_in: Way,
    way_out: Way,
    rng: Rng,
}

/// What of the scenario's plan is still to come.
#[derive(Default)]
struct Schedule {
    vanished: bool,
    back_at: Option<Moment>,
    handed_over: bool,
}

#[derive(Default)]
struct Awake {
    last_heard: Option<Moment>,
    since: Moment,
}

/// An open port's side of a connection; its own sequence number is always the same plus one.
#[derive(Clone, Copy)]
struct Connection {
    expected: u32,
}

/// Our side's initial sequence number: nobody attacks the lab, and a constant reads well in captures.
const INITIAL: u32 = 1_000_000;

/// One direction of the link.
struct Way {
    loss: f64,
    burst: Option<Burst>,
    in_burst: bool,
}

impl Way {
    fn loses(&mut self, rng: &mut Rng) -> bool {
        if let Some(burst) = self.burst {
            let turns = if self.in_burst { burst.stop } else { burst.start };
            self.in_burst ^= rng.f64() < turns;
        }
        self.in_burst || rng.f64() < self.loss
    }
}

impl Device {
    pub fn new(host: Host, seed: u64) -> Self {
        let way = || Way { loss: host.behaviour.loss, burst: host.behaviour.burst, in_burst: false };
        Self {
            station: host.station,
            record: Record::default(),
            vanished: None,
            listed: host.open,
            here: true,
            scheduled: Schedule::default(),
            silent_until: Moment::ZERO,
            awake: Awake::default(),
            recent_syns: VecDeque::new(),
            rsts: (Moment::ZERO, 0),
            connections: HashMap::new(),
            way_in: way(),
            way_out: way(),
            rng: Rng::with_seed(seed),
            behaviour: host.behaviour,
        }
    }

    /// The ports that are open now.
    pub fn open_ports(&self) -> PortSet {
        self.behaviour.open_ports(&self.listed)
    }

    pub fn open(&mut self, port: u16) {
        let ranges = self.listed.ranges().iter().copied();
        self.listed = PortSet::from_ranges(ranges.chain([(port, port)]));
    }

    pub fn close(&mut self, port: u16) {
        self.listed = self.listed.iter().filter(|&open| open != port).collect();
    }

    pub fn vanish(&mut self, at: Moment) {
        self.here = false;
        self.vanished = Some(at);
        self.connections.clear();
    }

    pub fn appear(&mut self) {
        self.here = true;
    }

    pub fn is_here(&self) -> bool {
        self.here
    }

    /// Lets the scenario's plan happen up to now; true: the address has just changed hands.
    pub fn advance(&mut self, now: Moment) -> bool {
        let reached = |when: When, record: &Record| match when {
            When::AfterSyns(syns) => (record.syns() >= syns).then_some(now),
            When::After(delay) => record.first_syn().map(|first| first + delay).filter(|at| *at <= now),
        };
        if let Some(plan) = self.behaviour.vanish
            && !self.scheduled.vanished
            && let Some(at) = reached(plan.when, &self.record)
        {
            self.scheduled.vanished = true;
            self.scheduled.back_at = plan.back.map(|back| at + back);
            self.vanish(at);
        }
        if self.scheduled.back_at.is_some_and(|back| back <= now) {
            self.scheduled.back_at = None;
            self.appear();
        }
        let Some(plan) = &self.behaviour.handover else { return false };
        if self.scheduled.handed_over || reached(plan.when, &self.record).is_none() {
            return false;
        }
        self.scheduled.handed_over = true;
        self.station.mac = plan.mac;
        self.listed = plan.open.clone();
        self.connections.clear();
        true
    }

    /// When a packet that arrives now is heard; `None`: never.
    fn hears(&mut self, at: Moment) -> Option<Moment> {
        if !self.here || at < self.silent_until || self.way_in.loses(&mut self.rng) {
            return None;
        }
        let Some(wake) = self.behaviour.wake else { return Some(at) };
        if self.awake.last_heard.is_none_or(|last| at.since(last) >= wake.idle) {
            self.awake.since = at + wake.delay;
        }
        self.awake.last_heard = Some(at);
        Some(at.max(self.awake.since))
    }

    /// When an answer given at this time arrives; `None`: never.
    fn answers(&mut self, at: Moment) -> Option<Moment> {
        let jitter = self.behaviour.jitter.mul_f64(self.rng.f64());
        (!self.way_out.loses(&mut self.rng)).then_some(at + self.behaviour.rtt + jitter)
    }

    pub fn arp(&mut self, at: Moment, from: Station) -> Option<Due> {
        let heard = self.hears(at)?;
        Some((self.answers(heard)?, wire::arp_reply(self.station, from)))
    }

    pub fn echo(&mut self, at: Moment, from: Station, message: &[u8]) -> Option<Due> {
        let heard = self.hears(at)?;
        Some((self.answers(heard)?, wire::echo_reply(self.station, from, message)))
    }

    /// A segment that was sent to the device's MAC and address.
    pub fn tcp(&mut self, at: Moment, router: Station, segment: &Segment<'_>) -> Option<Due> {
        let heard = self.hears(at)?;
        if segment.is_syn() {
            if self.overloaded(at) {
                return None;
            }
            return self.syn(heard, router, segment);
        }
        let pair = (segment.from_port, segment.to_port);
        let Some(connection) = self.connections.get_mut(&pair) else {
            let stray =
                Answer { flags: TcpFlags::RST, sequence: segment.acknowledgement, acknowledgement: 0 };
            return if segment.has(TcpFlags::RST) { None } else { self.reply(heard, segment, stray) };
        };
        if segment.has(TcpFlags::RST) {
            self.connections.remove(&pair);
            return None;
        }
        if segment.sequence == connection.expected {
            connection.expected = segment.next_sequence();
        }
        let acknowledgement = connection.expected;
        let sequence = INITIAL.wrapping_add(1);
        if segment.has(TcpFlags::FIN) {
            self.connections.remove(&pair);
            let flags = TcpFlags::FIN | TcpFlags::ACK;
            return self.reply(heard, segment, Answer { flags, sequence, acknowledgement });
        }
        if segment.payload == 0 {
            return None;
        }
        self.reply(heard, segment, Answer { flags: TcpFlags::ACK, sequence, acknowledgement })
    }

    /// Falls over if this is one SYN too many.
    fn overloaded(&mut self, at: Moment) -> bool {
        let Some(limit) = self.behaviour.reboot else { return false };
        self.recent_syns.push_back(at);
        let window = Duration::from_millis(100);
        while self.recent_syns.front().is_some_and(|&first| at.since(first) >= window) {
            self.recent_syns.pop_front();
        }
        let overloaded = self.recent_syns.len() > limit.syns;
        if overloaded {
            self.silent_until = at + limit.silent;
            self.recent_syns.clear();
            self.connections.clear();
            self.record.rebooted();
        }
        overloaded
    }

    fn syn(&mut self, at: Moment, router: Station, segment: &Segment<'_>) -> Option<Due> {
        let port = segment.to_port;
        if self.behaviour.filtered.contains(port) {
            return None;
        }
        if self.listed.contains(port) || self.behaviour.default == Unopened::Open {
            return self.accept(at, segment);
        }
        let (from, code) = match self.behaviour.default {
            Unopened::Closed | Unopened::Open => return self.refuse(at, segment),
            Unopened::Filtered => return None,
            Unopened::Rejected => (self.station, ADMIN_PROHIBITED),
            Unopened::Unreachable => (router, HOST_UNREACHABLE),
        };
        let due = self.answers(at)?;
        self.record.refused(segment, due);
        Some((due, wire::unreachable(from, segment.from, code, segment.quote)))
    }

    fn accept(&mut self, at: Moment, segment: &Segment<'_>) -> Option<Due> {
        let pair = (segment.from_port, segment.to_port);
        if let Some(backlog) = self.behaviour.backlog {
            let others = |(client, port): &&(u16, u16)| *port == pair.1 && *client != pair.0;
            if self.connections.keys().filter(others).count() >= backlog {
                return None;
            }
        }
        let expected = segment.next_sequence();
        self.connections.insert(pair, Connection { expected });
        let flags = TcpFlags::SYN | TcpFlags::ACK;
        let due = self.reply(at, segment, Answer { flags, sequence: INITIAL, acknowledgement: expected })?;
        self.record.accepted(segment);
        Some(due)
    }

    fn refuse(&mut self, at: Moment, segment: &Segment<'_>) -> Option<Due> {
        if let Some(limit) = self.behaviour.rst_rate {
            if at.since(self.rsts.0) >= Duration::from_secs(1) {
                self.rsts = (at, 0);
            }
            self.rsts.1 += 1;
            if self.rsts.1 > limit {
                return None;
            }
        }
        let flags = TcpFlags::RST | TcpFlags::ACK;
        let answer = Answer { flags, sequence: 0, acknowledgement: segment.next_sequence() };
        let due = self.reply(at, segment, answer)?;
        self.record.refused(segment, due.0);
        Some(due)
    }

    fn reply(&mut self, at: Moment, segment: &Segment<'_>, answer: Answer) -> Option<Due> {
        // Answers come from who the device is, not from whom the segment was sent to.
        let about = Segment { to: self.station, ..*segment };
        Some((self.answers(at)?, wire::segment(&about, answer)))
    }
}

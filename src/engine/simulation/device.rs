//! A simulated host: what it does with a SYN.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    engine::{Link, Outcome, order::mix},
    model::{Address, Moment, PortSet, Reason},
};

/// Random numbers that a seed fixes.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to 1, without 1.
    pub(super) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(1);
        (mix(self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.roll() < probability
    }
}

/// How packets get lost, each way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    None,
    Random(f64),
    /// Everything is lost for `bad` on average, after `good` on average.
    Bursts {
        good: Duration,
        bad: Duration,
    },
}

/// A host as the network shows it.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) address: Address,
    pub(super) link: Link,
    pub(super) rtt: Duration,
    pub(super) jitter: Duration,
    pub(super) loss: Loss,
    pub(super) open: PortSet,
    /// Answers nothing on these.
    pub(super) filtered: PortSet,
    /// Answers with an ICMP error on these.
    pub(super) rejected: PortSet,
    pub(super) rejection: Reason,
    /// Refusals per second; the rest is swallowed.
    pub(super) refusals: Option<usize>,
    /// ICMP errors per second.
    pub(super) errors: Option<usize>,
    /// Dozes after this long without a packet, and then takes this long to answer.
    pub(super) doze: Option<(Duration, Duration)>,
    /// Reboots above so many SYNs in 100 ms, and is silent for this long.
    pub(super) reboots: Option<(usize, Duration)>,
    pub(super) vanishes: Option<Moment>,
    /// Nobody is there: ARP fails.
    pub(super) absent: bool,
    /// If nobody is there: the kernel remembers that somebody was.
    pub(super) stale: bool,
}

impl Device {
    /// A wired neighbour that refuses everything but these.
    pub(super) fn new(address: &str, open: &str) -> Self {
        Self {
            address: address.parse().unwrap(),
            link: Link::OnLink,
            rtt: Duration::from_micros(600),
            jitter: Duration::from_micros(300),
            loss: Loss::None,
            open: ports(open),
            filtered: PortSet::default(),
            rejected: PortSet::default(),
            rejection: Reason::AdminProhibited,
            refusals: None,
            errors: None,
            doze: None,
            reboots: None,
            vanishes: None,
            absent: false,
            stale: false,
        }
    }
}

/// A port set that may be empty.
pub(super) fn ports(text: &str) -> PortSet {
    if text.is_empty() { PortSet::default() } else { text.parse().unwrap() }
}

/// 5 s in `DELAY`, three requests a second apart in `PROBE`.
const STALE: Duration = Duration::from_secs(8);

/// A device at work.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) device: Device,
    dice: Dice,
    /// SYNs that left for it, lost ones too.
    pub(super) syns: Vec<Moment>,
    /// The same with their ports.
    pub(super) asked: Vec<(u16, Moment)>,
    /// Ports whose next SYN is lost.
    pub(super) deaf_once: BTreeSet<u16>,
    arrived: VecDeque<Moment>,
    refused: VecDeque<Moment>,
    last_packet: Option<Moment>,
    /// While dozing: when it is awake.
    awake: Moment,
    down_until: Moment,
    pub(super) reboots: u32,
    /// Whether the burst is on, and until when.
    burst: (bool, Moment),
}

impl Host {
    pub(super) fn new(device: Device, seed: u64) -> Self {
        Self {
            device,
            dice: Dice::new(mix(seed)),
            syns: Vec::new(),
            asked: Vec::new(),
            deaf_once: BTreeSet::new(),
            arrived: VecDeque::new(),
            refused: VecDeque::new(),
            last_packet: None,
            awake: Moment::ZERO,
            down_until: Moment::ZERO,
            reboots: 0,
            burst: (false, Moment::ZERO),
        }
    }

    /// Answers nothing until then.
    pub(super) fn sleep_until(&mut self, at: Moment) {
        self.down_until = at;
    }

    /// Whether the neighbour table has an entry for it: somebody's, or a stale one, which is given up 8 s after
    /// the first packet that used it.
    pub(super) fn is_neighbour(&self, now: Moment) -> bool {
        let first = self.syns.first().copied().unwrap_or(now);
        !self.device.absent || (self.device.stale && now.since(first) < STALE)
    }

    /// Takes a SYN; how long after it which answer arrives, if one does.
    pub(super) fn receive(&mut self, port: u16, now: Moment) -> Option<(Duration, Outcome)> {
        self.syns.push(now);
        self.asked.push((port, now));
        if self.deaf_once.remove(&port) {
            return None;
        }
        if self.device.absent || self.device.vanishes.is_some_and(|at| at <= now) || self.is_lost(now) {
            return None;
        }
        if !self.survives(now) {
            return None;
        }
        let woken = self.wake(now);
        let outcome = self.answer(port, now)?;
        let delay = woken + self.device.rtt + self.device.jitter.mul_f64(self.dice.roll());
        (!self.is_lost(now + delay)).then_some((delay, outcome))
    }

    fn answer(&mut self, port: u16, now: Moment) -> Option<Outcome> {
        if self.device.open.contains(port) {
            return Some(Outcome::Accepted);
        }
        if self.device.filtered.contains(port) {
            return None;
        }
        if self.device.rejected.contains(port) {
            let rationed = self.is_rationed(self.device.errors, now);
            return (!rationed).then_some(Outcome::Unreachable(self.device.rejection));
        }
        (!self.is_rationed(self.device.refusals, now)).then_some(Outcome::Refused)
    }

    fn is_rationed(&mut self, limit: Option<usize>, now: Moment) -> bool {
        let Some(limit) = limit else { return false };
        keep(&mut self.refused, now, Duration::from_secs(1));
        let rationed = self.refused.len() >= limit;
        if !rationed {
            self.refused.push_back(now);
        }
        rationed
    }

    fn survives(&mut self, now: Moment) -> bool {
        let Some((limit, silence)) = self.device.reboots else { return now >= self.down_until };
        keep(&mut self.arrived, now, Duration::from_millis(100));
        self.arrived.push_back(now);
        if now >= self.down_until && self.arrived.len() > limit {
            self.down_until = now + silence;
            self.reboots += 1;
        }
        now >= self.down_until
    }

    fn wake(&mut self, now: Moment) -> Duration {
        let Some((after, takes)) = self.device.doze else { return Duration::ZERO };
        if self.last_packet.is_none_or(|last| now.since(last) >= after) {
            self.awake = now + takes;
        }
        self.last_packet = Some(now);
        now.until(self.awake)
    }

    fn is_lost(&mut self, now: Moment) -> bool {
        match self.device.loss {
            Loss::None => false,
            Loss::Random(probability) => self.dice.happens(probability),
            Loss::Bursts { good, bad } => {
                while self.burst.1 <= now {
                    let (on, until) = self.burst;
                    let mean = if on { good } else { bad };
                    self.burst = (!on, until + mean.mul_f64(-(1.0 - self.dice.roll()).ln()));
                }
                self.burst.0
            }
        }
    }
}

fn keep(times: &mut VecDeque<Moment>, now: Moment, span: Duration) {
    while times.front().is_some_and(|&at| at + span <= now) {
        times.pop_front();
    }
}

/// Most of these ascending moments within any window of this length.
pub(super) fn peak(times: &[Moment], span: Duration) -> usize {
    let mut first = 0;
    let within = |(last, at): (usize, &Moment)| {
        while at.since(times[first]) >= span {
            first += 1;
        }
        last + 1 - first
    };
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

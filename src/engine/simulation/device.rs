//! A simulated host: the behaviour of a scenario's device, and what only a simulation can do to it.

use std::{collections::BTreeSet, time::Duration};

use testkit::{
    manners::{Manners, Reaction},
    scenario::Behaviour,
};

use crate::{
    engine::{Outcome, ProbeId},
    model::{Address, Moment, PortState, Reason},
};

/// 5 s in `DELAY`, three requests a second apart in `PROBE`.
const STALE: Duration = Duration::from_secs(8);

/// A device in the simulation.
#[derive(Debug)]
pub(super) struct SimulatedHost {
    pub(super) address: Address,
    pub(super) manners: Manners,
    /// The ICMP error with which it rejects.
    pub(super) rejection: Reason,
    /// The host is absent: ARP fails.
    pub(super) absent: bool,
    /// If the host is absent: the kernel still has an entry for it.
    pub(super) stale: bool,
    /// Ports to which the next SYN is lost.
    pub(super) deaf_once: BTreeSet<u16>,
    /// SYNs that left for it, lost ones too.
    pub(super) syns: Vec<Moment>,
    /// Their ports.
    pub(super) asked: Vec<(u16, Moment)>,
    /// Open sockets towards it.
    pub(super) sockets: usize,
}

impl SimulatedHost {
    pub(super) fn new(address: Address, behaviour: Behaviour, seed: u64) -> Self {
        Self {
            address,
            absent: behaviour.absent,
            manners: Manners::new(behaviour, seed),
            rejection: Reason::AdminProhibited,
            stale: false,
            deaf_once: BTreeSet::new(),
            syns: Vec::new(),
            asked: Vec::new(),
            sockets: 0,
        }
    }

    /// Whether the neighbour table has an entry for it: that of a present host, or a stale one, which the kernel gives
    /// up 8 s after the first packet that used it.
    pub(super) fn is_neighbour(&self, now: Moment) -> bool {
        let first = self.syns.first().copied().unwrap_or(now);
        !self.absent || (self.stale && now.since(first) < STALE)
    }

    /// Takes a SYN; returns which reply arrives, and when, if one does.
    pub(super) fn receive(&mut self, id: ProbeId, port: u16, now: Moment) -> Option<(Moment, Outcome)> {
        self.syns.push(now);
        self.asked.push((port, now));
        self.manners.asked(to_kit(now));
        self.manners.advance(to_kit(now));
        if self.absent || self.deaf_once.remove(&port) {
            return None;
        }
        let (due, reaction) = self.manners.syn(to_kit(now), id.0, port)?;
        let outcome = match reaction {
            Reaction::Accepts => Outcome::Accepted,
            Reaction::Refuses => Outcome::Refused,
            Reaction::Rejects => Outcome::Unreachable(self.rejection),
            Reaction::Unreachable => Outcome::Unreachable(Reason::HostUnreach),
        };
        Some((from_kit(due), outcome))
    }

    /// The state that a scan is to find of a port.
    pub(super) fn state(&self, port: u16) -> PortState {
        match self.manners.state(port) {
            testkit::PortState::Open => PortState::Open,
            testkit::PortState::Closed => PortState::Closed,
            testkit::PortState::Filtered => PortState::Filtered,
        }
    }

    /// Makes it go away for good.
    pub(super) fn vanish(&mut self, at: Moment) {
        self.manners.vanish(to_kit(at));
    }

    /// The time at which it last went away for good.
    pub(super) fn vanished(&self) -> Option<Moment> {
        self.manners.vanished().map(from_kit)
    }

    /// Makes it ignore everything until then.
    pub(super) fn silence(&mut self, until: Moment) {
        self.manners.silence(to_kit(until));
    }
}

/// The test kit does not depend on the appliance's types, and so has its own `Moment`.
fn to_kit(moment: Moment) -> testkit::Moment {
    testkit::Moment::from_start(moment.since_start())
}

fn from_kit(moment: testkit::Moment) -> Moment {
    Moment::from_start(moment.since_start())
}

/// The most of these ascending moments within any window of this length.
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

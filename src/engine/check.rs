//! The liveness check: is the host up? A few probes before a scan tell, because while the kernel resolves a neighbour's
//! address it keeps some 100 packets for it and drops the others silently.

use std::{collections::VecDeque, time::Duration};

use super::{
    job::{HostJob, Link},
    order::{LIKELY, Places},
};

/// The time-out of a liveness probe. The kernel reports a failed ARP resolution after 3 s (three requests, one second
/// apart, arp(7)); with a shorter time-out every absent host would look filtered. Below 4 s, when newer kernels
/// retransmit the SYN once more.
pub(super) const CHECK_WAIT: Duration = Duration::from_millis(3900);

/// Unanswered probes, one after the other, after which a neighbour counts as up. One would do if the kernel had to
/// resolve the address first. If it still has an entry (`STALE`, arp(7)), it sends to that MAC, begins to verify it
/// after 5 s, asks it for 3 s, and only the next packet makes it broadcast, for 3 s more: it takes 11 s until the
/// kernel reports that no host answers, and these probes take 15.6 s.
const NEIGHBOUR_LOOKS: u8 = 4;

/// Likely ports that are probed: on a neighbour all at once, because one of them mostly answers even if a firewall
/// drops the others; behind a router one after the other, before silence counts as absence.
const PORTS: usize = 8;

/// Probes in flight at once behind a router after the first was unanswered.
const ROUTED_AT_ONCE: u8 = 3;

/// The liveness check of one job.
#[derive(Debug)]
pub(super) struct Check {
    link: Link,
    /// The ports to probe, in order; for a neighbour they are repeated.
    candidates: VecDeque<u16>,
    /// Whether one of these ports is known to answer, so that silence means that the host is down.
    known: bool,
    under_way: u8,
    /// Probes started since none was in flight.
    round: u8,
    /// Unanswered probes behind a router; unanswered rounds for a neighbour.
    silent: u8,
}

/// What the check wants next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CheckStep {
    /// A probe of this port.
    Probe(u16),
    /// To wait for a reply.
    Reply,
    /// Nothing more: the host is up.
    Up,
    /// Nothing more: the host is down.
    Down,
}

impl Check {
    /// Ports of the job come first, and a neighbour is never probed on a port that is not in the job.
    pub(super) fn new(job: &HostJob, places: &Places) -> Self {
        let asked = |port: &u16| places.place(*port).is_some();
        let likely = LIKELY.iter().copied();
        let any = (places.len() > 0).then(|| places.port(0));
        let order = job.first.iter().copied().chain(likely.clone()).filter(asked).chain(any).chain(likely);
        let mut candidates = VecDeque::new();
        for port in order {
            let named = candidates.is_empty() || job.link == Link::Routed || asked(&port);
            if named && candidates.len() < PORTS && !candidates.contains(&port) {
                candidates.push_back(port);
            }
        }
        Self { link: job.link, candidates, known: false, under_way: 0, round: 0, silent: 0 }
    }

    /// Whether none of its probes is in flight or has ended.
    pub(super) const fn is_fresh(&self) -> bool {
        self.under_way == 0 && self.silent == 0
    }

    /// A port is known to answer: it is probed next.
    pub(super) fn prefer(&mut self, port: u16) {
        if self.link == Link::Routed && self.known {
            return;
        }
        self.known = true;
        self.candidates.retain(|&other| other != port);
        self.candidates.push_front(port);
    }

    /// Whether silence has shown that a neighbour is up.
    pub(super) const fn is_resolved(&self) -> bool {
        !matches!(self.link, Link::Routed) && self.silent >= NEIGHBOUR_LOOKS && !self.known
    }

    pub(super) fn next(&self) -> CheckStep {
        let routed = self.link == Link::Routed;
        let free = match self.silent {
            0 if routed || self.known => self.round < 1,
            0 => usize::from(self.round) < self.candidates.len(),
            _ if routed => self.under_way < ROUTED_AT_ONCE,
            _ => self.round < 1,
        };
        match self.candidates.front() {
            _ if self.is_resolved() => CheckStep::Up,
            _ if !routed && self.silent >= NEIGHBOUR_LOOKS => CheckStep::Down,
            Some(&port) if free => CheckStep::Probe(port),
            None if self.under_way == 0 => CheckStep::Down,
            _ => CheckStep::Reply,
        }
    }

    pub(super) fn started(&mut self) {
        let port = self.candidates.pop_front();
        if self.link != Link::Routed {
            self.candidates.extend(port);
        }
        self.under_way += 1;
        self.round += 1;
    }

    /// A probe ended without a reply from the host.
    pub(super) fn silent(&mut self) {
        self.ended();
        if self.link == Link::Routed || self.under_way == 0 {
            self.silent += 1;
        }
    }

    fn ended(&mut self) {
        self.under_way -= 1;
        if self.under_way == 0 {
            self.round = 0;
        }
    }

    /// A probe was not made. Other ports come first, because this one alone may fail.
    pub(super) fn returned(&mut self, port: u16) {
        self.ended();
        if !self.candidates.contains(&port) {
            self.candidates.push_back(port);
        }
    }
}

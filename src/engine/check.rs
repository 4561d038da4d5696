//! Is anybody there? Asked before a scan, with a few probes: while a neighbour is being looked for the kernel
//! keeps some 100 packets for it and loses the rest without a word.

use std::{collections::VecDeque, time::Duration};

use super::{
    job::{HostJob, Link},
    order::{LIKELY, Places},
};

/// How long a liveness probe waits. The kernel says that nobody answers ARP after 3 s (three requests, one
/// second apart, arp(7)); whoever waits less takes every absent host for a filtered one. Below 4 s, when
/// newer kernels send the SYN once more.
pub(super) const CHECK_WAIT: Duration = Duration::from_millis(3900);

/// Silent looks, one after the other, after which a neighbour is there. One would do if the kernel had to ask
/// for its address first. Where it still remembers one (`STALE`, arp(7)) it sends there and begins to doubt
/// after 5 s, asks the old address for 3 s, and only the next packet makes it ask everybody, for 3 s more: 11 s
/// until it says that nobody is there, and these looks take 15.6 s.
const NEIGHBOUR_LOOKS: u8 = 4;

/// Likely ports asked: of a neighbour all at once, for one of them mostly answers even where a firewall drops
/// the rest; behind a router one after the other, before silence counts as absence.
const PORTS: usize = 8;

/// Probes at once behind a router after the first was silent.
const ROUTED_AT_ONCE: u8 = 3;

/// The liveness check of one job.
#[derive(Debug)]
pub(super) struct Check {
    link: Link,
    /// In turn; a neighbour's come round again.
    candidates: VecDeque<u16>,
    /// Whether one of them is known to answer, so that silence means absence.
    known: bool,
    under_way: u8,
    /// Begun since none was under way.
    round: u8,
    /// Behind a router probes, of a neighbour rounds, that were silent.
    silent: u8,
}

/// What the check wants next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A probe of this port.
    Probe(u16),
    /// An answer.
    Reply,
    /// Nothing more: scan.
    Up,
    /// Nothing more: nobody is there.
    Down,
}

impl Check {
    /// Ports that the job asks for come first, and a neighbour is never asked on a port that nobody named.
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

    /// Whether no probe of it is under way or has ended.
    pub(super) const fn is_fresh(&self) -> bool {
        self.under_way == 0 && self.silent == 0
    }

    /// A port is known to answer: it is asked, whoever else would be next.
    pub(super) fn prefer(&mut self, port: u16) {
        if self.link == Link::Routed && self.known {
            return;
        }
        self.known = true;
        self.candidates.retain(|&other| other != port);
        self.candidates.push_front(port);
    }

    /// Whether silence has shown that a neighbour is there.
    pub(super) const fn is_resolved(&self) -> bool {
        !matches!(self.link, Link::Routed) && self.silent >= NEIGHBOUR_LOOKS && !self.known
    }

    pub(super) fn next(&self) -> Next {
        let routed = self.link == Link::Routed;
        let free = match self.silent {
            0 if routed || self.known => self.round < 1,
            0 => usize::from(self.round) < self.candidates.len(),
            _ if routed => self.under_way < ROUTED_AT_ONCE,
            _ => self.round < 1,
        };
        match self.candidates.front() {
            _ if self.is_resolved() => Next::Up,
            _ if !routed && self.silent >= NEIGHBOUR_LOOKS => Next::Down,
            Some(&port) if free => Next::Probe(port),
            None if self.under_way == 0 => Next::Down,
            _ => Next::Reply,
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

    /// A probe ended without a sign of life.
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

    /// A probe was not made. Others come first: what failed may be this port alone.
    pub(super) fn returned(&mut self, port: u16) {
        self.ended();
        if !self.candidates.contains(&port) {
            self.candidates.push_back(port);
        }
    }
}

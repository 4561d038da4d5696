//! Is anybody there? Asked before a scan, one probe at a time: while a neighbour is being looked for the
//! kernel keeps some 100 packets for it and loses the rest without a word.

use std::{collections::VecDeque, time::Duration};

use super::{
    job::{HostJob, Link},
    order::{LIKELY, Places},
};

/// How long a liveness probe waits. The kernel says that nobody answers ARP after 3 s (three requests, one
/// second apart, arp(7)); whoever waits less takes every absent host for a filtered one. Below 4 s, when
/// newer kernels send the SYN once more.
pub(super) const CHECK_WAIT: Duration = Duration::from_millis(3900);

/// Likely ports tried behind a router before silence counts as absence.
const ROUTED_TRIES: usize = 8;

/// Probes at once behind a router after the first was silent.
const ROUTED_AT_ONCE: u8 = 3;

/// The liveness check of one job.
#[derive(Debug)]
pub(super) struct Check {
    link: Link,
    candidates: VecDeque<u16>,
    under_way: u8,
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
    /// Ports that the job asks for come first, so that a neighbour, who gets one probe, is never asked on a
    /// port that nobody named.
    pub(super) fn new(job: &HostJob, places: &Places) -> Self {
        let asked = |port: &u16| places.place(*port).is_some();
        let likely = LIKELY.iter().copied();
        let any = (places.len() > 0).then(|| places.port(0));
        let order = job.first.iter().copied().chain(likely.clone()).filter(asked).chain(any).chain(likely);
        let mut candidates = VecDeque::new();
        for port in order {
            if candidates.len() < ROUTED_TRIES && !candidates.contains(&port) {
                candidates.push_back(port);
            }
        }
        Self { link: job.link, candidates, under_way: 0, silent: 0 }
    }

    /// Whether no probe of it is under way or has ended.
    pub(super) const fn is_fresh(&self) -> bool {
        self.under_way == 0 && self.silent == 0
    }

    pub(super) fn next(&self) -> Next {
        let at_once = if self.silent == 0 { 1 } else { ROUTED_AT_ONCE };
        match self.candidates.front() {
            _ if self.link != Link::Routed && self.silent > 0 => Next::Up,
            Some(&port) if self.under_way < at_once => Next::Probe(port),
            None if self.under_way == 0 => Next::Down,
            _ => Next::Reply,
        }
    }

    pub(super) fn started(&mut self) {
        self.candidates.pop_front();
        self.under_way += 1;
    }

    /// A probe ended without a sign of life.
    pub(super) fn silent(&mut self) {
        self.under_way -= 1;
        self.silent += 1;
    }

    /// A probe was not made.
    pub(super) fn returned(&mut self, port: u16) {
        self.under_way -= 1;
        self.candidates.push_front(port);
    }
}

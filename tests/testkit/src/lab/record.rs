//! What the scanner did to a host, as seen on the wire.
//!
//! Everything is counted where the scanner's frame leaves its machine, with the kernel's receive time stamp: before
//! loss, whether or not a device receives it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    time::Duration,
};

use super::wire::{Segment, TcpFlags};
use crate::{Moment, Ports};

/// The state of one attempt to connect.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    sequence: u32,
    /// Octets of data that the scanner has written, each once however often the kernel sends it.
    written: u32,
    started: Moment,
    /// A SYN-ACK went out.
    accepted: bool,
    /// The scanner's RST or FIN, or when the host's refusal was due.
    ended: Option<Moment>,
}

/// Everything seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// When, and whether the kernel had sent the same before.
    syns: Vec<(Moment, bool)>,
    ports: HashSet<u16>,
    accepted: HashSet<u16>,
    refused: HashSet<u16>,
    retransmits: usize,
    /// By client port and host port; an attempt that reuses a pair moves the old one to `past`.
    attempts: HashMap<(u16, u16), Attempt>,
    past: Vec<Attempt>,
    payload: u64,
}

/// The packets that reached one host, or were sent to it.
#[derive(Clone, Debug)]
pub struct Stats {
    /// SYNs, the kernel's retransmits included.
    pub syns: usize,
    /// Distinct ports that got one.
    pub ports: usize,
    /// Ports that answered with a SYN-ACK, lost on its way or not.
    pub accepted: Ports,
    /// Ports that answered with an RST or an ICMP error, lost on its way or not.
    pub refused: Ports,
    /// SYNs that repeat an earlier one's ports and sequence number: the kernel's.
    pub retransmits: usize,
    /// Most SYNs in any 100 ms, but for retransmits that a stall of the machine has brought about.
    pub peak_100ms: usize,
    /// The same in any second.
    pub peak_1s: usize,
    /// Connections that the host accepted and the scanner has not ended.
    pub left_open: usize,
    /// Octets of data that the scanner wrote.
    pub payload: u64,
    /// The number of times that the host rebooted or hung.
    pub reboots: usize,
    pub first_syn: Option<Moment>,
    pub last_syn: Option<Moment>,
    attempts: Attempts,
}

/// Too many to print with every failed assertion.
#[derive(Clone)]
struct Attempts(Vec<Attempt>);

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempts", self.0.len())
    }
}

/// A stall: a time in which the lab, and so the machine, did nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    pub from: Moment,
    pub to: Moment,
}

impl Stall {
    /// What takes longer than this is one: the lab looks every 20 ms.
    pub(super) const SHORTEST: Duration = Duration::from_millis(100);

    /// Whether a stall caused a retransmit at this time: the kernel's timers went on, and fire together before any
    /// scanner can close its socket.
    fn explains(self, at: Moment) -> bool {
        (self.from..=self.to + Duration::from_millis(200)).contains(&at)
    }
}

impl Attempt {
    /// Octets of data in the segment that were not in any before.
    fn written_by(&mut self, segment: &Segment<'_>) -> u32 {
        if segment.payload == 0 {
            return 0;
        }
        let reached =
            segment.sequence.wrapping_add(segment.payload).wrapping_sub(self.sequence.wrapping_add(1));
        let fresh = reached.saturating_sub(self.written);
        self.written += fresh;
        fresh
    }
}

impl Record {
    pub(super) fn sent(&mut self, at: Moment, segment: &Segment<'_>) {
        let pair = (segment.from_port, segment.to_port);
        let known = self.attempts.get_mut(&pair).filter(|_| !segment.is_syn());
        self.payload += u64::from(known.map_or(segment.payload, |attempt| attempt.written_by(segment)));
        if segment.is_syn() {
            self.asked(at, pair, segment.sequence);
            return;
        }
        if segment.has(TcpFlags::RST) || segment.has(TcpFlags::FIN) {
            self.end(pair, at);
        }
    }

    fn asked(&mut self, at: Moment, pair: (u16, u16), sequence: u32) {
        self.ports.insert(pair.1);
        let again = self.attempts.get(&pair).is_some_and(|known| known.sequence == sequence);
        self.syns.push((at, again));
        if again {
            self.retransmits += 1;
            return;
        }
        let fresh = Attempt { sequence, written: 0, started: at, accepted: false, ended: None };
        self.past.extend(self.attempts.insert(pair, fresh));
    }

    /// The host has answered with a SYN-ACK.
    pub(super) fn accepted(&mut self, segment: &Segment<'_>) {
        self.accepted.insert(segment.to_port);
        if let Some(attempt) = self.attempts.get_mut(&(segment.from_port, segment.to_port)) {
            attempt.accepted = true;
        }
    }

    /// The host's RST or ICMP error is due at this time.
    pub(super) fn refused(&mut self, segment: &Segment<'_>, due: Moment) {
        self.refused.insert(segment.to_port);
        self.end((segment.from_port, segment.to_port), due);
    }

    fn end(&mut self, pair: (u16, u16), at: Moment) {
        if let Some(attempt) = self.attempts.get_mut(&pair) {
            attempt.ended.get_or_insert(at);
        }
    }

    /// Returns the numbers; the device counts its failures, and the lab records the machine's stalls.
    pub(super) fn stats(&self, reboots: usize, stalls: &[Stall]) -> Stats {
        // Two processors may queue their frames a little out of order.
        let mut syns = self.syns.clone();
        syns.sort_unstable();
        let (first, last) = (syns.first(), syns.last());
        let counted =
            syns.iter().filter(|&&(at, again)| !again || !stalls.iter().any(|stall| stall.explains(at)));
        let times: Vec<Moment> = counted.map(|&(at, _)| at).collect();
        let attempts: Vec<Attempt> = self.past.iter().chain(self.attempts.values()).copied().collect();
        Stats {
            syns: syns.len(),
            ports: self.ports.len(),
            accepted: self.accepted.iter().copied().collect(),
            refused: self.refused.iter().copied().collect(),
            retransmits: self.retransmits,
            peak_100ms: peak(&times, Duration::from_millis(100)),
            peak_1s: peak(&times, Duration::from_secs(1)),
            left_open: attempts.iter().filter(|a| a.accepted && a.ended.is_none()).count(),
            payload: self.payload,
            reboots,
            first_syn: first.map(|&(at, _)| at),
            last_syn: last.map(|&(at, _)| at),
            attempts: Attempts(attempts),
        }
    }
}

impl Stats {
    /// The most sockets that the scanner certainly held towards the host at one time.
    ///
    /// An attempt holds a socket from its first SYN until the scanner's RST or FIN, or until the host's refusal was
    /// due. Closing a socket without an answer sends nothing, so such an attempt counts for `silence`: pass the least
    /// time that the scanner waits, and the number is a lower bound.
    pub fn most_half_open(&self, silence: Duration) -> usize {
        let mut ends: Vec<(Moment, i32)> = Vec::with_capacity(self.attempts.0.len() * 2);
        for attempt in &self.attempts.0 {
            let given_up = attempt.started + silence;
            let end = match attempt.ended {
                Some(ended) if attempt.accepted => ended,
                Some(ended) => ended.min(given_up),
                None => given_up,
            };
            ends.push((attempt.started, 1));
            ends.push((end, -1));
        }
        // At the same nanosecond, ends before starts: the pairs sort so.
        ends.sort_unstable();
        let mut held = 0_i32;
        let most = ends.iter().map(|(_, change)| {
            held += change;
            held
        });
        usize::try_from(most.max().unwrap_or(0)).expect("ends follow starts")
    }
}

/// The most of these ascending times in any window of this length.
fn peak(times: &[Moment], window: Duration) -> usize {
    let mut within = VecDeque::new();
    times
        .iter()
        .map(|&time| {
            within.push_back(time);
            while within.front().is_some_and(|&first| time.since(first) >= window) {
                within.pop_front();
            }
            within.len()
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn a_peak_is_the_most_in_any_window() {
        let times = [0, 10, 99, 100, 250].map(at);
        assert_eq!(peak(&times, Duration::from_millis(100)), 3);
        assert_eq!(peak(&times, Duration::from_secs(1)), 5);
        assert_eq!(peak(&[], Duration::from_secs(1)), 0);
    }

    #[test]
    fn retransmits_count_but_where_the_machine_stalled() {
        let mut record = Record::default();
        for port in 1..=20 {
            record.asked(at(0), (40_000 + port, port), 7);
        }
        for port in 1..=20 {
            record.asked(at(1000), (40_000 + port, port), 7);
        }
        record.asked(at(1001), (40_000, 80), 7);
        let peaks = |stalls: &[Stall]| {
            let stats = record.stats(0, stalls);
            assert_eq!((stats.syns, stats.ports, stats.retransmits), (41, 21, 20));
            (stats.peak_100ms, stats.last_syn)
        };
        assert_eq!(peaks(&[]), (21, Some(at(1001))));
        assert_eq!(peaks(&[Stall { from: at(2000), to: at(2200) }]), (21, Some(at(1001))));
        assert_eq!(peaks(&[Stall { from: at(100), to: at(990) }]), (20, Some(at(1001))));
    }

    #[test]
    fn a_socket_is_held_until_it_ends_or_is_given_up() {
        let mut record = Record::default();
        for port in 1..=3 {
            record.asked(at(u64::from(port)), (40_000, port), 7);
        }
        record.end((40_000, 1), at(2));
        let held = |silence| record.stats(0, &[]).most_half_open(Duration::from_millis(silence));
        assert_eq!((held(100), held(1)), (2, 1));
    }
}

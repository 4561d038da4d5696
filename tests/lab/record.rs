//! What the scanner did to a host, as seen on the wire.
//!
//! Everything is counted where the scanner's frame leaves its machine, with the kernel's receive time
//! stamp: before loss, whether or not anybody is there to hear it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    time::Duration,
};

use portscan::model::Moment;

use super::wire::{Segment, TcpFlags};

/// How one attempt to connect stands.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    sequence: u32,
    started: Moment,
    /// A SYN-ACK went out.
    accepted: bool,
    /// The scanner's RST or FIN, or when the host's refusal was due.
    ended: Option<Moment>,
}

/// Everything seen so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    syns: Vec<Moment>,
    ports: HashSet<u16>,
    retransmits: usize,
    /// By client port and host port; an attempt that reuses a pair moves the old one to `past`.
    attempts: HashMap<(u16, u16), Attempt>,
    past: Vec<Attempt>,
    payload: u64,
}

/// What reached one host, or was sent to it.
#[derive(Clone, Debug)]
pub struct Stats {
    /// SYNs, the kernel's retransmits included.
    pub syns: usize,
    /// Distinct ports that got one.
    pub ports: usize,
    /// SYNs that repeat an earlier one's ports and sequence number: the kernel's.
    pub retransmits: usize,
    /// Most SYNs in any 100 ms.
    pub peak_100ms: usize,
    /// Most SYNs in any second.
    pub peak_1s: usize,
    /// Connections that the host accepted and the scanner has not ended.
    pub left_open: usize,
    /// Octets of data that the scanner wrote.
    pub payload: u64,
    /// Times the host fell over.
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

impl Record {
    pub fn sent(&mut self, at: Moment, segment: &Segment<'_>) {
        self.payload += u64::from(segment.payload);
        let pair = (segment.from_port, segment.to_port);
        if segment.is_syn() {
            self.syns.push(at);
            self.ports.insert(segment.to_port);
            let fresh = Attempt { sequence: segment.sequence, started: at, accepted: false, ended: None };
            match self.attempts.get(&pair) {
                Some(known) if known.sequence == segment.sequence => self.retransmits += 1,
                _ => self.past.extend(self.attempts.insert(pair, fresh)),
            }
        } else if segment.has(TcpFlags::RST) || segment.has(TcpFlags::FIN) {
            self.end(pair, at);
        }
    }

    /// The host has answered with a SYN-ACK.
    pub fn accepted(&mut self, segment: &Segment<'_>) {
        if let Some(attempt) = self.attempts.get_mut(&(segment.from_port, segment.to_port)) {
            attempt.accepted = true;
        }
    }

    /// The host's RST or ICMP error is due at this time.
    pub fn refused(&mut self, segment: &Segment<'_>, due: Moment) {
        self.end((segment.from_port, segment.to_port), due);
    }

    fn end(&mut self, pair: (u16, u16), at: Moment) {
        if let Some(attempt) = self.attempts.get_mut(&pair) {
            attempt.ended.get_or_insert(at);
        }
    }

    /// Its numbers; the device knows how often it fell over.
    pub fn stats(&self, reboots: usize) -> Stats {
        // Two processors may queue their frames a little out of order.
        let mut times = self.syns.clone();
        times.sort_unstable();
        let attempts: Vec<Attempt> = self.past.iter().chain(self.attempts.values()).copied().collect();
        Stats {
            syns: times.len(),
            ports: self.ports.len(),
            retransmits: self.retransmits,
            peak_100ms: peak(&times, Duration::from_millis(100)),
            peak_1s: peak(&times, Duration::from_secs(1)),
            left_open: attempts.iter().filter(|a| a.accepted && a.ended.is_none()).count(),
            payload: self.payload,
            reboots,
            first_syn: times.first().copied(),
            last_syn: times.last().copied(),
            attempts: Attempts(attempts),
        }
    }
}

impl Stats {
    /// The most sockets that the scanner certainly held towards the host at one time.
    ///
    /// An attempt is held from its first SYN until the scanner's RST or FIN, or until the host's refusal was
    /// due. Closing a socket that nobody answered sends nothing, so such an attempt is taken to be held for
    /// `silence`: pass the least time that the scanner waits, and the number is a lower bound of the truth.
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

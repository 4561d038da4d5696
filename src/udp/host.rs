//! One host: which of its ports is asked next and when, how often, what an answer means, and the report.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    engine::{LocalError, Progress},
    model::{
        Address, HostReport, HostStatus, Moment, PortFinding, PortSet, PortState, Protocol, Reason, Timing,
    },
};

/// The shortest time between two datagrams to a host. A host answers closed ports by one ICMP error a second on average
/// (Linux's `icmp_ratelimit`, 1000 ms, a token bucket; RFC 1812, 4.3.2.8; RFC 4443, 2.4f): asked faster, closed ports
/// would be silent.
const PACE: Duration = Duration::from_secs(1);

/// How often a silent port is asked.
const TRIES: u8 = 2;

/// Datagrams of one host that wait for their answers at once: as many as leave while the first one waits.
const AT_ONCE: u16 = 5;

/// Faults of this machine on one port before it is left without a verdict: a firewall may forbid this port alone.
const MOST_FAULTS_OF_PORT: u8 = 3;

/// Faults of this machine in a row before the host is left.
const MOST_FAULTS: u8 = 12;

/// Datagrams in a row that found no neighbour before the host counts as gone: each waited for three ARP requests.
const MOST_ABSENT: u8 = 3;

/// How a host is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpSettings {
    /// How often a silent port is asked; 0 counts as 1.
    pub tries: u8,
    /// The shortest time between two datagrams.
    pub pace: Duration,
    /// Datagrams that wait for an answer at once.
    pub at_once: u16,
    /// The time after which the host is left with what is known.
    pub deadline: Option<Duration>,
}

impl UdpSettings {
    /// Those of a timing template: T0 and T1 keep their pace, and no template is faster than a host's ICMP errors.
    pub fn of(timing: Timing) -> Self {
        let pace = match timing {
            Timing::T0 => Duration::from_secs(300),
            Timing::T1 => Duration::from_secs(15),
            _ => PACE,
        };
        Self { tries: TRIES, pace, at_once: AT_ONCE, deadline: None }
    }
}

/// One datagram to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpTry {
    /// The port.
    pub port: u16,
    /// How many datagrams have asked it before.
    pub number: u8,
}

/// What came of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpOutcome {
    /// The port answered, after this time.
    Reply(Duration),
    /// The host answered that nothing listens there (ICMP port unreachable), after this time.
    PortUnreachable(Duration),
    /// Another ICMP error, or one about the port from another sender than the host.
    Unreachable(Reason),
    /// No answer.
    Silent,
    /// The kernel reports that no host answers ARP (or neighbour discovery) at the address.
    NoNeighbour,
    /// A fault of this machine, which says nothing about the port.
    Local(LocalError),
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpStep {
    /// To send this datagram.
    Send(UdpTry),
    /// To wait until this time, or for an outcome.
    Wait(Option<Moment>),
    /// Nothing: the report is complete.
    Done,
}

/// A host that is being asked.
#[derive(Debug)]
pub struct UdpHost {
    settings: UdpSettings,
    ports: u32,
    waiting: VecDeque<UdpTry>,
    in_flight: u16,
    began: Moment,
    next_at: Moment,
    answered_at: Option<Moment>,
    verdicts: BTreeMap<u16, PortFinding>,
    faults_of_port: BTreeMap<u16, u8>,
    /// Ports that this machine could not ask, and why the last of them.
    not_asked: Option<(u32, LocalError)>,
    faults: BTreeMap<LocalError, u64>,
    faults_in_a_row: u8,
    absent_in_a_row: u8,
    /// Tries that are over, those included that a verdict has saved.
    done: u32,
    sent: u64,
    ending: Option<(HostStatus, &'static str)>,
}

impl UdpHost {
    /// A host of which these ports are asked from now on.
    pub fn new(ports: &PortSet, settings: UdpSettings, now: Moment) -> Self {
        let settings =
            UdpSettings { tries: settings.tries.max(1), at_once: settings.at_once.max(1), ..settings };
        Self {
            settings,
            ports: ports.len(),
            waiting: ports.iter().map(|port| UdpTry { port, number: 0 }).collect(),
            in_flight: 0,
            began: now,
            next_at: now,
            answered_at: None,
            verdicts: BTreeMap::new(),
            faults_of_port: BTreeMap::new(),
            not_asked: None,
            faults: BTreeMap::new(),
            faults_in_a_row: 0,
            absent_in_a_row: 0,
            done: 0,
            sent: 0,
            ending: None,
        }
    }

    /// Returns the next step. A datagram to send is then followed by [`UdpHost::sent`] and [`UdpHost::ended`], or by
    /// the latter alone if it did not leave.
    pub fn next(&mut self, now: Moment) -> UdpStep {
        let deadline = self.settings.deadline.map(|after| self.began + after);
        if self.ending.is_none() && deadline.is_some_and(|deadline| now >= deadline) {
            self.ending = Some((HostStatus::Partial, "out of time: the host's deadline passed"));
        }
        if self.ending.is_some() || (self.waiting.is_empty() && self.in_flight == 0) {
            return UdpStep::Done;
        }
        if self.in_flight >= self.settings.at_once || self.waiting.is_empty() {
            return UdpStep::Wait(deadline);
        }
        if now < self.next_at {
            return UdpStep::Wait(Some(deadline.map_or(self.next_at, |deadline| deadline.min(self.next_at))));
        }
        let Some(next) = self.waiting.pop_front() else { return UdpStep::Wait(deadline) };
        self.in_flight += 1;
        UdpStep::Send(next)
    }

    /// A datagram has left, at this time at the latest.
    pub fn sent(&mut self, now: Moment) {
        self.sent += 1;
        self.next_at = now + self.settings.pace;
    }

    /// Something came of a datagram.
    pub fn ended(&mut self, one: UdpTry, outcome: UdpOutcome, now: Moment) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            UdpOutcome::Local(fault) => return self.fault(one, fault, now),
            UdpOutcome::NoNeighbour => return self.absent(one),
            _ => (self.faults_in_a_row, self.absent_in_a_row) = (0, 0),
        }
        let (state, reason, rtt) = match outcome {
            UdpOutcome::Reply(rtt) => (PortState::Open, Reason::UdpResponse, Some(rtt)),
            UdpOutcome::PortUnreachable(rtt) => (PortState::Closed, Reason::PortUnreach, Some(rtt)),
            UdpOutcome::Unreachable(reason) => (PortState::Filtered, reason, None),
            _ if one.number + 1 < self.settings.tries => {
                self.done += 1;
                return self.waiting.push_back(UdpTry { number: one.number + 1, ..one });
            }
            _ => (PortState::OpenFiltered, Reason::NoResponse, None),
        };
        if rtt.is_some() {
            self.answered_at.get_or_insert(now);
        }
        self.done += u32::from(self.settings.tries - one.number);
        self.verdicts.insert(one.port, PortFinding { port: one.port, state, reason, rtt });
    }

    /// This machine could not send, or refused to.
    fn fault(&mut self, one: UdpTry, fault: LocalError, now: Moment) {
        self.next_at = self.next_at.max(now + self.settings.pace);
        *self.faults.entry(fault).or_default() += 1;
        self.faults_in_a_row += 1;
        let of_port = self.faults_of_port.entry(one.port).or_default();
        *of_port += 1;
        if *of_port < MOST_FAULTS_OF_PORT {
            self.waiting.push_back(one);
        } else {
            let count = self.not_asked.map_or(0, |(count, _)| count);
            self.not_asked = Some((count + 1, fault));
            self.done += u32::from(self.settings.tries - one.number);
        }
        if self.faults_in_a_row >= MOST_FAULTS {
            self.ending.get_or_insert((HostStatus::Partial, "this machine could not send; see the warnings"));
        }
    }

    fn absent(&mut self, one: UdpTry) {
        self.absent_in_a_row += 1;
        self.waiting.push_back(one);
        if self.absent_in_a_row >= MOST_ABSENT {
            self.ending.get_or_insert(match self.answered_at {
                Some(_) => (HostStatus::Partial, "the host went silent while it was scanned"),
                None => (HostStatus::Down, ""),
            });
        }
    }

    /// Ends it with what is known.
    pub fn stop(&mut self) {
        self.ending.get_or_insert((HostStatus::Partial, "stopped"));
    }

    /// How far it is. A silent port counts in part until its last try is over, so that the time left can be told.
    pub fn progress(&self) -> Progress {
        let open = self.verdicts.values().filter(|found| found.state == PortState::Open).count();
        Progress {
            ports: self.ports,
            settled: self.done / u32::from(self.settings.tries),
            open: u32::try_from(open).unwrap_or(u32::MAX),
            probes: self.sent,
        }
    }

    /// This machine's faults.
    pub fn faults(&self) -> &BTreeMap<LocalError, u64> {
        &self.faults
    }

    /// Returns the report on what is known now.
    pub fn report(self, address: Address, now: Moment) -> HostReport {
        let base =
            HostReport { protocol: Protocol::Udp, probes: self.sent, ..HostReport::no_neighbour(address) };
        let answered_at = self.answered_at.unwrap_or(now);
        let (preparation, scanning) = (answered_at.since(self.began), now.since(answered_at));
        let (status, detail) = match (self.ending, self.not_asked) {
            (Some((HostStatus::Down, _)), _) => return HostReport { preparation, scanning, ..base },
            (Some((status, detail)), _) => (status, detail.to_owned()),
            (None, Some((count, fault))) => {
                let why = format!("this machine could not ask {count} of its ports ({})", fault.as_str());
                (HostStatus::Partial, why)
            }
            (None, None) => (HostStatus::Up, String::new()),
        };
        let (default_state, default_reason) = commonest(self.verdicts.values());
        HostReport {
            status,
            coverage: self.verdicts.keys().copied().collect(),
            default_state,
            default_reason,
            findings: self.verdicts.into_values().filter(|found| found.state != default_state).collect(),
            preparation,
            scanning,
            detail,
            ..base
        }
    }
}

/// The most common state but open, with its most common reason.
fn commonest<'a>(verdicts: impl Iterator<Item = &'a PortFinding>) -> (PortState, Reason) {
    let mut counts = BTreeMap::<PortState, BTreeMap<Reason, u32>>::new();
    for found in verdicts.filter(|found| found.state != PortState::Open) {
        *counts.entry(found.state).or_default().entry(found.reason).or_default() += 1;
    }
    let total = |reasons: &BTreeMap<Reason, u32>| reasons.values().sum::<u32>();
    let state = counts.into_iter().max_by_key(|(state, reasons)| (total(reasons), Reverse(*state)));
    let of_state = state.and_then(|(state, reasons)| {
        let (reason, _) = reasons.into_iter().max_by_key(|&(_, count)| count)?;
        Some((state, reason))
    });
    of_state.unwrap_or((PortState::OpenFiltered, Reason::NoResponse))
}

#[cfg(test)]
mod tests;

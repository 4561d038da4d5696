//! One `<host>` element, and how several of them are merged into one host.
//!
//! nmap writes an element for each target, so two for a target that was given twice; masscan writes one for each open
//! port and each banner. The elements are read from last to first, and each port keeps the first verdict found, which
//! is the newest. So a host needs the memory of its verdicts, regardless of the number of elements.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ports::{Part, Verdict};
use crate::model::{Address, HostReport, HostStatus, Mac, PortFinding, PortSet, PortState, Protocol, Reason};

/// One host of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedHost {
    /// Its address.
    pub address: Address,
    /// Its MAC, if nmap was its neighbour.
    pub mac: Option<Mac>,
    /// The name that the user typed, else the one from DNS.
    pub name: Option<String>,
    /// When nmap began with it; the scan's start if missing.
    pub started: Timestamp,
    /// When nmap finished it; its start if missing.
    pub finished: Timestamp,
    /// One report for each scanned protocol; none for a host that was only seen.
    pub reports: Vec<HostReport>,
}

/// One element, without the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) mac: Option<Mac>,
    pub(super) name: Option<String>,
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
    /// Why nmap did not finish the host, and for which protocol it reports this.
    pub(super) given_up: Option<(Protocol, String)>,
    /// The results, at most one for each protocol.
    pub(super) parts: Vec<Part>,
}

impl Piece {
    /// Converts the piece to a host, if this is its only element.
    pub(super) fn into_host(self, address: Address) -> ReportedHost {
        let Self { mac, name, started, finished, given_up, parts } = self;
        let scanning = Duration::try_from(finished.duration_since(started)).unwrap_or_default();
        let report = |status, protocol| HostReport {
            address: address.clone(),
            status,
            coverage: PortSet::default(),
            default_state: PortState::Closed,
            default_reason: Reason::NoResponse,
            findings: Vec::new(),
            protocol,
            probes: 0,
            preparation: Duration::ZERO,
            scanning,
            detail: String::new(),
        };
        let found = |(port, (state, reason))| PortFinding { port, state, reason, rtt: None };
        let of_part = |part: Part| HostReport {
            coverage: part.coverage,
            default_state: part.default.0,
            default_reason: part.default.1,
            findings: part.findings.into_iter().map(found).collect(),
            ..report(HostStatus::Up, part.protocol)
        };
        let mut reports: Vec<HostReport> = parts.into_iter().map(of_part).collect();
        if let Some((protocol, detail)) = given_up.filter(|_| reports.is_empty()) {
            reports.push(HostReport { detail, ..report(HostStatus::Partial, protocol) });
        }
        ReportedHost { address, mac, name, started, finished, reports }
    }
}

/// Merges the pieces of one host; reused for one host after the other.
#[derive(Default)]
pub(super) struct Assembly {
    merged: Option<Piece>,
    canvases: BTreeMap<Protocol, Canvas>,
}

impl Assembly {
    /// Adds a piece that is older than all that were added before.
    pub(super) fn add_older(&mut self, piece: Piece) {
        for part in &piece.parts {
            let canvas = self.canvases.entry(part.protocol).or_default();
            for &(port, verdict) in &part.findings {
                canvas.fill((port, port), verdict);
            }
            part.coverage.ranges().iter().for_each(|&range| canvas.fill(range, part.default));
        }
        let older = Piece { parts: Vec::new(), ..piece };
        self.merged = Some(match self.merged.take() {
            None => older,
            Some(newer) => Piece {
                mac: newer.mac.or(older.mac),
                name: older.name.or(newer.name),
                started: newer.started.min(older.started),
                finished: newer.finished.max(older.finished),
                given_up: newer.given_up.or(older.given_up),
                parts: Vec::new(),
            },
        });
    }

    /// Gives a verdict to the ports of a protocol that no piece mentions; does nothing if no piece has the protocol.
    pub(super) fn fill_rest(&mut self, protocol: Protocol, ports: &PortSet, verdict: Verdict) {
        if let Some(canvas) = self.canvases.get_mut(&protocol).filter(|canvas| !canvas.is_blank()) {
            ports.ranges().iter().for_each(|&range| canvas.fill(range, verdict));
        }
    }

    /// Returns the merged piece; `None` if nothing was added.
    pub(super) fn take(&mut self) -> Option<Piece> {
        let merged = self.merged.take()?;
        let parts =
            self.canvases.iter_mut().filter_map(|(&protocol, canvas)| canvas.take(protocol)).collect();
        Some(Piece { parts, ..merged })
    }
}

/// The number of ports in one word of the bitmap.
const WORD: usize = u64::BITS as usize;

/// The verdicts on all ports of one protocol, with a bitmap of the ports that have one. With the bitmap, a range that
/// has its verdicts is skipped 64 ports at a time: a file may list all ports a million times.
struct Canvas {
    filled: Vec<u64>,
    verdicts: Vec<Verdict>,
    is_blank: bool,
}

impl Default for Canvas {
    fn default() -> Self {
        let ports = usize::from(u16::MAX) + 1;
        let verdicts = vec![(PortState::Closed, Reason::ConnRefused); ports];
        Self { filled: vec![0; ports / WORD], verdicts, is_blank: true }
    }
}

impl Canvas {
    fn is_blank(&self) -> bool {
        self.is_blank
    }

    /// Gives a verdict to the ports of a range that have none.
    fn fill(&mut self, (first, last): (u16, u16), verdict: Verdict) {
        self.is_blank = false;
        let (first, last) = (usize::from(first), usize::from(last));
        for word in first / WORD..=last / WORD {
            let start = word * WORD;
            let (from, to) = (first.max(start) - start, last.min(start + WORD - 1) - start);
            let range = (u64::MAX << from) & (u64::MAX >> (WORD - 1 - to));
            let mut missing = range & !self.filled[word];
            self.filled[word] |= missing;
            while missing != 0 {
                self.verdicts[start + missing.trailing_zeros() as usize] = verdict;
                missing &= missing - 1;
            }
        }
    }

    /// Returns the verdicts as one part and clears the canvas.
    fn take(&mut self, protocol: Protocol) -> Option<Part> {
        if std::mem::replace(&mut self.is_blank, true) {
            return None;
        }
        let mut filled = Vec::new();
        for (word, marks) in self.filled.iter_mut().enumerate() {
            let mut left = std::mem::take(marks);
            while left != 0 {
                let port = word * WORD + left.trailing_zeros() as usize;
                filled.extend(u16::try_from(port).map(|number| (number, self.verdicts[port])));
                left &= left - 1;
            }
        }
        let default = default_of(&filled);
        Some(Part {
            protocol,
            coverage: filled.iter().map(|&(port, _)| port).collect(),
            default,
            findings: filled.into_iter().filter(|(_, (state, _))| *state != default.0).collect(),
        })
    }
}

/// The most common state of these ports, but never open, with its most common reason. As each port's state is known,
/// `open|filtered` is preferred to all others: if listed, it would be mistaken for a finding.
fn default_of(ports: &[(u16, Verdict)]) -> Verdict {
    let mut counts = BTreeMap::<PortState, BTreeMap<Reason, u32>>::new();
    for &(_, (state, reason)) in ports.iter().filter(|(_, (state, _))| *state != PortState::Open) {
        *counts.entry(state).or_default().entry(reason).or_default() += 1;
    }
    let largest = counts
        .into_iter()
        .max_by_key(|(state, reasons)| (*state == PortState::OpenFiltered, reasons.values().sum::<u32>()));
    let commonest = |reasons: BTreeMap<Reason, u32>| reasons.into_iter().max_by_key(|&(_, count)| count);
    largest
        .and_then(|(state, reasons)| Some((state, commonest(reasons)?.0)))
        .unwrap_or((PortState::Closed, Reason::ConnRefused))
}

//! The stored form of a host's result: only what stays the same from scan to scan, in few bytes, found by digest.

use sha2::{Digest, Sha256};

use crate::model::{HostReport, PortRange, PortSet, PortState, ScanId};

use super::error::{Result, StoreError};

/// The verdicts on one host's ports: the coverage, the default state, and the ports that differ from it.
///
/// Round-trip times are left out, as they differ every time. So are reasons: those of `open` and `closed` follow from
/// the state, and those of `filtered` vary, because hosts and routers limit how many ICMP errors they send, so that a
/// port is `admin-prohibited` today and `no-response` tomorrow. With them an unchanged host would seldom have an
/// unchanged digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdicts {
    coverage: PortSet,
    default_state: PortState,
    /// First and last port of each range in one state other than the default; ascending, never overlapping, never
    /// touching in the same state.
    exceptions: Vec<(u16, u16, PortState)>,
}

/// The first byte of every body; another layout will have another number.
const FORMAT: u8 = 1;

/// A state's number on disk is its index here: only ever append.
const STATES: [PortState; 6] = [
    PortState::Open,
    PortState::Closed,
    PortState::Filtered,
    PortState::Unfiltered,
    PortState::OpenFiltered,
    PortState::ClosedFiltered,
];

impl Verdicts {
    /// The verdicts of a report. A finding counts as covered; of two findings on one port the later in the list counts.
    pub(super) fn of(report: &HostReport) -> Self {
        let mut findings: Vec<_> = report.findings.iter().map(|found| (found.port, found.state)).collect();
        findings.sort_by_key(|&(port, _)| port);
        let mut exceptions: Vec<(u16, u16, PortState)> = Vec::new();
        let mut uncovered = Vec::new();
        for (index, &(port, state)) in findings.iter().enumerate() {
            if !report.coverage.contains(port) {
                uncovered.push((port, port));
            }
            let superseded = findings.get(index + 1).is_some_and(|&(next, _)| next == port);
            if superseded || state == report.default_state {
                continue;
            }
            match exceptions.last_mut() {
                Some((_, last, same)) if *same == state && *last + 1 == port => *last = port,
                _ => exceptions.push((port, port, state)),
            }
        }
        let coverage = if uncovered.is_empty() {
            report.coverage.clone()
        } else {
            PortSet::from_ranges(report.coverage.ranges().iter().copied().chain(uncovered))
        };
        Self { coverage, default_state: report.default_state, exceptions }
    }

    /// The ports that were scanned.
    pub(super) fn coverage(&self) -> &PortSet {
        &self.coverage
    }

    /// The open ports.
    pub(super) fn open(&self) -> PortSet {
        let open = self.exceptions.iter().filter(|(.., state)| *state == PortState::Open);
        let named = PortSet::from_ranges(open.map(|&(first, last, _)| (first, last)));
        if self.default_state != PortState::Open {
            return named;
        }
        let others = self.exceptions.iter().map(|&(first, last, _)| (first, last));
        self.coverage.minus(&PortSet::from_ranges(others)).union(&named)
    }

    /// First and last port of every range in one state other than the default, ascending.
    pub(super) fn into_exceptions(self) -> Vec<(u16, u16, PortState)> {
        self.exceptions
    }

    /// Coverage, default state and the ports that differ from it.
    pub(super) fn into_parts(self) -> (PortSet, PortState, impl Iterator<Item = (u16, PortState)>) {
        let ports = |(first, last, state)| (first..=last).map(move |port| (port, state));
        (self.coverage, self.default_state, self.exceptions.into_iter().flat_map(ports))
    }

    /// The verdicts as ranges of ports, attributed to this scan.
    pub(super) fn port_ranges(&self, scan: ScanId) -> impl Iterator<Item = PortRange> {
        let named = PortSet::from_ranges(self.exceptions.iter().map(|&(first, last, _)| (first, last)));
        let rest = self.coverage.minus(&named);
        let rest: Vec<_> = rest.ranges().iter().map(|&(first, last)| (first, last, None)).collect();
        let named = self.exceptions.iter().map(|&(first, last, state)| (first, last, Some(state)));
        named.chain(rest).map(move |(first, last, named)| PortRange {
            first,
            last,
            state: named.unwrap_or(self.default_state),
            listed: named.is_some(),
            scan: scan.0,
        })
    }

    /// The canonical encoding of these verdicts: format, default state, number of ranges and the ranges, number of
    /// exceptions and the exceptions. Ranges are written as the gap since the end of the one before and their length
    /// less one; numbers as LEB128. A host with all but three ports closed takes 20 bytes or so.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = vec![FORMAT, code(self.default_state)];
        let mut end = 0;
        put(&mut body, u32::try_from(self.coverage.ranges().len()).unwrap_or(u32::MAX));
        for &(first, last) in self.coverage.ranges() {
            put_range(&mut body, &mut end, first, last);
        }
        end = 0;
        put(&mut body, u32::try_from(self.exceptions.len()).unwrap_or(u32::MAX));
        for &(first, last, state) in &self.exceptions {
            put_range(&mut body, &mut end, first, last);
            body.push(code(state));
        }
        body
    }

    /// Reads [`Verdicts::encode`]'s bytes.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] on anything else.
    pub(super) fn decode(body: &[u8]) -> Result<Self> {
        let mut bytes = Bytes(body);
        bytes.verdicts().ok_or_else(|| StoreError::Damaged("a stored result does not decode".to_owned()))
    }
}

/// The digest by which a body is found.
pub(super) fn digest(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

fn code(state: PortState) -> u8 {
    let index = STATES.iter().position(|&known| known == state).unwrap_or(STATES.len());
    u8::try_from(index).unwrap_or(u8::MAX)
}

fn put(body: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        body.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    body.push(value.to_le_bytes()[0]);
}

fn put_range(body: &mut Vec<u8>, end: &mut u32, first: u16, last: u16) {
    put(body, u32::from(first) - *end);
    put(body, u32::from(last - first));
    *end = u32::from(last) + 1;
}

/// The unread rest of a body; every method returns `None` on damage.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn number(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn range(&mut self, end: &mut u32) -> Option<(u16, u16)> {
        let first = *end + self.number()?;
        let last = first + self.number()?;
        *end = last + 1;
        Some((u16::try_from(first).ok()?, u16::try_from(last).ok()?))
    }

    fn state(&mut self) -> Option<PortState> {
        STATES.get(usize::from(self.byte()?)).copied()
    }

    fn verdicts(&mut self) -> Option<Verdicts> {
        if self.byte()? != FORMAT {
            return None;
        }
        let default_state = self.state()?;
        let (ranges, mut end) = (self.number()?, 0);
        let coverage = (0..ranges).map(|_| self.range(&mut end)).collect::<Option<Vec<_>>>()?;
        let (exceptions, mut end) = (self.number()?, 0);
        let exception = |_| self.range(&mut end).and_then(|(first, last)| Some((first, last, self.state()?)));
        let exceptions = (0..exceptions).map(exception).collect::<Option<Vec<_>>>()?;
        self.0.is_empty().then(|| Verdicts {
            coverage: PortSet::from_ranges(coverage),
            default_state,
            exceptions,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::model::{HostStatus, PortFinding, PortStates, Protocol, Reason};

    fn report(
        coverage: PortSet,
        default_state: PortState,
        findings: impl IntoIterator<Item = (u16, PortState)>,
        reason: Reason,
        rtt: Option<Duration>,
    ) -> HostReport {
        HostReport {
            address: "192.0.2.1".parse().unwrap(),
            status: HostStatus::Up,
            coverage,
            default_state,
            default_reason: reason,
            findings: findings
                .into_iter()
                .map(|(port, state)| PortFinding { port, state, reason, rtt })
                .collect(),
            protocol: Protocol::Tcp,
            probes: 0,
            preparation: Duration::ZERO,
            scanning: Duration::ZERO,
            detail: String::new(),
        }
    }

    fn state() -> impl Strategy<Value = PortState> {
        prop::sample::select(PortState::ALL)
    }

    proptest! {
        /// Compares with the naive model: a map of every covered port to its state.
        #[test]
        fn decodes_what_it_encoded(
            ranges in prop::collection::vec((any::<u16>(), 0..900_u16), 0..20),
            default in state(),
            findings in prop::collection::btree_map(any::<u16>(), state(), 0..300),
            run in (any::<u16>(), 0..300_u16, state()),
        ) {
            let coverage = PortSet::from_ranges(ranges.into_iter().map(|(at, len)| (at, at.saturating_add(len))));
            let mut findings = findings;
            findings.extend((run.0..=run.0.saturating_add(run.1)).map(|port| (port, run.2)));
            let mut naive: BTreeMap<u16, PortState> = coverage.iter().map(|port| (port, default)).collect();
            naive.extend(findings.clone());

            let stored = Verdicts::of(&report(coverage, default, findings, Reason::SynAck, None));
            let body = stored.encode();
            let read = Verdicts::decode(&body).unwrap();
            prop_assert_eq!(&read, &stored);
            prop_assert!(read.coverage.iter().eq(naive.keys().copied()));
            let mut states = PortStates::default();
            states.add_older(read.port_ranges(ScanId(7)));
            prop_assert_eq!(states.covered(), read.coverage.clone());
            for (port, state) in &naive {
                let range = states.at(*port).unwrap();
                prop_assert_eq!((range.state, range.listed, range.scan), (*state, *state != default, 7));
            }
            prop_assert_eq!(read.encode(), body);
        }

        #[test]
        fn damaged_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut body = body;
            if let Some(format) = body.first_mut() {
                *format = FORMAT;
            }
            let _ = Verdicts::decode(&body);
        }
    }

    #[test]
    fn the_digest_ignores_round_trip_times_and_reasons() {
        let open = [(22, PortState::Open), (80, PortState::Filtered)];
        let first = report(PortSet::all(), PortState::Closed, open, Reason::NoResponse, None);
        let slower = Some(Duration::from_millis(9));
        let again = report(PortSet::all(), PortState::Closed, open, Reason::AdminProhibited, slower);
        assert_eq!(digest(&Verdicts::of(&first).encode()), digest(&Verdicts::of(&again).encode()));

        let other = report(PortSet::all(), PortState::Closed, [open[0]], Reason::NoResponse, None);
        assert_ne!(digest(&Verdicts::of(&first).encode()), digest(&Verdicts::of(&other).encode()));
    }

    #[test]
    fn a_usual_result_takes_twenty_bytes() {
        let open = [(22, PortState::Open), (80, PortState::Open), (49_152, PortState::Open)];
        let body =
            Verdicts::of(&report(PortSet::all(), PortState::Closed, open, Reason::SynAck, None)).encode();
        assert!(body.len() <= 20, "{body:?}");
    }

    #[test]
    fn every_truncation_is_refused() {
        let open = [(22, PortState::Open), (80, PortState::Filtered)];
        let body =
            Verdicts::of(&report(PortSet::all(), PortState::Closed, open, Reason::SynAck, None)).encode();
        for length in 0..body.len() {
            assert!(Verdicts::decode(&body[..length]).is_err());
        }
        assert!(Verdicts::decode(&[body.as_slice(), &[0]].concat()).is_err());
    }
}

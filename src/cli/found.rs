//! The results of a scan, from which the tables and the JSON are made.

use std::time::Duration;

use jiff::Timestamp;

use super::identify::IdentifiedPorts;
use crate::model::{HostReport, HostStatus, Mac, PortIdentification, ScanStatus, one_line};

/// One scanned host.
#[derive(Clone, Debug)]
pub(super) struct HostResult {
    /// The engine's report.
    pub(super) report: HostReport,
    /// The MAC at the address, if a neighbour entry has it.
    pub(super) mac: Option<Mac>,
    /// The name that was typed for it.
    pub(super) name: Option<String>,
    /// What its open ports were identified as; `None`: that was not asked for.
    pub(super) identified: Option<IdentifiedPorts>,
    /// The start and the end of its scan, by the wall clock.
    pub(super) times: (Timestamp, Timestamp),
}

/// The whole scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanResult {
    /// By the wall clock.
    pub(super) started: Timestamp,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// How it ended.
    pub(super) status: ScanStatus,
    /// How many hosts were to be scanned.
    pub(super) targets: usize,
    /// Whether the user stopped it.
    pub(super) interrupted: bool,
}

impl HostResult {
    /// How many ports are open.
    pub(super) fn open(&self) -> usize {
        self.report.open_ports().count()
    }

    /// What one of its ports was identified as.
    pub(super) fn identified_as(&self, port: u16) -> Option<&PortIdentification> {
        self.identified.as_ref()?.ports.get(&port)
    }

    /// Returns the shortest response time.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.report.findings.iter().filter_map(|finding| finding.rtt).min()
    }

    /// Whether the output includes the host, with `--open` or without.
    pub(super) fn is_listed(&self, open_only: bool) -> bool {
        !open_only || self.open() > 0
    }

    /// Whether the host is up.
    pub(super) fn is_down(&self) -> bool {
        self.report.status == HostStatus::Down
    }
}

/// Makes foreign text safe for a terminal, cut to the length of the longest DNS name (RFC 1035, 2.3.4).
pub(super) fn sanitize_for_terminal(text: &str) -> String {
    one_line(text, 253)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{PortFinding, PortSet, PortState, Protocol, Reason};

    /// A host on which all ports except these are closed.
    pub(in crate::cli) fn host(
        address: &str,
        coverage: &str,
        findings: &[(u16, PortState, u64)],
    ) -> HostResult {
        let finding = |&(port, state, micros): &(u16, PortState, u64)| PortFinding {
            port,
            state,
            reason: if state == PortState::Open { Reason::SynAck } else { Reason::NoResponse },
            rtt: (micros > 0).then(|| Duration::from_micros(micros)),
        };
        let report = HostReport {
            address: address.parse().unwrap(),
            status: HostStatus::Up,
            coverage: coverage.parse().unwrap(),
            default_state: PortState::Closed,
            default_reason: Reason::ConnRefused,
            findings: findings.iter().map(finding).collect(),
            protocol: Protocol::Tcp,
            probes: 70_000,
            preparation: Duration::from_millis(3),
            scanning: Duration::from_secs(240),
            detail: String::new(),
        };
        let times = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        HostResult { report, mac: None, name: None, identified: None, times }
    }

    /// A host on which all ports except these are open.
    pub(in crate::cli) fn open_host(coverage: &str, others: &[(u16, PortState)]) -> HostResult {
        let state = |port| others.iter().find(|(other, _)| *other == port).map(|(_, state)| *state);
        let coverage_set: PortSet = coverage.parse().unwrap();
        let findings: Vec<_> = coverage_set
            .iter()
            .map(|port| state(port).map_or((port, PortState::Open, 400), |state| (port, state, 0)))
            .collect();
        host("10.0.0.9", coverage, &findings)
    }
}

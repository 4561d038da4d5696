//! What a scan found, in the shape in which it is told: as tables or as JSON.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{HostReport, HostStatus, Mac, PortFinding, PortState, Reason, ScanStatus, one_line};

/// One scanned host.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// What the engine found.
    pub(super) report: HostReport,
    /// Who has the address, where a neighbour entry tells.
    pub(super) mac: Option<Mac>,
    /// The name that was typed for it.
    pub(super) name: Option<String>,
}

/// The whole scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// By the wall clock.
    pub(super) started: Timestamp,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// How it ended.
    pub(super) status: ScanStatus,
    /// How many hosts were to be scanned.
    pub(super) targets: usize,
}

/// More ports than this in a host's default state are only counted when that is `open`: something on the
/// way accepts everything, and 65,535 lines help nobody.
const MOST_OPEN: u32 = 1000;

impl Found {
    /// The state that is counted rather than listed. It is never `open` (unless everything is): who scans
    /// one port wants to see it, although it is its host's commonest.
    pub(super) fn default_state(&self) -> PortState {
        let report = &self.report;
        if report.default_state != PortState::Open || self.unlisted() > MOST_OPEN {
            return report.default_state;
        }
        let others = || report.findings.iter().map(|finding| finding.state).filter(|s| *s != PortState::Open);
        let count = |state| others().filter(|other| *other == state).count();
        others().max_by_key(|state| count(*state)).unwrap_or(PortState::Closed)
    }

    /// The ports whose state is not [`Self::default_state`], ascending.
    pub(super) fn exceptions(&self) -> Vec<PortFinding> {
        let default = self.default_state();
        if default == self.report.default_state {
            return self.report.findings.clone();
        }
        self.every().filter(|finding| finding.state != default).collect()
    }

    /// Every covered port with its verdict, ascending: up to 65,536.
    pub(super) fn every(&self) -> impl Iterator<Item = PortFinding> {
        let report = &self.report;
        let usual = |port| PortFinding {
            port,
            state: report.default_state,
            reason: report.default_reason,
            rtt: None,
        };
        let mut findings = report.findings.iter().copied().peekable();
        report.coverage.iter().map(move |port| {
            while findings.next_if(|finding| finding.port < port).is_some() {}
            findings.next_if(|finding| finding.port == port).unwrap_or_else(|| usual(port))
        })
    }

    /// How many covered ports the report does not list, being in its default state.
    pub(super) fn unlisted(&self) -> u32 {
        let listed = u32::try_from(self.report.findings.len()).unwrap_or(u32::MAX);
        self.report.coverage.len().saturating_sub(listed)
    }

    /// How many ports are open.
    pub(super) fn open(&self) -> u32 {
        let listed = self.report.open_ports().count();
        let usual = if self.report.default_state == PortState::Open { self.unlisted() } else { 0 };
        usual.saturating_add(u32::try_from(listed).unwrap_or(u32::MAX))
    }

    /// The shortest time that an answer took.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.report.findings.iter().filter_map(|finding| finding.rtt).min()
    }

    /// How many ports are in the state for this reason, beside those listed: for "Not shown".
    pub(super) fn count(&self, state: PortState, reason: Reason) -> u32 {
        let listed = self.report.findings.iter().filter(|f| f.state == state && f.reason == reason).count();
        let is_default = (state, reason) == (self.report.default_state, self.report.default_reason);
        u32::try_from(listed).unwrap_or(u32::MAX).saturating_add(if is_default { self.unlisted() } else { 0 })
    }

    /// Whether a scan with `--open` tells of it.
    pub(super) fn is_told(&self, open_only: bool) -> bool {
        !open_only || self.open() > 0
    }

    /// Whether anybody answered.
    pub(super) fn is_down(&self) -> bool {
        self.report.status == HostStatus::Down
    }
}

/// A name or a sentence from elsewhere, fit for a terminal; no DNS name is longer (RFC 1035, 2.3.4).
pub(super) fn harmless(text: &str) -> String {
    one_line(text, 253)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Protocol;

    /// A host whose ports are closed but for these.
    pub(in crate::cli) fn host(address: &str, coverage: &str, findings: &[(u16, PortState, u64)]) -> Found {
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
        Found { report, mac: None, name: None }
    }

    /// A host on which all ports but these are open.
    pub(in crate::cli) fn open_host(coverage: &str, findings: &[(u16, PortState, u64)]) -> Found {
        let mut found = host("10.0.0.9", coverage, findings);
        found.report.default_state = PortState::Open;
        found.report.default_reason = Reason::SynAck;
        found
    }

    #[test]
    fn one_open_port_is_listed_though_it_is_the_commonest() {
        let found = open_host("22", &[]);
        assert_eq!((found.default_state(), found.open()), (PortState::Closed, 1));
        assert_eq!(found.exceptions().iter().map(|f| f.port).collect::<Vec<_>>(), [22]);

        let found = open_host("22,80,443", &[(80, PortState::Filtered, 0)]);
        assert_eq!((found.default_state(), found.open()), (PortState::Filtered, 2));
        assert_eq!(found.exceptions().iter().map(|f| f.port).collect::<Vec<_>>(), [22, 443]);
    }

    #[test]
    fn who_accepts_everything_is_not_listed_port_by_port() {
        let found = open_host("1-65535", &[(80, PortState::Filtered, 0)]);
        assert_eq!((found.default_state(), found.open()), (PortState::Open, 65_534));
        assert_eq!(found.exceptions().len(), 1);
    }

    #[test]
    fn every_port_has_one_verdict() {
        let found = host("10.0.0.5", "20-25,80", &[(22, PortState::Open, 400), (80, PortState::Filtered, 0)]);
        let told: Vec<String> = found.every().map(|f| format!("{} {}", f.port, f.state)).collect();
        assert_eq!(
            told.join(", "),
            "20 closed, 21 closed, 22 open, 23 closed, 24 closed, 25 closed, 80 filtered"
        );
        assert_eq!(found.count(PortState::Closed, Reason::ConnRefused), 5);
        assert_eq!(found.count(PortState::Filtered, Reason::NoResponse), 1);
    }
}

//! The result of scanning one host.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Address, PortSet, PortState, Protocol, Reason, state::words};

/// How the scan of a host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostStatus {
    /// Every requested port has its verdict.
    Up,
    /// Nothing answers at the address: a fact about the host, not about its ports.
    Down,
    /// The host vanished, the deadline passed or the user stopped it: some ports have no verdict.
    Partial,
}

/// How a scan of many hosts ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScanStatus {
    /// Running (or, after a crash, to be resumed).
    Running,
    /// Every host that is up has its result.
    Complete,
    /// Some hosts have none: stopped, out of time, or vanished during the scan.
    Partial,
    /// No host could be scanned because of a fault of this machine.
    Failed,
}

words!(HostStatus, "up, down, partial", Up = "up", Down = "down", Partial = "partial");
words!(
    ScanStatus,
    "running, complete, partial, failed",
    Running = "running",
    Complete = "complete",
    Partial = "partial",
    Failed = "failed",
);

/// The verdict on one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortFinding {
    /// 0 to 65535.
    pub port: u16,
    /// The port's state.
    pub state: PortState,
    /// The reason for the verdict.
    pub reason: Reason,
    /// The time from the probe to its answer, if one came.
    pub rtt: Option<Duration>,
}

impl PortFinding {
    /// The time to the answer in milliseconds, rounded to microseconds, as APIs show it.
    pub fn rtt_ms(&self) -> Option<f64> {
        self.rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3)
    }
}

/// The complete result of scanning one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// The address that was scanned.
    pub address: Address,
    /// How the scan ended.
    pub status: HostStatus,
    /// The ports with a verdict: all requested ports, unless the status is partial or down.
    #[serde(with = "ranges")]
    pub coverage: PortSet,
    /// The state of every covered port that `findings` does not list: the most common state, but never open.
    pub default_state: PortState,
    /// The reason for the default state.
    pub default_reason: Reason,
    /// The covered ports that differ from the default, ascending.
    pub findings: Vec<PortFinding>,
    /// The protocol; our own scans are TCP.
    pub protocol: Protocol,
    /// Probes launched at the host for this report, retries and liveness included.
    pub probes: u64,
    /// Time from submission to the first probe that was answered, or to the end if none was.
    pub preparation: Duration,
    /// Time from then to the last verdict.
    pub scanning: Duration,
    /// Why the status is partial or down, for the log and the user; empty when up.
    pub detail: String,
}

/// As nmap spells a set of ports there is none without a port, and a host that is down has such a coverage.
mod ranges {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::PortSet;

    pub(super) fn serialize<S: Serializer>(ports: &PortSet, to: S) -> Result<S::Ok, S::Error> {
        ports.ranges().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PortSet, D::Error> {
        Vec::<(u16, u16)>::deserialize(from).map(PortSet::from_ranges)
    }
}

impl HostReport {
    /// The report on an on-link address that no device has: no port was probed, and none has a verdict.
    pub fn no_neighbour(address: Address) -> Self {
        let detail = Self::no_neighbour_detail(&address).to_owned();
        Self {
            address,
            status: HostStatus::Down,
            coverage: PortSet::default(),
            default_state: PortState::Filtered,
            default_reason: Reason::NoResponse,
            findings: Vec::new(),
            protocol: Protocol::Tcp,
            probes: 0,
            preparation: Duration::ZERO,
            scanning: Duration::ZERO,
            detail,
        }
    }

    /// The reason why such an address counts as down.
    pub const fn no_neighbour_detail(address: &Address) -> &'static str {
        match address.ipv4() {
            Some(_) => "nothing answers ARP at the address",
            None => "nothing answers neighbour discovery at the address",
        }
    }

    /// The open ports, ascending.
    pub fn open_ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.findings.iter().filter(|finding| finding.state == PortState::Open).map(|finding| finding.port)
    }

    /// The verdict on a port, listed or by default; `None` if it has none.
    pub fn verdict(&self, port: u16) -> Option<PortFinding> {
        let usual =
            || PortFinding { port, state: self.default_state, reason: self.default_reason, rtt: None };
        match self.findings.binary_search_by_key(&port, |finding| finding.port) {
            Ok(index) => Some(self.findings[index]),
            Err(_) => self.coverage.contains(port).then(usual),
        }
    }

    /// Every port with its verdict, ascending: up to 65,536.
    pub fn verdicts(&self) -> impl Iterator<Item = PortFinding> + '_ {
        self.coverage.iter().filter_map(|port| self.verdict(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_covered_port_has_one_verdict() {
        let finding = |port, state, reason| PortFinding { port, state, reason, rtt: None };
        let report = HostReport {
            address: "192.0.2.1".parse().unwrap(),
            status: HostStatus::Up,
            coverage: "20-23,80".parse().unwrap(),
            default_state: PortState::Closed,
            default_reason: Reason::ConnRefused,
            findings: vec![
                finding(22, PortState::Open, Reason::SynAck),
                finding(80, PortState::Filtered, Reason::NoResponse),
            ],
            protocol: Protocol::Tcp,
            probes: 5,
            preparation: Duration::ZERO,
            scanning: Duration::ZERO,
            detail: String::new(),
        };
        let verdicts: Vec<String> =
            report.verdicts().map(|f| format!("{} {} {}", f.port, f.state, f.reason)).collect();
        assert_eq!(
            verdicts,
            [
                "20 closed conn-refused",
                "21 closed conn-refused",
                "22 open syn-ack",
                "23 closed conn-refused",
                "80 filtered no-response"
            ]
        );
        assert_eq!(report.verdict(79), None);
    }
}

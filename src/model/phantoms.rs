//! Detects open ports that may have no service behind them: if a trap or a middlebox accepts connections for other
//! hosts, a successful connect does not prove a service.

use std::collections::BTreeMap;

use super::{HostReport, HostStatus};

/// More open ports than a real host has services: a tarpit, or a firewall that completes every handshake itself.
const TOO_MANY: usize = 200;

/// From this number of hosts on, one port open on nearly all of them is suspicious. A rack of servers may really be
/// alike, so the report is phrased as a question.
const CROWD: usize = 10;

/// The share that counts as nearly all, in per cent.
const NEARLY_ALL: usize = 90;

/// The number of open ports, if it is too high for real services.
pub fn too_many_open(report: &HostReport) -> Option<usize> {
    Some(report.open_ports().count()).filter(|&open| open > TOO_MANY)
}

/// The ports that are open on at least nine of ten of these hosts, ascending, and on how many; none for fewer than ten
/// hosts that are up. Hosts with too many open ports are left out.
pub fn open_nearly_everywhere<'a>(reports: impl Iterator<Item = &'a HostReport>) -> Vec<(u16, usize)> {
    let mut hosts = 0;
    let mut open: BTreeMap<u16, usize> = BTreeMap::new();
    for report in reports.filter(|report| report.status == HostStatus::Up && too_many_open(report).is_none())
    {
        hosts += 1;
        report.open_ports().for_each(|port| *open.entry(port).or_default() += 1);
    }
    let strange = |&(_, count): &(u16, usize)| hosts >= CROWD && count * 100 >= hosts * NEARLY_ALL;
    open.into_iter().filter(strange).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{PortFinding, PortSet, PortState, Protocol, Reason};

    fn host(open: &str) -> HostReport {
        let open: PortSet = open.parse().unwrap();
        let finding = |port| PortFinding { port, state: PortState::Open, reason: Reason::SynAck, rtt: None };
        HostReport {
            address: "192.0.2.1".parse().unwrap(),
            status: HostStatus::Up,
            coverage: PortSet::all(),
            default_state: PortState::Closed,
            default_reason: Reason::ConnRefused,
            findings: open.iter().map(finding).collect(),
            protocol: Protocol::Tcp,
            probes: 0,
            preparation: Duration::ZERO,
            scanning: Duration::ZERO,
            detail: String::new(),
        }
    }

    #[test]
    fn too_many_open_ports_are_no_services() {
        assert_eq!(too_many_open(&host("1-200")), None);
        assert_eq!(too_many_open(&host("1-201")), Some(201));
    }

    #[test]
    fn reports_a_port_open_on_nearly_every_host_only_for_many_hosts() {
        let lan = |with: usize, without: usize| -> Vec<HostReport> {
            let tarpit = host("1-300");
            let with = std::iter::repeat_n(host("25,80"), with);
            with.chain(std::iter::repeat_n(host("80"), without)).chain([tarpit]).collect()
        };
        let strange = |with, without| open_nearly_everywhere(lan(with, without).iter());
        assert_eq!(strange(18, 2), [(25, 18), (80, 20)]);
        assert_eq!(strange(17, 3), [(80, 20)]);
        assert_eq!(strange(9, 0), []);
    }
}

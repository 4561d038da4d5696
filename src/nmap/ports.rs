//! Translates one host's `<ports>` into our terms: coverage, a default state, and the ports that differ from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{PortSet, PortState, Protocol, Reason};

/// A port's state and nmap's reason for it.
pub(super) type Verdict = (PortState, Reason);

/// The most groups of unlisted ports that a host may have: six states, each for four protocols and a few reasons.
const GROUPS_MAX: usize = 256;

/// Unlisted ports: an `extrareasons`, or an `extraports` that has none.
#[derive(Debug)]
struct Group {
    state: PortState,
    reason: Reason,
    count: u32,
    /// `None`: of all protocols together, as nmap wrote before 7.60 or so.
    protocol: Option<Protocol>,
    /// `None`: the ports are not named.
    ports: Option<PortSet>,
}

/// A host's ports as they are read.
#[derive(Debug, Default)]
pub(super) struct Ports {
    groups: Vec<Group>,
    listed: BTreeMap<(Protocol, u16), Verdict>,
    /// The number of `<port>` elements, including those that are not kept.
    elements: u64,
    unreadable: u64,
}

/// One protocol's part of a [`HostReport`](crate::model::HostReport).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) protocol: Protocol,
    /// Never empty.
    pub(super) coverage: PortSet,
    /// The state of every covered port that is not among the findings; never open.
    pub(super) default: Verdict,
    /// Ascending; the state is never the default's.
    pub(super) findings: Vec<(u16, Verdict)>,
}

/// nmap has more reasons than we do: one that we do not have becomes the usual one for its state.
pub(super) fn reason(word: &str, state: PortState, protocol: Protocol) -> Reason {
    word.parse().unwrap_or(state.usual_reason(protocol))
}

impl Ports {
    /// Adds a listed port; of two entries for one port the later counts. `None`: the entry cannot be kept.
    pub(super) fn list(&mut self, line: Option<((Protocol, u16), Verdict)>) {
        self.elements += 1;
        match line {
            Some((port, verdict)) => _ = self.listed.insert(port, verdict),
            None => self.unreadable += 1,
        }
    }

    /// The number of entries for ports.
    pub(super) fn elements(&self) -> u64 {
        self.elements
    }

    /// The number of entries that name no port that is kept: another protocol (`icmp`), or an invalid number or state.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Adds a group of unlisted ports; returns false if there are more groups than any report has.
    pub(super) fn add_group(
        &mut self,
        (state, reason): Verdict,
        count: u32,
        protocol: Option<Protocol>,
        ports: Option<PortSet>,
    ) -> bool {
        self.groups.push(Group { state, reason, count, protocol, ports });
        self.groups.len() <= GROUPS_MAX
    }

    /// Returns the result for each protocol; `requested` are the requested ports by the report.
    pub(super) fn parts(&self, requested: &BTreeMap<Protocol, PortSet>) -> Vec<Part> {
        let parts = Protocol::ALL.iter().map(|&protocol| self.part(protocol, requested.get(&protocol)));
        parts.filter(|part| !part.coverage.is_empty()).collect()
    }

    fn part(&self, protocol: Protocol, requested: Option<&PortSet>) -> Part {
        let groups: Vec<&Group> =
            self.groups.iter().filter(|group| group.protocol.is_none_or(|of| of == protocol)).collect();
        let default = default_of(&groups);
        let (default_state, _) = default;
        let mut findings = BTreeMap::new();
        let mut coverage = PortSet::default();
        for group in &groups {
            // A group of all protocols together belongs to no certain protocol: only the coverage tells that a port is
            // part of it.
            let Some(ports) = group.ports.as_ref().filter(|_| group.protocol.is_some()) else { continue };
            coverage = coverage.union(ports);
            if group.state != default_state {
                findings.extend(ports.iter().map(|port| (port, (group.state, group.reason))));
            }
        }
        // If a group does not name its ports, they are the rest of the requested ports. If all groups do, or there is
        // no group, an unnamed port was not scanned (masscan names none).
        if groups.iter().any(|group| group.ports.is_none()) {
            coverage = coverage.union(requested.unwrap_or(&PortSet::default()));
        }
        let listed = self.listed.range((protocol, 0)..=(protocol, u16::MAX));
        findings.extend(listed.map(|(&(_, port), &verdict)| (port, verdict)));
        Part {
            protocol,
            coverage: coverage.union(&findings.keys().copied().collect()),
            default,
            findings: findings.into_iter().filter(|(_, (state, _))| *state != default_state).collect(),
        }
    }
}

/// The most common state, but never open. If every port's state is known anyway, `open|filtered` is preferred to all
/// others: if listed, it would be mistaken for a finding.
fn default_of(groups: &[&Group]) -> Verdict {
    let located = groups.iter().all(|group| group.ports.is_some());
    if !located && hides_which(groups) {
        return (PortState::ClosedFiltered, Reason::NoResponse);
    }
    let of_state = |state| {
        let alike = groups.iter().filter(|group| group.state == state);
        let count: u64 = alike.clone().map(|group| u64::from(group.count)).sum();
        let largest = alike.max_by_key(|group| group.count)?;
        Some((located && state == PortState::OpenFiltered, count, largest))
    };
    let states = PortState::ALL.iter().copied().filter(|&state| state != PortState::Open);
    let largest = states.filter_map(of_state).max_by_key(|&(hides, count, _)| (hides, count));
    largest.map_or((PortState::Closed, Reason::ConnRefused), |(_, _, group)| (group.state, group.reason))
}

/// Whether closed and filtered ports are given only by number, as nmap did before 7.60 or so: each port is then known
/// to be one of both.
fn hides_which(groups: &[&Group]) -> bool {
    let unlocated = || groups.iter().filter(|group| group.ports.is_none()).map(|group| group.state);
    let is_either =
        |state| matches!(state, PortState::Closed | PortState::Filtered | PortState::ClosedFiltered);
    unlocated().all(is_either) && unlocated().any(|state| unlocated().next() != Some(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: (PortState, Reason) = (PortState::Closed, Reason::ConnRefused);
    const FILTERED: (PortState, Reason) = (PortState::Filtered, Reason::NoResponse);
    const EITHER: (PortState, Reason) = (PortState::OpenFiltered, Reason::NoResponse);

    fn set(text: &str) -> PortSet {
        text.parse().unwrap()
    }

    fn describe(ports: &Ports, requested: &[(Protocol, &str)]) -> Vec<String> {
        let requested = requested.iter().map(|&(protocol, ports)| (protocol, set(ports))).collect();
        let part = |part: &Part| {
            let findings: Vec<String> =
                part.findings.iter().map(|(port, (state, _))| format!(" {port} {state}")).collect();
            format!("{} {} {};{}", part.protocol, part.coverage, part.default.0, findings.concat())
        };
        ports.parts(&requested).iter().map(part).collect()
    }

    #[test]
    fn the_rest_is_in_the_default_state() {
        let mut ports = Ports::default();
        ports.list(Some(((Protocol::Tcp, 22), (PortState::Open, Reason::SynAck))));
        ports.add_group(CLOSED, 99, None, None);
        assert_eq!(describe(&ports, &[(Protocol::Tcp, "1-100")]), ["tcp 1-100 closed; 22 open"]);
    }

    #[test]
    fn groups_that_name_their_ports_are_kept_apart() {
        let mut ports = Ports::default();
        ports.list(Some(((Protocol::Tcp, 22), (PortState::Open, Reason::SynAck))));
        ports.add_group(FILTERED, 2, Some(Protocol::Tcp), Some(set("5-6")));
        ports.add_group(CLOSED, 97, Some(Protocol::Tcp), Some(set("1-4,7-21,23-100")));
        let expected = "tcp 1-100 closed; 5 filtered 6 filtered 22 open";
        assert_eq!(describe(&ports, &[(Protocol::Tcp, "1-100")]), [expected]);
        assert_eq!(describe(&ports, &[]), [expected], "even without the requested ports");
    }

    #[test]
    fn of_groups_that_do_not_name_theirs_each_port_is_one_of_both() {
        let mut ports = Ports::default();
        ports.add_group(CLOSED, 90, None, None);
        ports.add_group((PortState::Closed, Reason::AdminProhibited), 1, None, None);
        assert_eq!(describe(&ports, &[(Protocol::Tcp, "1-91")]), ["tcp 1-91 closed;"]);
        ports.list(Some(((Protocol::Tcp, 22), (PortState::Open, Reason::SynAck))));
        ports.add_group(FILTERED, 9, None, None);
        assert_eq!(describe(&ports, &[(Protocol::Tcp, "1-100")]), ["tcp 1-100 closed|filtered; 22 open"]);
    }

    #[test]
    fn where_some_of_them_may_be_open_the_largest_is_the_default() {
        let mut ports = Ports::default();
        ports.add_group(EITHER, 40, None, None);
        ports.add_group(CLOSED, 30, None, None);
        ports.add_group((PortState::Closed, Reason::AdminProhibited), 30, None, None);
        assert_eq!(describe(&ports, &[(Protocol::Tcp, "1-100")]), ["tcp 1-100 closed;"]);
    }

    #[test]
    fn silence_that_may_mean_open_is_the_default_even_if_rarer() {
        let mut ports = Ports::default();
        ports.add_group(CLOSED, 90, Some(Protocol::Udp), Some(set("1-90")));
        ports.add_group(EITHER, 3, Some(Protocol::Udp), Some(set("91-93")));
        let closed: String = (1..=90).map(|port| format!(" {port} closed")).collect();
        assert_eq!(describe(&ports, &[]), [format!("udp 1-93 open|filtered;{closed}")]);
    }

    #[test]
    fn protocols_are_apart() {
        let mut ports = Ports::default();
        ports.list(Some(((Protocol::Tcp, 53), (PortState::Open, Reason::SynAck))));
        ports.list(Some(((Protocol::Udp, 53), (PortState::OpenFiltered, Reason::NoResponse))));
        ports.add_group(CLOSED, 9, Some(Protocol::Udp), Some(set("60-68")));
        let requested = [(Protocol::Tcp, "53"), (Protocol::Udp, "53,60-68"), (Protocol::Sctp, "9")];
        assert_eq!(
            describe(&ports, &requested),
            ["tcp 53 closed; 53 open", "udp 53,60-68 closed; 53 open|filtered"]
        );
    }

    #[test]
    fn unnamed_ports_were_not_scanned() {
        let mut ports = Ports::default();
        ports.list(Some(((Protocol::Tcp, 80), (PortState::Open, Reason::SynAck))));
        ports.list(Some(((Protocol::Tcp, 80), (PortState::Filtered, Reason::NoResponse))));
        assert_eq!(describe(&ports, &[(Protocol::Tcp, "1-100")]), ["tcp 80 closed; 80 filtered"]);
    }

    #[test]
    fn reasons_that_are_not_ours_are_the_usual_ones() {
        let tcp = |word, state| reason(word, state, Protocol::Tcp);
        assert_eq!(tcp("admin-prohibited", PortState::Filtered), Reason::AdminProhibited);
        assert_eq!(tcp("resets", PortState::Closed), Reason::ConnRefused);
        assert_eq!(reason("proto-response", PortState::Open, Protocol::Udp), Reason::UdpResponse);
        assert_eq!(reason("port-unreach", PortState::Closed, Protocol::Udp), Reason::PortUnreach);
    }

    #[test]
    fn groups_are_bounded() {
        let mut ports = Ports::default();
        assert!((0..GROUPS_MAX).all(|_| ports.add_group(CLOSED, 1, None, None)));
        assert!(!ports.add_group(CLOSED, 1, None, None));
    }
}

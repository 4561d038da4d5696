//! Decides which of a host's ports are listed, and which are only counted.

use std::{cmp::Reverse, collections::BTreeMap};

use super::ReportInfo;
use crate::model::{HostReport, PortFinding, PortSet, PortState, Protocol, Reason};

/// If more ports than this are in one state other than open, they are only counted: nmap's users know the number. `-vv`
/// doubles it, as in nmap.
const MOST_LISTED: usize = 25;

/// A host's ports as nmap would present them.
pub(super) struct Listing {
    /// By protocol and number.
    pub(super) listed: Vec<(Protocol, PortFinding)>,
    /// The others, most ports first.
    pub(super) extra: Vec<Extra>,
}

/// Ports in one state that are only counted.
pub(super) struct Extra {
    pub(super) state: PortState,
    /// Most ports first.
    pub(super) reasons: Vec<(Reason, Protocol, PortSet)>,
}

impl Extra {
    /// How many ports there are.
    pub(super) fn count(&self) -> u32 {
        self.reasons.iter().map(|(_, _, ports)| ports.len()).sum()
    }
}

impl Listing {
    pub(super) fn of(reports: &[HostReport], run: &ReportInfo<'_>) -> Self {
        let mut groups: BTreeMap<PortState, Vec<(Protocol, PortFinding)>> = BTreeMap::new();
        for report in reports {
            for found in report.verdicts() {
                groups.entry(found.state).or_default().push((report.protocol, found));
            }
        }
        let most = MOST_LISTED * usize::from(run.verbose.max(1));
        let (mut listed, mut extra) = (Vec::new(), Vec::new());
        for (state, ports) in groups {
            // A port that may be open is listed even when only open ports are wanted.
            let may_be_open =
                matches!(state, PortState::Open | PortState::OpenFiltered | PortState::Unfiltered);
            if state == PortState::Open || (ports.len() <= most && (may_be_open || !run.open_only)) {
                listed.extend(ports);
            } else {
                extra.push(Extra { state, reasons: by_reason(&ports) });
            }
        }
        listed.sort_unstable_by_key(|&(protocol, found)| (protocol, found.port));
        extra.sort_by_key(|group| Reverse(group.count()));
        Self { listed, extra }
    }
}

fn by_reason(ports: &[(Protocol, PortFinding)]) -> Vec<(Reason, Protocol, PortSet)> {
    let mut groups: BTreeMap<(Reason, Protocol), Vec<(u16, u16)>> = BTreeMap::new();
    for (protocol, found) in ports {
        groups.entry((found.reason, *protocol)).or_default().push((found.port, found.port));
    }
    let group = |((reason, protocol), ports)| (reason, protocol, PortSet::from_ranges(ports));
    let mut reasons: Vec<_> = groups.into_iter().map(group).collect();
    reasons.sort_by_key(|(_, _, ports): &(Reason, Protocol, PortSet)| Reverse(ports.len()));
    reasons
}

//! Combines several observations of a device into the state of its ports.

use super::{PortSet, PortState};

/// Consecutive ports to which one observation gave the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port, inclusive.
    pub last: u16,
    /// Their state.
    pub state: PortState,
    /// Whether the observation listed them; otherwise this is its default state.
    pub listed: bool,
    /// The id of the observation's scan.
    pub scan: i64,
}

/// The state of a device's ports of one protocol: each port has that of the newest observation which covered it.
///
/// The size is that of the differences between ports: some twenty ranges for a host with ten services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortStates {
    /// Ascending, never overlapping; ports in no range were covered by no scan.
    ranges: Vec<PortRange>,
}

impl PortRange {
    /// Whether its ports matter even without an expectation: they are open. Silence of a UDP port, which may be open,
    /// is no finding: most ports that drop datagrams are silent.
    pub const fn is_notable(&self) -> bool {
        matches!(self.state, PortState::Open)
    }

    /// Its ports.
    pub fn ports(&self) -> PortSet {
        PortSet::from_ranges([(self.first, self.last)])
    }
}

impl PortStates {
    /// Adds an observation older than all before: it supplies only ports that no newer one covers. Its ranges never
    /// overlap.
    pub fn add_older(&mut self, look: impl IntoIterator<Item = PortRange>) {
        if self.ranges.is_empty() {
            // Most devices have only one observation that counts.
            self.ranges.extend(look);
            self.ranges.sort_unstable_by_key(|range| range.first);
            return;
        }
        let covered = self.covered();
        for range in look {
            let uncovered = range.ports().minus(&covered);
            let parts = uncovered.ranges().iter();
            self.ranges.extend(parts.map(|&(first, last)| PortRange { first, last, ..range }));
        }
        self.ranges.sort_unstable_by_key(|range| range.first);
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[PortRange] {
        &self.ranges
    }

    /// The range of a port; `None` if no scan covered it.
    pub fn at(&self, port: u16) -> Option<&PortRange> {
        let index = self.ranges.partition_point(|range| range.last < port);
        self.ranges.get(index).filter(|range| range.first <= port)
    }

    /// The ports that any observation covered.
    pub fn covered(&self) -> PortSet {
        PortSet::from_ranges(self.ranges.iter().map(|range| (range.first, range.last)))
    }

    /// The open ports.
    pub fn open(&self) -> PortSet {
        self.in_state(PortState::Open)
    }

    /// The ports in this state.
    pub fn in_state(&self, state: PortState) -> PortSet {
        let alike = self.ranges.iter().filter(|range| range.state == state);
        PortSet::from_ranges(alike.map(|range| (range.first, range.last)))
    }

    /// The ports that matter even without an expectation, ascending, with their state.
    pub fn notable(&self) -> impl Iterator<Item = (u16, &PortRange)> {
        self.notable_from(0)
    }

    /// As [`PortStates::notable`], from this port on.
    pub fn notable_from(&self, from: u16) -> impl Iterator<Item = (u16, &PortRange)> {
        let index = self.ranges.partition_point(|range| range.last < from);
        let later = self.ranges.get(index..).unwrap_or_default();
        let notable = later.iter().filter(|range| range.is_notable());
        notable.flat_map(move |range| (range.first.max(from)..=range.last).map(move |port| (port, range)))
    }

    /// The state of the ports from `first` to `last`.
    #[must_use]
    pub fn within(&self, first: u16, last: u16) -> Self {
        let from = self.ranges.partition_point(|range| range.last < first);
        let to = self.ranges.partition_point(|range| range.first <= last);
        let within = self.ranges.get(from..to).unwrap_or_default().iter();
        let cut = |at: &PortRange| PortRange { first: at.first.max(first), last: at.last.min(last), ..*at };
        Self { ranges: within.map(cut).collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn silence_is_never_notable() {
        let range = |state, listed| PortRange { first: 1, last: 2, state, listed, scan: 0 };
        assert!(range(PortState::Open, false).is_notable());
        assert!(!range(PortState::OpenFiltered, true).is_notable());
        assert!(!range(PortState::OpenFiltered, false).is_notable());
        assert!(!range(PortState::Filtered, true).is_notable());
    }

    proptest! {
        /// Compares with the naive model: a map into which every observation is written, oldest first.
        #[test]
        fn each_port_has_the_state_of_the_newest_observation(
            looks in prop::collection::vec(
                prop::collection::btree_map(0..40_u16, (0..6_usize, any::<bool>()), 0..20), 0..6,
            ),
        ) {
            let mut naive = BTreeMap::new();
            let mut standing = PortStates::default();
            for (look, scan) in looks.iter().zip(0..) {
                naive.extend(look.iter().map(|(&port, &expected)| (port, (expected, scan))));
            }
            for (look, scan) in looks.iter().zip(0..).collect::<Vec<_>>().into_iter().rev() {
                standing.add_older(look.iter().map(|(&port, &(state, listed))| PortRange {
                    first: port, last: port, state: PortState::ALL[state], listed, scan,
                }));
            }
            for port in 0..50 {
                let found = standing.at(port).map(|at| ((at.state, at.listed), at.scan));
                let expected = naive.get(&port).map(|&((state, listed), scan)| ((PortState::ALL[state], listed), scan));
                prop_assert_eq!(found, expected);
            }
            let open = |(_, ((state, _), _)): &(&u16, &((usize, bool), i64))| *state == 0;
            let open: PortSet = naive.iter().filter(open).map(|(&port, _)| port).collect();
            prop_assert_eq!(standing.open(), open);
            prop_assert_eq!(standing.covered(), naive.keys().copied().collect::<PortSet>());
        }
    }
}

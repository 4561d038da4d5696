//! Port changes that count only after a second scan has confirmed them.
//!
//! A service that restarts is closed for some seconds, and a scan at that moment must not raise an alert.

use std::time::Duration;

use jiff::Timestamp;

use super::{Device, PortSet};

/// How long after a port was found closed a second scan must find it closed: services restart.
pub const CLOSED_FOR: Duration = Duration::from_secs(60);

/// Ports that one scan found changed, with the time at which it ended.
pub type PendingPorts = Vec<(Timestamp, PortSet)>;

/// The port changes of a device that wait for a second scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Open now, and not before. The second scan may follow at once.
    pub openings: PendingPorts,
    /// Open before, and not now. The second scan must follow at least [`CLOSED_FOR`] later.
    pub closings: PendingPorts,
}

/// An endpoint with port changes that wait for a second scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnconfirmedEndpoint {
    /// The device at the address that is to be scanned again.
    pub device: Device,
    /// The unconfirmed changes of its TCP ports.
    pub unconfirmed: Unconfirmed,
}

/// A scan of a device's ports, restricted to those that no newer scan covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The covered ports.
    pub covered: PortSet,
    /// Those of them that are open.
    pub open: PortSet,
    /// When the scan ended.
    pub at: Timestamp,
    /// Whether no second scan can follow, because another tool made this one.
    pub is_final: bool,
}

/// The result of a scan for unconfirmed changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Confirmed open.
    pub opened: PortSet,
    /// Confirmed no longer open.
    pub closed: PortSet,
    /// The changes that are unconfirmed from now on.
    pub unconfirmed: Unconfirmed,
}

impl Unconfirmed {
    /// Whether no change is unconfirmed.
    pub fn is_empty(&self) -> bool {
        self.openings.is_empty() && self.closings.is_empty()
    }

    /// Whether a port's change is unconfirmed.
    pub fn waits(&self, port: u16) -> bool {
        self.openings.iter().chain(&self.closings).any(|(_, ports)| ports.contains(port))
    }

    /// Applies a scan, where `open` are the ports that were open before it, reported or not.
    pub fn settle(&self, open: &PortSet, observed: &Observed) -> Settled {
        let reported_open = open.minus(&all(&self.openings)).union(&all(&self.closings));
        let opening = observed.open.minus(&reported_open);
        let closing = observed.covered.minus(&observed.open).intersection(&reported_open);
        let (openings, opened) = settle(&self.openings, &opening, observed, Duration::ZERO);
        let (closings, closed) = settle(&self.closings, &closing, observed, CLOSED_FOR);
        Settled { opened, closed, unconfirmed: Self { openings, closings } }
    }
}

fn all(pending: &PendingPorts) -> PortSet {
    pending.iter().fold(PortSet::default(), |all, (_, ports)| all.union(ports))
}

/// Splits the pending ports and those that are `changed` now into those that remain pending and those that are
/// confirmed.
fn settle(
    pending: &PendingPorts,
    changed: &PortSet,
    observed: &Observed,
    wait: Duration,
) -> (PendingPorts, PortSet) {
    let mut settled = PortSet::default();
    let mut waits = PendingPorts::new();
    for (since, ports) in pending {
        let again = ports.intersection(changed);
        // With a clock that was set back they would wait for hours, so the wait starts again.
        let since = (*since).min(observed.at);
        let left = if observed.is_final || observed.at.duration_since(since).unsigned_abs() >= wait {
            settled = settled.union(&again);
            ports.minus(&observed.covered)
        } else {
            ports.minus(&observed.covered).union(&again)
        };
        waits.push((since, left));
    }
    let first_seen = changed.minus(&all(pending));
    if observed.is_final {
        settled = settled.union(&first_seen);
    } else {
        waits.push((observed.at, first_seen));
    }
    waits.retain(|(_, ports)| !ports.is_empty());
    (waits, settled)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn ports(text: &str) -> PortSet {
        text.parse().unwrap_or_default()
    }

    /// A device's ports 1 to 100 as successive scans find them.
    struct Device {
        open: PortSet,
        unconfirmed: Unconfirmed,
    }

    impl Device {
        fn scan(&mut self, covered: &str, open: &str, seconds: i64) -> (String, String) {
            let observed =
                Observed { covered: ports(covered), open: ports(open), at: at(seconds), is_final: false };
            let settled = self.unconfirmed.settle(&self.open, &observed);
            self.open = self.open.minus(&observed.covered).union(&observed.open);
            self.unconfirmed = settled.unconfirmed;
            (settled.opened.to_string(), settled.closed.to_string())
        }
    }

    fn device(open: &str) -> Device {
        Device { open: ports(open), unconfirmed: Unconfirmed::default() }
    }

    fn reported(opened: &str, closed: &str) -> (String, String) {
        (opened.to_owned(), closed.to_owned())
    }

    #[test]
    fn confirms_an_opening_at_the_second_scan() {
        let mut device = device("22");
        assert_eq!(device.scan("1-100", "22,80", 0), reported("", ""));
        assert_eq!(device.scan("80", "80", 1), reported("80", ""));
        assert_eq!(device.scan("1-100", "22,80", 9), reported("", ""), "reported once");
        assert!(device.unconfirmed.is_empty());
    }

    #[test]
    fn confirms_a_closing_a_minute_later() {
        let mut device = device("22,80");
        assert_eq!(device.scan("1-100", "22", 0), reported("", ""));
        assert_eq!(device.scan("80", "", 59), reported("", ""));
        assert_eq!(device.scan("22", "22", 60), reported("", ""), "that was another port");
        assert_eq!(device.scan("80", "", 60), reported("", "80"));
        assert!(device.unconfirmed.is_empty());
    }

    #[test]
    fn a_restart_reports_nothing() {
        let mut device = device("22,80");
        assert_eq!(device.scan("1-100", "22", 0), reported("", ""));
        assert_eq!(device.scan("80", "80", 60), reported("", ""));
        assert_eq!(device.scan("1-100", "22", 86_400), reported("", ""), "the next restart is another one");
        assert_eq!(device.scan("80", "80", 86_460), reported("", ""));
        assert!(device.unconfirmed.is_empty());
    }

    #[test]
    fn waits_again_after_the_clock_is_set_back() {
        let mut device = device("80");
        assert_eq!(device.scan("80", "", 1_000_000), reported("", ""));
        assert_eq!(device.scan("80", "", 10), reported("", ""));
        assert_eq!(device.scan("80", "", 69), reported("", ""));
        assert_eq!(device.scan("80", "", 70), reported("", "80"));
    }

    #[test]
    fn a_final_scan_needs_no_confirmation() {
        let observed = Observed { covered: ports("1-100"), open: ports("443"), at: at(0), is_final: true };
        let settled = Unconfirmed::default().settle(&ports("80"), &observed);
        assert_eq!((settled.opened, settled.closed), (ports("443"), ports("80")));
        assert!(settled.unconfirmed.is_empty());
    }

    proptest! {
        /// For any sequence of scans: reported events follow the observed states without repetition, and a port that is
        /// found in the same state for long enough is reported in that state.
        #[test]
        fn reported_changes_follow_the_observed_states(
            looks in prop::collection::vec(
                (prop::collection::btree_set(1..12_u16, 1..12), prop::collection::btree_set(1..12_u16, 0..12),
                 0..100_i64),
                1..20,
            ),
        ) {
            let mut device = device("1-4");
            let mut reported: BTreeSet<u16> = (1..=4).collect();
            let mut now = 0;
            // How often in succession, and since when, each port was seen in another state than reported.
            let mut seen: BTreeMap<u16, (u32, i64)> = BTreeMap::new();
            for (covered, open, passed) in looks {
                now += passed;
                let (covered, open): (PortSet, PortSet) =
                    (covered.iter().copied().collect(), covered.intersection(&open).copied().collect());
                let (opened, closed) = device.scan(&covered.to_string(), &open.to_string(), now);
                let (mut must_open, mut must_close) = (BTreeSet::new(), BTreeSet::new());
                for port in covered.iter() {
                    if open.contains(port) == reported.contains(&port) {
                        seen.remove(&port);
                        continue;
                    }
                    let (times, since) = seen.entry(port).or_insert((0, now));
                    *times += 1;
                    if open.contains(port) && *times >= 2 {
                        must_open.insert(port);
                    } else if !open.contains(port) && *times >= 2 && now - *since >= 60 {
                        must_close.insert(port);
                    }
                }
                for port in &must_open {
                    reported.insert(*port);
                    seen.remove(port);
                }
                for port in &must_close {
                    reported.remove(port);
                    seen.remove(port);
                }
                prop_assert_eq!(ports(&opened), must_open.into_iter().collect::<PortSet>());
                prop_assert_eq!(ports(&closed), must_close.into_iter().collect::<PortSet>());
            }
        }
    }
}

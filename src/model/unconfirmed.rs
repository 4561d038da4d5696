//! Changes that count only once a second look has seen them.
//!
//! A service that restarts is closed for some seconds, and a scan that asks just then must not raise an alarm.

use std::time::Duration;

use jiff::Timestamp;

use super::{Device, PortSet};

/// How long after a port was found closed a look must find it so again: services restart.
pub const CLOSED_FOR: Duration = Duration::from_secs(60);

/// Ports that one look found to have changed, with the time at which it ended.
pub type Waiting = Vec<(Timestamp, PortSet)>;

/// The changes of a device's ports that wait for a second look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Open now, and not before. The second look may come at once.
    pub openings: Waiting,
    /// Open before, and not now. The second look has to come [`CLOSED_FOR`] later.
    pub closings: Waiting,
}

/// An endpoint of which some ports wait for a second look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnconfirmedEndpoint {
    /// The device at the address that is to be scanned again.
    pub device: Device,
    /// Its TCP ports.
    pub unconfirmed: Unconfirmed,
}

/// A look at a device's ports, as far as they are its to tell: without those that a newer look covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The ports.
    pub covered: PortSet,
    /// Those of them that are open.
    pub open: PortSet,
    /// When the look ended.
    pub at: Timestamp,
    /// Whether it is final: the scanner that made it cannot be asked to scan again.
    pub is_final: bool,
}

/// What is settled by a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Open for good.
    pub opened: PortSet,
    /// Open no longer.
    pub closed: PortSet,
    /// What waits from now on.
    pub unconfirmed: Unconfirmed,
}

impl Unconfirmed {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.openings.is_empty() && self.closings.is_empty()
    }

    /// Whether a port's change waits.
    pub fn waits(&self, port: u16) -> bool {
        self.openings.iter().chain(&self.closings).any(|(_, ports)| ports.contains(port))
    }

    /// What a look settles, where `open` are the ports that were open before it, told or not.
    pub fn settle(&self, open: &PortSet, look: &Told) -> Settled {
        let told_open = open.minus(&all(&self.openings)).union(&all(&self.closings));
        let opening = look.open.minus(&told_open);
        let closing = look.covered.minus(&look.open).intersection(&told_open);
        let (openings, opened) = settle(&self.openings, &opening, look, Duration::ZERO);
        let (closings, closed) = settle(&self.closings, &closing, look, CLOSED_FOR);
        Settled { opened, closed, unconfirmed: Self { openings, closings } }
    }
}

fn all(waiting: &Waiting) -> PortSet {
    waiting.iter().fold(PortSet::default(), |all, (_, ports)| all.union(ports))
}

/// Of the ports that waited and those that are `changed` now: which wait on, and which have waited enough.
fn settle(waiting: &Waiting, changed: &PortSet, look: &Told, wait: Duration) -> (Waiting, PortSet) {
    let mut settled = PortSet::default();
    let mut waits = Waiting::new();
    for (since, ports) in waiting {
        let again = ports.intersection(changed);
        // Set back, the clock would make them wait for hours: they wait anew.
        let since = (*since).min(look.at);
        let left = if look.is_final || look.at.duration_since(since).unsigned_abs() >= wait {
            settled = settled.union(&again);
            ports.minus(&look.covered)
        } else {
            ports.minus(&look.covered).union(&again)
        };
        waits.push((since, left));
    }
    let first_seen = changed.minus(&all(waiting));
    if look.is_final {
        settled = settled.union(&first_seen);
    } else {
        waits.push((look.at, first_seen));
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

    /// A device's ports 1 to 100 as looks find them, one after the other.
    struct Device {
        open: PortSet,
        unconfirmed: Unconfirmed,
    }

    impl Device {
        fn look(&mut self, covered: &str, open: &str, seconds: i64) -> (String, String) {
            let look = Told { covered: ports(covered), open: ports(open), at: at(seconds), is_final: false };
            let settled = self.unconfirmed.settle(&self.open, &look);
            self.open = self.open.minus(&look.covered).union(&look.open);
            self.unconfirmed = settled.unconfirmed;
            (settled.opened.to_string(), settled.closed.to_string())
        }
    }

    fn device(open: &str) -> Device {
        Device { open: ports(open), unconfirmed: Unconfirmed::default() }
    }

    fn news(opened: &str, closed: &str) -> (String, String) {
        (opened.to_owned(), closed.to_owned())
    }

    #[test]
    fn an_opening_counts_at_the_second_look() {
        let mut device = device("22");
        assert_eq!(device.look("1-100", "22,80", 0), news("", ""));
        assert_eq!(device.look("80", "80", 1), news("80", ""));
        assert_eq!(device.look("1-100", "22,80", 9), news("", ""), "told once");
        assert!(device.unconfirmed.is_empty());
    }

    #[test]
    fn a_closing_counts_a_minute_later() {
        let mut device = device("22,80");
        assert_eq!(device.look("1-100", "22", 0), news("", ""));
        assert_eq!(device.look("80", "", 59), news("", ""));
        assert_eq!(device.look("22", "22", 60), news("", ""), "that was another port");
        assert_eq!(device.look("80", "", 60), news("", "80"));
        assert!(device.unconfirmed.is_empty());
    }

    #[test]
    fn a_restart_is_no_news() {
        let mut device = device("22,80");
        assert_eq!(device.look("1-100", "22", 0), news("", ""));
        assert_eq!(device.look("80", "80", 60), news("", ""));
        assert_eq!(device.look("1-100", "22", 86_400), news("", ""), "the next restart is another one");
        assert_eq!(device.look("80", "80", 86_460), news("", ""));
        assert!(device.unconfirmed.is_empty());
    }

    #[test]
    fn a_clock_set_back_makes_it_wait_anew() {
        let mut device = device("80");
        assert_eq!(device.look("80", "", 1_000_000), news("", ""));
        assert_eq!(device.look("80", "", 10), news("", ""));
        assert_eq!(device.look("80", "", 69), news("", ""));
        assert_eq!(device.look("80", "", 70), news("", "80"));
    }

    #[test]
    fn who_cannot_be_asked_again_is_believed() {
        let look = Told { covered: ports("1-100"), open: ports("443"), at: at(0), is_final: true };
        let settled = Unconfirmed::default().settle(&ports("80"), &look);
        assert_eq!((settled.opened, settled.closed), (ports("443"), ports("80")));
        assert!(settled.unconfirmed.is_empty());
    }

    proptest! {
        /// Whatever is looked at when: what was told follows what was seen, never twice the same, and a port
        /// that is found the same for long enough is told as what it is.
        #[test]
        fn what_is_told_follows_what_was_seen(
            looks in prop::collection::vec(
                (prop::collection::btree_set(1..12_u16, 1..12), prop::collection::btree_set(1..12_u16, 0..12),
                 0..100_i64),
                1..20,
            ),
        ) {
            let mut device = device("1-4");
            let mut told: BTreeSet<u16> = (1..=4).collect();
            let mut now = 0;
            // How often in succession, and since when, each port was seen unlike it was told.
            let mut seen: BTreeMap<u16, (u32, i64)> = BTreeMap::new();
            for (covered, open, passed) in looks {
                now += passed;
                let (covered, open): (PortSet, PortSet) =
                    (covered.iter().copied().collect(), covered.intersection(&open).copied().collect());
                let (opened, closed) = device.look(&covered.to_string(), &open.to_string(), now);
                let (mut must_open, mut must_close) = (BTreeSet::new(), BTreeSet::new());
                for port in covered.iter() {
                    if open.contains(port) == told.contains(&port) {
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
                    told.insert(*port);
                    seen.remove(port);
                }
                for port in &must_close {
                    told.remove(port);
                    seen.remove(port);
                }
                prop_assert_eq!(ports(&opened), must_open.into_iter().collect::<PortSet>());
                prop_assert_eq!(ports(&closed), must_close.into_iter().collect::<PortSet>());
            }
        }
    }
}

//! Expectations of ports, and the differences from them.

use std::collections::{BTreeMap, BTreeSet};

use super::{DeviceKey, PortRange, PortSet, PortState, PortStates, Protocol};

/// What is expected of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The device: a MAC at any address, or an address, which means the device that has it.
    pub device: DeviceKey,
    /// The protocol.
    pub protocol: Protocol,
    /// 0 to 65535.
    pub port: u16,
    /// The expected state.
    pub state: PortState,
    /// The owner's comment; may be empty.
    pub comment: String,
    /// Ascending in the order in which expectations are written.
    pub written: i64,
}

/// The expectations that apply to a device: if its MAC and its address have one for the same port, the later written
/// applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected(BTreeMap<(Protocol, u16), Expectation>);

/// The known states of a device's ports, by protocol.
pub type PortStatesByProtocol = BTreeMap<Protocol, PortStates>;

/// A port's state and the scan that found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownState {
    /// The state.
    pub state: PortState,
    /// The scan's id.
    pub scan: i64,
}

/// A port that is not in the expected state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// The expected state; `None` if nothing is expected.
    pub expected: Option<PortState>,
    /// The actual state; `None` if no scan has covered the port.
    pub actual: Option<KnownState>,
    /// The expectation's comment.
    pub comment: String,
}

/// How a port differs from the expected state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deviation {
    /// Open, and not expected to be.
    Rogue,
    /// Expected to be open, and not found open.
    Missing,
    /// Neither state is open, as with closed and filtered; or it is silent, which proves nothing.
    Other,
}

/// A port on which two scans disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// The state in the first; `None` if it did not cover the port.
    pub one: Option<KnownState>,
    /// The state in the second.
    pub other: Option<KnownState>,
}

impl FromIterator<Expectation> for Expected {
    fn from_iter<I: IntoIterator<Item = Expectation>>(expectations: I) -> Self {
        let mut holding = BTreeMap::<_, Expectation>::new();
        for expectation in expectations {
            let key = (expectation.protocol, expectation.port);
            if holding.get(&key).is_none_or(|held| held.written < expectation.written) {
                holding.insert(key, expectation);
            }
        }
        Self(holding)
    }
}

impl Expected {
    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of ports with an expectation.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The expectations of the ports from `first` to `last` of a protocol.
    #[must_use]
    pub fn within(&self, protocol: Protocol, first: u16, last: u16) -> Self {
        let within = self.0.range((protocol, first)..=(protocol, last));
        Self(within.map(|(key, expectation)| (*key, expectation.clone())).collect())
    }

    /// The number of ports that are expected to be in this state.
    pub fn count(&self, state: PortState) -> u32 {
        let ports = self.0.values().filter(|expected| expected.state == state).count();
        u32::try_from(ports).unwrap_or(u32::MAX)
    }

    /// Whether a port is expected to be in this state.
    pub fn is(&self, protocol: Protocol, port: u16, state: PortState) -> bool {
        self.0.get(&(protocol, port)).is_some_and(|expected| expected.state == state)
    }

    /// Returns where a device differs from these expectations, by protocol and port. Without an expectation, only a
    /// port that is open is a difference. With one, every state but the expected is a
    /// difference, and so is a port that no scan has covered. `ignored` ports never differ.
    pub fn differences(&self, standings: &PortStatesByProtocol, ignored: &PortSet) -> Vec<Difference> {
        let expected = self.0.values().filter_map(|expected| {
            let actual = standings.get(&expected.protocol).and_then(|standing| standing.at(expected.port));
            let as_expected = actual.is_some_and(|actual| actual.state == expected.state);
            (!as_expected).then(|| Difference {
                protocol: expected.protocol,
                port: expected.port,
                expected: Some(expected.state),
                actual: actual.map(KnownState::from),
                comment: expected.comment.clone(),
            })
        });
        let unexpected = standings.iter().flat_map(|(&protocol, standing)| {
            let notable =
                standing.notable().filter(move |(port, _)| !self.0.contains_key(&(protocol, *port)));
            notable.map(move |(port, actual)| Difference {
                protocol,
                port,
                expected: None,
                actual: Some(actual.into()),
                comment: String::new(),
            })
        });
        let mut differences: Vec<_> =
            expected.chain(unexpected).filter(|difference| !ignored.contains(difference.port)).collect();
        differences.sort_unstable_by_key(|difference| (difference.protocol, difference.port));
        differences
    }
}

/// A device at one of its addresses, with the data that differences are computed from.
#[derive(Clone, Debug)]
pub struct DeviceAtAddress<'a> {
    /// The expectations there: of the device, and of the address.
    pub expected: &'a Expected,
    /// The known state there.
    pub standings: &'a PortStatesByProtocol,
    /// Ports that never differ.
    pub ignored: PortSet,
}

impl DeviceAtAddress<'_> {
    fn state(&self, protocol: Protocol, port: u16) -> Option<PortState> {
        self.standings.get(&protocol)?.at(port).map(|known| known.state)
    }
}

/// Returns where a device differs from its expectations, for each of its addresses in turn. An open port that is not
/// expected differs at every address where it is open. An expectation of the device as a whole is met if it is met at
/// one address; otherwise the port differs once, at the first address where its state is known.
pub fn device_differences(places: &[DeviceAtAddress<'_>]) -> Vec<Vec<Difference>> {
    let mut found: Vec<_> =
        places.iter().map(|place| place.expected.differences(place.standings, &place.ignored)).collect();
    if places.len() < 2 {
        return found;
    }
    let mut reported = BTreeSet::new();
    for (differences, place) in found.iter_mut().zip(places) {
        differences.retain(|difference| {
            let (protocol, port) = (difference.protocol, difference.port);
            let expectation = place.expected.0.get(&(protocol, port));
            let Some(whole) = expectation.filter(|it| matches!(it.device, DeviceKey::Mac(_))) else {
                return true;
            };
            if difference.actual.is_some_and(|actual| actual.state == PortState::Open) {
                return true;
            }
            let is_met = places.iter().any(|place| {
                let same = place.expected.0.get(&(protocol, port)) == Some(whole);
                same && place.state(protocol, port) == Some(whole.state)
            });
            let is_known = places.iter().any(|place| place.state(protocol, port).is_some());
            !is_met && (difference.actual.is_some() || !is_known) && reported.insert((protocol, port))
        });
    }
    found
}

impl Difference {
    /// How the port differs.
    pub fn deviation(&self) -> Deviation {
        let is_open = |state| matches!(state, PortState::Open | PortState::OpenFiltered);
        match (self.expected, self.actual) {
            (_, Some(KnownState { state: PortState::Open, .. })) | (None, Some(_)) => Deviation::Rogue,
            (Some(expected), _) if is_open(expected) => Deviation::Missing,
            _ => Deviation::Other,
        }
    }
}

impl From<&PortRange> for KnownState {
    fn from(range: &PortRange) -> Self {
        Self { state: range.state, scan: range.scan }
    }
}

/// Returns where two scans of one device, or a scan and its current state, disagree, by protocol and port. Only ports
/// that one of them lists, or has open, are returned: that all other ports were closed and are filtered is one fact,
/// not 65,000.
pub fn disagreements(one: &PortStatesByProtocol, other: &PortStatesByProtocol) -> Vec<Disagreement> {
    let mut found = Vec::new();
    for &protocol in Protocol::ALL {
        let (one, other) = (one.get(&protocol), other.get(&protocol));
        let named = |range: &&PortRange| range.listed || range.is_notable();
        let ranges = [one, other].into_iter().flatten().flat_map(PortStates::ranges).filter(named);
        let ports = PortSet::from_ranges(ranges.map(|range| (range.first, range.last)));
        let known =
            |standing: Option<&PortStates>, port| standing.and_then(|it| it.at(port)).map(KnownState::from);
        found.extend(ports.iter().filter_map(|port| {
            let (one, other) = (known(one, port), known(other, port));
            let state = |known: Option<KnownState>| known.map(|known| known.state);
            (state(one) != state(other)).then_some(Disagreement { protocol, port, one, other })
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::model::PortState::{Closed, Filtered, Open, OpenFiltered};

    const TCP: Protocol = Protocol::Tcp;

    /// Scan 7 covered ports 1 to 100; these are listed, all others in `default`.
    fn standings(default: PortState, named: &[(u16, PortState)]) -> PortStatesByProtocol {
        let mut standing = PortStates::default();
        let range = |first, last, state, listed| PortRange { first, last, state, listed, scan: 7 };
        standing.add_older(named.iter().map(|&(port, state)| range(port, port, state, true)));
        standing.add_older([range(1, 100, default, false)]);
        PortStatesByProtocol::from([(TCP, standing)])
    }

    fn expectation(device: &str, port: u16, state: PortState, written: i64) -> Expectation {
        let device = device.parse().unwrap();
        Expectation { device, protocol: TCP, port, state, comment: "why".to_owned(), written }
    }

    fn describe(expected: &Expected, standings: &PortStatesByProtocol, ignored: &str) -> Vec<String> {
        let ignored = ignored.parse().unwrap_or_default();
        expected.differences(standings, &ignored).iter().map(line).collect()
    }

    fn line(difference: &Difference) -> String {
        let word = |state: Option<PortState>| state.map_or("-", PortState::as_str);
        let Difference { port, expected, actual, .. } = difference;
        let actual = actual.map(|actual| actual.state);
        format!("{port} {} {} {:?}", word(*expected), word(actual), difference.deviation())
    }

    /// The differences at each address.
    fn lines(found: &[Vec<Difference>]) -> Vec<String> {
        found.iter().map(|found| found.iter().map(line).collect::<Vec<_>>().join(", ")).collect()
    }

    #[test]
    fn without_expectations_only_open_ports_differ() {
        let found = standings(Closed, &[(22, Open), (53, OpenFiltered), (80, Filtered)]);
        let nothing = Expected::default();
        assert_eq!(describe(&nothing, &found, ""), ["22 - open Rogue"]);
        assert_eq!(describe(&nothing, &standings(OpenFiltered, &[]), ""), [""; 0], "silence is no finding");
        assert_eq!(describe(&nothing, &found, "22,50-60"), [""; 0], "known noise");
    }

    #[rstest]
    #[case::as_it_should_be(Open, Open, "")]
    #[case::still_closed(Closed, Closed, "")]
    #[case::not_there_any_more(Open, Closed, "10 open closed Missing")]
    #[case::behind_a_firewall_now(Open, Filtered, "10 open filtered Missing")]
    #[case::perhaps(Open, OpenFiltered, "10 open open|filtered Missing")]
    #[case::certainly(OpenFiltered, Open, "10 open|filtered open Rogue")]
    #[case::opened(Closed, Open, "10 closed open Rogue")]
    #[case::perhaps_opened(Closed, OpenFiltered, "10 closed open|filtered Other")]
    #[case::filtered_is_not_closed(Closed, Filtered, "10 closed filtered Other")]
    fn every_state_but_the_expected_one_differs(
        #[case] expected: PortState,
        #[case] actual: PortState,
        #[case] difference: &str,
    ) {
        let expected: Expected = [expectation("192.0.2.1", 10, expected, 1)].into_iter().collect();
        // The same, whether listed or by default.
        for found in [standings(Closed, &[(10, actual)]), standings(actual, &[])] {
            let found = describe(&expected, &found, "1-9,11-100");
            assert_eq!(found.join(""), difference);
        }
    }

    #[test]
    fn an_unscanned_port_is_unknown_and_not_closed() {
        let expected: Expected =
            [expectation("192.0.2.1", 443, Open, 1), expectation("192.0.2.1", 444, Closed, 2)]
                .into_iter()
                .collect();
        let unknown = ["443 open - Missing", "444 closed - Other"];
        assert_eq!(describe(&expected, &standings(Closed, &[]), ""), unknown);
        assert_eq!(describe(&expected, &PortStatesByProtocol::new(), ""), unknown);
    }

    #[test]
    fn the_last_written_expectation_applies() {
        let by_mac = |written| expectation("B8:27:EB:00:00:01", 22, Open, written);
        let by_address = |written| expectation("192.0.2.1", 22, Closed, written);
        let found = standings(Closed, &[(22, Open)]);
        for both in [[by_mac(2), by_address(1)], [by_address(1), by_mac(2)]] {
            assert!(describe(&both.into_iter().collect(), &found, "").is_empty());
        }
        for both in [[by_mac(1), by_address(2)], [by_address(2), by_mac(1)]] {
            assert_eq!(describe(&both.into_iter().collect(), &found, ""), ["22 closed open Rogue"]);
        }
    }

    #[rstest]
    #[case::open_at_one_is_enough(&[(22, Open)], &[], &["", ""])]
    #[case::open_at_both(&[(22, Open)], &[(22, Open)], &["", ""])]
    #[case::missing_is_told_once(&[], &[], &["22 open closed Missing", ""])]
    #[case::unexpected_is_told_where_it_is(&[(22, Open)], &[(80, Open)], &["", "80 - open Rogue"])]
    #[case::unexpected_at_both(&[(22, Open), (80, Open)], &[(80, Open)], &["80 - open Rogue", "80 - open Rogue"])]
    fn an_expectation_of_a_device_may_be_met_at_any_of_its_addresses(
        #[case] first: &[(u16, PortState)],
        #[case] second: &[(u16, PortState)],
        #[case] expected_lines: &[&str],
    ) {
        let expected: Expected = [expectation("B8:27:EB:00:00:01", 22, Open, 1)].into_iter().collect();
        let (first, second) = (standings(Closed, first), standings(Closed, second));
        let place =
            |standings| DeviceAtAddress { expected: &expected, standings, ignored: PortSet::default() };
        assert_eq!(lines(&device_differences(&[place(&first), place(&second)])), expected_lines);
    }

    #[test]
    fn a_scan_of_one_address_counts_for_the_device_and_an_expectation_of_an_address_only_there() {
        let (nothing, found) = (PortStatesByProtocol::new(), standings(Closed, &[(80, Open)]));
        let by_mac: Expected = [expectation("B8:27:EB:00:00:01", 22, Open, 1)].into_iter().collect();
        let by_address: Expected = [expectation("192.0.2.1", 80, Open, 1)].into_iter().collect();
        let (none, closed) = (Expected::default(), standings(Closed, &[]));
        fn of<'a>(expected: &'a Expected, standings: &'a PortStatesByProtocol) -> DeviceAtAddress<'a> {
            DeviceAtAddress { expected, standings, ignored: PortSet::default() }
        }
        let unknown_first = [of(&by_mac, &nothing), of(&by_mac, &closed)];
        assert_eq!(lines(&device_differences(&unknown_first)), ["", "22 open closed Missing"]);
        let of_the_address = [of(&by_address, &nothing), of(&none, &found)];
        assert_eq!(lines(&device_differences(&of_the_address)), ["80 open - Missing", "80 - open Rogue"]);
    }

    #[test]
    fn two_scans_disagree_only_on_ports_that_one_of_them_lists() {
        let before = standings(Closed, &[(22, Open), (80, Open), (90, Filtered)]);
        let after = standings(Filtered, &[(22, Open), (80, Closed), (200, Open)]);
        let found: Vec<_> = disagreements(&before, &after)
            .into_iter()
            .map(|at| (at.port, at.one.map(|known| known.state), at.other.map(|known| known.state)))
            .collect();
        // 90 is filtered in both, and 1 only by default in either.
        assert_eq!(found, [(80, Some(Open), Some(Closed)), (200, None, Some(Open))]);
        assert_eq!(disagreements(&before, &before), []);
    }
}

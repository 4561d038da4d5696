//! Second looks at ports that seem to have changed.

use super::{super::places::CONFIRMING, *};
use crate::model::{
    PortSet,
    unconfirmed::{Unconfirmed, UnconfirmedEndpoint},
};

const SECOND: Duration = Duration::from_secs(1);

fn doubt(n: u8, openings: &str, closings: &str) -> UnconfirmedEndpoint {
    let since = "2026-06-01T00:00:00Z".parse().unwrap();
    let waiting = |ports: &str| ports.parse::<PortSet>().map(|ports| (since, ports)).into_iter().collect();
    let unconfirmed = Unconfirmed { openings: waiting(openings), closings: waiting(closings) };
    UnconfirmedEndpoint { device: device(n), unconfirmed }
}

/// A LAN in which all devices have a result.
fn scanned(toml: &str) -> World {
    let mut world = World::new(toml, Vec::new());
    world.tell((1..=20).map(device).collect());
    world.poll();
    while !world.open.is_empty() {
        world.end(|_| true, |device| LookOutcome::Result(device.key()));
    }
    world
}

impl World {
    fn doubt(&mut self, doubts: Vec<UnconfirmedEndpoint>) -> &mut Self {
        self.agenda.set_doubts(doubts, &self.times);
        self.poll()
    }

    fn looked_at(&self) -> Vec<(u8, String)> {
        let last = |look: &Look| look.device.mac.map_or(0, |mac| mac.octets()[5]);
        self.open.iter().map(|look| (last(look), look.ports.to_string())).collect()
    }
}

#[test]
fn an_opened_port_gets_its_second_look_at_once_and_a_closed_one_after_a_minute() {
    let mut world = scanned("");
    let both = || vec![doubt(1, "80,443", "22"), doubt(2, "", "23")];
    world.doubt(both());
    assert_eq!(world.looked_at(), [(1, "80,443".to_owned())]);
    assert_eq!(world.begun.last().unwrap().2, ScanKind::Confirm);
    world.end(|_| true, |device| LookOutcome::Result(device.key()));
    world.doubt(vec![doubt(1, "", "22"), doubt(2, "", "23")]);
    world.pass(59 * SECOND);
    assert_eq!(world.looked_at(), []);
    world.pass(2 * SECOND);
    assert_eq!(world.looked_at(), [(1, "22".to_owned()), (2, "23".to_owned())], "both in one scan");
    world.end(|_| true, |device| LookOutcome::Result(device.key()));
    world.doubt(Vec::new()).pass(HOUR);
    assert_eq!(world.looked_at(), []);
    let confirming = world.begun.iter().filter(|(.., kind)| *kind == ScanKind::Confirm).count();
    assert_eq!(confirming, 2);
}

#[test]
fn retries_of_a_host_that_is_down_become_rarer() {
    let mut world = scanned("[[scanner]]\nname = \"lan\"\ninterval = \"99d\"\n");
    let mut looks = 0;
    for _ in 0..24 * 60 {
        world.doubt(vec![doubt(1, "80", "")]);
        looks += world.looked_at().len();
        world.end(|_| true, |_| LookOutcome::Absent);
        world.pass(MINUTE);
    }
    assert!((8..=12).contains(&looks), "{looks} in a day");
}

#[test]
fn a_moved_device_is_confirmed_and_an_excluded_one_is_not() {
    let mut world = scanned("exclude = [\"10.0.0.2\"]\n[[device]]\nmatch = \"10.0.0.3\"\nports = \"1-9\"\n");
    let moved = Device { address: Ipv4Addr::new(10, 0, 0, 99).into(), ..device(1) };
    world.tell(vec![moved.clone(), device(2), device(3)]);
    world.doubt(vec![doubt(1, "80", ""), doubt(2, "80", ""), doubt(3, "80", ""), doubt(4, "80", "")]);
    assert_eq!(
        world.looked_at(),
        [(1, "80".to_owned()), (3, "80".to_owned())],
        "the second is excluded, the fourth has left the feed"
    );
    assert_eq!(world.open[0].device, moved);
    assert!(world.open[1].scope == Scope::Exact, "the rule's ports apply to full scans");
}

#[test]
fn a_finding_is_confirmed_at_its_own_address_wherever_the_feed_has_its_mac() {
    let at = |last| Device { address: Ipv4Addr::new(10, 0, 0, last).into(), ..device(1) };
    let nameless = Device { mac: None, ..device(2) };
    let mut world = scanned("");
    world.tell(vec![at(1), at(101), nameless]);
    world.poll();
    world.end(|_| true, |device| LookOutcome::Result(device.key()));
    let second = UnconfirmedEndpoint { device: at(101), ..doubt(1, "90", "") };
    world.doubt(vec![doubt(1, "80", ""), second, doubt(2, "22", "")]);
    let looks: Vec<_> = world.open.iter().map(|look| (look.device.clone(), look.ports.to_string())).collect();
    let expected = [(at(1), "80".to_owned()), (at(101), "90".to_owned()), (device(2), "22".to_owned())];
    assert_eq!(looks, expected);
}

#[test]
fn slow_hosts_do_not_delay_second_looks() {
    let mut world = World::new("", Vec::new());
    world.tell((1..=40).map(device).collect());
    world.poll();
    assert_eq!(world.open.len(), MAX_IN_PROGRESS);
    world.crowd = CONFIRMING;
    world.doubt((21..=30).map(|n| doubt(n, "80", "")).collect());
    let (looks, places) = (world.looked_at(), MAX_IN_PROGRESS + CONFIRMING);
    assert_eq!((looks.len(), looks.iter().filter(|(_, ports)| ports == "80").count()), (places, CONFIRMING));
}

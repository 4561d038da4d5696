use super::*;

fn at(seconds: u64) -> Moment {
    Moment::from_start(Duration::from_secs(seconds))
}

fn link(index: u32, name: &str, is_up: bool, changes: u32) -> LinkFacts {
    LinkFacts { index, name: name.to_owned(), is_up, is_loopback: name == "lo", changes }
}

fn addresses(own: &[(u32, &str)]) -> Vec<(u32, IpNet)> {
    own.iter().map(|(index, net)| (*index, net.parse().unwrap())).collect()
}

const OWN: [(u32, &str); 4] =
    [(1, "127.0.0.1/8"), (2, "192.168.1.2/24"), (2, "fe80::2/64"), (3, "10.0.0.2/24")];

/// A wired network, and a wireless one with the route to the internet.
fn ways() -> Ways {
    let mut ways = Ways::default();
    let links = [link(1, "lo", true, 0), link(2, "eth0", true, 1), link(3, "wlan0", true, 1)];
    ways.set_links(&links, at(0));
    ways.set_addresses(&addresses(&OWN), at(0));
    ways
}

fn reach(ways: &mut Ways, address: &str, source: Option<&str>, now: u64) -> Reach {
    let link = if address.starts_with("192.168.1.") { Link::OnLink } else { Link::Routed };
    let source = source.map(|source| source.parse().unwrap());
    ways.reach(&address.parse().unwrap(), Some(link), source, at(now))
}

fn passage(ways: &mut Ways, address: &str, source: &str, now: u64) -> Passage {
    match reach(ways, address, Some(source), now) {
        Reach::Open(passage) => passage,
        other => panic!("{address}: {other:?}"),
    }
}

const NEAR: &str = "192.168.1.77";

#[test]
fn a_carrier_lost_and_regained_between_two_readings_ends_the_passage() {
    let mut ways = ways();
    let [wired, wireless] =
        [(NEAR, "192.168.1.2"), ("1.1.1.1", "10.0.0.2")].map(|(to, from)| passage(&mut ways, to, from, 1));
    assert!(ways.holds(wired, at(2)) && ways.holds(wireless, at(2)));
    ways.set_link(&link(2, "eth0", true, 3), at(3));
    assert!(!ways.holds(wired, at(3)) && ways.holds(wireless, at(3)), "another interface is not concerned");
}

#[test]
fn silence_counts_again_after_a_reply_or_the_time_that_a_switch_needs() {
    let mut ways = ways();
    ways.set_link(&link(2, "eth0", true, 3), at(3));
    let settling = passage(&mut ways, NEAR, "192.168.1.2", 4);
    assert!(!ways.holds(settling, at(37)) && ways.is_settling(at(37)));
    assert!(ways.holds(settling, at(38)), "a silent network is silent");
    ways.heard(settling);
    assert!(!ways.holds(settling, at(5)), "what had left before the answer may be lost");
    let settled = passage(&mut ways, NEAR, "192.168.1.2", 5);
    assert!(ways.holds(settled, at(6)) && !ways.is_settling(at(6)));
}

#[test]
fn every_kind_of_interruption_closes_the_way_and_is_reported_with_its_remedy() {
    type Interrupt = fn(&mut Ways);
    let without = |ways: &mut Ways| {
        let rest: Vec<_> = addresses(&OWN).into_iter().filter(|(index, _)| *index != 2).collect();
        ways.set_addresses(&rest, at(5));
    };
    let kinds: [(Interrupt, &str); 3] = [
        (|ways| ways.set_link(&link(2, "eth0", false, 2), at(5)), "cable"),
        (without, "address"),
        (|ways| ways.link_gone(2, at(5)), "adapter"),
    ];
    for (interrupt, remedy) in kinds {
        let mut ways = ways();
        let before = passage(&mut ways, NEAR, "192.168.1.2", 1);
        interrupt(&mut ways);
        assert!(!ways.holds(before, at(5)));
        // The default route leads to the other network now; the device is not probed there, not even hours later.
        for source in [None, Some("10.0.0.2")] {
            assert_eq!(reach(&mut ways, NEAR, source, 9000), Reach::Closed, "{remedy}");
        }
        let closed = ways.closed(at(9001));
        assert_eq!(closed.len(), 1, "{remedy}");
        assert!(closed[0].interface == "eth0" && closed[0].why.contains(remedy), "{closed:?}");
        assert_eq!(closed[0].since, at(5));
        passage(&mut ways, "1.1.1.1", "10.0.0.2", 9000);
        // An adapter comes back under another index.
        ways.set_link(&link(7, "eth0", true, 4), at(9010));
        ways.set_addresses(&addresses(&[(7, "192.168.1.9/24"), (3, "10.0.0.2/24")]), at(9011));
        passage(&mut ways, NEAR, "192.168.1.9", 9012);
        assert_eq!(ways.closed(at(9012)), [], "{remedy}");
    }
}

#[test]
fn an_address_that_is_removed_and_added_again_ends_the_passage() {
    let mut ways = ways();
    let before = passage(&mut ways, NEAR, "192.168.1.2", 1);
    ways.address_lost(2, at(2));
    ways.set_addresses(&addresses(&OWN), at(2));
    assert!(!ways.holds(before, at(2)));
}

#[test]
fn another_address_in_the_same_network_is_the_same_network() {
    let mut ways = ways();
    ways.set_addresses(&addresses(&[(2, "192.168.1.50/24"), (3, "10.0.0.2/24")]), at(2));
    passage(&mut ways, NEAR, "192.168.1.50", 3);
}

#[test]
fn a_renumbered_network_is_waited_for_a_minute_and_no_longer() {
    let mut ways = ways();
    passage(&mut ways, NEAR, "192.168.1.2", 1);
    ways.set_addresses(&addresses(&[(2, "192.168.9.2/24"), (3, "10.0.0.2/24")]), at(100));
    assert_eq!(reach(&mut ways, NEAR, Some("10.0.0.2"), 159), Reach::Closed);
    assert_eq!(reach(&mut ways, NEAR, Some("10.0.0.2"), 160), Reach::NoRoute, "no neighbour any more");
    assert_eq!(ways.closed(at(160)), []);
}

#[test]
fn a_network_that_was_never_reached_is_not_waited_for() {
    let mut ways = ways();
    assert_eq!(reach(&mut ways, "172.16.0.1", None, 1), Reach::NoRoute);
    ways.route_lost(at(100));
    assert_eq!(reach(&mut ways, "172.16.0.1", None, 159), Reach::Closed, "a route may come back");
    ways.route_added();
    assert_eq!(reach(&mut ways, "172.16.0.1", None, 160), Reach::NoRoute);
    for nowhere in ["255.255.255.255", "fe80::1", "fe80::1%nosuch0"] {
        assert_eq!(reach(&mut ways, nowhere, None, 161), Reach::NoRoute, "{nowhere}");
    }
}

#[test]
fn a_machine_without_any_network_waits_for_one() {
    let mut ways = Ways::default();
    ways.set_links(&[link(1, "lo", true, 0), link(2, "eth0", true, 1)], at(0));
    ways.set_addresses(&addresses(&[(1, "127.0.0.1/8"), (2, "fe80::2/64")]), at(0));
    assert_eq!(reach(&mut ways, NEAR, None, 9000), Reach::Closed);
    assert_eq!(reach(&mut ways, "127.0.0.1", None, 9000), Reach::Open(Passage::LOCAL));
}

#[test]
fn of_two_interfaces_in_one_network_the_one_the_kernel_sends_from_counts() {
    let mut ways = ways();
    ways.set_addresses(&addresses(&[(2, "192.168.1.2/24"), (3, "192.168.1.3/24")]), at(0));
    let wireless = passage(&mut ways, NEAR, "192.168.1.3", 40);
    ways.set_link(&link(2, "eth0", false, 2), at(41));
    assert!(ways.holds(wireless, at(42)));
    assert_eq!(reach(&mut ways, NEAR, Some("192.168.1.2"), 42), Reach::Closed, "into a pulled cable");
}

#[test]
fn interfaces_that_no_probe_used_are_forgotten_when_they_go() {
    let mut ways = ways();
    for index in 10..1000 {
        ways.set_link(&link(index, &format!("veth{index}"), true, 1), at(5));
        ways.link_gone(index, at(6));
    }
    assert_eq!(ways.interfaces.len(), 3);
}

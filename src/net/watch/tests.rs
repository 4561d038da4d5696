//! Real links, in a network namespace of the test.

use std::thread;

use super::*;
use crate::net::own_network::{in_own_network, ip};

/// Runs a test on a thread in a new network namespace, in which this machine has 192.0.2.1.
fn in_a_network(test: impl FnOnce(LinkWatch) + Send + 'static) {
    let isolated = || {
        lay();
        test(LinkWatch::open(SystemClock::start()).unwrap());
    };
    in_own_network(isolated).join().unwrap();
}

fn lay() {
    ip("link add near type veth peer name far");
    ip("addr add 192.0.2.1/24 dev near");
    ip("link set far up");
    ip("link set near up");
}

fn near(watch: &LinkWatch) -> Reach {
    watch.reach(&"192.0.2.9".parse().unwrap(), Some(Link::OnLink))
}

/// Waits for the link: the kernel readies it some time after it has a carrier.
fn open(watch: &LinkWatch) -> Passage {
    for _ in 0..3000 {
        if let Reach::Open(passage) = near(watch) {
            return passage;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the link does not come up");
}

#[test]
fn an_interrupted_link_is_noticed_at_once() {
    type Interrupt = (&'static [&'static str], &'static [&'static str]);
    const INTERRUPTIONS: [Interrupt; 4] = [
        (&["link set near down"], &["link set near up"]),
        // The cable: the far end is without power.
        (&["link set far down"], &["link set far up"]),
        (&["addr del 192.0.2.1/24 dev near"], &["addr add 192.0.2.1/24 dev near"]),
        (
            &["link del near"],
            &[
                "link add near type veth peer name far",
                "addr add 192.0.2.1/24 dev near",
                "link set far up",
                "link set near up",
            ],
        ),
    ];
    in_a_network(|watch| {
        for (breaks, mends) in INTERRUPTIONS {
            let before = open(&watch);
            // The link has had its first answer after the earlier interruption.
            watch.heard(before);
            let before = open(&watch);
            assert!(watch.holds(before), "before {breaks:?}");
            breaks.iter().for_each(|line| ip(line));
            assert!(!watch.holds(before), "{breaks:?}");
            assert_eq!(near(&watch), Reach::Closed, "{breaks:?}");
            assert_eq!(watch.closed()[0].0.interface, "near");
            mends.iter().for_each(|line| ip(line));
            assert!(!watch.holds(before), "{mends:?}");
            open(&watch);
            assert!(watch.closed().is_empty(), "{mends:?}");
        }
    });
}

#[test]
fn an_interruption_between_two_checks_is_noticed() {
    in_a_network(|watch| {
        for (first, second) in [
            ("link set far down", "link set far up"),
            ("link set near down", "link set near up"),
            ("addr del 192.0.2.1/24 dev near", "addr add 192.0.2.1/24 dev near"),
        ] {
            let before = open(&watch);
            watch.heard(before);
            let before = open(&watch);
            ip(first);
            ip(second);
            open(&watch);
            assert!(!watch.holds(before), "{first}");
        }
    });
}

#[test]
fn other_interfaces_and_new_addresses_interrupt_nothing() {
    in_a_network(|watch| {
        let before = open(&watch);
        watch.heard(before);
        let before = open(&watch);
        for line in [
            "link add other type veth peer name else",
            "link set other up",
            "link set else up",
            "link set else down",
            "link del other",
            "addr add 192.0.2.2/24 dev near",
            "addr add 198.51.100.1/24 dev near",
            "link set near mtu 1400",
        ] {
            ip(line);
            assert!(watch.holds(before), "{line}");
        }
        assert!(watch.closed().is_empty());
    });
}

#[test]
fn malformed_kernel_messages_are_skipped() {
    for length in 0..40 {
        let _ = (link(&vec![0xff; length]), own_address(&vec![0xff; length]));
    }
    assert_eq!(link(&[7; 64]), None, "a message about a bridge");
}

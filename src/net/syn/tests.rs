//! Real packets, on a veth pair in the test's own network namespaces.

use std::{collections::BTreeMap, fs, net::TcpListener, num::NonZeroUsize};

use testkit::lab::sockets_in_state;

use super::*;
use crate::{
    model::Reason,
    net::{
        own_network::{FarEnd, ip, joined},
        test_probes::{probe, replies},
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// A router at 10.9.0.1 that serves port 80; returns its half-open connections at the end.
fn router(end: &FarEnd) -> usize {
    end.wait_for_cable();
    for (setting, value) in [("ip_forward", "1"), ("icmp_ratelimit", "0")] {
        fs::write(format!("/proc/sys/net/ipv4/{setting}"), value).unwrap();
    }
    ip("addr add 10.9.0.1/24 dev far");
    ip("link set far up");
    ip("route add prohibit 10.10.1.0/24");
    ip("route add blackhole 10.10.3.0/24");
    let _listener = TcpListener::bind("10.9.0.1:80").unwrap();
    end.serve();
    sockets_in_state(&fs::read_to_string("/proc/thread-self/net/tcp").unwrap(), "03")
}

fn syn_probe(id: u64, address: &str, port: u16) -> Probe {
    Probe { by_syn: true, ..probe(id, address, port, SECOND) }
}

fn outcomes(prober: &mut SynProber, batch: Vec<Probe>) -> BTreeMap<u64, Outcome> {
    replies(prober, batch).into_iter().map(|(id, reply)| (id, reply.outcome)).collect()
}

#[test]
fn reads_what_open_closed_and_forbidden_ports_answer_and_leaves_nothing_half_open() {
    let near = || {
        ip("addr add 10.9.0.2/24 dev near");
        ip("link set near up");
        ip("route add default via 10.9.0.1");
        LinkWatch::wait_for_way_to("10.9.0.1");
        let clock = SystemClock::start();
        let connects = ConnectProber::start(NonZeroUsize::MIN, clock).unwrap();
        let mut prober = SynProber::new(connects, clock);
        let asked: Vec<(&str, u16, Outcome)> = vec![
            ("10.9.0.1", 80, Outcome::SynAck),
            ("10.9.0.1", 9, Outcome::Refused),
            ("10.10.1.1", 9, Outcome::Unreachable(Reason::AdminProhibited)),
            ("10.10.3.1", 9, Outcome::Silent),
            ("127.0.0.1", 9, Outcome::Refused),
            ("::1", 9, Outcome::Refused),
        ];
        let batch = (0..).zip(&asked).map(|(id, (address, port, _))| syn_probe(id, address, *port)).collect();
        let found = outcomes(&mut prober, batch);
        for (id, (address, port, expected)) in (0..).zip(&asked) {
            assert_eq!(found[&id], *expected, "{address} {port}");
        }
        // More than the receive buffer holds, and more than one batch.
        let many = (0..5000).map(|id| syn_probe(id, "10.9.0.1", 1000 + u16::try_from(id).unwrap())).collect();
        assert!(outcomes(&mut prober, many).values().all(|outcome| *outcome == Outcome::Refused));
    };
    let (half_open, ()) = joined(router, near);
    assert_eq!(half_open, 0, "the kernel resets what answers the reserved ports");
}

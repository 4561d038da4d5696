//! Real sockets on the loopback, and on a veth pair in the test's own network namespaces.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::*;
use crate::{
    clock::Clock,
    engine::{LocalError, Outcome},
    model::{Moment, Reason},
    net::{
        own_network::{FarEnd, ip, joined},
        test_probes::{probe, replies},
    },
};

fn prober(threads: usize) -> ConnectProber {
    ConnectProber::start(NonZeroUsize::new(threads).unwrap(), SystemClock::start()).unwrap()
}

fn outcome(address: &str, port: u16, give_up: Duration) -> Outcome {
    replies(&mut prober(1), vec![probe(0, address, port, give_up)])[&0].outcome
}

/// A port on which nothing listens and nothing else ever will: it stays bound.
fn closed_port() -> (Socket, u16) {
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let port = bound.local_addr().unwrap().as_socket().unwrap().port();
    (bound, port)
}

/// A port that never answers: its backlog stays full.
fn silent_port() -> ((Socket, TcpStream), u16) {
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let fills_it = TcpStream::connect(address).unwrap();
    ((full, fills_it), address.port())
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn distinguishes_open_from_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_bound, closed) = closed_port();
    let open = listener.local_addr().unwrap().port();
    assert_eq!(outcome("127.0.0.1", open, SECOND), Outcome::Accepted);
    assert_eq!(outcome("127.0.0.1", closed, SECOND), Outcome::Refused);
    let listener = TcpListener::bind("[::1]:0").unwrap();
    assert_eq!(outcome("::1", listener.local_addr().unwrap().port(), SECOND), Outcome::Accepted);
}

#[test]
fn resets_what_it_connected_and_writes_nothing() {
    use std::io::Read;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(outcome("127.0.0.1", listener.local_addr().unwrap().port(), SECOND), Outcome::Accepted);
    let mut bytes = [0; 1];
    let read = listener.accept().unwrap().0.read(&mut bytes);
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

/// One more than the driver's thread makes, so that another thread does.
const MANY: usize = FEW + 1;

/// So many probes of a closed port, with replies that may wait that long.
fn patient_probes(count: usize, port: u16, reply_within: Duration) -> Vec<Probe> {
    let number = |id| Probe { reply_within, ..probe(id, "127.0.0.1", port, SECOND) };
    (0..).map(number).take(count).collect()
}

#[test]
fn replies_that_may_wait_end_no_wait_before_their_time() {
    let (_bound, closed) = closed_port();
    let within = Duration::from_millis(50);
    for count in [1, FEW, MANY] {
        let clock = SystemClock::start();
        let mut prober = ConnectProber::start(NonZeroUsize::MIN, clock).unwrap();
        prober.launch(&mut patient_probes(count, closed, within));
        let mut replies = Vec::new();
        prober.wait(None, &mut replies);
        let ended = replies.iter().map(|reply| reply.ended).min().unwrap();
        assert!(clock.now() >= ended + within, "{count}");
    }
}

#[test]
fn a_wait_that_ends_brings_replies_that_may_wait() {
    let (_bound, closed) = closed_port();
    for count in [1, FEW, MANY] {
        let clock = SystemClock::start();
        let mut prober = ConnectProber::start(NonZeroUsize::MIN, clock).unwrap();
        prober.launch(&mut patient_probes(count, closed, SECOND * 3600));
        let mut replies = Vec::new();
        let all_arrive = (0..3000).any(|_| {
            prober.wait(Some(clock.now() + SECOND / 100), &mut replies);
            replies.len() == count
        });
        assert!(all_arrive, "{} of {count}", replies.len());
    }
}

#[test]
fn the_waker_ends_the_next_wait() {
    let mut prober = prober(1);
    let mut replies = Vec::new();
    for _ in 0..3 {
        let waker = prober.waker();
        thread::spawn(move || waker.wake()).join().unwrap();
        prober.wait(None, &mut replies);
    }
    assert!(replies.is_empty());
}

/// The kernel must report each refusal anew, and an earlier answer must not affect the next.
#[test]
fn a_refused_socket_can_be_reused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_bound, closed) = closed_port();
    let ((_full, silent), open) = (silent_port(), listener.local_addr().unwrap());
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let socket = verdict::open(open).unwrap();
    // Usually at once, but a busy kernel may defer packets on the loopback.
    let connect = |socket: &Socket, peer| {
        verdict::connect(socket, peer).unwrap();
        std::iter::repeat_with(|| verdict::verdict(socket, peer)).flatten().next()
    };
    for _ in 0..3 {
        assert_eq!(connect(&socket, local(closed)), Some(Outcome::Refused));
    }
    assert_eq!(connect(&socket, open), Some(Outcome::Accepted));
    let socket = verdict::open(open).unwrap();
    assert_eq!(connect(&socket, local(closed)), Some(Outcome::Refused));
    verdict::connect(&socket, local(silent)).unwrap();
    assert_eq!(verdict::verdict(&socket, local(silent)), None);
}

/// A port that accepts and resets at once was open, even if the reset arrives before the socket is checked.
#[test]
fn a_reset_after_accepting_is_open() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = verdict::open(address).unwrap();
    verdict::connect(&socket, address).unwrap();
    Socket::from(listener.accept().unwrap().0).set_linger(Some(Duration::ZERO)).unwrap();
    assert_eq!(verdict::verdict(&socket, address), Some(Outcome::Accepted));
}

#[test]
fn a_full_backlog_is_silent_until_the_time_out() {
    let (_full, port) = silent_port();
    let give_up = Duration::from_millis(50);
    let reply = &replies(&mut prober(1), vec![probe(0, "127.0.0.1", port, give_up)])[&0];
    assert_eq!(reply.outcome, Outcome::Silent);
    assert!(reply.ended.since(reply.started) >= give_up);
}

#[test]
fn a_socket_connected_to_itself_is_no_open_port() {
    let (bound, port) = closed_port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    bound.connect(&address.into()).unwrap();
    bound.set_nonblocking(true).unwrap();
    assert_eq!(verdict::verdict(&bound, address), Some(Outcome::Local(LocalError::SelfConnect)));
}

#[test]
fn the_unspecified_address_is_not_the_loopback() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(outcome("0.0.0.0", port, SECOND), Outcome::Local(LocalError::Other));
}

#[test]
fn a_missing_route_is_no_verdict() {
    for (address, error) in [
        ("fe80::1%nosuchlink", LocalError::NoRoute),
        ("fe80::1", LocalError::NoRoute),
        ("255.255.255.255", LocalError::NoRoute),
    ] {
        assert!(matches!(outcome(address, 9, SECOND), Outcome::Local(found) if found == error), "{address}");
    }
}

#[test]
fn every_fault_of_this_machine_is_no_verdict() {
    // An error that is not listed is a local error, too.
    let errors = (1..200).map(io::Error::from_raw_os_error);
    let mut listed = BTreeMap::new();
    for error in errors {
        *listed.entry(faults::local_error(&error).as_str()).or_insert(0) += 1;
    }
    let other = listed.remove("other");
    let expected = [("denied", 2), ("descriptors", 2), ("memory", 4), ("no-route", 7), ("ports", 2)];
    assert_eq!((listed, other), (expected.into(), Some(182)));
}

#[test]
fn a_late_probe_is_not_made() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let clock = SystemClock::start();
    while clock.now() == Moment::ZERO {}
    let mut late = probe(0, "127.0.0.1", listener.local_addr().unwrap().port(), SECOND);
    late.start_by = Moment::ZERO;
    let mut prober = ConnectProber::start(NonZeroUsize::MIN, clock).unwrap();
    assert_eq!(replies(&mut prober, vec![late])[&0].outcome, Outcome::NotStarted);
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn answers_every_probe_of_a_large_batch_once() {
    let listeners: Vec<TcpListener> = (0..20).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let open: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    let (_bound, closed) = closed_port();
    let batch = (0..2000)
        .map(|id| match open.get(usize::try_from(id % 100).unwrap()) {
            Some(&port) => probe(id, "127.0.0.1", port, SECOND * 5),
            None => probe(id, "127.0.0.1", closed, SECOND * 5),
        })
        .collect();
    for (id, reply) in replies(&mut prober(2), batch) {
        let expected = if id % 100 < 20 { Outcome::Accepted } else { Outcome::Refused };
        assert_eq!(reply.outcome, expected, "{id}");
    }
}

#[test]
fn dropping_the_prober_closes_its_sockets() {
    let (_full, port) = silent_port();
    let mut prober = prober(1);
    prober.launch(&mut vec![probe(0, "127.0.0.1", port, SECOND * 3600)]);
    drop(prober); // Joins its threads, which do not wait for the probe's hour.
}

/// A router at 10.9.0.1, `fd09::1` and `fe80::1` with routes for every kind of refusal, until `end` has a message.
fn router(end: &FarEnd) {
    end.wait_for_cable();
    for (setting, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/icmp/ratelimit", "0"),
    ] {
        std::fs::write(format!("/proc/sys/net/{setting}"), value).unwrap();
    }
    ip("link set lo up");
    ip("addr add 10.9.0.1/24 dev far");
    ip("link set far addrgenmode none");
    ip("-6 addr add fd09::1/64 dev far nodad");
    ip("-6 addr add fe80::1/64 dev far nodad");
    ip("link set far up");
    ip("route add prohibit 10.10.1.0/24");
    ip("route add unreachable 10.10.2.0/24");
    ip("route add blackhole 10.10.3.0/24");
    ip("-6 route add prohibit fd10:1::/64");
    ip("-6 route add blackhole fd10:3::/64");
    end.serve();
}

/// The kernel's real errors for every way in which a router, a neighbour and this machine refuse.
#[test]
fn reads_the_sender_and_the_meaning_of_an_icmp_error() {
    let near = || {
        ip("addr add 10.9.0.2/24 dev near");
        ip("link set near addrgenmode none");
        ip("-6 addr add fd09::2/64 dev near nodad");
        ip("-6 addr add fe80::2/64 dev near nodad");
        ip("link set near up");
        ip("route add default via 10.9.0.1");
        ip("-6 route add default via fd09::1");
        ip("route add unreachable 10.10.9.0/24");
        ip("route add prohibit 10.10.8.0/24");
        outcomes_at_the_router()
    };
    let ((), outcomes) = joined(router, near);
    for (address, expected, outcome) in outcomes {
        assert_eq!(outcome, expected, "{address}");
    }
}

fn outcomes_at_the_router() -> Vec<(&'static str, Outcome, Outcome)> {
    let expected = [
        ("10.9.0.1", Outcome::Refused),
        ("10.9.0.77", Outcome::NoNeighbour),
        ("10.10.1.1", Outcome::Unreachable(Reason::AdminProhibited)),
        ("10.10.2.1", Outcome::Unreachable(Reason::HostUnreach)),
        ("10.10.3.1", Outcome::Silent),
        ("10.10.4.1", Outcome::Unreachable(Reason::NetUnreach)),
        ("10.10.8.1", Outcome::Local(LocalError::Denied)),
        ("10.10.9.1", Outcome::Local(LocalError::NoRoute)),
        ("fd09::1", Outcome::Refused),
        ("fd09::77", Outcome::NoNeighbour),
        ("fe80::77%near", Outcome::NoNeighbour),
        ("fe80::1%near", Outcome::Refused),
        ("fd10:1::1", Outcome::Unreachable(Reason::AdminProhibited)),
        ("fd10:3::1", Outcome::Silent),
        ("fd10:4::1", Outcome::Unreachable(Reason::NetUnreach)),
    ];
    // The kernel gives up on neighbours after 3 s, or later if the machine stalls.
    let patience = |address: &str, outcome: &Outcome| match outcome {
        Outcome::Silent => SECOND,
        // No error arrives: the neighbour table is read at the end.
        Outcome::NoNeighbour if address.contains('%') => SECOND * 4,
        _ => SECOND * 60,
    };
    LinkWatch::wait_for_way_to("10.9.0.1");
    let numbered = (0..).zip(&expected);
    let batch =
        numbered.map(|(id, (address, outcome))| probe(id, address, 9, patience(address, outcome))).collect();
    let replies = replies(&mut prober(2), batch);
    (0..).zip(expected).map(|(id, (address, expected))| (address, expected, replies[&id].outcome)).collect()
}

//! Tests of the lab itself, by the kernel's own connects and by nmap, so that its faults are not blamed on a scanner.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use testkit::lab::{KernelHost, Lab, outputs};

/// The longest wait for an immediate event, on a machine that may stall.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for something that must not happen.
const SILENCE: Duration = Duration::from_millis(700);

/// Connects to an address, or returns the kind of the failure.
fn connect(address: &str, port: u16) -> Result<TcpStream, ErrorKind> {
    connect_within(address, port, PATIENCE)
}

fn connect_within(address: &str, port: u16, patience: Duration) -> Result<TcpStream, ErrorKind> {
    let to = SocketAddr::new(address.parse().unwrap(), port);
    TcpStream::connect_timeout(&to, patience).map_err(|error| error.kind())
}

fn refuses(address: &str, port: u16) -> bool {
    connect(address, port).unwrap_err() == ErrorKind::ConnectionRefused
}

fn is_silent(address: &str, port: u16) -> bool {
    connect_within(address, port, SILENCE).is_err_and(|error| error == ErrorKind::TimedOut)
}

/// A connecting socket, as a scanner has it.
fn start_connect(address: &str, port: u16) -> Socket {
    let to = SocketAddr::new(address.parse().unwrap(), port);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let started = socket.connect(&to.into()).map_err(|error| error.raw_os_error());
    assert_eq!(started, Err(Some(nix::libc::EINPROGRESS)));
    socket
}

#[test]
fn ports_answer_as_the_scenario_says() {
    let lab = Lab::enter("near");
    assert!(connect("10.77.0.5", 22).is_ok());
    assert!(refuses("10.77.0.5", 23));
    assert!(connect("10.77.0.6", 22).is_ok());
    assert!(is_silent("10.77.0.6", 23));
    assert!(connect("10.77.0.7", 80).is_ok());
    assert_eq!(connect("10.77.0.7", 23).unwrap_err(), ErrorKind::HostUnreachable);
    assert!(lab.outside().asked.is_empty());
    // No host has the address: the kernel gives up on ARP only after some 3 s.
    assert!(is_silent("10.77.9.9", 22));
    let asked: Vec<Ipv4Addr> = lab.outside().asked.into_keys().collect();
    assert_eq!(asked, [Ipv4Addr::new(10, 77, 9, 9)]);
}

/// Uses nmap's SYN scan, which misreads no answer, at its usual pace, with ten tries before silence counts. Its
/// connect scan would treat a socket without an error as a connection, and so report one in some millions of ports as
/// open that was answered by an ICMP error.
#[test]
fn nmap_finds_the_truth() {
    let lab = Lab::enter("near");
    let nmap = Command::new("nmap")
        .args(["-sS", "-Pn", "-n", "--open", "-p", "1-1000,8080", "-oG", "-", "10.77.0.5-7"])
        .output()
        .unwrap_or_else(|e| panic!("the lab is checked against nmap (apt install nmap): {e}"));
    assert!(nmap.status.success(), "{}", String::from_utf8_lossy(&nmap.stderr));
    assert_eq!(outputs::nmap(&String::from_utf8(nmap.stdout).unwrap()), lab.truth());
    for host in lab.hosts() {
        let stats = host.stats();
        assert!(stats.ports == 1001 && stats.syns >= 1001, "{stats:?}");
        assert_eq!(stats.accepted, host.open_ports());
        assert_eq!((stats.payload, stats.left_open), (0, 0));
    }
}

#[test]
fn a_kernel_refuses_by_itself() {
    let host = KernelHost::enter(&"22,8080".parse().unwrap());
    let address = host.address().to_string();
    for port in (1..=200).filter(|port| !host.open_ports().contains(*port)) {
        assert!(refuses(&address, port));
    }
    for port in [22, 8080, 22] {
        connect(&address, port).unwrap();
    }
    // A SYN that is answered late, because the machine stalls, is sent again and counted twice.
    assert!(host.syns() >= 199 + 3, "{}", host.syns());
    assert_eq!(neighbours()[&host.address()], host.mac().to_lower());
}

#[test]
fn counts_what_was_done_to_a_host() {
    let lab = Lab::enter("near");
    let host = lab.host("10.77.0.5");
    for port in 100..120 {
        assert!(refuses("10.77.0.5", port));
    }
    let mut open = connect("10.77.0.5", 80).unwrap();
    open.write_all(b"hello").unwrap();
    let stats = host.stats();
    assert_eq!((stats.syns - stats.retransmits, stats.ports), (21, 21));
    assert_eq!((stats.accepted.to_string(), stats.refused.to_string()), ("80".into(), "100-119".into()));
    assert_eq!((stats.payload, stats.left_open), (5, 1));
    assert_eq!(stats.most_half_open(PATIENCE), 1, "one after the other");
    assert!(
        stats.peak_1s <= stats.syns && stats.first_syn < stats.last_syn && stats.last_syn < Some(lab.now())
    );

    open.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(open.read(&mut [0; 1]).unwrap(), 0, "the host closes too");
    drop(open);
    assert_eq!(host.stats().left_open, 0);
}

#[test]
fn counts_sockets_held_and_the_kernels_retransmits() {
    let lab = Lab::enter("near");
    let host = lab.host("10.77.0.6");
    // The neighbour is resolved first, because packets that wait for ARP would arrive late and all at once.
    drop(connect("10.77.0.6", 22).unwrap());
    let held: Vec<Socket> = (1000..1030).map(|port| start_connect("10.77.0.6", port)).collect();
    let stats = host.stats();
    assert_eq!(stats.syns - stats.retransmits, 31);
    assert_eq!(stats.most_half_open(PATIENCE), 30);
    assert_eq!(stats.most_half_open(Duration::ZERO), 1, "silence counts for as long as one says");
    let deadline = lab.now() + PATIENCE;
    while host.stats().retransmits < held.len() {
        assert!(lab.now() < deadline, "the kernel sends a SYN again after a second");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(host.stats().ports, 31);
}

#[test]
fn does_what_a_test_tells_it_to() {
    let lab = Lab::enter("near");
    let host = lab.host("10.77.0.5");
    assert!(connect("10.77.0.5", 22).is_ok());
    host.close(22);
    host.open(23);
    assert_eq!(lab.truth()[&host.address()].to_string(), "23,80,443,8080");
    assert!(refuses("10.77.0.5", 22));
    assert!(connect("10.77.0.5", 23).is_ok());

    host.vanish();
    assert!(is_silent("10.77.0.5", 23));
    assert!(host.vanished() < host.stats().last_syn && !lab.truth().contains_key(&host.address()));
    host.appear();
    assert!(connect("10.77.0.5", 23).is_ok());

    host.move_to("10.77.0.50");
    assert!(connect("10.77.0.50", 23).is_ok());
    host.set_mac("02:00:00:00:09:99");
    let known_as = || neighbours().get(&host.address()).cloned();
    let deadline = lab.now() + PATIENCE;
    while known_as().as_deref() != Some("02:00:00:00:09:99") {
        assert!(lab.now() < deadline, "the kernel heeds an announcement: {:?}", neighbours());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(connect("10.77.0.50", 23).is_ok());
}

/// The kernel's neighbour table in this thread's namespace.
fn neighbours() -> BTreeMap<Ipv4Addr, String> {
    let table = std::fs::read_to_string("/proc/thread-self/net/arp").unwrap();
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        Some((fields.first()?.parse().ok()?, (*fields.get(3)?).to_owned()))
    };
    table.lines().filter_map(entry).collect()
}

#[test]
fn hosts_have_their_manners() {
    let lab = Lab::describe(
        r#"
        [[host]]
        address = "10.77.0.20"
        mac = "02:00:00:00:00:20"
        reboot = { syns = 20, silent = "1h" }
        [[host]]
        address = "10.77.0.21"
        mac = "02:00:00:00:00:21"
        rst_rate = 5
        [[host]]
        address = "10.77.0.22"
        mac = "02:00:00:00:00:22"
        wake = { delay = "150ms", idle = "10s" }
        [[host]]
        address = "10.77.0.23"
        mac = "02:00:00:00:00:23"
        vanish = { after_syns = 3 }
        [[host]]
        address = "10.77.0.24"
        mac = "02:00:00:00:00:24"
        open = "22"
        handover = { after_syns = 2, mac = "02:00:00:00:01:24", open = "443" }
        [[host]]
        address = "10.77.0.25"
        mac = "02:00:00:00:00:25"
        default = "open"
        backlog = 1
        "#,
    );
    fragile_one_reboots(&lab);
    rationing_one_refuses_five_a_second(&lab);

    let asked = lab.now();
    assert!(refuses("10.77.0.22", 1));
    assert!(lab.now().since(asked) >= Duration::from_millis(150), "woken up by ARP");

    let leaving = lab.host("10.77.0.23");
    assert!(refuses("10.77.0.23", 1) && refuses("10.77.0.23", 2));
    assert!(is_silent("10.77.0.23", 3) && is_silent("10.77.0.23", 4), "gone");
    leaving.appear();
    assert!(refuses("10.77.0.23", 5), "back");

    assert!(connect("10.77.0.24", 22).is_ok());
    assert!(is_silent("10.77.0.24", 22), "sent to the old MAC");
    assert_eq!(lab.truth()[&Ipv4Addr::new(10, 77, 0, 24)].to_string(), "443");
    assert_eq!(lab.host("10.77.0.24").mac().to_string(), "02:00:00:00:01:24");

    let first = connect("10.77.0.25", 7).unwrap();
    assert!(is_silent("10.77.0.25", 7), "the backlog is full");
    drop(first);
    assert!(connect("10.77.0.25", 7).is_ok());
}

/// Here the host vanishes permanently; the same test in `manners` lets it come back, which a stalling machine could
/// miss here.
fn fragile_one_reboots(lab: &Lab) {
    let host = lab.host("10.77.0.20");
    assert!(refuses("10.77.0.20", 1), "and the kernel knows its neighbour");
    assert_eq!(host.stats().reboots, 0);
    let deadline = lab.now() + PATIENCE;
    for first in (2..).step_by(40) {
        // Twenty-one within 100 ms are enough, but a machine that stalls may take longer for that.
        drop((first..first + 40).map(|port| start_connect("10.77.0.20", port)).collect::<Vec<_>>());
        if host.stats().reboots > 0 {
            break;
        }
        assert!(lab.now() < deadline, "{:?}", host.stats());
    }
    assert_eq!(host.stats().reboots, 1);
    assert!(is_silent("10.77.0.20", 1), "while it reboots");
}

fn rationing_one_refuses_five_a_second(lab: &Lab) {
    assert!(refuses("10.77.0.21", 1), "and the kernel knows its neighbour");
    let _held: Vec<Socket> = (2..=10).map(|port| start_connect("10.77.0.21", port)).collect();
    let stats = lab.host("10.77.0.21").stats();
    // All arrive within one second, unless the machine stalls; then this many arrive in each second.
    let seconds = 1 + stats.last_syn.unwrap().since(stats.first_syn.unwrap()).as_secs();
    assert!((5..=5 * seconds).contains(&stats.refused.len().into()), "{stats:?}");
}

#[test]
fn loses_as_much_as_told() {
    let lab = Lab::describe(
        r#"
        [[host]]
        address = "10.77.0.20"
        mac = "02:00:00:00:00:20"
        loss = 0.1
        "#,
    );
    // ARP packets are lost like all others; the kernel repeats them.
    assert!(refuses("10.77.0.20", 9));
    let held: Vec<Socket> = (1000..3000).map(|port| start_connect("10.77.0.20", port)).collect();
    lab.settle();
    let refused = held.iter().filter(|socket| socket.take_error().unwrap().is_some()).count();
    // 1 - 0.9^2 = 19 %, so some 1620, five standard deviations and more from either bound. A busy machine's kernel
    // has by now asked some of them again.
    let again = lab.host("10.77.0.20").stats().retransmits;
    assert!((1500..=1740 + again).contains(&refused), "{refused} of 2000 answered, {again} asked again");
}

#[test]
fn keeps_up_with_as_many_syns_as_it_says() {
    let lab = Lab::describe(
        r#"
        [[host]]
        address = "10.77.0.10-41"
        mac = "02:00:00:00:00:10+"
        rtt = "300us"
        "#,
    );
    let hosts: Vec<String> = lab.hosts().map(|host| host.address().to_string()).collect();
    for host in &hosts {
        assert!(refuses(host, 1));
    }
    let at_once = lab.syns_per_second() / 1000;
    let start = lab.now();
    for millisecond in 0..2000_u16 {
        let due = start + Duration::from_millis(millisecond.into());
        thread::sleep(lab.now().until(due));
        for host in &hosts[..at_once.into()] {
            drop(start_connect(host, 2 + millisecond));
        }
    }
    let took = lab.now().since(start);
    let syns: usize = lab.hosts().map(|host| host.stats()).map(|stats| stats.syns - stats.retransmits).sum();
    assert_eq!(syns, 2000 * usize::from(at_once) + hosts.len());
    eprintln!("{syns} SYNs in {took:.1?}, of which the lab lost none");
}

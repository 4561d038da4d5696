//! A host that is a real kernel, not a simulation, and so the fastest one.
//!
//! The responder answers some 10,000 SYNs a second, fewer than a scanner can send. Here the far end of the
//! wire has an address and listeners instead, and Linux refuses every other port by itself.

use std::{
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::Duration,
};

use ipnet::Ipv4Net;
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use super::{
    kernel_counts::{sockets_in_state, tcp_counter},
    namespace,
    turn::Turn,
};
use crate::{Mac, Ports};

const SCANNER: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 0, 1), 16);
const HOST: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 0, 5), 16);
const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 5]);

/// The addresses of many, without the first and the last.
const MANY: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 1, 0), 24);

/// Connections that may wait at a port: two to each of many addresses, and room.
const BACKLOG: i32 = 1024;

/// How often it broadcasts something.
const CHATTER: Duration = Duration::from_millis(500);

/// The host. The calling thread stays in its network for good, as in [`super::Lab`]'s.
pub struct KernelHost {
    open: Ports,
    addresses: Vec<Ipv4Addr>,
    inside: Pid,
    leave: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _turn: Turn,
}

impl KernelHost {
    /// Enters a network with one such host, which listens on these ports.
    pub fn enter(open: &Ports) -> Self {
        Self::settle(open, None, vec![HOST.addr()]).0
    }

    /// The same with 254 addresses: all hosts of a /24, as far as a scanner by address can tell.
    pub fn enter_many(open: &Ports) -> Self {
        Self::settle(open, None, MANY.hosts().collect()).0
    }

    /// The same; the test may send from its UDP port.
    pub fn enter_speaking(open: &Ports, port: u16) -> (Self, UdpSocket) {
        let (host, socket) = Self::settle(open, Some(port), vec![HOST.addr()]);
        (host, socket.expect("it was asked for"))
    }

    fn settle(open: &Ports, speaking: Option<u16>, addresses: Vec<Ipv4Addr>) -> (Self, Option<UdpSocket>) {
        let turn = Turn::shared();
        namespace::enter();
        let (arrived, arrival) = mpsc::channel();
        let (connected, connection) = mpsc::channel::<()>();
        let (listening, readiness) = mpsc::channel();
        let (leave, left) = mpsc::channel::<()>();
        let ports = open.clone();
        let is_many = addresses.len() > 1;
        let thread = thread::spawn(move || {
            arrived.send(namespace::enter_far_end()).expect("the caller waits");
            connection.recv().expect("the caller lays the wire");
            namespace::settle_far_end(HOST, MAC);
            if is_many {
                // All of a local route's addresses are the machine's own, and its kernel answers ARP for them.
                namespace::ip(&["route", "add", "local", &MANY.to_string(), "dev", "lo"]);
            }
            let _listeners: Vec<Socket> = ports.iter().map(listen).collect();
            let chatter = UdpSocket::bind((HOST.addr(), 0)).expect("a free port");
            chatter.set_broadcast(true).expect("leave to broadcast");
            // A socket stays in the network that it was made in, wherever it goes.
            let bind = |port| UdpSocket::bind((HOST.addr(), port)).expect("a free port");
            listening.send(speaking.map(bind)).expect("the caller waits");
            // No LAN is completely silent: masscan, which reads in blocks, sees its last answers only when something
            // else arrives. The packets go to the discard port (RFC 863), where a broadcast gets no answer.
            while left.recv_timeout(CHATTER) == Err(RecvTimeoutError::Timeout) {
                chatter.send_to(&[], (HOST.broadcast(), 9)).expect("the wire is there");
            }
        });
        let inside = arrival.recv().expect("the host starts");
        namespace::lay_wire(SCANNER, inside);
        connected.send(()).expect("the host waits");
        let socket = readiness.recv().expect("the host listens");
        await_wire();
        namespace::forget_neighbours();
        let thread = Some(thread);
        (Self { open: open.clone(), addresses, inside, leave: Some(leave), thread, _turn: turn }, socket)
    }

    pub fn address(&self) -> Ipv4Addr {
        HOST.addr()
    }

    /// All addresses to scan.
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }

    pub fn mac(&self) -> Mac {
        MAC
    }

    pub fn open_ports(&self) -> Ports {
        self.open.clone()
    }

    /// Its TCP sockets in this state, in the kernel's hexadecimal: `03` is half open.
    pub fn in_state(&self, state: &str) -> usize {
        let path = format!("/proc/self/task/{}/net/tcp", self.inside);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        sockets_in_state(&text, state)
    }

    /// The SYNs that it has answered, by its kernel's counters (RFC 4022): refused, accepted, and accepted
    /// but given up by the scanner before it said so. It loses none: the wire is a queue of this machine.
    pub fn syns(&self) -> u64 {
        let path = format!("/proc/self/task/{}/net/snmp", self.inside);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        ["OutRsts", "PassiveOpens", "AttemptFails"].map(|name| tcp_counter(&text, name)).iter().sum()
    }
}

/// Listens at a port. Connections are not accepted: the backlog is more than a scanner makes, at each of many addresses.
fn listen(port: u16) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into()).expect("a free port");
    socket.listen(BACKLOG).expect("a bound socket");
    socket
}

/// Returns when the wire carries: the kernel takes up to a second to notice that its other end is up, and
/// loses what is sent before. Asks by UDP, which the host's TCP counters do not see.
fn await_wire() {
    let socket = UdpSocket::bind((SCANNER.addr(), 0)).expect("a free port");
    socket.connect((HOST.addr(), 9)).expect("a route");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
    let refused = |_| {
        let answer = socket.send(&[]).and_then(|_| socket.recv(&mut [0]));
        answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    assert!((0..1500).any(refused), "the wire does not carry");
}

impl Drop for KernelHost {
    fn drop(&mut self) {
        drop(self.leave.take());
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        assert!(ended.is_ok() || thread::panicking(), "the host's thread panicked; see above");
    }
}

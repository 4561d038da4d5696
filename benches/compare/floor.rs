//! The minimal cost of a scan by connects: one thread, one epoll, a window, and no decisions.
//!
//! It probes every port once, in order, and closes each socket after a second at the latest. What a scanner needs
//! beyond this is the cost of its care. It is no recommendation: it finds only what a lossless, patient host has.

use std::{collections::VecDeque, io, net::Ipv4Addr, process::ExitCode, time::Duration};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use portscan::{
    clock::{Clock, SystemClock},
    model::Moment,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::os::fd::AsRawFd;

const WINDOW: usize = 512;
/// The kernel's own second try would come after this.
const PATIENCE: Duration = Duration::from_secs(1);

/// What to scan.
#[derive(clap::Args)]
pub struct Order {
    host: Ipv4Addr,
}

/// Scans, and prints `ADDRESS -> [PORT,PORT]`.
pub fn run(order: &Order) -> ExitCode {
    let mut open = scan(order.host).unwrap_or_else(|e| panic!("the floor gave way: {e}"));
    open.sort_unstable();
    let ports: Vec<String> = open.iter().map(u16::to_string).collect();
    println!("{} -> [{}]", order.host, ports.join(","));
    ExitCode::SUCCESS
}

fn scan(host: Ipv4Addr) -> io::Result<Vec<u16>> {
    let clock = SystemClock::start();
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(WINDOW);
    // By port: a socket in flight.
    let mut sockets: Vec<Option<Socket>> = (0..=u16::MAX).map(|_| None).collect();
    let mut deadlines: VecDeque<(Moment, usize)> = VecDeque::new();
    let (mut left, mut flying, mut open) = (1..=u16::MAX, 0, Vec::new());
    loop {
        while flying < WINDOW
            && let Some(port) = left.next()
        {
            let socket = connect(host, port)?;
            let (fd, token) = (socket.as_raw_fd(), Token(port.into()));
            poll.registry().register(&mut SourceFd(&fd), token, Interest::WRITABLE)?;
            sockets[usize::from(port)] = Some(socket);
            deadlines.push_back((clock.now() + PATIENCE, port.into()));
            flying += 1;
        }
        if flying == 0 {
            return Ok(open);
        }
        let next = deadlines.front().map(|(due, _)| clock.now().until(*due));
        match poll.poll(&mut events, next) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        for event in &events {
            let Some(socket) = sockets[event.token().0].take() else { continue };
            flying -= 1;
            if socket.take_error()?.is_none() {
                open.push(u16::try_from(event.token().0).expect("a port"));
            }
        }
        let now = clock.now();
        while let Some(&(due, port)) = deadlines.front()
            && (due <= now || sockets[port].is_none())
        {
            flying -= usize::from(sockets[port].take().is_some());
            deadlines.pop_front();
        }
    }
}

fn connect(host: Ipv4Addr, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    match socket.connect(&SockAddr::from(std::net::SocketAddrV4::new(host, port))) {
        Err(e) if e.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(e),
        _ => Ok(socket),
    }
}

//! Hostile clients: many connections from a few addresses, each of which takes a seat and gives nothing.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::ground::{CLIENTS, Ground, PI_ADDRESS};

/// How long each crowd waits between two rounds over its connections.
const ROUND: Duration = Duration::from_millis(100);
/// New connections of a crowd in one round at most.
const NEWCOMERS: usize = 50;
/// On the LAN a connect takes no longer; a cable that is unplugged does not hold up the round.
const CONNECT: Duration = Duration::from_millis(200);

/// Answers that are long to tell.
const LONG_PATHS: [&str; 4] = ["/v1/hosts/192.0.2.7", "/v1/hosts", "/metrics", "/v1/diff"];

/// Ask for much and read an octet a round, through the smallest buffer.
pub fn read_slowly(ground: &Ground) {
    let asked = |number: usize| {
        let path = LONG_PATHS[number % LONG_PATHS.len()];
        format!("GET {path} HTTP/1.1\r\nHost: {PI_ADDRESS}\r\n\r\n").into_bytes()
    };
    crowd(ground, 450, asked, |stream| !is_gone(stream.read(&mut [0])));
}

/// Never end their request: its head, or the body that it has announced.
pub fn write_slowly(ground: &Ground) {
    let asked = |number: usize| {
        let head = match number % 2 {
            0 => format!("GET /healthz HTTP/1.1\r\nHost: {PI_ADDRESS}\r\nX: "),
            _ => format!("POST /v1/scan HTTP/1.1\r\nHost: {PI_ADDRESS}\r\nContent-Length: 1000000\r\n\r\n"),
        };
        head.into_bytes()
    };
    crowd(ground, 300, asked, |stream| stream.write_all(b"a").is_ok());
}

/// Listen to what changes and never read it.
pub fn listen(ground: &Ground) {
    let asked = |_| format!("GET /v1/events HTTP/1.1\r\nHost: {PI_ADDRESS}\r\n\r\n").into_bytes();
    crowd(ground, 150, asked, |stream| stream.peek(&mut [0]).map_or_else(|e| !is_end(&e), |read| read > 0));
}

/// Connect and say nothing.
pub fn idle(ground: &Ground) {
    crowd(ground, 100, |_| Vec::new(), |stream| !is_gone(stream.peek(&mut [0])));
}

/// Have it look at ports of a device all the time.
pub fn probe(ground: &Ground) {
    let asked = |number: usize| {
        let port = number % 600 + 1;
        format!(
            "GET /portscan/10.77.0.10/{port}/json HTTP/1.1\r\nHost: {PI_ADDRESS}\r\nConnection: close\r\n\r\n"
        )
        .into_bytes()
    };
    crowd(ground, 20, asked, |stream| !is_gone(stream.read(&mut [0; 512])));
}

/// Keeps so many connections, each from the next address; what `keep` gives up is made anew.
fn crowd(
    ground: &Ground,
    size: usize,
    asked: impl Fn(usize) -> Vec<u8>,
    keep: impl Fn(&mut TcpStream) -> bool,
) {
    let mut seats: Vec<Option<TcpStream>> = (0..size).map(|_| None).collect();
    let mut number = 0;
    while ground.goes_on_after(ROUND) {
        let mut newcomers = 0;
        for seat in &mut seats {
            if let Some(stream) = seat {
                if !keep(stream) {
                    *seat = None;
                }
            } else if newcomers < NEWCOMERS {
                newcomers += 1;
                number += 1;
                let Some(mut stream) = connect(number) else { break };
                // One that is refused at once says so in the next round.
                let _ = stream.write_all(&asked(number));
                *seat = Some(stream);
            }
        }
    }
}

/// A connection from one of the clients' addresses that never blocks.
fn connect(number: usize) -> Option<TcpStream> {
    let clients = usize::from(CLIENTS.end() - CLIENTS.start()) + 1;
    let client = CLIENTS.start() + u8::try_from(number % clients).expect("few clients");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(2048).expect("an option");
    let from = SocketAddr::from((Ipv4Addr::new(10, 77, 1, client), 0));
    socket.bind(&from.into()).ok()?;
    socket.connect_timeout(&SocketAddr::from((PI_ADDRESS, 80)).into(), CONNECT).ok()?;
    socket.set_nonblocking(true).expect("an option");
    Some(socket.into())
}

/// Whether the other end has hung up.
fn is_gone(read: std::io::Result<usize>) -> bool {
    read.map_or_else(|error| is_end(&error), |length| length == 0)
}

fn is_end(error: &std::io::Error) -> bool {
    error.kind() != ErrorKind::WouldBlock
}

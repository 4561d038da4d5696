//! Hostile clients: many connections from a few addresses, each of which occupies a connection of the server.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::setup::{CLIENTS, PI_ADDRESS, Siege};

/// The pause between two rounds over a crowd's connections.
const ROUND: Duration = Duration::from_millis(100);
/// The new connections of a crowd in one round, at most.
const NEWCOMERS: usize = 50;
/// On the LAN a connect takes no longer; an unplugged cable must not delay the round.
const CONNECT: Duration = Duration::from_millis(200);

/// The paths with the longest responses.
const LONG_PATHS: [&str; 4] = ["/v1/hosts/192.0.2.7", "/v1/hosts", "/metrics", "/v1/diff"];

/// Requests long responses and reads an octet a round, through the smallest buffer.
pub fn read_slowly(siege: &Siege) {
    let request = |number: usize| {
        let path = LONG_PATHS[number % LONG_PATHS.len()];
        format!("GET {path} HTTP/1.1\r\nHost: {PI_ADDRESS}\r\n\r\n").into_bytes()
    };
    crowd(siege, 450, request, |stream| !is_gone(stream.read(&mut [0])));
}

/// Never finishes its requests: the head, or the announced body.
pub fn write_slowly(siege: &Siege) {
    let request = |number: usize| {
        let head = match number % 2 {
            0 => format!("GET /healthz HTTP/1.1\r\nHost: {PI_ADDRESS}\r\nX: "),
            _ => format!("POST /v1/scan HTTP/1.1\r\nHost: {PI_ADDRESS}\r\nContent-Length: 1000000\r\n\r\n"),
        };
        head.into_bytes()
    };
    crowd(siege, 300, request, |stream| stream.write_all(b"a").is_ok());
}

/// Opens event streams and never reads them.
pub fn listen(siege: &Siege) {
    let request = |_| format!("GET /v1/events HTTP/1.1\r\nHost: {PI_ADDRESS}\r\n\r\n").into_bytes();
    crowd(siege, 150, request, |stream| stream.peek(&mut [0]).map_or_else(|e| !is_end(&e), |read| read > 0));
}

/// Connects and sends nothing.
pub fn idle(siege: &Siege) {
    crowd(siege, 100, |_| Vec::new(), |stream| !is_gone(stream.peek(&mut [0])));
}

/// Requests probes of a device's ports all the time.
pub fn probe(siege: &Siege) {
    let request = |number: usize| {
        let port = number % 600 + 1;
        format!(
            "GET /portscan/10.77.0.10/{port}/json HTTP/1.1\r\nHost: {PI_ADDRESS}\r\nConnection: close\r\n\r\n"
        )
        .into_bytes()
    };
    crowd(siege, 20, request, |stream| !is_gone(stream.read(&mut [0; 512])));
}

/// Keeps so many connections open, each from the next address, and replaces those that `keep` gives up.
fn crowd(
    siege: &Siege,
    size: usize,
    request: impl Fn(usize) -> Vec<u8>,
    keep: impl Fn(&mut TcpStream) -> bool,
) {
    let mut seats: Vec<Option<TcpStream>> = (0..size).map(|_| None).collect();
    let mut number = 0;
    while siege.continues_after(ROUND) {
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
                // A connection that is refused at once shows it in the next round.
                let _ = stream.write_all(&request(number));
                *seat = Some(stream);
            }
        }
    }
}

/// A non-blocking connection from one of the clients' addresses.
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

/// Whether the peer has closed the connection.
fn is_gone(read: std::io::Result<usize>) -> bool {
    read.map_or_else(|error| is_end(&error), |length| length == 0)
}

fn is_end(error: &std::io::Error) -> bool {
    error.kind() != ErrorKind::WouldBlock
}

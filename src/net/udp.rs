//! Asks one UDP port by one datagram, without privileges.
//!
//! The socket is connected, so that the kernel hands on what comes from the asked address and port alone, and ICMP
//! errors about this datagram. `IP_RECVERR` (ip(7), ipv6(7)) keeps the ICMP message itself, whose sender tells a closed
//! port from a firewall's refusal. A service that answers from another port (TFTP) is asked by a socket that is not
//! connected, and its answers are believed if they come from the asked address.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    os::fd::AsRawFd,
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket, time::timeout};

use super::connect::{IcmpError, icmp_error, local_error, meaning, peer, silence};
use crate::{
    clock::Clock,
    engine::{Link, LocalError, Outcome},
    model::{Address, Moment, Reason},
    udp::UdpOutcome,
};

/// The most datagrams of other senders that a socket takes that is not connected.
const MOST_STRANGERS: usize = 32;

/// A datagram that has been sent, and the socket that waits for what comes of it.
pub struct UdpQuestion {
    socket: UdpSocket,
    peer: SocketAddr,
}

impl UdpQuestion {
    /// Sends a datagram to a port of a host that is reached so; a neighbour is not asked through a router. An answer is
    /// believed from that port, or from any port of the host.
    ///
    /// # Errors
    /// Fails if this machine cannot send, or its firewall forbids it.
    pub fn send(
        (address, link): (&Address, Link),
        port: u16,
        request: &[u8],
        answers_from_any_port: bool,
    ) -> Result<Self, LocalError> {
        let peer = peer(address, port).map_err(|_| LocalError::NoRoute)?;
        let socket = open(peer, link).map_err(|error| local_error(&error))?;
        if answers_from_any_port {
            socket.send_to(request, &peer.into()).map_err(|error| local_error(&error))?;
        } else {
            socket.connect(&peer.into()).map_err(|error| local_error(&error))?;
            let own = socket.local_addr().ok().and_then(|own| own.as_socket());
            // It would answer itself.
            if own.is_some_and(|own| (own.ip(), own.port()) == (peer.ip(), peer.port())) {
                return Err(LocalError::SelfConnect);
            }
            socket.send(request).map_err(|error| local_error(&error))?;
        }
        let socket = UdpSocket::from_std(socket.into()).map_err(|error| local_error(&error))?;
        Ok(Self { socket, peer })
    }

    /// Waits this long at most for what comes of the datagram, which was sent at that time.
    pub async fn outcome(&self, sent: Moment, patience: Duration, clock: &dyn Clock) -> UdpOutcome {
        let answered = timeout(patience, self.answer()).await;
        let after = clock.now().since(sent);
        match answered {
            Ok(Ok(())) => UdpOutcome::Reply(after),
            Ok(Err(Failure::Icmp(error))) => interpret(error, self.peer, after),
            Ok(Err(Failure::Local(fault))) => UdpOutcome::Local(fault),
            Err(_elapsed) => match silence(self.peer, after) {
                Outcome::NoNeighbour => UdpOutcome::NoNeighbour,
                Outcome::Local(fault) => UdpOutcome::Local(fault),
                _ => UdpOutcome::Silent,
            },
        }
    }

    async fn answer(&self) -> Result<(), Failure> {
        let mut strangers = 0;
        loop {
            let ready = self.socket.ready(Interest::READABLE | Interest::ERROR).await;
            ready.map_err(|error| Failure::Local(local_error(&error)))?;
            // That there is an answer is all that counts, not what it says.
            match self.socket.try_recv_from(&mut [0]) {
                Ok((_, from)) if from.ip() == self.peer.ip() => return Ok(()),
                Ok(_) if strangers < MOST_STRANGERS => strangers += 1,
                Ok(_) => std::future::pending().await,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if let Some(error) = icmp_error(self.socket.as_raw_fd(), self.peer) {
                        return Err(Failure::Icmp(error));
                    }
                    // Nothing is there any more: to wait for the next event.
                    _ = self.socket.try_io(Interest::ERROR, || Err::<(), _>(ErrorKind::WouldBlock.into()));
                }
                // The queue is empty only if the kernel had no memory for the message.
                Err(_) => {
                    let error = icmp_error(self.socket.as_raw_fd(), self.peer);
                    return Err(error.map_or(Failure::Local(LocalError::Memory), Failure::Icmp));
                }
            }
        }
    }
}

/// What came in place of an answer.
enum Failure {
    Icmp(IcmpError),
    Local(LocalError),
}

fn open(peer: SocketAddr, link: Link) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(peer), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    match peer {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    if link == Link::OnLink {
        setsockopt(&socket, sockopt::DontRoute, &true)?;
    }
    Ok(socket)
}

/// Interprets an ICMP message. Only the host itself knows that its port is closed: a router or a firewall that says so
/// filters it, and one of this machine's own is a fault of this machine.
fn interpret(error: IcmpError, peer: SocketAddr, after: Duration) -> UdpOutcome {
    let IcmpError { origin, kind, code, offender, own } = error;
    let is_from_host = offender == Some(peer.ip());
    match meaning(origin, kind, code, own && !is_from_host) {
        Outcome::Refused if is_from_host => UdpOutcome::PortUnreachable(after),
        Outcome::Refused if own => UdpOutcome::Local(LocalError::Denied),
        Outcome::Refused => UdpOutcome::Unreachable(Reason::PortUnreach),
        Outcome::Unreachable(reason) => UdpOutcome::Unreachable(reason),
        Outcome::NoNeighbour => UdpOutcome::NoNeighbour,
        Outcome::Local(fault) => UdpOutcome::Local(fault),
        _ => UdpOutcome::Local(LocalError::Other),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use nix::libc::{SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, SO_EE_ORIGIN_LOCAL};

    use super::*;
    use crate::clock::SystemClock;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn loopback() -> Address {
        "127.0.0.1".parse().unwrap()
    }

    async fn ask(port: u16, from_any_port: bool, patience: Duration) -> UdpOutcome {
        let clock = SystemClock::start();
        let question = UdpQuestion::send((&loopback(), Link::Local), port, b"?", from_any_port).unwrap();
        question.outcome(clock.now(), patience, &clock).await
    }

    fn server() -> (std::net::UdpSocket, u16) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    }

    /// Answers one datagram from this socket.
    fn answer_once(server: std::net::UdpSocket, from: std::net::UdpSocket, with: &'static [u8]) {
        std::thread::spawn(move || {
            let (_, asker) = server.recv_from(&mut [0; 16]).unwrap();
            from.send_to(with, asker).unwrap();
            // Until the test has asked.
            _ = server.recv_from(&mut [0; 16]);
        });
    }

    #[tokio::test]
    async fn an_answer_is_a_reply_even_without_a_byte() {
        for with in [&b"!"[..], b""] {
            let (socket, port) = server();
            answer_once(socket.try_clone().unwrap(), socket, with);
            let outcome = ask(port, false, PATIENCE).await;
            assert!(matches!(outcome, UdpOutcome::Reply(_)), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable_by_the_host_itself() {
        let (_, port) = server();
        for from_any_port in [false, true] {
            let outcome = ask(port, from_any_port, PATIENCE).await;
            assert!(matches!(outcome, UdpOutcome::PortUnreachable(_)), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn silence_is_silence() {
        let (_socket, port) = server();
        assert_eq!(ask(port, false, Duration::from_millis(50)).await, UdpOutcome::Silent);
    }

    /// As TFTP answers (RFC 1350, 4).
    #[tokio::test]
    async fn an_answer_from_another_port_counts_only_where_it_is_expected() {
        let (socket, port) = server();
        answer_once(socket, server().0, b"!");
        assert_eq!(ask(port, false, Duration::from_millis(300)).await, UdpOutcome::Silent);
        let (socket, port) = server();
        answer_once(socket, server().0, b"!");
        let outcome = ask(port, true, PATIENCE).await;
        assert!(matches!(outcome, UdpOutcome::Reply(_)), "{outcome:?}");
    }

    #[test]
    fn only_the_host_itself_knows_that_its_port_is_closed() {
        let [host, router, here]: [IpAddr; 3] =
            ["192.0.2.5", "192.0.2.1", "192.0.2.9"].map(|text| text.parse().unwrap());
        let at = SocketAddr::new(host, 53);
        let after = Duration::from_millis(1);
        let icmp = |kind, code, offender, own| {
            interpret(IcmpError { origin: SO_EE_ORIGIN_ICMP, kind, code, offender, own }, at, after)
        };
        assert_eq!(icmp(3, 3, Some(host), false), UdpOutcome::PortUnreachable(after));
        assert_eq!(icmp(3, 3, Some(host), true), UdpOutcome::PortUnreachable(after), "this machine itself");
        assert_eq!(icmp(3, 3, Some(router), false), UdpOutcome::Unreachable(Reason::PortUnreach));
        assert_eq!(icmp(3, 3, Some(here), true), UdpOutcome::Local(LocalError::Denied), "its own firewall");
        assert_eq!(icmp(3, 3, None, true), UdpOutcome::Local(LocalError::Denied));
        assert_eq!(icmp(3, 1, Some(router), false), UdpOutcome::Unreachable(Reason::HostUnreach));
        assert_eq!(icmp(3, 1, Some(here), true), UdpOutcome::NoNeighbour);
        for code in [9, 10, 13] {
            let prohibited = UdpOutcome::Unreachable(Reason::AdminProhibited);
            assert_eq!(icmp(3, code, Some(router), false), prohibited);
            assert_eq!(icmp(3, code, Some(here), true), UdpOutcome::Local(LocalError::Denied));
        }
        assert_eq!(icmp(11, 0, Some(router), false), UdpOutcome::Unreachable(Reason::IcmpError));
        let other = |origin, kind, code| {
            interpret(IcmpError { origin, kind, code, offender: Some(host), own: false }, at, after)
        };
        assert_eq!(other(SO_EE_ORIGIN_ICMP6, 1, 4), UdpOutcome::PortUnreachable(after));
        assert_eq!(other(SO_EE_ORIGIN_LOCAL, 0, 0), UdpOutcome::Local(LocalError::Other));
    }
}

//! Asks one neighbour by multicast DNS, without multicast.
//!
//! A query goes only to the neighbour's port 5353 (RFC 6762, 5.5), and comes from another port than 5353, so that the
//! neighbour answers to it alone (6.7). Nothing is sent through a router, even if the routing table has a route, and
//! nothing is received from another host.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::DontRoute};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::UdpSocket, time::timeout};

use super::dns_message::{DnsAnswer, DnsQuestion, parse_answer, query};

/// The port of multicast DNS.
const PORT: u16 = 5353;

/// The delay before a query is repeated, since a query or an answer may be lost.
const AGAIN: Duration = Duration::from_millis(400);

/// The time limit for an answer, over all repetitions.
const PATIENCE: Duration = Duration::from_secs(1);

/// More than an Ethernet frame holds. Longer messages are truncated, and parsed as far as they go.
const LONGEST: usize = 2048;

/// The most messages that are received for one query: it has one answer, and may get those to the queries before it.
const MOST_MESSAGES: usize = 32;

/// The most records that are read in one message: as many as fit into a frame.
const MOST_RECORDS: usize = 128;

/// A socket that only sends to one neighbour, and only takes what comes from its port 5353.
pub(super) struct UnicastMdns {
    socket: UdpSocket,
    /// That of every query, so that an answer that is late is an answer still.
    id: [u8; 2],
}

impl UnicastMdns {
    /// Opens the socket. Sends nothing.
    ///
    /// # Errors
    /// Fails if this machine is out of sockets, or has no route.
    pub(super) fn open(neighbour: Ipv4Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, DontRoute, &true)?;
        // RFC 6762, 11: so that the neighbour can tell that no router has passed it on.
        socket.set_ttl_v4(255)?;
        socket.connect(&SocketAddr::from((neighbour, PORT)).into())?;
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, id })
    }

    /// Asks, up to three times, and passes answers to `take` until it returns something. Returns `None` after 1 s.
    ///
    /// # Errors
    /// Fails with [`io::ErrorKind::ConnectionRefused`] if the neighbour reports that nothing listens there, and if this
    /// machine cannot send.
    pub(super) async fn ask<T>(
        &self,
        questions: &[DnsQuestion],
        mut take: impl FnMut(DnsAnswer) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let message = query(self.id, questions);
        let mut left = MOST_MESSAGES;
        let ask = async {
            loop {
                self.socket.send(&message).await?;
                match timeout(AGAIN, self.receive(&mut left, &mut take)).await {
                    Ok(taken) => return taken,
                    Err(_elapsed) => {}
                }
            }
        };
        timeout(PATIENCE, ask).await.unwrap_or(Ok(None))
    }

    async fn receive<T>(
        &self,
        left: &mut usize,
        take: &mut impl FnMut(DnsAnswer) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let mut buffer = [0; LONGEST];
        while *left > 0 {
            let length = self.socket.recv(&mut buffer).await?;
            *left -= 1;
            if let Some(taken) = parse_answer(&buffer[..length], self.id, MOST_RECORDS).and_then(&mut *take) {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }
}

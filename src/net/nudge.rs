//! Queries without any privilege: a packet makes the kernel send an ARP request, and its table shows which MAC
//! answered. The packet is an echo request if this process may send them, since that goes to no port of the device;
//! else an empty datagram.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    time::Duration,
};

use socket2::Socket;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{
    Lan, echo,
    neighbour_query::{NeighbourQuery, NeighbourReply, is_passing},
    neighbours::{Family, neighbours},
};

/// The discard service (RFC 863): a host that runs it expects such datagrams, and an empty one asks nothing of it.
const DISCARD: u16 = 9;

/// The interval at which the table is read.
const LOOK: Duration = Duration::from_millis(250);

/// The packet that makes the kernel send an ARP request.
#[derive(Debug)]
enum Packet {
    Echo(Socket),
    Datagram(UdpSocket),
}

/// A socket, and the kernel's table. Requires a tokio runtime.
#[derive(Debug)]
pub struct Nudge {
    packet: Packet,
    index: u32,
    look: Interval,
}

impl Nudge {
    /// Opens a socket for the neighbours on this interface.
    ///
    /// # Errors
    /// Fails if no descriptor is left.
    pub fn open(lan: &Lan) -> io::Result<Self> {
        let any = (Ipv4Addr::UNSPECIFIED, 0);
        let packet = match echo::socket_for(any.into()) {
            Ok(socket) => Packet::Echo(socket),
            Err(_) => {
                let socket = UdpSocket::bind(any)?;
                socket.set_nonblocking(true)?;
                Packet::Datagram(socket)
            }
        };
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { packet, index: lan.index, look })
    }

    /// Describes the packet that the devices receive.
    pub const fn packets(&self) -> &'static str {
        match self.packet {
            Packet::Echo(_) => "echo requests (ping)",
            Packet::Datagram(_) => "empty datagrams to port 9",
        }
    }
}

impl NeighbourQuery for Nudge {
    /// The kernel sends three ARP requests, a second apart. This machine's firewall may forbid the datagram; then no
    /// host is found at the address.
    fn send_query(&mut self, address: Ipv4Addr) -> io::Result<()> {
        let sent = match &self.packet {
            Packet::Echo(socket) => echo::send(socket, (address, 0).into()),
            Packet::Datagram(socket) => socket.send_to(&[], (address, DISCARD)),
        };
        match sent {
            Err(error) if !is_passing(&error) && error.kind() != io::ErrorKind::PermissionDenied => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Returns the hosts in the table. An entry may be as old as the last sweep: if the host is gone, this sweep's
    /// question makes the kernel notice, and the next sweep finds none.
    async fn replies(&mut self) -> io::Result<Vec<NeighbourReply>> {
        self.look.tick().await;
        let known = neighbours(Family::Ipv4)?.into_iter().filter(|known| known.index == self.index);
        let answer = |known: super::Neighbour| match known.ip {
            IpAddr::V4(address) => Some(NeighbourReply { address, mac: known.mac, is_relayed: false }),
            IpAddr::V6(_) => None,
        };
        Ok(known.filter_map(answer).collect())
    }
}

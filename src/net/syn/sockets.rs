//! The sockets that SYNs leave by and answers arrive at. They need `CAP_NET_RAW`.
//!
//! A raw socket with `IP_HDRINCL` sends (raw(7)): the kernel's routes, its neighbour table, the local firewall and the
//! unit's `IPAddressDeny=` hold as for any other packet. A packet socket receives (packet(7)), on all interfaces: with
//! two in one subnet an answer may arrive at the other, and none has to be opened again when an interface comes back.
//! Without a link header (`SOCK_DGRAM`) it reads Ethernet, VLANs, bridges and tunnels alike.

use std::{
    array,
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd,
};

use nix::{
    errno::Errno,
    getsockopt_impl,
    libc::{self, PACKET_STATISTICS, SOL_PACKET, tpacket_stats},
    sockopt_impl,
    sys::socket::{
        MsgFlags, MultiHeaders, SockaddrIn, getsockopt, recvmmsg, sendmmsg, sendto, setsockopt, sockopt,
    },
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    filter::program,
    packet::{Answer, LONGEST, PortBlock, SYN, Secret, WAYS, read, rst},
};

/// The most SYNs sent by one system call. Between two of them answers are read, or they would fill the receive buffer
/// where the other end is on this machine, which answers while a SYN is being sent.
pub(super) const BATCH: usize = 64;

/// The most answers read by one system call.
const ANSWERS: usize = 64;

/// Receive buffer in octets, if the kernel grants it (`net.core.rmem_max`): each answer takes about 800 of them.
const BUFFER: usize = 1 << 20;

/// Searches for a free block of local ports.
const SEARCHES: u16 = 256;

sockopt_impl!(
    /// What the packet socket has received and dropped since the last call (packet(7)).
    PacketStatistics,
    GetOnly,
    SOL_PACKET,
    PACKET_STATISTICS,
    tpacket_stats
);

/// SYNs that are to leave.
#[derive(Debug, Default)]
pub(super) struct SynBatch {
    packets: Vec<[u8; SYN]>,
    peers: Vec<Option<SockaddrIn>>,
}

impl SynBatch {
    pub(super) fn add(&mut self, packet: [u8; SYN], peer: Ipv4Addr) {
        self.packets.push(packet);
        self.peers.push(Some(sockaddr(peer)));
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(super) fn clear(&mut self) {
        self.packets.clear();
        self.peers.clear();
    }
}

/// An open set of sockets.
#[derive(Debug)]
pub(super) struct SynSockets {
    sender: Socket,
    receiver: Socket,
    /// Bound and never listening: no program gets these ports, and the kernel answers a SYN-ACK to them by a RST, which
    /// ends what a SYN began at the device.
    _reserved: Vec<Socket>,
    ports: PortBlock,
    secret: Secret,
}

impl SynSockets {
    /// Opens them.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`, or where the unit's `RestrictAddressFamilies=` leaves out `AF_PACKET`;
    /// else no descriptor, no memory or no local port is left.
    pub(super) fn open() -> io::Result<Self> {
        let secret = Secret::default();
        let sender =
            Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(Protocol::from(libc::IPPROTO_RAW)))
                .map_err(forbidden)?;
        sender.set_header_included_v4(true)?;
        // Without it a full queue drops packets and reports nothing.
        setsockopt(&sender, sockopt::Ipv4RecvErr, &true)?;
        let (reserved, ports) = reserve(&secret)?;
        // It receives from the start, and what it receives before it has its filter is checked like all the rest.
        let ipv4 = Protocol::from(i32::from(u16::to_be(0x0800)));
        let receiver =
            Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(ipv4)).map_err(forbidden)?;
        receiver.attach_filter(&program(ports))?;
        // The kernel grants what it may; drops are counted in any case.
        _ = receiver.set_recv_buffer_size(BUFFER);
        let sockets = Self { sender, receiver, _reserved: reserved, ports, secret };
        sockets.dropped()?;
        Ok(sockets)
    }

    /// The local ports.
    pub(super) const fn ports(&self) -> PortBlock {
        self.ports
    }

    /// The key of the sequence numbers.
    pub(super) const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The socket that becomes readable with an answer.
    pub(super) const fn receiver(&self) -> &Socket {
        &self.receiver
    }

    /// Sends SYNs from this one of the batch on. Returns how many have left: fewer than there are if the next one
    /// cannot.
    ///
    /// # Errors
    /// Fails if not even the first could be sent.
    pub(super) fn send(&self, batch: &SynBatch, from: usize) -> io::Result<usize> {
        let (packets, peers) = (batch.packets.get(from..), batch.peers.get(from..));
        let (packets, peers) = (packets.unwrap_or_default(), peers.unwrap_or_default());
        let fd = self.sender.as_raw_fd();
        if let ([packet], [Some(peer)]) = (packets, peers) {
            sendto(fd, packet, peer, MsgFlags::MSG_DONTWAIT)?;
            return Ok(1);
        }
        let count = packets.len().min(BATCH);
        let empty = [0; SYN];
        let slices: [[IoSlice<'_>; 1]; BATCH] =
            array::from_fn(|at| [IoSlice::new(packets.get(at).unwrap_or(&empty))]);
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(count, None);
        let sent = sendmmsg(fd, &mut headers, &slices[..count], &peers[..count], [], MsgFlags::MSG_DONTWAIT)?;
        Ok(sent.count())
    }

    /// Reads the answers that have arrived, at most as many as one system call reads. Returns whether there may be more.
    ///
    /// # Errors
    /// Fails for lack of memory, mostly.
    pub(super) fn receive(&self, mut take: impl FnMut(Answer)) -> io::Result<bool> {
        let mut buffers = [[0; LONGEST]; ANSWERS];
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let mut headers = MultiHeaders::<()>::preallocate(ANSWERS, None);
        let fd = self.receiver.as_raw_fd();
        let messages = match recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
            Ok(messages) => messages,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            // An interface went down: told once, and the others go on.
            Err(Errno::ENETDOWN) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let mut count = 0;
        for message in messages {
            count += 1;
            if let Some(answer) =
                message.iovs().next().and_then(|packet| read(packet, self.ports, &self.secret))
            {
                take(answer);
            }
        }
        Ok(count == ANSWERS)
    }

    /// Sends the RST that ends what this SYN-ACK began. One that is lost is sent again for the next SYN-ACK.
    pub(super) fn reset(&self, answer: &Answer) {
        let (packet, peer) = (rst(answer, self.ports), sockaddr(answer.tuple.peer));
        _ = sendto(self.sender.as_raw_fd(), &packet, &peer, MsgFlags::MSG_DONTWAIT);
    }

    /// Returns how many packets were dropped for lack of buffer since the last call.
    ///
    /// # Errors
    /// Fails only if the socket is gone.
    pub(super) fn dropped(&self) -> io::Result<u32> {
        Ok(getsockopt(&self.receiver, PacketStatistics)?.tp_drops)
    }
}

fn sockaddr(peer: Ipv4Addr) -> SockaddrIn {
    SockaddrIn::from(SocketAddrV4::new(peer, 0))
}

/// The kernel calls a family that the unit forbids an unknown one.
fn forbidden(error: io::Error) -> io::Error {
    let is_forbidden = error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32);
    if is_forbidden { io::ErrorKind::PermissionDenied.into() } else { error }
}

/// Binds a block of local ports.
fn reserve(secret: &Secret) -> io::Result<(Vec<Socket>, PortBlock)> {
    let bind = |port| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        Ok(socket)
    };
    let mut last = io::Error::from(Errno::EADDRINUSE);
    for round in 0..SEARCHES {
        // Above the ports that servers have.
        let port = 32_768 + u16::try_from(secret.number(round) % 28_000).unwrap_or_default();
        let ports = PortBlock::around(port);
        match (0..WAYS).map(|way| bind(ports.port(way))).collect::<io::Result<Vec<_>>>() {
            Ok(reserved) => return Ok((reserved, ports)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

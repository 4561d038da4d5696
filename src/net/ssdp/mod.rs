//! Asks the devices of a network where they describe themselves (SSDP of the UPnP Device Architecture 2.0, 1.3).
//!
//! By multicast: many devices take no search that is sent to them alone, because their socket is bound to the group.
//! Answers arrive only at this socket. Notifications are not received, because any host can send them unasked.

mod message;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::UdpSocket, time::sleep};

/// The group and port of SSDP.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);

/// The delay before the search is repeated, since datagrams may be lost.
const AGAIN: Duration = Duration::from_millis(500);

/// The wait for answers after the second search: devices spread theirs over [`message::MX`] seconds.
const PATIENCE: Duration = Duration::from_millis(message::MX as u64 * 1000 + 1000);

/// Longer answers are truncated, and useless if the location is beyond.
const LONGEST: usize = 2048;

/// The most answers that are received: 250 devices with four each, twice.
const MOST_ANSWERS: usize = 2000;

/// The most descriptions of one device: some have one for each of their roles.
pub const MOST_LOCATIONS: usize = 3;

/// Where devices describe themselves: each with its answers' URLs, which lead to the device itself.
pub type Locations = BTreeMap<Ipv4Addr, Vec<String>>;

/// Searches the network in which this machine has the address `own`, by two packets, which no router passes on. Takes
/// 3.5 s. Only the URLs at wanted addresses and ports are kept, and of each device at most `MOST_LOCATIONS`.
///
/// # Errors
/// Fails if this machine cannot send: it is out of sockets, or no longer has the address.
pub async fn search(own: Ipv4Addr, is_wanted: impl Fn(Ipv4Addr, u16) -> bool) -> io::Result<Locations> {
    let socket = socket_at(own)?;
    let request = message::search();
    let mut locations = Locations::new();
    let searches = async {
        socket.send_to(&request, GROUP).await?;
        sleep(AGAIN).await;
        socket.send_to(&request, GROUP).await?;
        sleep(PATIENCE).await;
        Ok(())
    };
    tokio::select! {
        sent = searches => sent.map(|()| locations),
        received = receive(&socket, &is_wanted, &mut locations) => received.map(|()| locations),
    }
}

/// Receives answers until there are too many.
async fn receive(
    socket: &UdpSocket,
    is_wanted: &impl Fn(Ipv4Addr, u16) -> bool,
    locations: &mut Locations,
) -> io::Result<()> {
    let mut buffer = [0; LONGEST];
    for _ in 0..MOST_ANSWERS {
        let (length, sender) = socket.recv_from(&mut buffer).await?;
        let SocketAddr::V4(sender) = sender else { continue };
        let located = message::location(&buffer[..length], *sender.ip());
        let Some((url, _)) = located.filter(|(_, port)| is_wanted(*sender.ip(), *port)) else { continue };
        let known = locations.entry(*sender.ip()).or_default();
        if known.len() < MOST_LOCATIONS && !known.contains(&url) {
            known.push(url);
        }
    }
    Ok(())
}

fn socket_at(own: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // The interface that has the address; bound to the address, it receives what is sent there alone.
    socket.set_multicast_if_v4(&own)?;
    socket.bind(&SocketAddr::from((own, 0)).into())?;
    socket.set_multicast_ttl_v4(1)?;
    socket.set_multicast_loop_v4(false)?;
    UdpSocket::from_std(socket.into())
}

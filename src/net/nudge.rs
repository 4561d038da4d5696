//! Asks without any privilege: an empty datagram makes the kernel ask by ARP, and its table tells who answered.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    time::Duration,
};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{
    Lan,
    asker::{Answer, Asker, is_passing},
    neighbours::{Family, neighbours},
};

/// The discard service (RFC 863): who has it is used to nothing else, and an empty datagram asks nothing of it.
const DISCARD: u16 = 9;

/// How often the table is read.
const LOOK: Duration = Duration::from_millis(250);

/// A datagram socket, and the kernel's table. To be used within a tokio runtime.
#[derive(Debug)]
pub struct Nudge {
    socket: UdpSocket,
    index: u32,
    look: Interval,
}

impl Nudge {
    /// For the neighbours on this interface.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open(lan: &Lan) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { socket, index: lan.index, look })
    }
}

impl Asker for Nudge {
    /// The kernel asks three times, a second apart. What a firewall of our own forbids is not sent, and so nobody
    /// is found there.
    fn ask(&mut self, address: Ipv4Addr) -> io::Result<()> {
        match self.socket.send_to(&[], (address, DISCARD)) {
            Err(error) if !is_passing(&error) && error.kind() != io::ErrorKind::PermissionDenied => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Whoever is in the table. An entry may be as old as the last sweep: if its holder is gone, this sweep's
    /// question makes the kernel notice, and the next finds nobody.
    async fn answers(&mut self) -> io::Result<Vec<Answer>> {
        self.look.tick().await;
        let known = neighbours(Family::Ipv4)?.into_iter().filter(|known| known.index == self.index);
        let answer = |known: super::Neighbour| match known.ip {
            IpAddr::V4(address) => Some(Answer { address, mac: known.mac, is_relayed: false }),
            IpAddr::V6(_) => None,
        };
        Ok(known.filter_map(answer).collect())
    }
}

//! Finds out which MAC answers at a neighbour's address before anything is sent to the device's ports.
//!
//! | privilege of this process | what is queried | what the device receives |
//! |---|---|---|
//! | any | the kernel's table, if its entry is fresh | nothing |
//! | `CAP_NET_RAW` | ARP ([`ArpSocket`]), neighbour solicitation ([`NdpSocket`]) | that query |
//! | ICMP echo, by `net.ipv4.ping_group_range` | the kernel's table, after an [`Echo`] | an echo request |
//! | neither | nothing | nothing: the MAC stays unknown |

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    ArpSocket, Lan, LanError, Links, NeighbourQuery,
    echo::Echo,
    links::NeighbourLink,
    ndp::{NdpReply, NdpSocket},
    neighbour_query::is_denied,
    neighbours::neighbour,
};
use crate::{
    engine::Link,
    model::{Address, HostReport, HostStatus, Mac},
};

/// The number of unanswered questions after which the host counts as down. The kernel's own limit is three (arp(7));
/// one more costs a second, and a device that dozes or is far from its access point misses some.
const QUESTIONS: u8 = 4;

/// From one question to the next: the kernel's own pause.
const PAUSE: Duration = Duration::from_secs(1);

/// Questions in all where the kernel verifies an old entry first, which takes 8 s before it broadcasts.
const MOST_QUESTIONS: u8 = 13;

/// The outcome of a solicitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Solicited {
    /// This MAC has the address.
    Answered(Mac),
    /// Nothing answers at the address.
    Silent,
    /// This process has no means to query.
    NotAllowed,
}

/// Finds out which MAC has this neighbour's address. Takes a round trip if there is an answer, 4 s if there is none,
/// and up to 13 s without `CAP_NET_RAW`. Requires a tokio runtime.
///
/// # Errors
/// Fails if the interface is down or this machine lacks resources: that proves nothing about the device.
pub async fn solicit(links: &Links, address: &Address) -> io::Result<Solicited> {
    if let Some(known) = neighbour(address)?.filter(|known| known.is_confirmed) {
        return Ok(Solicited::Answered(known.mac));
    }
    let way = links.neighbour_link(address);
    let asked = match (address.ip(), way) {
        (IpAddr::V4(ip), Some(way)) => repeat_until_answered(ByArp::open(way, ip)).await?,
        (IpAddr::V6(ip), Some(NeighbourLink { interface, own: IpAddr::V6(own), mac: Some(mac) })) => {
            repeat_until_answered(ByNdp::open(interface, own, mac, ip)).await?
        }
        _ => Solicited::NotAllowed,
    };
    match asked {
        Solicited::NotAllowed => repeat_until_answered(Echo::open(address)).await,
        asked => Ok(asked),
    }
}

/// A method of querying one address.
trait Question {
    /// Sends another query.
    fn send_query(&mut self) -> io::Result<()>;

    /// Waits for the answer; may be dropped at any time.
    fn answer(&mut self) -> impl Future<Output = io::Result<Mac>> + Send;

    /// Whether the silence so far is inconclusive.
    fn is_undecided(&self) -> io::Result<bool> {
        Ok(false)
    }
}

/// By ARP, on one interface.
struct ByArp {
    socket: ArpSocket,
    asked: Ipv4Addr,
}

impl ByArp {
    fn open(way: NeighbourLink<'_>, asked: Ipv4Addr) -> io::Result<Self> {
        let lan = Lan::of(way.interface).map_err(|error| match error {
            LanError::Unreadable(error) => error,
            // Infiniband and the like have other MACs than ARP's questions here.
            error @ LanError::NotEthernet(_) => io::Error::new(io::ErrorKind::Unsupported, error),
            error => io::Error::other(error),
        })?;
        if lan.own_address(asked).is_none() {
            // The query would be in vain, and the host would count as silent.
            return Err(io::Error::other(LanError::NoAddress(lan.interface)));
        }
        Ok(Self { socket: ArpSocket::open(&lan)?, asked })
    }
}

impl Question for ByArp {
    fn send_query(&mut self) -> io::Result<()> {
        NeighbourQuery::send_query(&mut self.socket, self.asked)
    }

    async fn answer(&mut self) -> io::Result<Mac> {
        loop {
            let answers = self.socket.replies().await?;
            // A station's own reply takes precedence over another station's reply about it.
            let meant = answers.iter().filter(|answer| answer.address == self.asked);
            if let Some(answer) = meant.min_by_key(|answer| answer.is_relayed) {
                return Ok(answer.mac);
            }
        }
    }
}

/// By neighbour solicitation, on one interface.
struct ByNdp {
    socket: NdpSocket,
    asked: Ipv6Addr,
}

impl ByNdp {
    fn open(interface: &str, own: Ipv6Addr, mac: Mac, asked: Ipv6Addr) -> io::Result<Self> {
        Ok(Self { socket: NdpSocket::open(interface, own, mac)?, asked })
    }
}

impl Question for ByNdp {
    fn send_query(&mut self) -> io::Result<()> {
        self.socket.send_query(self.asked)
    }

    async fn answer(&mut self) -> io::Result<Mac> {
        loop {
            if let NdpReply::Advertised(about, mac) = self.socket.reply().await?
                && about == self.asked
            {
                return Ok(mac);
            }
        }
    }
}

impl Question for Echo {
    fn send_query(&mut self) -> io::Result<()> {
        Self::send_query(self)
    }

    async fn answer(&mut self) -> io::Result<Mac> {
        Self::answer(self).await
    }

    fn is_undecided(&self) -> io::Result<bool> {
        self.is_verifying()
    }
}

/// Sends queries until there is an answer, or until enough of them had none.
async fn repeat_until_answered(opened: io::Result<impl Question>) -> io::Result<Solicited> {
    let mut question = match opened {
        Err(error) if is_denied(&error) => return Ok(Solicited::NotAllowed),
        opened => opened?,
    };
    let mut silent = 0;
    for _ in 0..MOST_QUESTIONS {
        match question.send_query() {
            // This machine's own firewall forbids it: another method may work.
            Err(error) if is_denied(&error) => return Ok(Solicited::NotAllowed),
            asked => asked?,
        }
        if let Ok(answer) = timeout(PAUSE, question.answer()).await {
            return answer.map(Solicited::Answered);
        }
        silent = if question.is_undecided()? { 0 } else { silent + 1 };
        if silent == QUESTIONS {
            break;
        }
    }
    Ok(Solicited::Silent)
}

/// Returns the MAC at the address; read after the scan, while the kernel's entry is fresh.
pub fn mac_after_scan(report: &HostReport, links: &Links) -> Option<Mac> {
    match links.link_of(&report.address) {
        _ if report.status == HostStatus::Down => None,
        Link::Local => links.own_mac(&report.address),
        // A table that cannot be read is no reason to withhold the ports.
        Link::OnLink => neighbour(&report.address).ok().flatten().map(|known| known.mac),
        Link::Routed => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use nix::errno::Errno;

    use super::*;

    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 7]);

    /// Answers the query of this number, if any; reports for this number of queries that it is undecided.
    struct Scripted {
        asked: u8,
        answers_at: Option<u8>,
        undecided: u8,
        faults: VecDeque<io::Error>,
    }

    fn scripted(answers_at: Option<u8>, undecided: u8) -> Scripted {
        Scripted { asked: 0, answers_at, undecided, faults: VecDeque::new() }
    }

    impl Question for &mut Scripted {
        fn send_query(&mut self) -> io::Result<()> {
            self.asked += 1;
            self.faults.pop_front().map_or(Ok(()), Err)
        }

        async fn answer(&mut self) -> io::Result<Mac> {
            if self.answers_at == Some(self.asked) { Ok(MAC) } else { std::future::pending().await }
        }

        fn is_undecided(&self) -> io::Result<bool> {
            Ok(self.asked <= self.undecided)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn queries_are_repeated_until_answered_and_not_for_ever() {
        for (answers_at, undecided, questions, expected) in [
            (Some(1), 0, 1, Solicited::Answered(MAC)),
            (Some(4), 0, 4, Solicited::Answered(MAC)),
            (Some(5), 0, 4, Solicited::Silent),
            (Some(11), 8, 11, Solicited::Answered(MAC)),
            (None, 8, 12, Solicited::Silent),
            (None, 255, 13, Solicited::Silent),
        ] {
            let mut question = scripted(answers_at, undecided);
            assert_eq!(
                repeat_until_answered(Ok(&mut question)).await.unwrap(),
                expected,
                "{answers_at:?} {undecided}"
            );
            assert_eq!(question.asked, questions, "{answers_at:?} {undecided}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lack_of_resources_is_not_silence() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(
            repeat_until_answered(Err::<&mut Scripted, _>(denied())).await.unwrap(),
            Solicited::NotAllowed
        );
        let family = io::Error::from(Errno::EAFNOSUPPORT);
        assert_eq!(
            repeat_until_answered(Err::<&mut Scripted, _>(family)).await.unwrap(),
            Solicited::NotAllowed
        );
        let mut question = scripted(None, 0);
        question.faults.push_back(denied());
        assert_eq!(repeat_until_answered(Ok(&mut question)).await.unwrap(), Solicited::NotAllowed);
        question.faults.push_back(Errno::ENETDOWN.into());
        assert!(repeat_until_answered(Ok(&mut question)).await.is_err());
        assert!(repeat_until_answered(Err::<&mut Scripted, _>(Errno::EMFILE.into())).await.is_err());
    }
}

//! Finds the link-local IPv6 addresses of an interface's neighbours. No sweep can ask every address of an IPv6 network,
//! so three sources name addresses that may be in use, and each of these is asked for its MAC:
//!
//! 1. the hosts that answer an echo request to all hosts of the link;
//! 2. the kernel's table of neighbours, which remembers hosts long after they have gone;
//! 3. the address that a MAC makes (RFC 4291, appendix A), which hosts that do not answer to groups often have.
//!
//! Only link-local addresses: each host has one on each link, while its others are many and change daily (RFC 8981).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use super::{
    Lan,
    ndp::{NdpReply, NdpSocket},
    neighbour_query::is_denied,
    neighbours::{Family, neighbours},
};
use crate::model::Mac;

/// Echo requests to all hosts, and how long their replies are awaited: every host of the link replies at once, and a
/// multicast is lost more often than other packets on a wireless link.
const PINGS: u32 = 2;
const PING_WAIT: Duration = Duration::from_secs(1);

/// How often a silent address is asked for its MAC, how long apart the questions are, and how long a round's last
/// answers are awaited.
const ROUNDS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(10);
const ROUND_WAIT: Duration = Duration::from_secs(1);

/// The most addresses that are asked for: a neighbour can answer for as many as it likes. A round of so many takes 20 s.
const MOST: usize = 2048;

/// Why no address is found.
#[derive(Debug, thiserror::Error)]
pub enum LinkLocalError {
    /// IPv6 is switched off on the interface.
    #[error(
        "{0} has no link-local IPv6 address, so its neighbours cannot be asked for theirs; is IPv6 off there?"
    )]
    NoAddress(String),
    /// This process may not ask.
    #[error("without CAP_NET_RAW the neighbours of {0} cannot be asked for their IPv6 addresses")]
    NotAllowed(String),
    /// The interface went away, or the machine lacks a resource.
    #[error("failed to ask the neighbours of {0} for their IPv6 addresses: {1}")]
    Failed(String, #[source] io::Error),
}

/// Asks the neighbours on this interface for their link-local addresses; `macs` are those known by IPv4. Returns each
/// address with the first MAC that answers for it. Takes 5 s and 30 ms for each address that may be in use. Requires a
/// tokio runtime.
///
/// # Errors
/// IPv6 is off on the interface, this process may not ask, or the interface went away.
pub async fn link_locals(
    lan: &Lan,
    macs: impl Iterator<Item = Mac>,
) -> Result<BTreeMap<Ipv6Addr, Mac>, LinkLocalError> {
    let own = lan.link_local.ok_or_else(|| LinkLocalError::NoAddress(lan.interface.clone()))?;
    let asked = ask(lan, own, macs).await;
    asked.map_err(|error| {
        if is_denied(&error) {
            LinkLocalError::NotAllowed(lan.interface.clone())
        } else {
            LinkLocalError::Failed(lan.interface.clone(), error)
        }
    })
}

async fn ask(
    lan: &Lan,
    own: Ipv6Addr,
    macs: impl Iterator<Item = Mac>,
) -> io::Result<BTreeMap<Ipv6Addr, Mac>> {
    let socket = NdpSocket::open(&lan.interface, own, lan.mac)?;
    let mut search = Search::new(own);
    macs.for_each(|mac| search.suspect(made_of(mac)));
    for known in neighbours(Family::Ipv6)?.into_iter().filter(|known| known.index == lan.index) {
        if let IpAddr::V6(ip) = known.ip {
            search.suspect(ip);
        }
    }
    for _ in 0..PINGS {
        socket.ping_all()?;
        listen(&socket, &mut search, PING_WAIT).await?;
    }
    for _ in 0..ROUNDS {
        for address in search.silent() {
            socket.send_query(address)?;
            listen(&socket, &mut search, PAUSE).await?;
        }
        if search.silent().is_empty() {
            break;
        }
        listen(&socket, &mut search, ROUND_WAIT).await?;
    }
    Ok(search.found)
}

/// Passes the replies of this time on.
async fn listen(socket: &NdpSocket, search: &mut Search, time: Duration) -> io::Result<()> {
    let until = Instant::now() + time;
    while let Ok(reply) = timeout_at(until, socket.reply()).await {
        search.hear(reply?);
    }
    Ok(())
}

/// Which addresses may be in use, and which are.
#[derive(Debug)]
struct Search {
    own: Ipv6Addr,
    suspected: BTreeSet<Ipv6Addr>,
    found: BTreeMap<Ipv6Addr, Mac>,
}

impl Search {
    const fn new(own: Ipv6Addr) -> Self {
        Self { own, suspected: BTreeSet::new(), found: BTreeMap::new() }
    }

    /// Notes an address that may be a neighbour's.
    fn suspect(&mut self, address: Ipv6Addr) {
        if address.is_unicast_link_local() && address != self.own && self.suspected.len() < MOST {
            self.suspected.insert(address);
        }
    }

    fn hear(&mut self, reply: NdpReply) {
        match reply {
            NdpReply::Echoed(from) => self.suspect(from),
            NdpReply::Advertised(about, mac) if self.suspected.contains(&about) => {
                self.found.entry(about).or_insert(mac);
            }
            NdpReply::Advertised(..) => {}
        }
    }

    /// The addresses without a known MAC.
    fn silent(&self) -> Vec<Ipv6Addr> {
        self.suspected.iter().filter(|address| !self.found.contains_key(address)).copied().collect()
    }
}

/// The link-local address that a host makes of its MAC (RFC 4291, appendix A).
fn made_of(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    fn link_local(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
    }

    #[test]
    fn a_mac_makes_an_address() {
        let mac = "34:56:78:9A:BC:DE".parse().unwrap();
        assert_eq!(made_of(mac).to_string(), "fe80::3656:78ff:fe9a:bcde", "the example of RFC 4291");
    }

    #[test]
    fn only_an_address_that_was_asked_for_is_found_and_its_first_station_has_it() {
        let (first, second) = (Mac::new([2, 0, 0, 0, 0, 7]), Mac::new([2, 0, 0, 0, 0, 8]));
        let mut search = Search::new(OWN);
        search.hear(NdpReply::Advertised(link_local(7), first));
        assert!(search.found.is_empty(), "nothing was asked yet");
        search.hear(NdpReply::Echoed(link_local(7)));
        search.hear(NdpReply::Echoed(link_local(9)));
        for (about, mac) in [(7, first), (7, second), (8, second)] {
            search.hear(NdpReply::Advertised(link_local(about), mac));
        }
        assert_eq!(search.found, BTreeMap::from([(link_local(7), first)]));
        assert_eq!(search.silent(), [link_local(9)]);
    }

    #[test]
    fn what_is_no_neighbours_or_too_much_is_not_asked_for() {
        let mut search = Search::new(OWN);
        ["fe80::1", "2001:db8::7", "::1"].iter().for_each(|address| search.suspect(address.parse().unwrap()));
        assert!(search.silent().is_empty());
        (2..5000).for_each(|last| search.hear(NdpReply::Echoed(link_local(last))));
        assert_eq!(search.silent().len(), MOST);
    }
}

//! One look at one device: who is really there, what is open, and who was there to the end.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::{
    clock::Clock,
    config::Config,
    engine::{HostJob, Link, Liveness},
    model::{Address, Device, HostReport, HostStatus, Mac, PortSet, Timing},
    net::{self, Links},
    service::{
        agenda::{Look, Looked, is_wanted},
        scanner::{Follower, Scanner, Ticket},
    },
    store::{Observation, Store},
};

/// The longest look at T3 and above, whatever happens: a fragile host that drops everything takes three hours and
/// a half. A device that takes longer gives its place to the next, and its last result stands. Below T3, where
/// the pauses alone take days, the run's own deadline is the bound.
const LOOK: Duration = Duration::from_secs(4 * 3600);

/// What looking takes.
#[derive(Clone)]
pub struct Looker {
    /// The one engine's handle.
    pub scanner: Scanner,
    /// For the ports that were open last time: they come first, and get more tries.
    pub store: Store,
    /// For the dates of what is found.
    pub clock: Arc<dyn Clock>,
    /// For what is said of a MAC that only the look itself finds out.
    pub config: Arc<Config>,
    /// Stations that answer for others: to see one of them says nothing of who is behind it.
    pub proxies: BTreeSet<Mac>,
}

/// Why a look has nothing to store.
#[derive(Debug, thiserror::Error)]
enum Nothing {
    #[error("another device answers at this address: nothing is stored under the MAC that the feed gave")]
    TakenOver { expected: Option<Mac>, found: Option<Mac> },
    #[error("the device here is excluded, or has `scan = false`: it is left alone")]
    Unwanted(Mac),
    #[error("whose address it is was only told at the end: nothing is stored, the next look will know")]
    Unattested,
    #[error("whose address it is cannot be told, so nothing is stored: {0}")]
    Unreadable(#[from] io::Error),
    #[error("the scanner has stopped")]
    Stopped,
}

/// Who can tell whose hardware answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Witness {
    /// This machine: the address is its own, and this is its hardware.
    Own(Option<Mac>),
    /// The kernel's neighbour table.
    Neighbours,
    /// Nobody here. A feed from behind the router may know.
    Feed,
    /// Nobody, and the feed might be wrong: IPv6, whose neighbours are not read yet. Kept by address.
    Nobody,
}

impl Looker {
    /// Looks at a device until its report is in or `cancel` is notified. An observation is returned where
    /// there is something to store: never under a MAC that did not hold the address before *and* after. Whoever
    /// wants to know how far it is finds that in `follow` as soon as there is anything to know.
    pub async fn look(
        &self,
        look: Look,
        cancel: Arc<Notify>,
        follow: watch::Sender<Option<Follower>>,
    ) -> (Looked, Option<Observation>) {
        // Cancelled, the attempt is dropped, and with it its ticket.
        let attempt = tokio::select! {
            attempt = self.attempt(&look, &follow) => attempt,
            () = cancel.notified() => return (Looked::Partial, None),
        };
        match attempt {
            Ok(observation) => {
                let looked = match observation.report.status {
                    HostStatus::Up => Looked::Result(observation.device.key()),
                    HostStatus::Down => Looked::Absent,
                    HostStatus::Partial => Looked::Partial,
                };
                (looked, Some(observation))
            }
            Err(nothing) => {
                nothing.log(&look.device);
                (nothing.looked(), None)
            }
        }
    }

    async fn attempt(
        &self,
        look: &Look,
        follow: &watch::Sender<Option<Follower>>,
    ) -> Result<Observation, Nothing> {
        let address = &look.device.address;
        let links = Links::read()?;
        let witness = Witness::of(&links, address);
        let expected = witness.expected(&look.device)?;
        // What the table knows already spares an excluded device even the first probe.
        let known = witness.sighted(address)?;
        self.may_look(&look.device, known)?;
        let key = Device { mac: expected, ..look.device.clone() }.key();
        let first = self.store.latest(&key).await.ok().flatten().map_or_else(Vec::new, |host| host.open);
        let started = self.clock.wall();
        let way = self.way(look, known);
        let mut ticket = self.submit(look, &way, &first, links.link_of(address));
        follow.send_replace(Some(ticket.follower()));
        let before = if ticket.host_up().await { witness.sighted(address)? } else { None };
        self.may_look(&look.device, before)?;
        let own_way = self.way(look, before);
        if before.is_some() && own_way != way {
            // A gadget that the owner wants treated gently is known by its MAC, and only now.
            ticket = self.submit(look, &own_way, &first, links.link_of(address));
            follow.send_replace(Some(ticket.follower()));
        }
        let report = ticket.report().await.ok_or(Nothing::Stopped)?;
        let mac = match report.status {
            HostStatus::Down => expected,
            _ => identify(expected, self.vouched(before), self.vouched(witness.sighted(address)?))?,
        };
        Ok(self.observation(look, mac, report, started))
    }

    /// Asks again whether the device may be looked at, now that its MAC is known.
    fn may_look(&self, device: &Device, found: Option<Mac>) -> Result<(), Nothing> {
        match found {
            Some(mac) if !is_wanted(&self.config, &Device { mac: Some(mac), ..device.clone() }) => {
                Err(Nothing::Unwanted(mac))
            }
            _ => Ok(()),
        }
    }

    /// A MAC that was seen, where it tells who the device is.
    fn vouched(&self, seen: Option<Mac>) -> Option<Mac> {
        seen.filter(|mac| !self.proxies.contains(mac))
    }

    /// Which ports and how hard, by the rule for the device that has this MAC.
    fn way(&self, look: &Look, found: Option<Mac>) -> (PortSet, Timing) {
        let device = Device { mac: found.or(look.device.mac), ..look.device.clone() };
        let rule = self.config.rule_for(&device);
        let own = rule.filter(|_| !look.is_exact).and_then(|rule| rule.ports.clone());
        let ports = own.unwrap_or_else(|| look.ports.clone());
        (ports, rule.and_then(|rule| rule.timing).unwrap_or(look.timing))
    }

    fn submit(&self, look: &Look, (ports, timing): &(PortSet, Timing), first: &[u16], link: Link) -> Ticket {
        self.scanner.submit(HostJob {
            address: look.device.address.clone(),
            ports: ports.clone(),
            first: first.to_vec(),
            timing: *timing,
            max_in_flight: self.config.max_in_flight,
            max_retries: None,
            max_rate: None,
            liveness: Liveness::Check,
            link,
            deadline: (*timing >= Timing::T3).then_some(LOOK),
        })
    }

    fn observation(
        &self,
        look: &Look,
        mac: Option<Mac>,
        report: HostReport,
        started: Timestamp,
    ) -> Observation {
        let device = Device { mac, ..look.device.clone() };
        Observation { scan: look.scan, device, report, started, finished: self.clock.wall() }
    }
}

impl Witness {
    fn of(links: &Links, address: &Address) -> Self {
        match links.link_of(address) {
            Link::Local if address.is_loopback() => Self::Feed,
            Link::Local => Self::Own(links.own_mac(address)),
            _ if address.ipv4().is_none() => Self::Nobody,
            Link::OnLink => Self::Neighbours,
            Link::Routed => Self::Feed,
        }
    }

    /// The MAC that the device should show, or be kept under if it cannot show any.
    fn expected(self, device: &Device) -> Result<Option<Mac>, Nothing> {
        match (self, device.mac) {
            (Self::Own(found), expected @ Some(_)) if found != expected => {
                Err(Nothing::TakenOver { expected, found })
            }
            (Self::Own(found), _) => Ok(found),
            (Self::Nobody, _) => Ok(None),
            (Self::Neighbours | Self::Feed, expected) => Ok(expected),
        }
    }

    /// The MAC that answers at the address now, as far as this machine sees. A table that cannot be read is
    /// no empty table: trusting the feed then would store one device's ports under another's MAC.
    fn sighted(self, address: &Address) -> io::Result<Option<Mac>> {
        match self {
            Self::Own(found) => Ok(found),
            Self::Neighbours => net::neighbour(address),
            Self::Feed | Self::Nobody => Ok(None),
        }
    }
}

/// Whom a result belongs to: the device that was expected, unless another was seen; where none was expected,
/// the one that was seen from the beginning. An entry that is gone is no contradiction: the kernel drops the
/// least used when its table fills up.
fn identify(expected: Option<Mac>, before: Option<Mac>, after: Option<Mac>) -> Result<Option<Mac>, Nothing> {
    match (expected, before, after) {
        (Some(_), Some(_), _) if before != expected => Err(Nothing::TakenOver { expected, found: before }),
        (Some(_), _, Some(_)) if after != expected => Err(Nothing::TakenOver { expected, found: after }),
        (Some(_), ..) => Ok(expected),
        (None, Some(_), Some(_)) if before != after => {
            Err(Nothing::TakenOver { expected: before, found: after })
        }
        (None, None, Some(_)) => Err(Nothing::Unattested),
        (None, ..) => Ok(before),
    }
}

impl Nothing {
    const fn looked(&self) -> Looked {
        match self {
            Self::TakenOver { .. } | Self::Unwanted(_) => Looked::Absent,
            Self::Unattested => Looked::Partial,
            Self::Unreadable(_) | Self::Stopped => Looked::Failed,
        }
    }

    fn log(&self, device: &Device) {
        let address = &device.address;
        let text = |mac: &Option<Mac>| mac.map(|mac| mac.to_string()).unwrap_or_default();
        match self {
            Self::TakenOver { expected, found } => {
                tracing::warn!(%address, mac = text(expected), found = text(found), "{self}");
            }
            Self::Unwanted(mac) => tracing::info!(%address, %mac, "{self}"),
            Self::Unattested | Self::Unreadable(_) => tracing::warn!(%address, "{self}"),
            Self::Stopped => tracing::debug!(%address, "{self}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> Option<Mac> {
        (last != 0).then(|| Mac::new([2, 0, 0, 0, 0, last]))
    }

    /// 0 stands for "not known".
    #[test]
    fn a_result_belongs_to_whom_it_was_from_beginning_to_end() {
        for ((expected, before, after), found) in [
            ((1, 1, 1), Ok(1)),
            ((1, 1, 0), Ok(1)),
            ((1, 0, 1), Ok(1)),
            ((1, 0, 0), Ok(1)),
            ((1, 2, 1), Err(Looked::Absent)),
            ((1, 1, 2), Err(Looked::Absent)),
            ((1, 0, 2), Err(Looked::Absent)),
            ((0, 1, 1), Ok(1)),
            ((0, 1, 0), Ok(1)),
            ((0, 1, 2), Err(Looked::Absent)),
            ((0, 0, 1), Err(Looked::Partial)),
            ((0, 0, 0), Ok(0)),
        ] {
            let identity = identify(mac(expected), mac(before), mac(after));
            let wanted = found.map(mac);
            assert_eq!(identity.map_err(|nothing| nothing.looked()), wanted, "{expected} {before} {after}");
        }
    }

    #[test]
    fn what_cannot_be_checked_is_a_failure() {
        let nothing = Nothing::from(io::Error::other("out of descriptors"));
        assert_eq!(nothing.looked(), Looked::Failed);
    }

    #[test]
    fn this_machine_knows_its_own_hardware_and_nobody_vouches_for_ipv6() {
        let device =
            |address: &str, last| Device { address: address.parse().unwrap(), mac: mac(last), name: None };
        let expected = |witness: Witness, last| {
            witness.expected(&device("192.0.2.1", last)).map_err(|nothing| nothing.looked())
        };
        assert_eq!(expected(Witness::Own(mac(1)), 1), Ok(mac(1)));
        assert_eq!(expected(Witness::Own(mac(1)), 0), Ok(mac(1)));
        assert_eq!(expected(Witness::Own(mac(1)), 2), Err(Looked::Absent));
        assert_eq!(expected(Witness::Nobody, 2), Ok(None), "kept by address");
        assert_eq!(expected(Witness::Neighbours, 2), Ok(mac(2)));
        let links = Links::read().unwrap();
        let witness = |address: &str| Witness::of(&links, &address.parse().unwrap());
        assert_eq!(witness("127.0.0.1"), Witness::Feed);
        assert_eq!(witness("2001:db8::1"), Witness::Nobody);
    }
}

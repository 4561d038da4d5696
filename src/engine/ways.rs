//! Determines which interface leads to a host, and whether its link was up for as long as a probe was in flight.
//! Pure: the time is a parameter.
//!
//! A pulled cable must not make a device look down. With the link down the kernel rarely reports an error: connects
//! time out, or ARP fails after three seconds, exactly as if the device were off. So every probe takes a [`Passage`]
//! along, and an outcome that is not the host's own reply counts only if the passage still [`holds`](Ways::holds) when
//! the outcome is known.
//!
//! | event | seen by | effect |
//! |---|---|---|
//! | link down or up, interface gone or renumbered | its state, its count of carrier changes | passages end |
//! | address removed, even if it is added again | the kernel's message | passages end |
//! | network of a host lost with its address | memory of the lost subnet | closed until it is back |
//! | no route, the network unchanged for a minute | the kernel's choice of a source address | no route: not waited for |

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use ipnet::IpNet;

use crate::model::{Address, Moment};

use super::job::Link;

/// After a link has come up, a switch may forward nothing for twice 15 s (IEEE 802.1D, forward delay), and an access
/// point not until it has agreed on keys. Silence counts from then on, or from the first reply of any host there.
const SETTLES: Duration = Duration::from_secs(35);

/// How long to wait for a missing route after the last change of the network: DHCP may bring it back.
const CHANGING: Duration = Duration::from_secs(60);

/// For how long after the last probe over it a closed interface is reported.
const WANTED: Duration = Duration::from_secs(600);

/// Subnets that are remembered of an interface that lost them.
const MOST_LOST: usize = 16;

/// What the kernel reports about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// The kernel's index, which a later interface of the same name does not share.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is switched on, has a carrier and is ready to send.
    pub is_up: bool,
    /// Whether it is the loopback.
    pub is_loopback: bool,
    /// How often its carrier came or went: an outage between two readings shows only here.
    pub changes: u32,
}

/// The interface that a probe uses, and how often it had been interrupted when the probe left. `None`: within this
/// machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage(Option<(u32, u64)>);

impl Passage {
    /// To this machine's own loopback, which is always open.
    pub const LOCAL: Self = Self(None);
}

/// Whether a host can be reached now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Over this passage.
    Open(Passage),
    /// The link is down, or the network has changed lately: wait.
    Closed,
    /// There is no route, and none is to be expected.
    NoRoute,
}

/// An interface that probes wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its name.
    pub interface: String,
    /// What is wrong, and how to mend it.
    pub why: &'static str,
    /// Since when.
    pub since: Moment,
}

#[derive(Debug)]
struct Interface {
    name: String,
    /// `None` where it is gone.
    index: Option<u32>,
    is_up: bool,
    is_loopback: bool,
    changes: u32,
    nets: Vec<IpNet>,
    /// Subnets that it was in, and when it left them.
    lost: Vec<(IpNet, Moment)>,
    /// How often what was under way may have been lost.
    interruptions: u64,
    /// Until when silence says nothing, unless a host has answered since the interruption.
    settles: Moment,
    /// Since when it is unusable, if it is.
    closed: Option<Moment>,
    /// When a probe last was to use it.
    wanted: Option<Moment>,
}

/// This machine's interfaces, present and former ones.
#[derive(Debug, Default)]
pub struct Ways {
    interfaces: BTreeMap<u32, Interface>,
    next: u32,
    /// When the network last changed; `None` while it is as it was at the start.
    changed: Option<Moment>,
    /// Counts the changes that may lead to another interface for a host.
    version: u64,
    started: bool,
}

impl Ways {
    /// A result of [`reach`](Self::reach) holds until this number changes.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Notes a new route: no packet in flight is lost, but hosts may be reached over another interface. It is no change
    /// of the network, because daemons add the same routes again and again.
    pub fn route_added(&mut self) {
        self.version += 1;
    }

    /// Notes that a route was removed, which may come back.
    pub fn route_lost(&mut self, now: Moment) {
        self.change(now);
    }

    fn change(&mut self, now: Moment) {
        self.version += 1;
        self.changed = self.started.then_some(now).or(self.changed);
    }

    /// Sets the state of all interfaces.
    pub fn set_links(&mut self, links: &[LinkFacts], now: Moment) {
        let gone: Vec<u32> = self.interfaces.values().filter_map(|interface| interface.index).collect();
        gone.into_iter().filter(|index| links.iter().all(|link| link.index != *index)).for_each(|index| {
            self.link_gone(index, now);
        });
        links.iter().for_each(|link| self.set_link(link, now));
    }

    /// Sets the state of one interface.
    pub fn set_link(&mut self, link: &LinkFacts, now: Moment) {
        let renamed = |known: &&mut Interface| known.index == Some(link.index) && known.name != link.name;
        if self.interfaces.values_mut().find(renamed).is_some() {
            self.link_gone(link.index, now);
        }
        let id = self.id_of(link, now);
        let Some(known) = self.interfaces.get_mut(&id) else { return };
        let is_same = known.index == Some(link.index) && known.changes == link.changes;
        if is_same && known.is_up == link.is_up {
            return;
        }
        (known.index, known.is_up, known.changes) = (Some(link.index), link.is_up, link.changes);
        known.interrupt(now);
        self.change(now);
    }

    /// The id under which an interface of this name is kept.
    fn id_of(&mut self, link: &LinkFacts, now: Moment) -> u32 {
        if let Some((&id, _)) = self.interfaces.iter().find(|(_, known)| known.name == link.name) {
            return id;
        }
        self.next += 1;
        let interface = Interface {
            name: link.name.clone(),
            index: Some(link.index),
            is_up: link.is_up,
            is_loopback: link.is_loopback,
            changes: link.changes,
            nets: Vec::new(),
            lost: Vec::new(),
            interruptions: 0,
            settles: if self.started { now + SETTLES } else { Moment::ZERO },
            closed: (!link.is_up).then_some(now),
            wanted: None,
        };
        self.interfaces.insert(self.next, interface);
        self.change(now);
        self.next
    }

    /// Notes that an interface is gone. It is remembered if hosts were reached over it: a USB adapter comes back under
    /// the same name.
    pub fn link_gone(&mut self, index: u32, now: Moment) {
        let Some((&id, known)) = self.interfaces.iter_mut().find(|(_, known)| known.index == Some(index))
        else {
            return;
        };
        known.set_nets(Vec::new(), now);
        (known.index, known.is_up) = (None, false);
        known.interrupt(now);
        if known.wanted.is_none() {
            self.interfaces.remove(&id);
        }
        self.change(now);
    }

    /// Notes that an interface lost an address: replies to it are not received, even if it is added again.
    pub fn address_lost(&mut self, index: u32, now: Moment) {
        if let Some(known) = self.by_index(index) {
            known.interrupt(now);
            self.change(now);
        }
    }

    /// Notes an unknown change: every link may have been interrupted.
    pub fn interrupt_all(&mut self, now: Moment) {
        self.interfaces
            .values_mut()
            .filter(|known| !known.is_loopback)
            .for_each(|known| known.interrupt(now));
        self.change(now);
    }

    /// Sets all addresses, each with the index of its interface and its subnet. The first call ends the start:
    /// interfaces that exist by then count as having been up for long.
    pub fn set_addresses(&mut self, addresses: &[(u32, IpNet)], now: Moment) {
        let mut changed = false;
        for known in self.interfaces.values_mut() {
            let own = addresses.iter().filter(|(index, _)| known.index == Some(*index));
            changed |= known.set_nets(own.map(|(_, net)| *net).collect(), now);
        }
        if changed {
            self.change(now);
        }
        self.started = true;
    }

    fn by_index(&mut self, index: u32) -> Option<&mut Interface> {
        self.interfaces.values_mut().find(|known| known.index == Some(index))
    }

    /// The kernel's index of a passage's interface.
    pub fn index(&self, passage: Passage) -> Option<u32> {
        self.interfaces.get(&passage.0?.0)?.index
    }

    /// Whether a host can be reached by the link that is assumed for it: a neighbour behind an interface that is down
    /// must not be probed through the router of another interface. `source`: the address from which the kernel would
    /// send.
    pub fn reach(
        &mut self,
        address: &Address,
        link: Option<Link>,
        source: Option<IpAddr>,
        now: Moment,
    ) -> Reach {
        if address.is_loopback() {
            return Reach::Open(Passage::LOCAL);
        }
        if address.check_host().is_err() {
            return Reach::NoRoute; // link-local without a zone, or no host's at all
        }
        let owner =
            source.and_then(|source| self.find(|known| known.nets.iter().any(|net| net.addr() == source)));
        let near: Vec<u32> = self.ids(|known| known.contains(address));
        let is_near = owner.is_some_and(|owner| near.contains(&owner));
        // A tunnel may have the better route to a neighbour, but not while the neighbour's own interface is down.
        let is_better = near.iter().any(|id| self.is_open(*id));
        let down = near.iter().copied().find(|id| !self.is_open(*id));
        let missed = down.or_else(|| self.find(|known| known.has_lost(address, now)));
        let (id, is_usable) = match (owner, missed) {
            (Some(owner), _) if is_near || is_better => (owner, self.is_open(owner)),
            (_, Some(missed)) => (missed, false),
            (Some(owner), None) if link != Some(Link::OnLink) => (owner, self.is_open(owner)),
            _ if self.is_changing(now) => return Reach::Closed,
            // An interface that never existed is not waited for, unlike a network.
            _ if address.zone().is_none() && self.is_offline() => return Reach::Closed,
            _ => return Reach::NoRoute,
        };
        self.interfaces.get_mut(&id).into_iter().for_each(|known| known.wanted = Some(now));
        if is_usable { Reach::Open(self.passage(id)) } else { Reach::Closed }
    }

    /// Whether an outcome that is not the host's own reply says something about the host, because the passage was open
    /// all the time.
    pub fn holds(&self, passage: Passage, now: Moment) -> bool {
        let settles = |(id, _): (u32, u64)| self.interfaces.get(&id).is_some_and(|known| known.settles > now);
        self.is_uninterrupted(passage) && !passage.0.is_some_and(settles)
    }

    /// Whether the passage has been open all the time. That is enough for probes of this machine itself; for the
    /// silence of other hosts use [`Self::holds`].
    pub fn is_uninterrupted(&self, passage: Passage) -> bool {
        let Some((id, interruptions)) = passage.0 else { return true };
        let known = self.interfaces.get(&id);
        known.is_some_and(|known| known.closed.is_none() && known.interruptions == interruptions)
    }

    /// Notes that a host has replied over this passage: the link works.
    pub fn heard(&mut self, passage: Passage) {
        let Some((id, interruptions)) = passage.0 else { return };
        let known = self.interfaces.get_mut(&id).filter(|known| known.interruptions == interruptions);
        if let Some(known) = known.filter(|known| known.settles > Moment::ZERO) {
            // Packets that left before may have been lost all the same.
            (known.settles, known.interruptions) = (Moment::ZERO, known.interruptions + 1);
            self.version += 1;
        }
    }

    /// Whether some interface has come up again and no reply has come over it yet.
    pub fn is_settling(&self, now: Moment) -> bool {
        self.interfaces.values().any(|known| known.settles > now)
    }

    /// Whether the network has changed so lately that a missing route may come back.
    pub fn is_changing(&self, now: Moment) -> bool {
        self.changed.is_some_and(|changed| now.since(changed) < CHANGING)
    }

    /// The interfaces that probes wait for.
    pub fn closed(&self, now: Moment) -> Vec<Closed> {
        let wanted = |known: &&Interface| known.wanted.is_some_and(|wanted| now.since(wanted) < WANTED);
        self.interfaces.values().filter(wanted).filter_map(|known| known.trouble(now)).collect()
    }

    fn passage(&self, id: u32) -> Passage {
        Passage(self.interfaces.get(&id).map(|known| (id, known.interruptions)))
    }

    fn is_open(&self, id: u32) -> bool {
        self.interfaces.get(&id).is_some_and(|known| known.closed.is_none())
    }

    /// Whether there is no network at all, as at boot or with the only cable pulled.
    fn is_offline(&self) -> bool {
        let is_online = |known: &Interface| known.closed.is_none() && known.nets.iter().any(is_routable);
        !self.interfaces.values().any(|known| !known.is_loopback && is_online(known))
    }

    fn find(&self, which: impl Fn(&Interface) -> bool) -> Option<u32> {
        self.interfaces.iter().find(|(_, known)| which(known)).map(|(&id, _)| id)
    }

    fn ids(&self, which: impl Fn(&Interface) -> bool) -> Vec<u32> {
        self.interfaces.iter().filter(|(_, known)| which(known)).map(|(&id, _)| id).collect()
    }
}

/// Every interface that is up has a link-local IPv6 address, whether it is in a network or not.
fn is_routable(net: &IpNet) -> bool {
    !matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

impl Interface {
    /// Notes that packets in flight may be lost; the link has to prove that it works.
    fn interrupt(&mut self, now: Moment) {
        self.interruptions += 1;
        self.settles = now + SETTLES;
        self.closed = if self.is_up { None } else { self.closed.or(Some(now)) };
    }

    /// Sets the subnets; returns whether that changed anything.
    fn set_nets(&mut self, nets: Vec<IpNet>, now: Moment) -> bool {
        let left: Vec<IpNet> = self.nets.iter().filter(|net| !nets.contains(net)).copied().collect();
        let changed = !left.is_empty() || nets.len() != self.nets.len();
        if !left.is_empty() {
            self.interrupt(now);
        }
        self.lost.extend(left.into_iter().map(|net| (net, now)));
        let missed = self.lost.len();
        self.lost.retain(|(lost, _)| nets.iter().all(|net| net.trunc() != lost.trunc()));
        if self.lost.len() < missed {
            self.settles = now + SETTLES;
        }
        self.lost.drain(..self.lost.len().saturating_sub(MOST_LOST));
        self.nets = nets;
        changed
    }

    /// Whether a host is in one of its subnets; for link-local addresses the zone decides.
    fn contains(&self, address: &Address) -> bool {
        match (address.zone(), address.ip()) {
            (Some(zone), _) => zone == self.name,
            (None, IpAddr::V6(ip)) if ip.is_unicast_link_local() => false,
            (None, ip) => self.nets.iter().any(|net| net.contains(&ip)),
        }
    }

    /// Whether a host is in a subnet that the interface lost and may regain: no address has replaced the lost one, or
    /// only just now.
    fn has_lost(&self, address: &Address, now: Moment) -> bool {
        let in_lost = |(net, at): &(IpNet, Moment)| net.contains(&address.ip()) && self.misses(net, *at, now);
        address.zone().is_none() && self.lost.iter().any(in_lost)
    }

    fn misses(&self, lost: &IpNet, at: Moment, now: Moment) -> bool {
        let replaces = |net: &IpNet| is_routable(net) && net.addr().is_ipv4() == lost.addr().is_ipv4();
        now.since(at) < CHANGING || self.closed.is_some() || !self.nets.iter().any(replaces)
    }

    fn trouble(&self, now: Moment) -> Option<Closed> {
        let closed = |since, why| Closed { interface: self.name.clone(), why, since };
        let missed = self.lost.iter().find(|(net, at)| is_routable(net) && self.misses(net, *at, now));
        match (self.closed, missed) {
            (Some(since), _) if self.index.is_none() => {
                Some(closed(since, "is gone; is the adapter plugged in?"))
            }
            (Some(since), _) => {
                Some(closed(since, "has no link; check the cable, the switch or the access point"))
            }
            (None, Some(&(_, since))) => {
                Some(closed(since, "has lost its address; check DHCP or its setting"))
            }
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests;

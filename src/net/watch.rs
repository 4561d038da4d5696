//! Watches this machine's own links, so that an interruption is not taken for an absent device.
//!
//! [`Ways`] decides what counts; this module feeds it the kernel's state. The kernel reports changes of flags,
//! addresses and routes at once, but a carrier that comes and goes up to a second late; so each
//! judgement also reads the interface's count of carrier changes. sysfs has that as well, but of the network
//! namespace in which it was mounted.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use nix::{libc, net::if_::if_nametoindex};
use socket2::{Domain, Socket, Type};

use super::netlink::{Netlink, RequestScope, address, attributes};
use crate::{
    clock::{Clock, SystemClock},
    engine::{Closed, Link, LinkFacts, LocalError, Outcome, Passage, Reach, Ways},
    model::{Address, Moment},
};

/// Octets of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK: usize = 16;
const ADDRESS: usize = 8;

/// `linux/if_link.h`: the count of carrier changes, and which parts of an answer are requested: not the statistics,
/// which are the largest part.
const IFLA_CARRIER_CHANGES: u16 = 35;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

/// linux/if.h: switched on, ready to send, with a carrier.
const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;
const RUNNING: u32 = 0x40;
const LOWER_UP: u32 = 0x10000;

/// The most hosts with a remembered path.
const MOST_SOURCES: usize = 4096;

/// The shortest interval between two checks of a closed path, however many hosts wait for it.
const AGAIN: Duration = Duration::from_millis(50);

/// The handle; clones watch the same. It belongs to the network namespace of the thread that opened it.
#[derive(Clone, Debug)]
pub struct LinkWatch {
    shared: Arc<Shared>,
    clock: SystemClock,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Whether it matters that a host has answered.
    settling: AtomicBool,
}

#[derive(Debug)]
struct State {
    ways: Ways,
    notifications: Netlink,
    requests: Netlink,
    looked: Moment,
    /// The source address that the kernel uses for a host, as of this version.
    sources: HashMap<Address, Option<IpAddr>>,
    version: u64,
}

impl LinkWatch {
    /// Starts watching.
    ///
    /// # Errors
    /// Fails if no descriptor is free, or if the kernel refuses the subscription.
    pub fn open(clock: SystemClock) -> io::Result<Self> {
        let groups = [
            libc::RTMGRP_LINK,
            libc::RTMGRP_IPV4_IFADDR,
            libc::RTMGRP_IPV6_IFADDR,
            libc::RTMGRP_IPV4_ROUTE,
            libc::RTMGRP_IPV6_ROUTE,
        ];
        let groups = groups.into_iter().fold(0, |all, group| all | u32::try_from(group).unwrap_or_default());
        let mut state = State {
            ways: Ways::default(),
            notifications: Netlink::listen(groups)?,
            requests: Netlink::open()?,
            looked: clock.now(),
            sources: HashMap::new(),
            version: 0,
        };
        state.read_all(clock.now())?;
        let shared = Shared { state: Mutex::new(state), settling: AtomicBool::new(false) };
        Ok(Self { shared: Arc::new(shared), clock })
    }

    /// Returns whether and how a host can be reached, as far as known.
    pub fn reach(&self, address: &Address, link: Option<Link>) -> Reach {
        if address.is_loopback() {
            return Reach::Open(Passage::LOCAL);
        }
        self.with(|state, now| match state.reach(address, link, now) {
            reach if matches!(reach, Reach::Open(_)) || now.since(state.looked) < AGAIN => reach,
            _ => match state.refresh(now) {
                Ok(()) => state.reach(address, link, now),
                Err(_) => Reach::Closed,
            },
        })
    }

    /// Returns the same, and the source address that the kernel uses for the host.
    pub fn reach_from(&self, address: &Address, link: Option<Link>) -> (Reach, Option<IpAddr>) {
        let reach = self.reach(address, link);
        (reach, self.with(|state, _| state.sources.get(address).copied().flatten()))
    }

    /// Interprets the kernel's refusal to reach a host that seemed reachable: returns whether the path may come back.
    pub fn is_interrupted(&self, address: &Address) -> bool {
        self.with(|state, now| {
            state.refresh(now).is_err()
                || state.ways.is_changing(now)
                || state.reach(address, None, now) == Reach::Closed
        })
    }

    /// Whether silence over this passage up to now is conclusive. It is not if the link's state cannot be read.
    pub fn holds(&self, passage: Passage) -> bool {
        passage == Passage::LOCAL
            || self
                .with(|state, now| state.look_along(passage, now).is_ok() && state.ways.holds(passage, now))
    }

    /// Whether this passage has been open up to now, so that what this machine reports about its own networks counts.
    pub fn is_uninterrupted(&self, passage: Passage) -> bool {
        passage == Passage::LOCAL
            || self.with(|state, now| {
                state.look_along(passage, now).is_ok() && state.ways.is_uninterrupted(passage)
            })
    }

    /// Records that a host has answered over this passage.
    pub fn heard(&self, passage: Passage) {
        if self.shared.settling.load(Ordering::Relaxed) {
            self.with(|state, _| state.ways.heard(passage));
        }
    }

    /// Judges a probe over this passage: silence, or an ICMP error about the host, counts only if the link was up all
    /// the time.
    pub fn judge(&self, outcome: Outcome, passage: Passage) -> Outcome {
        match outcome.is_answer() {
            Some(true) => self.heard(passage),
            Some(false) if !self.holds(passage) => return Outcome::Local(LocalError::LinkDown),
            Some(false) | None => {}
        }
        outcome
    }

    /// Returns the interfaces that probes wait for, and for how long.
    pub fn closed(&self) -> Vec<(Closed, Duration)> {
        self.with(|state, now| {
            // A failed read can succeed later; until then the last known state is the best available.
            _ = state.refresh(now);
            let with_age = |closed: Closed| {
                let age = now.since(closed.since);
                (closed, age)
            };
            state.ways.closed(now).into_iter().map(with_age).collect()
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut State, Moment) -> T) -> T {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let seen = look(&mut state, now);
        self.shared.settling.store(state.ways.is_settling(now), Ordering::Relaxed);
        seen
    }
}

impl State {
    fn reach(&mut self, address: &Address, link: Option<Link>, now: Moment) -> Reach {
        if self.version != self.ways.version() || self.sources.len() > MOST_SOURCES {
            self.sources.clear();
            self.version = self.ways.version();
        }
        let source = match self.sources.get(address) {
            Some(source) => *source,
            None => {
                let source = source(address);
                self.sources.insert(address.clone(), source);
                source
            }
        };
        self.ways.reach(address, link, source, now)
    }

    /// Reads the present state of a passage's interface.
    fn look_along(&mut self, passage: Passage, now: Moment) -> io::Result<()> {
        let index = self.ways.index(passage);
        self.read_notifications(now)?;
        index.map_or(Ok(()), |index| self.look_at(index, now))
    }

    /// Reads all that may have changed, carriers included.
    fn refresh(&mut self, now: Moment) -> io::Result<()> {
        self.looked = now;
        self.read_notifications(now)?;
        self.read_all(now)
    }

    fn read_all(&mut self, now: Moment) -> io::Result<()> {
        let mut links = Vec::new();
        self.requests.request(libc::RTM_GETLINK, RequestScope::All, &link_question(0), |kind, body| {
            links.extend(link(body).filter(|_| kind == libc::RTM_NEWLINK));
            false
        })?;
        self.ways.set_links(&links, now);
        self.read_addresses(now)
    }

    fn read_addresses(&mut self, now: Moment) -> io::Result<()> {
        let mut addresses = Vec::new();
        self.requests.request(libc::RTM_GETADDR, RequestScope::All, &[0; ADDRESS], |kind, body| {
            addresses.extend(own_address(body).filter(|_| kind == libc::RTM_NEWADDR));
            false
        })?;
        self.ways.set_addresses(&addresses, now);
        Ok(())
    }

    fn look_at(&mut self, index: u32, now: Moment) -> io::Result<()> {
        let mut found = None;
        let read = self.requests.request(
            libc::RTM_GETLINK,
            RequestScope::One,
            &link_question(index),
            |kind, body| {
                found = link(body).filter(|_| kind == libc::RTM_NEWLINK);
                true
            },
        );
        match read {
            Ok(()) => found.into_iter().for_each(|link| self.ways.set_link(&link, now)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => self.ways.link_gone(index, now),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads the kernel's messages since the last call.
    fn read_notifications(&mut self, now: Moment) -> io::Result<()> {
        let (ways, mut addresses) = (&mut self.ways, false);
        let complete = self.notifications.read_pending(|kind, body| match kind {
            libc::RTM_NEWLINK => link(body).into_iter().for_each(|link| ways.set_link(&link, now)),
            libc::RTM_DELLINK => link(body).into_iter().for_each(|link| ways.link_gone(link.index, now)),
            libc::RTM_DELADDR => {
                addresses = true;
                own_address(body).into_iter().for_each(|(index, _)| ways.address_lost(index, now));
            }
            libc::RTM_NEWADDR => addresses = true,
            libc::RTM_NEWROUTE => ways.route_added(),
            libc::RTM_DELROUTE => ways.route_lost(now),
            _ => {}
        })?;
        if !complete {
            self.ways.interrupt_all(now);
            return self.read_all(now);
        }
        if addresses { self.read_addresses(now) } else { Ok(()) }
    }
}

/// Returns the source address for packets to a host. A datagram socket finds it out without sending anything.
fn source(address: &Address) -> Option<IpAddr> {
    let peer: SocketAddr = match (address.ip(), address.zone()) {
        (IpAddr::V6(ip), Some(zone)) => SocketAddrV6::new(ip, 9, 0, if_nametoindex(zone).ok()?).into(),
        (ip, _) => (ip, 9).into(),
    };
    let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, None).ok()?;
    socket.connect(&peer.into()).ok()?;
    Some(socket.local_addr().ok()?.as_socket()?.ip())
}

/// Builds the request for one interface, or with 0 for all: `struct ifinfomsg`, and `IFLA_EXT_MASK`.
fn link_question(index: u32) -> Vec<u8> {
    let mut body = vec![0; LINK];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body.extend(8_u16.to_ne_bytes());
    body.extend(libc::IFLA_EXT_MASK.to_ne_bytes());
    body.extend(RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    body
}

/// Parses an interface; `None` for a bridge's messages about its ports, and for truncated ones.
fn link(body: &[u8]) -> Option<LinkFacts> {
    let number = |from: usize| Some(u32::from_ne_bytes(*body.get(from..)?.first_chunk()?));
    let (index, flags) = (number(4)?, number(8)?);
    let (mut name, mut changes) = (None, 0);
    for (kind, value) in attributes(body.get(LINK..)?) {
        match kind {
            libc::IFLA_IFNAME => name = text(value),
            IFLA_CARRIER_CHANGES => {
                changes = value.first_chunk().map_or(0, |count| u32::from_ne_bytes(*count));
            }
            _ => {}
        }
    }
    let is_up = [UP, RUNNING, LOWER_UP].iter().all(|flag| flags & flag != 0);
    let is_whole = *body.first()? == 0;
    let link = LinkFacts { index, name: name?, is_up, is_loopback: flags & LOOPBACK != 0, changes };
    is_whole.then_some(link)
}

fn text(value: &[u8]) -> Option<String> {
    let text = value.split(|octet| *octet == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}

/// One of this machine's addresses with its subnet, and the number of its interface.
fn own_address(body: &[u8]) -> Option<(u32, IpNet)> {
    let prefix = *body.get(1)?;
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let (mut own, mut peer) = (None, None);
    for (kind, value) in attributes(body.get(ADDRESS..)?) {
        match kind {
            libc::IFA_LOCAL => own = address(value),
            libc::IFA_ADDRESS => peer = address(value),
            _ => {}
        }
    }
    // IPv6 has IFA_ADDRESS alone.
    Some((index, IpNet::new(own.or(peer)?, prefix).ok()?))
}

#[cfg(test)]
impl LinkWatch {
    /// Waits until the kernel sends to this address: a link that came up has a carrier some time before.
    pub(super) fn wait_for_way_to(address: &str) {
        let is_open = || {
            let links = Self::open(SystemClock::start()).unwrap();
            matches!(links.reach(&address.parse().unwrap(), None), Reach::Open(_))
        };
        let opens = (0..3000).any(|_| {
            is_open() || {
                std::thread::sleep(Duration::from_millis(10));
                false
            }
        });
        assert!(opens, "{address}");
    }
}

#[cfg(test)]
mod tests;

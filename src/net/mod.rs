//! Layer 2: sockets, and what the kernel reports about this machine.
//!
//! [`ConnectProber`] makes the connects that the engine requests, [`SynProber`] sends SYNs in their place where it may,
//! [`ArpSocket`] and, without privileges, [`Nudge`] find the devices of a [`Lan`], [`solicit`] asks for the MAC at one
//! address before any port is probed there, [`link_locals`] finds the neighbours by IPv6, [`mdns`] resolves and
//! announces names in `.local`. [`mdns_name`] asks one neighbour for its name, [`announced`] for its services, and
//! [`search`] asks the devices of a network where they describe themselves. A [`UdpQuestion`] is one datagram to one UDP
//! port, and what comes of it. The other modules read this machine's state without sending anything: its limits, its
//! interfaces, its neighbours, its name server's answers.

mod arp;
mod connect;
pub mod dialogue;
mod dns_message;
mod dns_sd;
mod echo;
mod holders;
mod hosts;
mod interfaces;
mod lan;
mod limits;
mod link_locals;
mod links;
mod lookup;
pub mod mdns;
mod memory;
pub mod mqtt;
pub mod nats;
mod ndp;
mod neighbour_query;
mod neighbours;
mod netlink;
mod nudge;
#[cfg(test)]
mod own_network;
mod privileges;
mod reverse;
mod solicit;
mod ssdp;
mod syn;
#[cfg(test)]
mod test_probes;
mod udp;
mod unicast_mdns;
mod watch;

pub use arp::ArpSocket;
pub use connect::ConnectProber;
pub use dns_sd::{Announced, AnnouncedService, TxtPairs, announced};
pub use holders::{PortHolder, PortKind, port_holders};
pub use lan::{Lan, LanCandidate, LanError};
pub use limits::{Conntrack, SystemLimits};
pub use link_locals::{LinkLocalError, link_locals};
pub use links::Links;
pub use lookup::SystemResolver;
pub use memory::memory;
pub use neighbour_query::{NeighbourQuery, NeighbourReply};
pub use neighbours::{Family, Neighbour, neighbour, neighbours, neighbours_by_ipv6};
pub use nudge::Nudge;
pub use privileges::raise_permitted_capabilities;
pub use reverse::{NameReply, mdns_name};
pub use solicit::{Solicited, mac_after_scan, solicit};
pub use ssdp::{Locations, search};
pub use syn::{SynProber, check_syn_probing};
pub use udp::UdpQuestion;
pub use watch::LinkWatch;

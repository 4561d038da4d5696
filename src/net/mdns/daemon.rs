//! mdns-sd's thread and socket, behind what is asked of them here.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use mdns_sd::{
    DaemonEvent, HostnameResolutionEvent, IfKind, IfPredicate, MDNS_PORT, Receiver, ScopedIp, ServiceDaemon,
    ServiceInfo,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::timeout;

use super::{DOMAIN, Reach};
use crate::{model::Address, net::Links};

/// The longest wait for a first answer: two questions go out in it, for a datagram may be lost.
const PATIENCE: Duration = Duration::from_millis(2500);

/// After the first answer, for the other address family's.
const GATHER: Duration = Duration::from_millis(150);

/// The most addresses of one name.
const MOST_ADDRESSES: usize = 16;

/// The longest wait for the thread to say goodbye to the network.
const GOODBYE: Duration = Duration::from_millis(500);

/// Why there is no multicast DNS.
#[derive(Debug, thiserror::Error)]
pub enum MdnsError {
    /// The socket cannot be had.
    #[error(
        "port 5353 (UDP) cannot be shared: {0}; something else keeps it to itself (`ss -lnup` shows what it is)"
    )]
    Port(io::Error),
    /// What arrives cannot be bounded.
    #[error("the sockets of multicast DNS are not found under /proc/self/fd: {0}")]
    Valve(io::Error),
    /// mdns-sd has something to complain of.
    #[error("{0}")]
    Daemon(#[from] mdns_sd::Error),
}

/// Asks and answers on the network; cheap to clone. One per process: two would answer each other's questions.
#[derive(Clone)]
pub struct Daemon(Arc<Inner>);

struct Inner {
    service: ServiceDaemon,
    reach: Reach,
    /// What is being asked, by label. mdns-sd forgets who asked first when a second one asks for the same name.
    asking: Mutex<HashMap<String, WeakShared<BoxFuture<'static, Vec<Address>>>>>,
}

/// A service as it is told to the network.
pub(super) struct Offer<'a> {
    /// Such as `_http._tcp`.
    pub(super) kind: &'a str,
    /// The host's name before `.local`, and the service's before its kind.
    pub(super) label: &'a str,
    /// Where a browser should begin.
    pub(super) path: &'a str,
}

impl Daemon {
    /// Starts its thread, which asks on the networks within reach and knows nothing to answer yet.
    ///
    /// # Errors
    /// Its port is held by somebody who does not share it, or there is no thread to be had.
    pub fn start(reach: &Reach) -> Result<Self, MdnsError> {
        // mdns-sd tells nobody when its socket cannot be bound.
        share_port().map_err(MdnsError::Port)?;
        let service = ServiceDaemon::new()?;
        let theirs = reach.clone();
        let elsewhere = IfPredicate::new(move |interface| !theirs.covers(interface.ip()));
        service.disable_interface(IfKind::Predicate(elsewhere))?;
        Ok(Self(Arc::new(Inner { service, reach: reach.clone(), asking: Mutex::default() })))
    }

    /// The addresses of `label.local`, IPv4 first; empty if nobody answers in time, or with nothing that may be
    /// believed. Who asks for the same name meanwhile gets the same answer.
    pub async fn ask(&self, label: &str) -> Vec<Address> {
        // On no network nobody answers.
        if !self.0.reach.is_there() {
            return Vec::new();
        }
        self.join(label).await
    }

    fn join(&self, label: &str) -> Shared<BoxFuture<'static, Vec<Address>>> {
        let mut asking = self.0.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.retain(|_, answer| answer.upgrade().is_some());
        if let Some(answer) = asking.get(label).and_then(WeakShared::upgrade) {
            return answer;
        }
        let answer = answer(self.0.service.clone(), format!("{label}{DOMAIN}.")).boxed().shared();
        if let Some(weak) = answer.downgrade() {
            asking.insert(label.to_owned(), weak);
        }
        answer
    }

    /// Tells the network of a service at every address within reach, also of those that come later.
    pub(super) fn offer(&self, offer: &Offer<'_>) -> Result<(), MdnsError> {
        let kind = format!("{}{DOMAIN}.", offer.kind);
        let host = format!("{}{DOMAIN}.", offer.label);
        let txt = [("path", offer.path)];
        let info = ServiceInfo::new(&kind, offer.label, &host, (), self.0.reach.port(), &txt[..])?;
        Ok(self.0.service.register(info.enable_addr_auto())?)
    }

    /// What becomes of the names that are offered, from now on.
    pub(super) fn events(&self) -> Result<Receiver<DaemonEvent>, MdnsError> {
        Ok(self.0.service.monitor()?)
    }

    /// How many records of others' it remembers, with what it means to do about them; `None`: its thread has
    /// ended.
    pub(super) async fn burden(&self) -> Option<i64> {
        let figures = self.0.service.get_metrics().ok()?.recv_async().await.ok()?;
        let counts =
            |name: &str| name.starts_with("cached-") || name.starts_with("dns-registry-") || name == "timer";
        Some(figures.iter().filter(|(name, _)| counts(name)).map(|(_, count)| count).sum())
    }

    /// Takes back all that was offered, so that nobody looks for it here, and ends the thread.
    pub(super) async fn goodbye(&self) {
        if let Ok(ended) = self.0.service.shutdown() {
            // An error is its end, too.
            _ = timeout(GOODBYE, ended.recv_async()).await;
        }
    }
}

impl Drop for Inner {
    /// The thread does not end by itself.
    fn drop(&mut self) {
        _ = self.service.shutdown();
    }
}

/// Whether the port may be shared with who has it: the same options as mdns-sd's, bound and let go.
fn share_port() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, MDNS_PORT).into())
}

async fn answer(service: ServiceDaemon, name: String) -> Vec<Address> {
    let patience = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    let Ok(events) = service.resolve_hostname(&name, Some(patience)) else { return Vec::new() };
    let Ok(Some(mut found)) = timeout(PATIENCE, next(&events)).await else { return Vec::new() };
    _ = timeout(GATHER, async {
        while let Some(more) = next(&events).await {
            found.extend(more);
        }
    })
    .await;
    // It would go on asking for the rest of the patience.
    _ = service.stop_resolve_hostname(&name);
    found.sort_unstable_by_key(|address| (address.ipv4().is_none(), address.clone()));
    found.dedup();
    found.truncate(MOST_ADDRESSES);
    found
}

/// The next addresses, at least one of which may be believed; `None` when there will be no more.
async fn next(events: &Receiver<HostnameResolutionEvent>) -> Option<Vec<Address>> {
    loop {
        match events.recv_async().await.ok()? {
            HostnameResolutionEvent::AddressesFound(_, found) => {
                // What does not fit goes first: a thousand addresses are no host's.
                let found = believed(
                    found.iter().take(MOST_ADDRESSES).filter_map(address),
                    Links::read().ok().as_ref(),
                );
                if !found.is_empty() {
                    return Some(found);
                }
            }
            HostnameResolutionEvent::SearchTimeout(_) | HostnameResolutionEvent::SearchStopped(_) => {
                return None;
            }
            _ => {}
        }
    }
}

/// An address as it was told; a link-local one is on the network that the answer came from.
fn address(told: &ScopedIp) -> Option<Address> {
    match told {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            format!("{}%{}", v6.addr(), v6.scope_id().name).parse().ok()
        }
        told => Some(told.to_ip_addr().into()),
    }
}

/// Anybody on the network may answer anything: what is one host's, not this machine's loopback, and in a private
/// range or a network that this machine is in. A name must not lead the scanner to strangers.
fn believed(told: impl Iterator<Item = Address>, links: Option<&Links>) -> Vec<Address> {
    let near =
        |address: &Address| address.is_private() || links.is_some_and(|links| links.is_own_subnet(address));
    told.filter(|address| address.is_host() && !address.is_loopback() && near(address)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_strangers_is_not_believed() {
        let told =
            ["192.168.1.7", "8.8.8.8", "127.0.0.1", "224.0.0.251", "0.0.0.0", "fe80::1%eth0", "2001:db8::1"];
        let told = told.iter().map(|text| text.parse::<Address>().unwrap());
        let believed: Vec<_> = believed(told, None).iter().map(ToString::to_string).collect();
        assert_eq!(believed, ["192.168.1.7", "fe80::1%eth0"]);
    }
}

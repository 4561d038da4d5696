//! Wraps mdns-sd's thread and socket in the few operations that are needed here.

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

use super::{DOMAIN, MdnsScope};
use crate::{model::Address, net::Links};

/// The longest wait for a first answer. It allows for two queries, since a datagram may be lost.
const PATIENCE: Duration = Duration::from_millis(2500);

/// The wait after the first answer, for that of the other address family.
const GATHER: Duration = Duration::from_millis(150);

/// The most addresses of one name.
const MOST_ADDRESSES: usize = 16;

/// The longest wait for the thread to say goodbye to the network.
const GOODBYE: Duration = Duration::from_millis(500);

/// Why there is no multicast DNS.
#[derive(Debug, thiserror::Error)]
pub enum MdnsError {
    /// The socket cannot be opened.
    #[error(
        "port 5353 (UDP) cannot be shared: {0}; something else keeps it to itself (`ss -lnup` shows what it is)"
    )]
    Port(io::Error),
    /// Incoming data cannot be bounded.
    #[error("the sockets of multicast DNS are not found under /proc/self/fd: {0}")]
    Valve(io::Error),
    /// mdns-sd reports an error.
    #[error("{0}")]
    Daemon(#[from] mdns_sd::Error),
}

/// Queries the network and answers queries; cheap to clone. One per process: two would answer each other's queries.
#[derive(Clone)]
pub struct Daemon(Arc<Inner>);

struct Inner {
    service: ServiceDaemon,
    scope: MdnsScope,
    /// Queries in progress, by label. mdns-sd forgets the first query when a second one is for the same name.
    asking: Mutex<HashMap<String, WeakShared<BoxFuture<'static, Vec<Address>>>>>,
}

/// A service as it is announced to the network.
pub(super) struct Announcement<'a> {
    /// The service type, for example `_http._tcp`.
    pub(super) kind: &'a str,
    /// The host's name before `.local`, and the service's before its kind.
    pub(super) label: &'a str,
    /// The path at which a browser should start.
    pub(super) path: &'a str,
}

impl Daemon {
    /// Starts the thread, which queries the networks within its scope and has nothing to announce yet.
    ///
    /// # Errors
    /// Fails if another process holds the port without sharing it, or if no thread can be started.
    pub fn start(scope: &MdnsScope) -> Result<Self, MdnsError> {
        // mdns-sd does not report that its socket cannot be bound.
        share_port().map_err(MdnsError::Port)?;
        let service = ServiceDaemon::new()?;
        let theirs = scope.clone();
        let elsewhere = IfPredicate::new(move |interface| !theirs.covers(interface.ip()));
        service.disable_interface(IfKind::Predicate(elsewhere))?;
        Ok(Self(Arc::new(Inner { service, scope: scope.clone(), asking: Mutex::default() })))
    }

    /// Returns the addresses of `label.local`, IPv4 first; empty if no answer arrives in time, or none with a plausible
    /// address. A concurrent query for the same name gets the same answer.
    pub async fn query(&self, label: &str) -> Vec<Address> {
        // Without a network no answer can arrive.
        if !self.0.scope.is_there() {
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

    /// Announces a service at every address within its scope, later ones included.
    pub(super) fn announce(&self, announcement: &Announcement<'_>) -> Result<(), MdnsError> {
        let kind = format!("{}{DOMAIN}.", announcement.kind);
        let host = format!("{}{DOMAIN}.", announcement.label);
        let txt = [("path", announcement.path)];
        let info = ServiceInfo::new(&kind, announcement.label, &host, (), self.0.scope.port(), &txt[..])?;
        Ok(self.0.service.register(info.enable_addr_auto())?)
    }

    /// Returns the events about the announced names from now on.
    pub(super) fn events(&self) -> Result<Receiver<DaemonEvent>, MdnsError> {
        Ok(self.0.service.monitor()?)
    }

    /// Returns how many records of other hosts it caches, pending actions on them included; `None`: its thread has
    /// ended.
    pub(super) async fn burden(&self) -> Option<i64> {
        let figures = self.0.service.get_metrics().ok()?.recv_async().await.ok()?;
        let counts =
            |name: &str| name.starts_with("cached-") || name.starts_with("dns-registry-") || name == "timer";
        Some(figures.iter().filter(|(name, _)| counts(name)).map(|(_, count)| count).sum())
    }

    /// Withdraws every announcement, so that clients drop the names at once, and ends the thread.
    pub(super) async fn goodbye(&self) {
        if let Ok(ended) = self.0.service.shutdown() {
            // An error, too, means that the thread has ended.
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

/// Checks that the port can be shared with its holder: binds it with mdns-sd's options and closes it.
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
    // mdns-sd would otherwise repeat the query for the rest of the time-out.
    _ = service.stop_resolve_hostname(&name);
    found.sort_unstable_by_key(|address| (address.ipv4().is_none(), address.clone()));
    found.dedup();
    found.truncate(MOST_ADDRESSES);
    found
}

/// Returns the next addresses, at least one of them plausible; `None` when no more will arrive.
async fn next(events: &Receiver<HostnameResolutionEvent>) -> Option<Vec<Address>> {
    loop {
        match events.recv_async().await.ok()? {
            HostnameResolutionEvent::AddressesFound(_, found) => {
                // Implausible addresses go first: no host has a thousand addresses.
                let found = plausible(
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

/// Converts an announced address; a link-local one belongs to the network that the answer came from.
fn address(announced: &ScopedIp) -> Option<Address> {
    match announced {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            Address::in_zone(*v6.addr(), &v6.scope_id().name).ok()
        }
        announced => Some(announced.to_ip_addr().into()),
    }
}

/// Keeps the addresses that can be a single host's: not this machine's loopback, and in a private range or in a network
/// that this machine is in. Any host may answer anything, and a name must not lead the scanner to strangers.
fn plausible(announced: impl Iterator<Item = Address>, links: Option<&Links>) -> Vec<Address> {
    let near =
        |address: &Address| address.is_private() || links.is_some_and(|links| links.is_own_subnet(address));
    announced.filter(|address| address.is_host() && !address.is_loopback() && near(address)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_strangers_are_dropped() {
        let announced =
            ["192.168.1.7", "8.8.8.8", "127.0.0.1", "224.0.0.251", "0.0.0.0", "fe80::1%eth0", "2001:db8::1"];
        let announced = announced.iter().map(|text| text.parse::<Address>().unwrap());
        let plausible: Vec<_> = plausible(announced, None).iter().map(ToString::to_string).collect();
        assert_eq!(plausible, ["192.168.1.7", "fe80::1%eth0"]);
    }
}

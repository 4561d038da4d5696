//! Resolves names to addresses by the system's resolver: /etc/hosts, DNS, and mDNS where nss-mdns is installed.

use std::{
    future::Future,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
    vec,
};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::{
    model::{Address, ascii_name},
    resolve::{Resolve, ResolveError, Resolving},
};

/// The longest wait for an answer. The system's own time-out can be half a minute (resolv.conf(5)); the thread
/// of the query continues after ours.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Threads that one resolver may occupy at once, abandoned look-ups included: a client that may look names up
/// cannot take all threads of the blocking pool.
const AT_ONCE: usize = 8;

/// The system's resolver (getaddrinfo). Requires a tokio runtime. Its clones share their threads;
/// look-ups beyond those wait, within their time.
#[derive(Clone, Debug)]
pub struct SystemResolver {
    threads: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { threads: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl SystemResolver {
    /// Runs a query on a thread, as soon as one of ours is free. The thread is occupied until the query returns, not
    /// until its caller gives up.
    pub(super) async fn run<A>(
        &self,
        lookup: impl FnOnce() -> io::Result<A> + Send + 'static,
    ) -> io::Result<A>
    where
        A: Send + 'static,
    {
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(io::Error::other)?;
        spawn_blocking(move || {
            let answer = lookup();
            drop(thread);
            answer
        })
        .await?
    }

    async fn look_up(&self, name: &str) -> io::Result<vec::IntoIter<SocketAddr>> {
        let name = name.to_owned();
        self.run(move || (name.as_str(), 0).to_socket_addrs()).await
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            if let Ok(address) = name.parse() {
                return Ok(vec![address]);
            }
            match ascii_name(name) {
                Some(ascii) => bounded(name, self.look_up(&ascii)).await,
                None => Err(ResolveError::Unknown(name.to_owned())),
            }
        })
    }
}

/// Awaits the answer to a look-up: within the time limit, in order, without repetitions.
async fn bounded<A>(
    name: &str,
    answer: impl Future<Output = io::Result<A>>,
) -> Result<Vec<Address>, ResolveError>
where
    A: Iterator<Item = SocketAddr>,
{
    let answer = timeout(PATIENCE, answer).await.map_err(|_| ResolveError::TimedOut(name.to_owned()))?;
    let found = answer.map_err(|_| ResolveError::Unknown(name.to_owned()))?;
    let mut addresses: Vec<Address> = Vec::new();
    for address in found.filter_map(address) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.sort_by_key(|address| address.ipv4().is_none()); // stable: the resolver's order within a family
    if addresses.is_empty() { Err(ResolveError::Unknown(name.to_owned())) } else { Ok(addresses) }
}

/// The address of a socket address; a link-local one with the interface it was found on, and without one,
/// which happens with mDNS, none: it could not be reached.
fn address(found: SocketAddr) -> Option<Address> {
    match found {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            let interface = nix::net::if_::if_indextoname(v6.scope_id()).ok()?;
            Address::in_zone(*v6.ip(), interface.to_str().ok()?).ok()
        }
        other => Some(other.ip().into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::mpsc::channel};

    use futures_util::FutureExt;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn answers_literal_addresses_itself() {
        for text in ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"] {
            assert_eq!(SystemResolver::default().resolve(text).await, Ok(addresses(&[text])));
        }
        assert_eq!(SystemResolver::default().resolve("[::1]").await, Ok(addresses(&["::1"])));
    }

    #[tokio::test]
    async fn asks_the_system() {
        let found = SystemResolver::default().resolve("localhost").await.unwrap();
        assert!(found.iter().all(Address::is_loopback) && !found.is_empty(), "{found:?}");
        // Refused by the resolver itself, without a query.
        let name = "no\0name";
        assert_eq!(
            SystemResolver::default().resolve(name).await,
            Err(ResolveError::Unknown(name.to_owned()))
        );
    }

    #[tokio::test]
    async fn shows_an_impossible_name_as_it_was_typed() {
        let name = "☕.invalid";
        assert_eq!(
            SystemResolver::default().resolve(name).await,
            Err(ResolveError::Unknown(name.to_owned()))
        );
    }

    #[tokio::test]
    async fn puts_ipv4_first_and_nothing_twice() {
        let found = ["[2001:db8::1]:0", "192.0.2.2:0", "192.0.2.1:0", "192.0.2.2:0", "[fe80::9]:0"];
        let answer = async { Ok(found.iter().map(|text| text.parse().unwrap())) };
        assert_eq!(bounded("nas", answer).await, Ok(addresses(&["192.0.2.2", "192.0.2.1", "2001:db8::1"])));
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_wait_for_ever() {
        let never = pending::<io::Result<vec::IntoIter<SocketAddr>>>();
        assert_eq!(bounded("nas", never).await, Err(ResolveError::TimedOut("nas".to_owned())));
    }

    #[tokio::test]
    async fn an_abandoned_look_up_still_occupies_its_thread() {
        let resolver = SystemResolver::default();
        let (hang_up, ends) = (0..AT_ONCE).map(|_| channel::<()>()).unzip::<_, _, Vec<_>, Vec<_>>();
        for end in ends {
            // Hangs as a silent name server makes getaddrinfo hang; the caller is gone at once.
            let hanging = resolver.run(move || Ok(end.recv().is_ok()));
            assert!(hanging.now_or_never().is_none());
        }
        assert!(resolver.run(|| Ok(())).now_or_never().is_none());
        assert_eq!(resolver.threads.available_permits(), 0);
        drop(hang_up);
        resolver.run(|| Ok(())).await.unwrap();
    }
}

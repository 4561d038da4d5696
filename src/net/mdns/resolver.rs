//! Names for feeds, targets and probes: `.local` by multicast, every other by the system.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use super::{Daemon, label_of};
use crate::{
    model::{Address, ascii_name},
    net::{SystemResolver, hosts},
    resolve::{Resolve, ResolveError, Resolving},
};

/// The longest that all of it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names that one resolver asks the network for at once; others wait, within their time.
const AT_ONCE: usize = 8;

/// Tells the present daemon, if there is one.
type Present = dyn Fn() -> Option<Daemon> + Send + Sync;

/// Resolves `.local` without nss-mdns. To be used within a tokio runtime.
///
/// What this machine's owner wrote into /etc/hosts holds, as everywhere. Then the network is asked, and where
/// nobody answers the system: its nss-mdns or a router that serves `.local` by DNS may still know. Not the other
/// way round: a name server that invents answers for what it does not know would hide the device that is there.
#[derive(Clone)]
pub struct LocalResolver {
    system: SystemResolver,
    present: Arc<Present>,
    asking: Arc<Semaphore>,
}

impl LocalResolver {
    /// With the daemon that there is when it is asked; with none every name is the system's to resolve.
    pub fn new(present: impl Fn() -> Option<Daemon> + Send + Sync + 'static) -> Self {
        Self {
            system: SystemResolver::default(),
            present: Arc::new(present),
            asking: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    async fn look_up(&self, name: &str, label: &str) -> Result<Vec<Address>, ResolveError> {
        let listed = hosts::listed(name).await;
        if !listed.is_empty() {
            return Ok(listed);
        }
        if let Some(daemon) = (self.present)() {
            let turn = self.asking.acquire().await;
            let found = daemon.ask(label).await;
            drop(turn);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        self.system.resolve(name).await
    }
}

impl Resolve for LocalResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        match ascii_name(name).and_then(|ascii| label_of(&ascii)) {
            Some(label) => Box::pin(async move {
                let found = timeout(PATIENCE, self.look_up(name, &label)).await;
                found.unwrap_or_else(|_| Err(ResolveError::TimedOut(name.to_owned())))
            }),
            None => self.system.resolve(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn other_names_are_the_systems() {
        let asked = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&asked);
        let resolver = LocalResolver::new(move || {
            tell.store(true, Ordering::Relaxed);
            None
        });
        assert!(resolver.resolve("localhost").await.unwrap().iter().all(Address::is_loopback));
        assert_eq!(resolver.resolve("192.0.2.1").await, Ok(vec!["192.0.2.1".parse().unwrap()]));
        assert!(!asked.load(Ordering::Relaxed), "only a name in .local starts the daemon");
    }
}

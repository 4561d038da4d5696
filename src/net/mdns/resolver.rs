//! Resolves names for feeds, targets and probes: `.local` by multicast, every other name by the system.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use super::{Daemon, label_of};
use crate::{
    model::{Address, ascii_name},
    net::{SystemResolver, hosts},
    resolve::{Resolve, ResolveError, Resolving},
};

/// The time limit of one look-up as a whole.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names that one resolver queries at once; others wait, within their time.
const AT_ONCE: usize = 8;

/// Returns the current daemon, if there is one.
type Present = dyn Fn() -> Option<Daemon> + Send + Sync;

/// Resolves `.local` without nss-mdns. Requires a tokio runtime.
///
/// /etc/hosts comes first, as everywhere. Then the network is queried, and if no host answers, the system: its nss-mdns
/// or a router that serves `.local` by DNS may still know the name. Not the other
/// way round: a name server that invents answers for what it does not know would hide the device that is there.
#[derive(Clone)]
pub struct LocalResolver {
    system: SystemResolver,
    present: Arc<Present>,
    asking: Arc<Semaphore>,
}

impl LocalResolver {
    /// Uses the daemon that is current at each look-up; without one the system resolves every name.
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
            let found = daemon.query(label).await;
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

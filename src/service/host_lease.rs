//! Records which hosts are being scanned and which have a connection for their identification. A host never has both
//! at once, so that its budget of connections is not exceeded.
//!
//! The engine keeps that budget for what it probes itself. A dialogue is no probe: it may take seconds, so it must not
//! hold up a scan, and a scan may take days, so a dialogue does not queue behind it but is tried again later.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::model::Address;

/// The hosts that are in use now; all clones refer to the same ones.
#[derive(Clone, Debug, Default)]
pub struct HostLeases(Arc<Mutex<HashMap<Address, Arc<RwLock<()>>>>>);

/// Permission to scan a host, until it is dropped. Several scans may have one: the engine bounds them together.
#[derive(Debug)]
pub(super) struct ScanLease(
    #[expect(dead_code, reason = "held until it is dropped")] OwnedRwLockReadGuard<()>,
);

/// Permission for a dialogue with a host, until it is dropped.
#[derive(Debug)]
pub(super) struct DialogueLease(
    #[expect(dead_code, reason = "held until it is dropped")] OwnedRwLockWriteGuard<()>,
);

impl HostLeases {
    /// Waits for the end of a dialogue with the host, if there is one: a few seconds.
    pub(super) async fn scan(&self, address: &Address) -> ScanLease {
        let lock = self.lock_of(address);
        ScanLease(lock.read_owned().await)
    }

    /// Returns `None` if the host is being scanned, or has a dialogue.
    pub(super) fn try_dialogue(&self, address: &Address) -> Option<DialogueLease> {
        self.lock_of(address).try_write_owned().ok().map(DialogueLease)
    }

    fn lock_of(&self, address: &Address) -> Arc<RwLock<()>> {
        let mut hosts = self.hosts();
        // Those that only this table refers to are not in use.
        hosts.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(hosts.entry(address.clone()).or_default())
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<Address, Arc<RwLock<()>>>> {
        // Every change under the lock leaves the table whole, so a poisoned one is still consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_is_scanned_or_has_one_dialogue() {
        let leases = HostLeases::default();
        let (one, other): (Address, Address) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let scans = (leases.scan(&one).await, leases.scan(&one).await);
        assert!(leases.try_dialogue(&one).is_none() && leases.try_dialogue(&other).is_some());
        drop(scans.0);
        assert!(leases.try_dialogue(&one).is_none());
        drop(scans.1);
        let dialogue = leases.try_dialogue(&one).unwrap();
        assert!(leases.try_dialogue(&one).is_none());
        let mut scan = std::pin::pin!(leases.scan(&one));
        assert!(futures_util::poll!(scan.as_mut()).is_pending());
        drop(dialogue);
        assert!(futures_util::poll!(scan).is_ready());
        drop(leases.scan(&other).await);
        assert_eq!(leases.hosts().len(), 1, "hosts that are not in use are forgotten");
    }
}

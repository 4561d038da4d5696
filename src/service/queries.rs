//! What others ask of the appliance: its memory and its health; one port, now, is asked of `probe`.

use std::{collections::HashMap, fs::File, sync::Arc};

use futures_util::{Stream, stream};
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    feeds::{Found, Inventory},
    health::Health,
    import::Importer,
    names,
    scanner::Scanner,
};
use crate::{
    config::Config,
    model::{Address, DeviceKey, Mac, Moment, Name, ScanId},
    net::neighbours_by_ipv6,
    resolve::Resolve,
    store::{
        AnnotationPatch as NewWords, CachedHost, Host, HostRecord, Page, Pruned, ScanHost, ScanSummary,
        Store, StoreError, Totals,
    },
};

/// A device that was asked for.
pub enum FoundHost {
    /// It has this row: what is known of it may be much, and is read piece by piece.
    Stored(i64),
    /// It is only told of, and this is all.
    Told(Box<Host>),
}

/// Answers questions; to be shared in an `Arc`.
pub struct Queries {
    pub(super) store: Store,
    pub(super) scanner: Scanner,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) inventory: watch::Receiver<Inventory>,
    health: watch::Receiver<Health>,
    pub(super) importer: Importer,
}

/// What our own discovery has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovered {
    /// The configuration names no interface.
    Off,
    /// The first sweep is still to come.
    NotYet,
    /// This.
    Found(Found),
}

impl Queries {
    /// Answers from these. A configuration that is reloaded holds from the next question on.
    pub fn new(
        store: Store,
        scanner: Scanner,
        resolver: Arc<dyn Resolve>,
        config: watch::Receiver<Arc<Config>>,
        inventory: watch::Receiver<Inventory>,
        health: watch::Receiver<Health>,
        importer: Importer,
    ) -> Self {
        Self { store, scanner, resolver, config, inventory, health, importer }
    }

    /// The MACs after this one that have a result, sorted, at most so many.
    pub async fn macs(&self, after: Option<Mac>, most: u32) -> Result<Vec<Mac>, StoreError> {
        self.store.macs_after(after, most).await
    }

    /// The newest result of a device.
    pub async fn device(&self, mac: Mac) -> Result<Option<CachedHost>, StoreError> {
        self.store.latest(&DeviceKey::Mac(mac)).await
    }

    /// How much is remembered, and how new it is.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        self.store.totals().await
    }

    /// Every scan there was, by id.
    pub fn scans(&self) -> impl Stream<Item = Result<Vec<ScanId>, StoreError>> + use<> {
        let store = self.store.clone();
        pages(move |after| {
            let store = store.clone();
            async move { store.scan_ids(after).await }
        })
    }

    /// What a scan found, host by host, after this place; nothing if there is no such scan.
    pub async fn scan(&self, id: ScanId, after: i64) -> Result<Page<ScanHost>, StoreError> {
        self.store.scan_hosts(id, after).await
    }

    /// A scan as a whole; `None` if there is none.
    pub async fn scan_summary(&self, id: ScanId) -> Result<Option<ScanSummary>, StoreError> {
        self.store.scan_summary(id).await
    }

    /// The latest scans before this one (`None`: of all), at most so many, the latest first.
    pub async fn latest_scans(
        &self,
        before: Option<ScanId>,
        most: u32,
    ) -> Result<Vec<ScanSummary>, StoreError> {
        self.store.latest_scans(before, most).await
    }

    /// All that a scan found, host by host, after this place.
    pub async fn records(&self, id: ScanId, after: i64) -> Result<Page<HostRecord>, StoreError> {
        self.store.host_records(id, after).await
    }

    /// The devices after this row with all that is known of them, at most so many.
    pub async fn hosts(&self, after: i64, most: u32) -> Result<Page<Host>, StoreError> {
        self.store.hosts(after, most).await
    }

    /// One device, as it is shown at this time by both clocks; by its address whoever has it now.
    pub async fn find_host(
        &self,
        key: &DeviceKey,
        times: (Moment, Timestamp),
    ) -> Result<Option<FoundHost>, StoreError> {
        if let Some(row) = self.store.host_row(key).await? {
            return Ok(Some(FoundHost::Stored(row)));
        }
        let is_meant = |host: &Host| match key {
            DeviceKey::Mac(mac) => host.device.mac == Some(*mac),
            DeviceKey::Address(at) => host.addresses.iter().any(|record| record.address == *at),
        };
        let told = self.hosts_without_row(times).await?.into_iter().find(is_meant);
        Ok(told.map(|host| FoundHost::Told(Box::new(host))))
    }

    /// All names of a device, the one to show first.
    pub fn names_of(&self, host: &Host) -> Vec<Name> {
        names::all(&self.config.borrow(), &host.device, host.names.clone())
    }

    /// Keeps what the owner says of a device, and from then on the device; whether it was still there.
    pub async fn say(&self, host: FoundHost, words: NewWords) -> Result<bool, StoreError> {
        let row = match host {
            FoundHost::Stored(row) => row,
            FoundHost::Told(host) => self.store.enter(host.device, host.last_seen).await?,
        };
        self.store.say(row, words).await
    }

    /// Forgets a device; of one that is only told of nothing is kept anyway.
    pub async fn forget(&self, host: &FoundHost) -> Result<bool, StoreError> {
        match host {
            FoundHost::Stored(row) => self.store.forget(*row).await,
            FoundHost::Told(_) => Ok(false),
        }
    }

    /// Drops what supplies no port's present state, of scans before this one or of all.
    pub async fn prune(&self, before: Option<ScanId>) -> Result<Pruned, StoreError> {
        self.store.prune(before).await
    }

    /// What [`Queries::prune`] would drop now.
    pub async fn would_prune(&self, before: Option<ScanId>) -> Result<Pruned, StoreError> {
        self.store.would_prune(before).await
    }

    /// A copy of the database, for a while on the disk and in no directory.
    pub async fn backup(&self) -> Result<File, StoreError> {
        self.store.backup().await
    }

    /// Takes in what others found.
    pub fn importer(&self) -> Importer {
        self.importer.clone()
    }

    /// What our own discovery has found.
    pub fn discovered(&self) -> Discovered {
        if self.config.borrow().feed.discover.is_empty() {
            return Discovered::Off;
        }
        self.inventory.borrow().found.clone().map_or(Discovered::NotYet, Discovered::Found)
    }

    /// Where devices are by IPv6, as far as this machine's kernel has come across them: shown, and never a reason
    /// to scan there. Nobody is asked.
    pub fn by_ipv6(&self) -> HashMap<Mac, Vec<Address>> {
        let known = neighbours_by_ipv6().unwrap_or_else(|error| {
            tracing::warn!(%error, "the table of IPv6 neighbours cannot be read: none are shown");
            Vec::new()
        });
        let inventory = self.inventory.borrow();
        let mut addresses: HashMap<Mac, Vec<Address>> = HashMap::new();
        for (mac, address) in known.into_iter().filter(|(mac, _)| !inventory.proxies.contains(mac)) {
            addresses.entry(mac).or_default().push(address);
        }
        addresses.values_mut().for_each(|addresses| addresses.sort_unstable());
        addresses
    }

    /// How the appliance is.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }
}

/// All rows, read a page at a time as they are taken: between two pages the reader is free for others.
pub(super) fn pages<T, F>(read: impl Fn(i64) -> F) -> impl Stream<Item = Result<Vec<T>, StoreError>>
where
    F: Future<Output = Result<Page<T>, StoreError>>,
{
    stream::try_unfold((Some(i64::MIN), read), async |(next, read)| {
        let Some(next) = next else { return Ok(None) };
        let Page { rows, next } = read(next).await?;
        Ok(Some((rows, (next, read))))
    })
}

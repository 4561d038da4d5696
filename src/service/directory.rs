//! Every device that is known: those of the store, and those that only a feed names.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    feeds::{Found, Inventory},
    names,
    told::without_row,
};
use crate::{
    config::Config,
    model::{Address, DeviceKey, Mac, Moment, Name},
    net::neighbours_by_ipv6,
    store::{AnnotationPatch, Host, Store, StoreError},
};

/// A device that was asked for.
pub enum FoundHost {
    /// It has this row: what is known of it may be much, and is read piece by piece.
    Stored(i64),
    /// Only a feed names it, and this is all that is known.
    Told(Box<Host>),
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

/// Finds devices. A configuration that is reloaded holds from the next question on.
#[derive(Clone)]
pub struct DeviceDirectory {
    store: Store,
    config: watch::Receiver<Arc<Config>>,
    inventory: watch::Receiver<Inventory>,
}

impl DeviceDirectory {
    /// Of the devices that are stored, and those that feeds name.
    pub fn new(
        store: Store,
        config: watch::Receiver<Arc<Config>>,
        inventory: watch::Receiver<Inventory>,
    ) -> Self {
        Self { store, config, inventory }
    }

    /// One device, as it is shown at this time by both clocks; by its address whichever has it now.
    ///
    /// # Errors
    /// The database fails, or the store is closed; so below.
    pub async fn find(
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

    /// The devices that have no row yet, as they are shown at this time by both clocks.
    pub async fn hosts_without_row(&self, times: (Moment, Timestamp)) -> Result<Vec<Host>, StoreError> {
        let inventory = self.inventory.borrow().clone();
        let devices = inventory.devices.iter().map(|told| told.device.clone()).collect();
        let known = self.store.known_among(devices).await?;
        Ok(without_row(&inventory, &known, times))
    }

    /// All names of a device, the one to show first.
    pub fn names_of(&self, host: &Host) -> Vec<Name> {
        names::all(&self.config.borrow(), &host.device, host.names.clone())
    }

    /// Keeps what the owner says of a device, and from then on the device; whether it was still there.
    pub async fn annotate(&self, host: FoundHost, words: AnnotationPatch) -> Result<bool, StoreError> {
        let row = match host {
            FoundHost::Stored(row) => row,
            FoundHost::Told(host) => self.store.enter(host.device, host.last_seen).await?,
        };
        self.store.annotate(row, words).await
    }

    /// Forgets a device; of one that only a feed names nothing is kept anyway.
    pub async fn forget(&self, host: &FoundHost) -> Result<bool, StoreError> {
        match host {
            FoundHost::Stored(row) => self.store.forget(*row).await,
            FoundHost::Told(_) => Ok(false),
        }
    }

    /// What our own discovery has found.
    pub fn discovered(&self) -> Discovered {
        if self.config.borrow().feed.discover.is_empty() {
            return Discovered::Off;
        }
        self.inventory.borrow().found.clone().map_or(Discovered::NotYet, Discovered::Found)
    }

    /// Where devices are by IPv6, as far as this machine's kernel has come across them: shown, and never a reason
    /// to scan there. Nothing is asked.
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
}

//! Every known device: those of the store, and those that only a feed names.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    agenda::usual_ports,
    feeds::{Found, Inventory},
    names,
    reported::without_row,
};
use crate::{
    config::Config,
    model::{Address, Device, DeviceKey, DeviceType, Mac, Moment, Name, PortSet},
    net::neighbours_by_ipv6,
    store::{AnnotationPatch, DeviceRecord, Store, StoreError},
};

/// A device that a user asked for.
pub enum FoundHost {
    /// The device has this row. What is known of it may be large, and is read piece by piece.
    Stored(i64),
    /// Only a feed names it, and this is all that is known.
    Told(Box<DeviceRecord>),
}

/// The state of our own discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovered {
    /// The configuration names no interface.
    Off,
    /// The first sweep has not ended yet.
    NotYet,
    /// What the last sweeps found.
    Found(Found),
}

/// Finds devices. A reloaded configuration applies from the next request on.
#[derive(Clone)]
pub struct DeviceDirectory {
    store: Store,
    config: watch::Receiver<Arc<Config>>,
    inventory: watch::Receiver<Inventory>,
}

impl DeviceDirectory {
    /// Finds the devices of this store, and those that feeds name.
    pub fn new(
        store: Store,
        config: watch::Receiver<Arc<Config>>,
        inventory: watch::Receiver<Inventory>,
    ) -> Self {
        Self { store, config, inventory }
    }

    /// Returns one device, as it is shown at this time by both clocks. An address stands for the device that has it
    /// now.
    ///
    /// # Errors
    /// This and the methods below fail if the database fails, or the store is closed.
    pub async fn find(
        &self,
        key: &DeviceKey,
        times: (Moment, Timestamp),
    ) -> Result<Option<FoundHost>, StoreError> {
        if let Some(row) = self.store.host_row(key).await? {
            return Ok(Some(FoundHost::Stored(row)));
        }
        let is_meant = |host: &DeviceRecord| match key {
            DeviceKey::Mac(mac) => host.device.mac == Some(*mac),
            DeviceKey::Address(at) => host.addresses.iter().any(|record| record.address == *at),
        };
        if let Some(host) = self.hosts_without_row(times).await?.into_iter().find(is_meant) {
            return Ok(Some(FoundHost::Told(Box::new(host))));
        }
        // The device may have got its row in between.
        Ok(self.store.host_row(key).await?.map(FoundHost::Stored))
    }

    /// Returns the devices that have no row yet, as they are shown at this time by both clocks.
    pub async fn hosts_without_row(
        &self,
        times: (Moment, Timestamp),
    ) -> Result<Vec<DeviceRecord>, StoreError> {
        let inventory = self.inventory.borrow().clone();
        let devices = inventory.devices.iter().map(|reported| reported.device.clone()).collect();
        let known = self.store.known_among(devices).await?;
        Ok(without_row(&inventory, &known, times))
    }

    /// Counts the devices that have no row yet.
    pub async fn count_without_row(&self) -> Result<u32, StoreError> {
        let inventory = self.inventory.borrow().clone();
        let devices: Vec<Device> = inventory.devices.iter().map(|reported| reported.device.clone()).collect();
        let named: BTreeSet<DeviceKey> = devices.iter().map(Device::key).collect();
        let known = self.store.known_among(devices).await?.devices;
        Ok(u32::try_from(named.iter().filter(|key| !known.contains(key)).count()).unwrap_or(u32::MAX))
    }

    /// Returns all names of a device, the one to show first.
    pub fn names_of(&self, host: &DeviceRecord) -> Vec<Name> {
        names::all(&self.config.borrow(), &host.device, host.names.clone())
    }

    /// What the configuration says of a device: its type and its tags.
    pub fn configured(&self, device: &Device) -> (Option<DeviceType>, Vec<String>) {
        self.config.borrow().described(device)
    }

    /// Whether a state that covers these ports covers all that are to be scanned on a device.
    pub fn is_complete(&self, device: &Device, coverage: &PortSet) -> bool {
        usual_ports(&self.config.borrow(), device).is_none_or(|usual| usual.is_subset(coverage))
    }

    /// Stores the owner's annotations of a device, and keeps the device from then on. Returns whether it still
    /// existed.
    pub async fn annotate(&self, host: FoundHost, words: AnnotationPatch) -> Result<bool, StoreError> {
        let row = match host {
            FoundHost::Stored(row) => row,
            FoundHost::Told(host) => self.store.enter(host.device, host.last_seen).await?,
        };
        self.store.annotate(row, words).await
    }

    /// Forgets a device. Nothing is stored of a device that only a feed names.
    pub async fn forget(&self, host: &FoundHost) -> Result<bool, StoreError> {
        match host {
            FoundHost::Stored(row) => self.store.forget(*row).await,
            FoundHost::Told(_) => Ok(false),
        }
    }

    /// Returns what our own discovery has found.
    pub fn discovered(&self) -> Discovered {
        if self.config.borrow().feed.discover.is_empty() {
            return Discovered::Off;
        }
        self.inventory.borrow().found.clone().map_or(Discovered::NotYet, Discovered::Found)
    }

    /// Returns the IPv6 addresses of devices, as far as this machine's kernel knows them: they are shown, and never a
    /// reason to scan. Sends nothing.
    pub fn by_ipv6(&self) -> HashMap<Mac, Vec<Address>> {
        let known = neighbours_by_ipv6().unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to read the table of IPv6 neighbours; none are shown");
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

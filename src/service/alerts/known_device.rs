//! Reads what rules and messages need of an event's device.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use crate::{
    config::{AlertSubject, Config},
    model::{ChangeEvent, DeviceKey, DeviceType, all_tags},
    service::{evidence::DeviceEvidence, names},
    store::{Store, StoreError},
};

/// The tag of devices that raise an alert when they are gone, even if nothing is expected of them.
const CRITICAL: &str = "critical";

/// What is known of a device now.
pub(super) struct KnownDevice {
    pub(super) name: Option<String>,
    pub(super) evidence: DeviceEvidence,
    tags: Vec<String>,
    device_type: Option<DeviceType>,
}

/// The devices of some events, each read once and only when needed.
#[derive(Default)]
pub(super) struct DeviceFacts(HashMap<DeviceKey, Arc<KnownDevice>>);

impl DeviceFacts {
    /// Reads a device, unless it was read before.
    pub(super) async fn read(
        &mut self,
        store: &Store,
        config: &Config,
        device: &DeviceKey,
        now: Timestamp,
    ) -> Result<Arc<KnownDevice>, StoreError> {
        if let Some(known) = self.0.get(device) {
            return Ok(Arc::clone(known));
        }
        let known = Arc::new(KnownDevice::read(store, config, device, now).await?);
        self.0.insert(device.clone(), Arc::clone(&known));
        Ok(known)
    }

    /// Whether a device that was read is tagged as critical.
    pub(super) fn is_critical(&self, device: &DeviceKey) -> bool {
        self.0.get(device).is_some_and(|known| known.tags.iter().any(|tag| tag == CRITICAL))
    }

    /// Returns an event's device for the rules; a device that was not read is known only by its addresses.
    pub(super) fn subject<'a>(&'a self, event: &'a ChangeEvent) -> AlertSubject<'a> {
        let known = self.0.get(&event.device);
        AlertSubject {
            mac: event.device.mac(),
            address: &event.address,
            tags: known.map_or(&[], |known| &known.tags),
            device_type: known.and_then(|known| known.device_type),
        }
    }
}

impl KnownDevice {
    async fn read(
        store: &Store,
        config: &Config,
        device: &DeviceKey,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let Some(record) = store.host(device).await? else {
            // The device was forgotten, but the usual services of its ports are still known.
            let evidence = DeviceEvidence::of(device.mac(), &[], &[], now);
            return Ok(Self { name: None, evidence, tags: Vec::new(), device_type: None });
        };
        let names = names::all(config, &record.device, record.names);
        let evidence = DeviceEvidence::of(record.device.mac, &names, &record.identified, now);
        let (configured, tags) = config.described(&record.device);
        let kind = evidence.kind((record.words.device_type, configured), &record.identified_as);
        Ok(Self {
            name: names.into_iter().next().map(|name| name.text),
            evidence,
            tags: all_tags(tags, &record.words.tags),
            device_type: kind.device_type.map(|(device_type, _)| device_type),
        })
    }
}

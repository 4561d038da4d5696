//! What Home Assistant's entities show, kept up to date.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use futures_util::TryStreamExt;
use tokio::sync::watch;

use crate::{
    alerts::{ApplianceState, DeviatingCount, DeviceEntities, MOST_DEVICES},
    clock::Clock,
    config::{ChannelKind, Config},
    model::{Deviation, DeviceKey, Moment},
    service::{differences::Differences, health::Health, names},
    store::{Presence, Store, StoreError},
};

/// The shortest time between two states: a scan of all devices changes them often.
const PAUSE: Duration = Duration::from_secs(5);

/// How often to look for changes without an event, such as the end of a scan.
const LOOK: Duration = Duration::from_secs(15);

/// The shortest time between two readings of the devices: reading all of them costs more.
const DEVICES_PAUSE: Duration = Duration::from_secs(30);

/// Devices that are read at a time.
const PAGE: u32 = 16;

/// The sources of the state.
pub(super) struct StateParts {
    pub(super) store: Store,
    pub(super) differences: Differences,
    pub(super) health: watch::Receiver<Health>,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) clock: Arc<dyn Clock>,
}

/// The state that the entities show; `None`: not read yet, or no channel needs it.
#[derive(Clone)]
pub(super) struct EntityStates {
    pub(super) appliance: watch::Receiver<Option<ApplianceState>>,
    pub(super) devices: watch::Receiver<Option<Arc<[DeviceEntities]>>>,
}

/// Keeps the state that the entities show up to date.
pub(super) struct EntityTellers {
    appliance: watch::Sender<Option<ApplianceState>>,
    devices: watch::Sender<Option<Arc<[DeviceEntities]>>>,
}

/// Both ends.
pub(super) fn entity_states() -> (EntityTellers, EntityStates) {
    let (appliance, appliance_seen) = watch::channel(None);
    let (devices, devices_seen) = watch::channel(None);
    (EntityTellers { appliance, devices }, EntityStates { appliance: appliance_seen, devices: devices_seen })
}

fn tell<T: PartialEq>(told: &watch::Sender<Option<T>>, state: Option<T>) {
    told.send_if_modified(|old| {
        let is_new = *old != state;
        *old = state;
        is_new
    });
}

/// Publishes the state whenever it has changed; never returns.
pub(super) async fn observe(mut parts: StateParts, told: EntityTellers) {
    let mut latest = parts.store.latest_event();
    let (mut seen, mut devices_seen) = (None, None);
    loop {
        match parts.step(&told, &mut seen, &mut devices_seen).await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "failed to read the state for Home Assistant; will retry"),
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            Ok(()) = latest.changed() => {}
            Ok(()) = parts.health.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

impl StateParts {
    async fn step(
        &mut self,
        told: &EntityTellers,
        seen: &mut Option<(i64, Vec<String>)>,
        devices_seen: &mut Option<(i64, Moment)>,
    ) -> Result<(), StoreError> {
        if let Some(state) = self.read(seen).await? {
            tell(&told.appliance, Some(state));
        }
        if !wants_devices(&self.config.borrow()) {
            tell(&told.devices, None);
            *devices_seen = None;
            return Ok(());
        }
        let (version, now) = (self.store.version().await?, self.clock.now());
        let is_due =
            devices_seen.is_none_or(|(seen, read_at)| seen != version && now.since(read_at) >= DEVICES_PAUSE);
        if is_due {
            tell(&told.devices, Some(self.read_devices().await?.into()));
            *devices_seen = Some((version, now));
        }
        Ok(())
    }

    /// Reads the state; `None`: the database has not changed since version `seen`.
    async fn read(
        &mut self,
        seen: &mut Option<(i64, Vec<String>)>,
    ) -> Result<Option<ApplianceState>, StoreError> {
        let trouble = self.health.borrow_and_update().sentences();
        let version = self.store.version().await?;
        if seen.as_ref().is_some_and(|seen| (seen.0, &seen.1) == (version, &trouble)) {
            return Ok(None);
        }
        let totals = self.store.totals().await?;
        let tally = self.differences.tally().await?;
        *seen = Some((version, trouble.clone()));
        Ok(Some(ApplianceState {
            unexpected: tally.rogue,
            missing: tally.missing,
            devices: totals.devices,
            open: tally.open,
            last_scan: totals.last_scan,
            trouble,
        }))
    }

    /// Reads the state of the devices that have been known longest, so that the selection stays the same.
    async fn read_devices(&self) -> Result<Vec<DeviceEntities>, StoreError> {
        let config = Arc::clone(&self.config.borrow());
        let mut devices: Vec<DeviceEntities> = Vec::new();
        let mut after = Some(i64::MIN);
        while let Some(from) = after.filter(|_| devices.len() < MOST_DEVICES) {
            let page = self.store.hosts(from, PAGE).await?;
            after = page.next;
            devices.extend(page.rows.into_iter().map(|host| {
                let names = names::all(&config, &host.device, host.names);
                let name = names.into_iter().next().map(|name| name.text);
                DeviceEntities {
                    key: host.device.key(),
                    name: name.unwrap_or_else(|| host.device.address.to_string()),
                    is_present: match host.presence {
                        Presence::Online => Some(true),
                        Presence::Offline => Some(false),
                        Presence::Unknown => None,
                    },
                    unexpected: DeviatingCount::default(),
                    missing: DeviatingCount::default(),
                }
            }));
        }
        devices.truncate(MOST_DEVICES);
        let places: HashMap<DeviceKey, usize> =
            devices.iter().enumerate().map(|(place, device)| (device.key.clone(), place)).collect();
        let mut pages = pin!(self.differences.differences());
        while let Some(page) = pages.try_next().await? {
            for found in page {
                let key = found.mac.map_or(found.host, DeviceKey::Mac);
                let Some(device) = places.get(&key).and_then(|place| devices.get_mut(*place)) else {
                    continue;
                };
                match found.difference.deviation() {
                    Deviation::Rogue => device.unexpected.add(found.difference.port),
                    Deviation::Missing => device.missing.add(found.difference.port),
                    Deviation::Other => {}
                }
            }
        }
        Ok(devices)
    }
}

fn wants_devices(config: &Config) -> bool {
    let wants = |kind: &ChannelKind| matches!(kind, ChannelKind::Mqtt(broker) if broker.has_device_entities);
    config.channels.iter().any(|channel| wants(&channel.kind))
}

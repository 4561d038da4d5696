//! Which change events a channel sends, and the message that tells of them.

use std::{collections::HashMap, sync::Arc};

use super::explain::{EXPLAINED, explain};
use crate::{
    alerts::{AlertChange, AlertMessage, Origin},
    clock::Clock,
    config::Config,
    model::{AlertKind, AlertSeverity, ChangeEvent, ChangeFilter, ChangeKind, DeviceKey},
    service::{differences::Differences, evidence::DeviceEvidence, names},
    store::{Store, StoreError},
};

/// A device's name, and what is known of its ports.
type KnownDevice = (Option<String>, Option<Arc<DeviceEvidence>>);

/// Reads what a channel is to send.
#[derive(Clone)]
pub(super) struct Selection {
    pub(super) store: Store,
    pub(super) differences: Differences,
    /// By which certificates expire.
    pub(super) clock: Arc<dyn Clock>,
}

impl Selection {
    /// Returns the ids of the events after this one that go to a channel, and the greatest id that was read; at most a
    /// page of events. `newest` is the id of the latest event.
    pub(super) async fn after(
        &self,
        after: i64,
        newest: i64,
        channel: &str,
        config: &Config,
    ) -> Result<(Vec<i64>, i64), StoreError> {
        let page = self.differences.change_events(ChangeFilter { after, ..ChangeFilter::default() }).await?;
        // Ids are ascending, but not without gaps: behind the last event there may be ids of deleted ones.
        let read = page.next.or(page.rows.last().map(|event| event.id).max(Some(newest))).unwrap_or(newest);
        let mut chosen = Vec::new();
        for event in page.rows {
            let id = event.id;
            if self.choose(event, channel, config).await?.is_some() {
                chosen.push(id);
            }
        }
        Ok((chosen, read))
    }

    /// Writes the message of the events from `first` to `last` that go to a channel; `None` if none does any more.
    pub(super) async fn message(
        &self,
        (first, last): (i64, i64),
        channel: &str,
        config: &Config,
        origin: &Origin,
    ) -> Result<Option<AlertMessage>, StoreError> {
        let mut changes = Vec::new();
        let mut known = HashMap::new();
        let mut after = Some(first - 1);
        while let Some(from) = after {
            let filter = ChangeFilter { after: from, ..ChangeFilter::default() };
            let page = self.differences.change_events(filter).await?;
            after = page.next.filter(|next| *next < last);
            for event in page.rows.into_iter().filter(|event| event.id <= last) {
                if let Some(mut change) = self.choose(event, channel, config).await? {
                    let device = &change.event.device;
                    if !known.contains_key(device) {
                        known.insert(device.clone(), self.known(device, config).await?);
                    }
                    let (name, evidence) = known.get(device).cloned().unwrap_or_default();
                    change.name = name;
                    if let Some(evidence) = evidence.filter(|_| changes.len() < EXPLAINED) {
                        change.explanations = explain(&change, &evidence);
                    }
                    changes.push(change);
                }
            }
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let updates = match &changes[..] {
            [AlertChange { resolves: Some(undone), event, .. }] => {
                self.store.message_with(channel, event.device.to_string(), *undone).await?
            }
            _ => None,
        };
        Ok(Some(origin.message(first, changes, updates)))
    }

    /// The device's name, and what is known of its ports.
    async fn known(&self, device: &DeviceKey, config: &Config) -> Result<KnownDevice, StoreError> {
        let now = self.clock.wall();
        let Some(record) = self.store.host(device).await? else {
            // It was forgotten: what its ports usually are is known all the same.
            return Ok((None, Some(Arc::new(DeviceEvidence::of(device.mac(), &[], &[], now)))));
        };
        let names = names::all(config, &record.device, record.names);
        let evidence = DeviceEvidence::of(record.device.mac, &names, &record.identified, now);
        Ok((names.into_iter().next().map(|name| name.text), Some(Arc::new(evidence))))
    }

    /// Returns what a channel tells of an event; `None`: it is not sent there.
    async fn choose(
        &self,
        event: ChangeEvent,
        channel: &str,
        config: &Config,
    ) -> Result<Option<AlertChange>, StoreError> {
        let mac = event.device.mac();
        let severity = |about| config.alert_severity(channel, about, mac, Some(&event.address));
        if let Some(about) = AlertKind::of(&event) {
            let change = |severity| AlertChange {
                about,
                resolves: None,
                severity,
                name: None,
                explanations: Vec::new(),
                event: event.clone(),
            };
            return Ok(severity(about).map(change));
        }
        let about = match &event.kind {
            ChangeKind::Closed(..) => AlertKind::Unexpected,
            ChangeKind::Opened(..) | ChangeKind::Back => AlertKind::Missing,
            ChangeKind::New | ChangeKind::Gone | ChangeKind::Moved { .. } | ChangeKind::Replaced { .. } => {
                return Ok(None);
            }
        };
        // Known noise raised no alert that could be over.
        let ignored = config.ignored_ports(mac, Some(&event.address));
        let is_noise = event.kind.ports().is_some_and(|(_, ports)| ports.is_subset(&ignored));
        if event.alert || is_noise || severity(about).is_none() {
            return Ok(None);
        }
        let resolves = self.store.event_undone_by(&event).await?;
        let change = |undone| AlertChange {
            about,
            resolves: Some(undone),
            severity: AlertSeverity::Low,
            name: None,
            explanations: Vec::new(),
            event: event.clone(),
        };
        Ok(resolves.map(change))
    }
}

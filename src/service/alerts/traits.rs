//! What alert rules ask of a device beyond its addresses.

use jiff::Timestamp;

use crate::{
    config::{AlertSubject, Config},
    model::{ChangeEvent, DeviceKey, DeviceType},
    service::{evidence::DeviceEvidence, names},
    store::{Store, StoreError},
};

/// The tag of devices whose absence is told, whatever is expected of them.
const CRITICAL: &str = "critical";

/// What rules ask of a device beyond its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DeviceTraits {
    tags: Vec<String>,
    device_type: Option<DeviceType>,
}

impl DeviceTraits {
    /// Reads them; a device that is not known any more has none.
    pub(super) async fn read(store: &Store, config: &Config, device: &DeviceKey) -> Result<Self, StoreError> {
        let Some(record) = store.host(device).await? else { return Ok(Self::default()) };
        let rule = config.rule_for(&record.device);
        let mut tags = rule.map(|rule| rule.tags.clone()).unwrap_or_default();
        tags.extend(record.words.tags);
        let names = names::all(config, &record.device, record.names);
        // The time matters for advice on certificates alone.
        let evidence =
            DeviceEvidence::of(record.device.mac, &names, &record.identified, Timestamp::UNIX_EPOCH);
        let by_owner = (record.words.device_type, rule.and_then(|rule| rule.device_type));
        let kind = evidence.kind(by_owner, &record.identified_as);
        Ok(Self { tags, device_type: kind.device_type.map(|(device_type, _)| device_type) })
    }

    /// Whether its owner has tagged it as critical.
    pub(super) fn is_critical(&self) -> bool {
        self.tags.iter().any(|tag| tag == CRITICAL)
    }

    /// The device of an event, for rules.
    pub(super) fn subject<'a>(&'a self, event: &'a ChangeEvent) -> AlertSubject<'a> {
        AlertSubject {
            mac: event.device.mac(),
            address: &event.address,
            tags: &self.tags,
            device_type: self.device_type,
        }
    }
}

//! Identifies devices and their ports without sending anything to a port that is scanned: by the services that
//! devices announce (DNS-SD), and by their descriptions of themselves (UPnP).
//!
//! | File | Does |
//! |---|---|
//! | `../questions.rs` | decides which device is asked when |
//! | `../inquiry.rs` | asks |
//! | `searches.rs` | decides when a network is searched for descriptions |
//! | `asking.rs` | asks one device, if it may be asked |
//! | `findings.rs` | turns answers into what the store keeps |
//!
//! Only known devices of this machine's networks are asked. Only what a device says about itself is kept, under its
//! own MAC and with the method, because another device on the network can forge it. Port mappings of routers are not
//! asked for: that takes a request to a port which also changes settings.

mod asking;
mod findings;
mod searches;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub use self::asking::DeviceAsker;
use self::{
    asking::{AskOutcome, Channel},
    findings::AnnouncedFindings,
};
use super::{
    inquiry::{Inquirer, inquire},
    questions::{Question, QuestionPlan},
};
use crate::{
    config::Config,
    model::{Address, DeviceKey, IdentifyLevel, Moment},
    service::feeds::Inventory,
    store::StoreError,
};

/// The time from the first answer to the write of all answers since, because each commit wears an SD card. By then, a
/// device that was just found also has a row in the store.
const GATHER: Duration = Duration::from_secs(10);

/// Asks until the configuration's sender is gone.
pub async fn collect(asker: DeviceAsker) {
    let (config, inventory) = (asker.config.clone(), asker.inventory.clone());
    let collector = Collector { asker: Arc::new(asker), found: AnnouncedFindings::default(), write_by: None };
    inquire(collector, config, inventory).await;
}

struct Collector {
    asker: Arc<DeviceAsker>,
    found: AnnouncedFindings,
    write_by: Option<Moment>,
}

impl Inquirer for Collector {
    type Source = Channel;
    type Answer = AskOutcome;

    fn now(&self) -> Moment {
        self.asker.clock.now()
    }

    fn plan(&self, plan: &mut QuestionPlan<Channel>, config: &Config, inventory: &Inventory) {
        let mut devices: BTreeMap<DeviceKey, BTreeSet<Address>> = BTreeMap::new();
        for known in &inventory.devices {
            let device = &known.device;
            if device.address.ipv4().is_some() && config.identify_level(device) >= IdentifyLevel::Announced {
                devices.entry(device.key()).or_default().insert(device.address.clone());
            }
        }
        plan.set_devices(self.now(), &devices, &Channel::ALL);
    }

    fn ask(&self, question: &Question<Channel>) -> impl Future<Output = AskOutcome> + Send + 'static {
        let (asker, question) = (Arc::clone(&self.asker), question.clone());
        async move { asker.ask(&question).await }
    }

    fn take(&mut self, plan: &mut QuestionPlan<Channel>, question: &Question<Channel>, outcome: AskOutcome) {
        let now = self.now();
        let found = match outcome {
            AskOutcome::Busy => return plan.postpone(now, question),
            AskOutcome::Silent => None,
            AskOutcome::Found(found) => Some(found),
        };
        let holds = plan.asked(now, question, found.is_some());
        let Some(found) = found.filter(|found| holds && !found.is_empty()) else { return };
        let (device, method) = (&question.subject.device, question.subject.source.as_str());
        tracing::debug!(%device, method, ports = found.ports.len(), "identified a device by what it announces");
        self.write_by.get_or_insert(now + GATHER);
        self.found.append(found);
    }

    /// Writes what was found when it is due.
    async fn write(&mut self, _: &QuestionPlan<Channel>) -> Option<Moment> {
        if self.write_by.is_none_or(|by| by > self.now()) {
            return self.write_by;
        }
        self.write_by = None;
        let AnnouncedFindings { ports, devices } = std::mem::take(&mut self.found);
        let written = match self.asker.store.record_identifications(ports).await {
            Ok(()) => self.asker.store.record_device_identifications(devices).await,
            failed => failed,
        };
        match written {
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => {
                tracing::warn!(%error, "failed to store what devices announce; asking them again in a day");
            }
        }
        None
    }
}

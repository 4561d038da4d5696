//! Learns what devices are, and what is behind their ports, without sending anything to a port that is scanned: from
//! the services that they announce (DNS-SD), and from their descriptions of themselves (UPnP).
//!
//! | File | Does |
//! |---|---|
//! | `../questions.rs` | decides which device is asked when |
//! | `searches.rs` | decides when a network is searched for descriptions |
//! | `asking.rs` | asks one device, if it may be asked |
//! | `findings.rs` | turns answers into what the store keeps |
//!
//! Only known devices of the own networks are asked, and only what a device says of itself is kept: under its own MAC,
//! with the method, because another device of the network can forge it. Port mappings of routers are not asked for:
//! that takes a request to a port which also changes settings.

mod asking;
mod findings;
mod searches;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};

pub use self::asking::DeviceAsker;
use self::{
    asking::{AskOutcome, Channel},
    findings::AnnouncedFindings,
};
use super::questions::{NextQuestion, Question, QuestionPlan};
use crate::{
    config::Config,
    model::{Address, DeviceKey, IdentifyLevel, Moment},
    service::feeds::Inventory,
    store::StoreError,
};

/// From the first answer to the write of all that came meanwhile: each commit wears an SD card. Also, a device that was
/// found just now has a row in the store by then.
const GATHER: Duration = Duration::from_secs(10);

/// Asks until the configuration's sender is gone.
pub async fn collect(asker: DeviceAsker) {
    let collector = Collector {
        config: asker.config.clone(),
        inventory: asker.inventory.clone(),
        asker: Arc::new(asker),
        plan: QuestionPlan::default(),
        asking: JoinSet::new(),
        found: AnnouncedFindings::default(),
        write_by: None,
    };
    collector.run().await;
}

struct Collector {
    config: watch::Receiver<Arc<Config>>,
    inventory: watch::Receiver<Inventory>,
    asker: Arc<DeviceAsker>,
    plan: QuestionPlan<Channel>,
    asking: JoinSet<(Question<Channel>, AskOutcome)>,
    found: AnnouncedFindings,
    write_by: Option<Moment>,
}

impl Collector {
    async fn run(mut self) {
        self.take_devices();
        loop {
            let asked_by = self.ask();
            self.write().await;
            let now = self.asker.clock.now();
            let wait = asked_by.into_iter().chain(self.write_by).min().map(|moment| now.until(moment));
            tokio::select! {
                changed = self.config.changed() => match changed {
                    Ok(()) => self.take_devices(),
                    // The appliance stops.
                    Err(_) => return,
                },
                Ok(()) = self.inventory.changed() => self.take_devices(),
                Some(Ok((question, outcome))) = self.asking.join_next() => self.take(&question, outcome),
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    /// Takes the devices that are present and may be asked.
    fn take_devices(&mut self) {
        let config = Arc::clone(&self.config.borrow_and_update());
        let mut devices: BTreeMap<DeviceKey, BTreeSet<Address>> = BTreeMap::new();
        for known in &self.inventory.borrow_and_update().devices {
            let device = &known.device;
            if device.address.ipv4().is_some() && config.identify_level(device) >= IdentifyLevel::Announced {
                devices.entry(device.key()).or_default().insert(device.address.clone());
            }
        }
        self.plan.set_devices(self.asker.clock.now(), &devices, &Channel::ALL);
    }

    /// Asks all that may be asked now, and returns when more is due.
    fn ask(&mut self) -> Option<Moment> {
        loop {
            match self.plan.next(self.asker.clock.now()) {
                NextQuestion::Ask(question) => {
                    let asker = Arc::clone(&self.asker);
                    self.asking.spawn(async move {
                        let outcome = asker.ask(&question).await;
                        (question, outcome)
                    });
                }
                NextQuestion::Wait(until) => return Some(until),
                NextQuestion::Rest => return None,
            }
        }
    }

    fn take(&mut self, question: &Question<Channel>, outcome: AskOutcome) {
        let now = self.asker.clock.now();
        let found = match outcome {
            AskOutcome::Busy => return self.plan.postpone(now, question),
            AskOutcome::Silent => None,
            AskOutcome::Found(found) => Some(found),
        };
        let holds = self.plan.asked(now, question, found.is_some());
        let Some(found) = found.filter(|found| holds && !found.is_empty()) else { return };
        let (device, ports) = (&question.subject.device, found.ports.len());
        tracing::debug!(%device, method = question.subject.source.as_str(), ports, "a device told what it is");
        self.write_by.get_or_insert(now + GATHER);
        self.found.append(found);
    }

    /// Writes what was found when it is due.
    async fn write(&mut self) {
        if self.write_by.is_none_or(|by| by > self.asker.clock.now()) {
            return;
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
    }
}

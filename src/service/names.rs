//! Looks up the names of devices for which neither the owner nor a feed gives one: asks this machine's resolver, and
//! the devices on this machine's networks themselves.
//!
//! `questions.rs` decides which question is due when, and `inquiry.rs` asks it. This file finds the answers, and
//! passes them to the store in batches, because each commit wears an SD card. A device that must not be scanned
//! receives no packet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::{
    feeds::Inventory,
    inquiry::{Inquirer, inquire},
    neighbour::{askable, device_at},
    questions::{Question, QuestionPlan, QuestionSource, Subject},
};
use crate::{
    clock::Clock,
    config::Config,
    model::{Address, Device, DeviceKey, Mac, Moment, Name, NameSource},
    net::{NameReply, SystemResolver, mdns_name},
    store::{NameLookup, Store, StoreError},
};

/// The longest that an answer waits for more to be written with it.
const GATHER: Duration = Duration::from_secs(10);

impl QuestionSource for NameSource {
    /// A name server that is silent holds each question for seconds.
    fn at_once(self) -> usize {
        if self == Self::Dns { 2 } else { 4 }
    }
}

/// Returns all names of a device, the one to show first: those of the store, and the configuration's.
pub fn all(config: &Config, device: &Device, mut stored: Vec<Name>) -> Vec<Name> {
    let called = config.rule_for(device).and_then(|rule| rule.name.clone());
    stored.extend(called.map(|text| Name { text, source: NameSource::Config, at: None }));
    stored.sort_by_key(|name| name.source);
    stored
}

/// Asks until the configuration's sender is gone.
pub async fn keep(
    store: Store,
    clock: Arc<dyn Clock>,
    config: watch::Receiver<Arc<Config>>,
    inventory: watch::Receiver<Inventory>,
) {
    let keeper = Keeper {
        store,
        clock,
        config: config.clone(),
        inventory: inventory.clone(),
        // A resolver of its own: a name server that is silent here must not delay others.
        resolver: SystemResolver::default(),
        heard: Vec::new(),
        write_by: None,
    };
    inquire(keeper, config, inventory).await;
}

struct Keeper {
    store: Store,
    clock: Arc<dyn Clock>,
    config: watch::Receiver<Arc<Config>>,
    inventory: watch::Receiver<Inventory>,
    resolver: SystemResolver,
    heard: Vec<NameLookup>,
    write_by: Option<Moment>,
}

impl Inquirer for Keeper {
    type Source = NameSource;
    type Answer = Option<NameLookup>;

    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn plan(&self, plan: &mut QuestionPlan<NameSource>, config: &Config, inventory: &Inventory) {
        let mut devices: BTreeMap<DeviceKey, BTreeSet<Address>> = BTreeMap::new();
        for known in &inventory.devices {
            let device = &known.device;
            devices.entry(device.key()).or_default().insert(device.address.clone());
        }
        let sources = [(NameSource::Mdns, config.names.mdns), (NameSource::Dns, config.names.dns)];
        let sources: Vec<NameSource> =
            sources.into_iter().filter(|(_, wanted)| *wanted).map(|(source, _)| source).collect();
        plan.set_devices(self.clock.now(), &devices, &sources);
    }

    fn ask(
        &self,
        question: &Question<NameSource>,
    ) -> impl Future<Output = Option<NameLookup>> + Send + 'static {
        let (question, config) = (question.clone(), Arc::clone(&self.config.borrow()));
        let (resolver, proxies) = (self.resolver.clone(), self.inventory.borrow().proxies.clone());
        async move { answer(&question, &config, &proxies, &resolver).await }
    }

    fn take(
        &mut self,
        plan: &mut QuestionPlan<NameSource>,
        question: &Question<NameSource>,
        heard: Option<NameLookup>,
    ) {
        let now = self.clock.now();
        let answered = heard.as_ref().is_some_and(|heard| heard.name.is_some());
        let holds = plan.asked(now, question, answered);
        let Some(heard) = heard.filter(|_| holds) else { return };
        tracing::debug!(device = %heard.device, source = heard.source.as_str(), name = heard.name, "learned a name");
        self.write_by.get_or_insert(now + GATHER);
        self.heard.push(heard);
    }

    /// Writes the answers when they are due, or no more are expected.
    async fn write(&mut self, plan: &QuestionPlan<NameSource>) -> Option<Moment> {
        let now = self.clock.now();
        if self.heard.is_empty() || plan.is_busy(now) && self.write_by.is_some_and(|by| by > now) {
            return self.write_by;
        }
        self.write_by = None;
        match self.store.record_names(std::mem::take(&mut self.heard)).await {
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => {
                tracing::warn!(%error, "failed to store names; asking for them again in a day");
            }
        }
        None
    }
}

/// Asks a question. Returns `None` if there is no useful answer.
async fn answer(
    question: &Question<NameSource>,
    config: &Config,
    proxies: &BTreeSet<Mac>,
    resolver: &SystemResolver,
) -> Option<NameLookup> {
    let Question { subject: Subject { device, source }, address } = question;
    let named = Device { address: address.clone(), mac: device.mac(), name: None };
    let heard = match source {
        // A link-local address has no meaning beyond its link.
        NameSource::Dns if address.zone().is_none() => resolver.name_of(address).await,
        NameSource::Mdns if address.ipv4().is_some() && askable(&named, config).await.is_some() => {
            let ip = address.ipv4()?;
            mdns_name(ip).await.unwrap_or_else(|error| {
                tracing::debug!(%address, %error, "failed to ask a device for its name");
                NameReply::Silence
            })
        }
        _ => NameReply::Silence,
    };
    let name = match heard {
        NameReply::Name(name) => Some(name),
        NameReply::Nameless => None,
        NameReply::Silence => return None,
    };
    // By now the neighbour table has the MAC that answered.
    Some(NameLookup { device: device_at(&named, proxies)?, source: *source, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DeviceRule;

    #[test]
    fn the_configurations_name_ranks_between_the_owners_and_a_feeds() {
        let matches = "02:00:00:*".parse().unwrap();
        let name = Some("printer".to_owned());
        let rule = DeviceRule {
            matches,
            name,
            scan: false,
            timing: None,
            ports: None,
            identify: None,
            device_type: None,
            tags: Vec::new(),
        };
        let config = Config { devices: vec![rule], ..Config::default() };
        let device = |mac: &str| Device {
            address: "192.0.2.1".parse().unwrap(),
            mac: mac.parse().ok(),
            name: Some("box".to_owned()),
        };
        let name = |source: NameSource| Name { text: source.as_str().to_owned(), source, at: None };
        let stored = vec![name(NameSource::Dns), name(NameSource::Feed), name(NameSource::Owner)];
        let texts = |mac: &str| -> Vec<String> {
            all(&config, &device(mac), stored.clone()).into_iter().map(|name| name.text).collect()
        };
        assert_eq!(texts("02:00:00:00:00:01"), ["owner", "printer", "feed", "dns"]);
        assert_eq!(texts("B8:27:EB:00:00:01"), ["owner", "feed", "dns"]);
    }
}

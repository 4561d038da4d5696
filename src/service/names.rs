//! Looks up the names of devices for which neither the owner nor a feed gives one: asks this machine's resolver, and
//! the devices of the own network themselves.
//!
//! `plan.rs` decides which question is due when; this file asks it, and passes the answers to the store in batches,
//! because each commit wears an SD card. A device that must not be scanned receives no packet.

mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};

use self::plan::{NextQuestion, Plan, Question, Subject};
use super::{
    agenda::is_wanted,
    feeds::Inventory,
    witness::{Witness, identify},
};
use crate::{
    clock::Clock,
    config::Config,
    model::{Address, Device, DeviceKey, Mac, Moment, Name, NameSource},
    net::{Links, NameReply, SystemResolver, mdns_name},
    store::{NameLookup, Store, StoreError},
};

/// The longest that an answer waits for more to be written with it.
const GATHER: Duration = Duration::from_secs(10);

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
        config,
        inventory,
        // A resolver of its own: a name server that is silent here must not delay others.
        resolver: SystemResolver::default(),
        plan: Plan::default(),
        asking: JoinSet::new(),
        heard: Vec::new(),
        write_by: None,
    };
    keeper.run().await;
}

struct Keeper {
    store: Store,
    clock: Arc<dyn Clock>,
    config: watch::Receiver<Arc<Config>>,
    inventory: watch::Receiver<Inventory>,
    resolver: SystemResolver,
    plan: Plan,
    asking: JoinSet<(Question, Option<NameLookup>)>,
    heard: Vec<NameLookup>,
    write_by: Option<Moment>,
}

impl Keeper {
    async fn run(mut self) {
        self.take_devices();
        loop {
            let asked_by = self.ask();
            self.write().await;
            let now = self.clock.now();
            let wait = asked_by.into_iter().chain(self.write_by).min().map(|moment| now.until(moment));
            tokio::select! {
                changed = self.config.changed() => match changed {
                    Ok(()) => self.take_devices(),
                    // The appliance stops.
                    Err(_) => return,
                },
                Ok(()) = self.inventory.changed() => self.take_devices(),
                Some(Ok((question, heard))) = self.asking.join_next() => self.take(&question, heard),
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    /// Takes the devices that are present, and the sources that may be asked.
    fn take_devices(&mut self) {
        let mut devices: BTreeMap<DeviceKey, BTreeSet<Address>> = BTreeMap::new();
        for known in &self.inventory.borrow_and_update().devices {
            let device = &known.device;
            devices.entry(device.key()).or_default().insert(device.address.clone());
        }
        let config = self.config.borrow_and_update().names;
        let sources = [(NameSource::Mdns, config.mdns), (NameSource::Dns, config.dns)];
        let sources: Vec<NameSource> =
            sources.into_iter().filter(|(_, wanted)| *wanted).map(|(source, _)| source).collect();
        self.plan.set_devices(self.clock.now(), &devices, &sources);
    }

    /// Asks all that may be asked now, and returns when more is due.
    fn ask(&mut self) -> Option<Moment> {
        loop {
            match self.plan.next(self.clock.now()) {
                NextQuestion::Ask(question) => {
                    let config = Arc::clone(&self.config.borrow());
                    let resolver = self.resolver.clone();
                    let proxies = self.inventory.borrow().proxies.clone();
                    self.asking.spawn(async move {
                        let heard = answer(&question, &config, &proxies, &resolver).await;
                        (question, heard)
                    });
                }
                NextQuestion::Wait(until) => return Some(until),
                NextQuestion::Rest => return None,
            }
        }
    }

    fn take(&mut self, question: &Question, heard: Option<NameLookup>) {
        let now = self.clock.now();
        let answered = heard.as_ref().is_some_and(|heard| heard.name.is_some());
        let holds = self.plan.asked(now, question, answered);
        let Some(heard) = heard.filter(|_| holds) else { return };
        tracing::debug!(device = %heard.device, source = heard.source.as_str(), name = heard.name, "learned a name");
        self.write_by.get_or_insert(now + GATHER);
        self.heard.push(heard);
    }

    /// Writes the answers when they are due, or no more are expected.
    async fn write(&mut self) {
        let now = self.clock.now();
        if self.heard.is_empty() || self.plan.is_busy(now) && self.write_by.is_some_and(|by| by > now) {
            return;
        }
        self.write_by = None;
        match self.store.record_names(std::mem::take(&mut self.heard)).await {
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => {
                tracing::warn!(%error, "failed to store names; asking for them again in a day");
            }
        }
    }
}

/// Asks a question. Returns `None` if there is no useful answer.
async fn answer(
    question: &Question,
    config: &Config,
    proxies: &BTreeSet<Mac>,
    resolver: &SystemResolver,
) -> Option<NameLookup> {
    let Question { subject: Subject { device, source }, address } = question;
    let mac = if let DeviceKey::Mac(mac) = device { Some(*mac) } else { None };
    let named = Device { address: address.clone(), mac, name: None };
    let heard = match source {
        // A link-local address has no meaning beyond its link.
        NameSource::Dns if address.zone().is_none() => resolver.name_of(address).await,
        NameSource::Mdns if address.ipv4().is_some() && may_be_asked(&named, config).await => {
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

/// Returns the device to which a name from an address belongs.
fn device_at(named: &Device, proxies: &BTreeSet<Mac>) -> Option<DeviceKey> {
    let witness = Witness::of(&Links::read().ok()?, &named.address);
    let expected = witness.expected(named).ok()?;
    let mac = mac_at(witness, expected, witness.sighted(&named.address).ok()?, proxies)?;
    Some(Device { mac, ..named.clone() }.key())
}

/// Returns the MAC of the device that a source names there, unless another is seen; the MAC that is seen where the
/// source does not know it. `Some(None)`: the device has none that could be known, and is kept by its address.
fn mac_at(
    witness: Witness,
    expected: Option<Mac>,
    seen: Option<Mac>,
    proxies: &BTreeSet<Mac>,
) -> Option<Option<Mac>> {
    if (witness, expected, seen) == (Witness::Neighbours, None, None) {
        return None; // a neighbour has a MAC, and the next question may find it
    }
    let vouched = seen.filter(|mac| !proxies.contains(mac));
    identify(expected, vouched, vouched).ok()
}

/// Whether a device may receive a packet: it must be a neighbour that may be scanned. Where that depends on its MAC,
/// the MAC must be seen first, because what a source reports may be out of date.
async fn may_be_asked(named: &Device, config: &Config) -> bool {
    let Ok(links) = Links::read() else { return false };
    let witness = Witness::of(&links, &named.address);
    if witness != Witness::Neighbours {
        return false;
    }
    let Ok(seen) = witness.first_sighted(config, &links, &named.address).await else { return false };
    let mac = named.mac.or(seen);
    (seen.is_none() || mac == seen) && is_wanted(config, &Device { mac, ..named.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DeviceRule;

    #[test]
    fn a_name_is_kept_under_the_mac_that_is_seen_but_never_under_a_proxys() {
        let mac = |last: u8| (last != 0).then(|| Mac::new([2, 0, 0, 0, 0, last]));
        let proxies = BTreeSet::from([Mac::new([2, 0, 0, 0, 0, 9])]);
        let mac_at = |witness, expected, seen| mac_at(witness, mac(expected), mac(seen), &proxies);
        assert_eq!(mac_at(Witness::Neighbours, 1, 1), Some(mac(1)));
        assert_eq!(mac_at(Witness::Neighbours, 0, 1), Some(mac(1)));
        assert_eq!(mac_at(Witness::Neighbours, 1, 2), None, "another has the address");
        assert_eq!(mac_at(Witness::Neighbours, 0, 0), None, "not known yet");
        assert_eq!(mac_at(Witness::Neighbours, 0, 9), Some(None), "kept by address");
        assert_eq!(mac_at(Witness::Neighbours, 1, 9), Some(mac(1)));
        assert_eq!(mac_at(Witness::Feed, 0, 0), Some(None));
    }

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

//! Identifies what listens on open ports, by connections that are few, short and gentle.
//!
//! ```text
//!  runner: a result is stored ─┐
//!  every hour, every reload ───┴─► due ports ─► plan ─► contact ─► dialogue ─► identify (layer 1) ─► store
//! ```
//!
//! | file | does |
//! |---|---|
//! | `manner.rs` | which ports get no connection, and what the others are sent at which level |
//! | `due.rs` | which ports of a device are due |
//! | `plan.rs` | which port is next, when, and whether a device has survived |
//! | `contact.rs` | checks that the device is there and may be connected to, and waits while it is being scanned |
//! | `dialogue.rs` | one port: the dialogue and what it says |
//!
//! The first three do no I/O. What devices announce needs no connection and is not here.

mod contact;
mod dialogue;
mod due;
mod manner;
mod plan;

use std::{mem, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use self::{
    contact::Contacter,
    due::{Earlier, due_ports},
    plan::{Conclusion, Contact, ContactOutcome, ContactPlan, NextContact},
};
pub use self::{
    dialogue::identify_port,
    due::PORTS_MAX,
    manner::{Manner, is_left_alone, manner_of},
    plan::pace_of,
};
use crate::{
    clock::Clock,
    config::Config,
    model::{Address, Device, DeviceKey, IdentifyLevel, Moment, PortIdentification, Protocol, Timing},
    net::LinkWatch,
    service::{feeds::Inventory, host_lease::HostLeases},
    store::{DeviceRecord, IdentifiedPort, Presence, Store, StoreError},
};

/// How often all devices are considered, to renew old identifications and to retry failed ones.
const CONSIDER_ALL: Duration = Duration::from_secs(3600);

/// The longest wait for a clock that has not been set: ages need dates.
const CLOCK_WAIT: Duration = Duration::from_secs(300);

/// How often that is checked.
const CLOCK_CHECK: Duration = Duration::from_secs(1);

/// How many devices are read at once.
const PAGE: u32 = 50;

/// The most open ports of a device that are considered: a device with more is a tarpit.
const PORTS_READ: usize = 512;

/// The most results that wait for their commit. If there are more, the disk is full.
const UNWRITTEN: usize = 64;

/// The most stored results that wait for identification. If there are more, the hourly check finds them.
const RECORDED: usize = 256;

/// A device that has a new result in the store.
pub type Recorded = mpsc::Sender<DeviceKey>;

/// Returns where the runner reports the devices with new results, and where they arrive.
pub fn recorded() -> (Recorded, mpsc::Receiver<DeviceKey>) {
    mpsc::channel(RECORDED)
}

/// The parts of the appliance that identification needs.
pub struct Identifier {
    /// Knows the open ports, and stores what they are.
    pub store: Store,
    /// Tells whether devices can be reached.
    pub watch: LinkWatch,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// Changes with every good reload.
    pub config: watch::Receiver<Arc<Config>>,
    /// Knows the stations that answer for others.
    pub inventory: watch::Receiver<Inventory>,
    /// The hosts that are being scanned.
    pub leases: HostLeases,
    /// See [`recorded`].
    pub recorded: mpsc::Receiver<DeviceKey>,
}

/// Identification in operation.
struct Identifying {
    parts: Identifier,
    plan: ContactPlan,
    contacts: JoinSet<(Contact, ContactOutcome, Vec<PortIdentification>)>,
    writes: JoinSet<()>,
}

impl Identifier {
    /// Identifies until the configuration's sender is gone. May be dropped at any time.
    pub async fn run(self) {
        let started = self.clock.now();
        while !self.clock.is_synchronised() && self.clock.now().since(started) < CLOCK_WAIT {
            tokio::time::sleep(CLOCK_CHECK).await;
        }
        let identifying = Identifying {
            parts: self,
            plan: ContactPlan::default(),
            contacts: JoinSet::new(),
            writes: JoinSet::new(),
        };
        identifying.run().await;
    }
}

impl Identifying {
    async fn run(mut self) {
        let mut all_due = self.parts.clock.now();
        loop {
            let now = self.parts.clock.now();
            if all_due <= now {
                self.consider_all().await;
                all_due = now + CONSIDER_ALL;
            }
            let next = self.contact().unwrap_or(all_due).min(all_due);
            tokio::select! {
                changed = self.parts.config.changed() => match changed {
                    Ok(()) => all_due = self.parts.clock.now(),
                    // The appliance stops.
                    Err(_) => return,
                },
                Some(device) = self.parts.recorded.recv() => self.consider(&device).await,
                Some(Ok((contact, ended, found))) = self.contacts.join_next() => {
                    self.take(contact, ended, found).await;
                }
                Some(_) = self.writes.join_next() => {}
                () = tokio::time::sleep(self.parts.clock.now().until(next)) => {}
            }
        }
    }

    /// Makes all contacts that are due, and returns when the next is.
    fn contact(&mut self) -> Option<Moment> {
        while self.writes.len() < UNWRITTEN {
            match self.plan.next(self.parts.clock.now()) {
                NextContact::Make(contact) => {
                    let contacter = Contacter {
                        watch: self.parts.watch.clone(),
                        clock: Arc::clone(&self.parts.clock),
                        config: Arc::clone(&self.parts.config.borrow()),
                        leases: self.parts.leases.clone(),
                        proxies: self.parts.inventory.borrow().proxies.clone(),
                    };
                    self.contacts.spawn(async move {
                        let (ended, found) = contacter.make(&contact).await;
                        (contact, ended, found)
                    });
                }
                NextContact::Wait(until) => return Some(until),
                NextContact::Rest => return None,
            }
        }
        None
    }

    async fn take(&mut self, contact: Contact, ended: ContactOutcome, found: Vec<PortIdentification>) {
        let conclusion = self.plan.ended(self.parts.clock.now(), &contact, ended);
        let Contact { device, port, .. } = contact;
        if conclusion == Conclusion::FellSilent {
            tracing::warn!(
                %device, address = %port.address, port = port.port,
                "a device fell silent after its ports were identified; leaving it alone from now on"
            );
            // At once, because the device would be connected to again until the store has the result.
            if let Err(error) = self.parts.store.record_silence(&device, self.parts.clock.wall()).await {
                tracing::error!(%error, %device, "failed to record that a device fell silent");
            }
        }
        if found.is_empty() {
            return;
        }
        for PortIdentification { service, product, version, evidence, .. } in &found {
            let method = evidence.method.as_str();
            tracing::debug!(
                address = %port.address, port = port.port, method, service, product, version,
                "identified a port"
            );
        }
        let identified = |found: PortIdentification| IdentifiedPort {
            device: device.clone(),
            address: port.address.clone(),
            protocol: Protocol::Tcp,
            port: port.port,
            found,
        };
        let found: Vec<IdentifiedPort> = found.into_iter().map(identified).collect();
        let store = self.parts.store.clone();
        self.writes.spawn(async move {
            match store.record_identifications(found).await {
                Ok(()) | Err(StoreError::Closed) => {}
                Err(error) => {
                    tracing::error!(%error, %device, "failed to store what a port was identified as; retrying within an hour");
                }
            }
        });
    }

    /// Considers all devices.
    async fn consider_all(&mut self) {
        let mut after = 0;
        loop {
            let page = match self.parts.store.hosts(after, PAGE).await {
                Ok(page) => page,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "failed to read which ports are to be identified; retrying in an hour");
                    return;
                }
            };
            for device in page.rows {
                self.consider_record(device);
            }
            match page.next {
                Some(next) => after = next,
                None => return,
            }
        }
    }

    /// Considers a device that has a new result.
    async fn consider(&mut self, device: &DeviceKey) {
        match self.parts.store.host(device).await {
            Ok(Some(record)) => self.consider_record(record),
            Ok(None) | Err(StoreError::Closed) => {}
            Err(error) => {
                tracing::error!(%error, %device, "failed to read which ports are to be identified; retrying within an hour");
            }
        }
    }

    /// Plans the ports of a device that are due.
    fn consider_record(&mut self, mut record: DeviceRecord) {
        let config = Arc::clone(&self.parts.config.borrow());
        let level = level_of(&config, &record);
        let is_reachable = record.presence == Presence::Online && record.silenced.is_none();
        let ports = if is_reachable && level >= IdentifyLevel::Greetings {
            let identified = mem::take(&mut record.identified);
            let earlier: Vec<Earlier> = identified.into_iter().filter_map(earlier_of).collect();
            due_ports(open_ports(&record), &earlier, level, self.parts.clock.wall())
        } else {
            Vec::new()
        };
        let pace = pace_of(timing_of(&config, &record.device));
        self.plan.set_ports(self.parts.clock.now(), &record.device.key(), ports, pace);
    }
}

/// The level of a device: the lowest of its addresses, because a rule or an exclusion may name one of them.
fn level_of(config: &Config, record: &DeviceRecord) -> IdentifyLevel {
    let at = |address: &Address| Device { address: address.clone(), ..record.device.clone() };
    let levels = record.endpoints.iter().map(|(address, _)| config.identify_level(&at(address)));
    levels.min().unwrap_or(IdentifyLevel::Off)
}

/// How fast a device is scanned: as its rule says, else as the slowest scanner.
fn timing_of(config: &Config, device: &Device) -> Timing {
    let own = config.rule_for(device).and_then(|rule| rule.timing);
    own.or_else(|| config.scanners.iter().map(|scanner| scanner.timing).min()).unwrap_or_default()
}

/// The open TCP ports of a device, each at one of its addresses, without those that only one look has found open: many of
/// these are gone in a minute.
fn open_ports(record: &DeviceRecord) -> impl Iterator<Item = (Address, u16)> {
    let (open, _) = record.open_ports_from((Protocol::Tcp, 0), PORTS_READ);
    let confirmed = move |port: &u16| !record.unconfirmed.contains(*port);
    let tcp = open.into_iter().filter(|open| open.protocol == Protocol::Tcp);
    tcp.filter_map(move |open| {
        let address = open.addresses.into_iter().next()?;
        Some((address, open.port)).filter(|(_, port)| confirmed(port))
    })
}

fn earlier_of(identified: IdentifiedPort) -> Option<Earlier> {
    let IdentifiedPort { protocol, port, found, .. } = identified;
    let PortIdentification { service, evidence, .. } = found;
    (protocol == Protocol::Tcp).then_some(Earlier {
        port,
        method: evidence.method,
        time: evidence.time,
        service,
    })
}

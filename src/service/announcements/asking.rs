//! Asks one device what it announces, if it may be asked.

use std::{collections::BTreeSet, io, net::Ipv4Addr, sync::Arc, time::Duration};

use hyper::Method;
use tokio::sync::{Mutex, watch};

use super::{findings::AnnouncedFindings, searches::Searches};
use crate::{
    client::{ANYTHING, ClientError, HttpClient, HttpRequest, ResponseLimits},
    clock::Clock,
    config::Config,
    model::{Device, IdentifyLevel, Mac},
    net::{Links, announced, search},
    service::{
        feeds::Inventory,
        host_lease::HostLeases,
        identify::is_left_alone,
        neighbour::{askable, device_at},
        questions::{Question, QuestionSource},
    },
    store::Store,
};

/// The bytes of a description that are read. Most descriptions have 2 to 6 KB, and begin with what identifies the
/// device.
const DESCRIPTION_MAX: usize = 16 * 1024;

/// The time limit of one description.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a device is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Channel {
    /// For the services that it announces.
    DnsSd,
    /// For its description of itself.
    Upnp,
}

impl Channel {
    pub(super) const ALL: [Self; 2] = [Self::DnsSd, Self::Upnp];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::DnsSd => "dns-sd",
            Self::Upnp => "upnp",
        }
    }
}

impl QuestionSource for Channel {
    /// A search of the network holds each question for seconds.
    fn at_once(self) -> usize {
        if self == Self::Upnp { 2 } else { 4 }
    }
}

/// The outcome of a question.
#[derive(Debug)]
pub(super) enum AskOutcome {
    Found(AnnouncedFindings),
    /// No useful answer, or the device may not be asked.
    Silent,
    /// The device has a connection already, and is asked later.
    Busy,
}

/// Asks devices.
pub struct DeviceAsker {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) inventory: watch::Receiver<Inventory>,
    client: HttpClient,
    leases: HostLeases,
    /// Locked during a search, so that there is one at a time.
    searches: Mutex<Searches>,
}

impl DeviceAsker {
    /// Asks the devices of the inventory, never one that has a lease for a scan or a dialogue for its description.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        config: watch::Receiver<Arc<Config>>,
        inventory: watch::Receiver<Inventory>,
        client: HttpClient,
        leases: HostLeases,
    ) -> Self {
        Self { store, clock, config, inventory, client, leases, searches: Mutex::default() }
    }

    /// Asks a question.
    pub(super) async fn ask(&self, question: &Question<Channel>) -> AskOutcome {
        let address = &question.address;
        let named = Device { address: address.clone(), mac: question.subject.device.mac(), name: None };
        let config = Arc::clone(&self.config.borrow());
        let (Some(ip), Some(device)) = (address.ipv4(), askable(&named, &config).await) else {
            return AskOutcome::Silent;
        };
        if config.identify_level(&device) < IdentifyLevel::Announced {
            return AskOutcome::Silent;
        }
        let proxies = self.inventory.borrow().proxies.clone();
        let asked = match question.subject.source {
            Channel::DnsSd => self.ask_for_services(&named, ip, &proxies).await,
            Channel::Upnp => self.ask_for_description(&named, ip, &proxies).await,
        };
        asked.unwrap_or_else(|error| {
            tracing::debug!(%address, %error, "failed to ask a device what it announces");
            AskOutcome::Silent
        })
    }

    async fn ask_for_services(
        &self,
        named: &Device,
        ip: Ipv4Addr,
        proxies: &BTreeSet<Mac>,
    ) -> io::Result<AskOutcome> {
        let Some(announced) = announced(ip).await? else { return Ok(AskOutcome::Silent) };
        // By now the neighbour table contains the MAC that answered.
        let Some(device) = device_at(named, proxies) else { return Ok(AskOutcome::Silent) };
        let time = self.clock.wall();
        Ok(AskOutcome::Found(AnnouncedFindings::of_services(&device, &named.address, &announced, time)))
    }

    /// Gets the description that the device named in answer to a search, if it may be sent a request.
    async fn ask_for_description(
        &self,
        named: &Device,
        ip: Ipv4Addr,
        proxies: &BTreeSet<Mac>,
    ) -> io::Result<AskOutcome> {
        // Before the search, which would be in vain. Not held during it: scans of the device wait for it.
        if self.leases.try_dialogue(&named.address).is_none() {
            return Ok(AskOutcome::Busy);
        }
        let urls = self.locate(ip).await?;
        let Some(device) = device_at(named, proxies).filter(|_| !urls.is_empty()) else {
            return Ok(AskOutcome::Silent);
        };
        // A device that fell silent once is left alone. Where that cannot be read, too.
        if !matches!(self.store.silenced(&device).await, Ok(None)) {
            return Ok(AskOutcome::Silent);
        }
        let Some(_lease) = self.leases.try_dialogue(&named.address) else { return Ok(AskOutcome::Busy) };
        for url in &urls {
            match self.describe(url).await {
                Ok(description) => {
                    let found = AnnouncedFindings::of_description(&device, &description, self.clock.wall());
                    // The device that was asked still has the address.
                    if let Some(found) = found.filter(|_| device_at(named, proxies).as_ref() == Some(&device))
                    {
                        return Ok(AskOutcome::Found(found));
                    }
                }
                Err(error) => tracing::debug!(%device, %error, "failed to get a device's description"),
            }
        }
        Ok(AskOutcome::Silent)
    }

    /// Returns the URLs at which the device at this address describes itself, after a search of its network if the last
    /// one was too long ago.
    async fn locate(&self, ip: Ipv4Addr) -> io::Result<Vec<String>> {
        let Some(own) = Links::read()?.own_ipv4_towards(&ip.into()) else { return Ok(Vec::new()) };
        let mut searches = self.searches.lock().await;
        if searches.found(self.clock.now(), own).is_none() {
            let wanted = self.wanted();
            let may_be_called = |address, port| wanted.contains(&address) && !is_left_alone(port);
            let found = search(own, may_be_called).await;
            searches.record(self.clock.now(), own, found.as_ref().cloned().unwrap_or_default());
            found?;
        }
        let found = searches.found(self.clock.now(), own).and_then(|found| found.get(&ip));
        Ok(found.cloned().unwrap_or_default())
    }

    /// Returns the addresses of the devices that may be asked.
    fn wanted(&self) -> BTreeSet<Ipv4Addr> {
        let config = Arc::clone(&self.config.borrow());
        let inventory = self.inventory.borrow();
        let devices = inventory.devices.iter().map(|known| &known.device);
        let wanted = devices.filter(|device| config.identify_level(device) >= IdentifyLevel::Announced);
        wanted.filter_map(|device| device.address.ipv4()).collect()
    }

    /// Returns the beginning of a description.
    async fn describe(&self, url: &str) -> Result<Vec<u8>, ClientError> {
        let request =
            HttpRequest { method: Method::GET, url, token: None, headers: &[], body: None, accept: ANYTHING };
        let limits = ResponseLimits { timeout: PATIENCE, max_bytes: usize::MAX };
        let mut description = Vec::new();
        let got = self.client.send(request, limits, |piece| {
            let room = DESCRIPTION_MAX - description.len();
            description.extend_from_slice(&piece[..piece.len().min(room)]);
            // What is beyond is not read: the connection is closed.
            if piece.len() > room { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
        });
        match got.await {
            Ok(()) | Err(ClientError::Unwritten(_)) => Ok(description),
            Err(error) => Err(error),
        }
    }
}

//! Layer 3: polls the feeds that name devices, and keeps the inventory.
//!
//! Each source has a state of its own (`state.rs`) and freezes alone; `inventory.rs` combines them. This file has only
//! the tasks: one per URL that is polled, one per network that our own [`discovery`] sweeps, and one keeper that owns
//! every state, so that no lock is needed.

mod admission;
mod inventory;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::MissedTickBehavior,
};
use tracing::{info, warn};

use self::admission::{Admission, Record};
pub use self::{
    inventory::{Found, Inventory, Known, SourceId, SourceStatus},
    state::{FeedChange, FeedState, Member, STALE_AFTER, Trouble},
};
use crate::{
    client::{HttpClient, ResponseLimits},
    clock::Clock,
    config::{Config, FeedConfig, FeedUrl},
    feed::{self, Feed, Inadmissible},
    model::{Device, HostAddressError},
    net::Links,
    service::discovery::{self, Made, Wanted},
    store::Store,
};

/// From one poll of a URL to the next.
pub const POLL_EVERY: Duration = Duration::from_secs(60);

/// The limits of a poll. 4,096 devices are 400 KB in lanscan's most spacious form.
const LIMITS: ResponseLimits = ResponseLimits { timeout: Duration::from_secs(10), max_bytes: 1 << 20 };

/// What a source reports, or why it failed.
struct Report {
    /// The source. A report that was in progress when its source was dropped is dropped, too.
    source: SourceId,
    word: Result<Feed, Trouble>,
    /// The sweep, if the source is our own discovery.
    made: Option<Made>,
}

/// Starts the task that keeps the inventory up to date, and returns the inventory. The task polls every source that
/// the configuration names, at once and after each change of it; a source that a change leaves alone keeps what it
/// knows. The task ends with the configuration's sender, and stops polling when it is dropped. The networks are read
/// anew for every feed, because they change: at boot the feed may be up before the address is. Where they cannot be
/// read, the last ones hold.
///
/// `store` knows the devices that are always admitted: those that it has. `arp_grant` explains to users how to permit
/// discovery by ARP.
pub fn start(
    client: HttpClient,
    store: Store,
    clock: Arc<dyn Clock>,
    config: watch::Receiver<Arc<Config>>,
    links: impl Fn() -> io::Result<Links> + Send,
    arp_grant: &'static str,
) -> (watch::Receiver<Inventory>, impl Future<Output = ()> + Send) {
    // A small queue: a source that reports too fast has to wait.
    let (reports, inbox) = mpsc::channel(16);
    let (publish, inventory) = watch::channel(Inventory::default());
    let keeper = Keeper {
        config,
        client,
        store,
        admission: Admission::default(),
        clock,
        links,
        arp_grant,
        last_links: Links::default(),
        reports,
        publish,
        sources: BTreeMap::new(),
        sweeps: BTreeMap::new(),
        pollers: JoinSet::new(),
        polling: BTreeMap::new(),
    };
    (inventory, keeper.run(inbox))
}

struct Keeper<L> {
    config: watch::Receiver<Arc<Config>>,
    client: HttpClient,
    store: Store,
    admission: Admission,
    clock: Arc<dyn Clock>,
    links: L,
    /// How to permit ARP requests, for users.
    arp_grant: &'static str,
    last_links: Links,
    reports: mpsc::Sender<Report>,
    publish: watch::Sender<Inventory>,
    sources: BTreeMap<SourceId, FeedState>,
    /// The last good sweep of each network.
    sweeps: BTreeMap<SourceId, Made>,
    pollers: JoinSet<()>,
    polling: BTreeMap<SourceId, AbortHandle>,
}

impl<L: Fn() -> io::Result<Links>> Keeper<L> {
    async fn run(mut self, mut inbox: mpsc::Receiver<Report>) {
        loop {
            let config = Arc::clone(&self.config.borrow_and_update());
            self.configure(&config).await;
            self.publish();
            loop {
                tokio::select! {
                    changed = self.config.changed() => match changed {
                        Ok(()) => break,
                        // The appliance stops.
                        Err(_) => return,
                    },
                    Some(report) = inbox.recv() => {
                        self.take(report, &config).await;
                        self.publish();
                    }
                }
            }
        }
    }

    /// Starts new sources, stops those that are no longer named, and leaves the rest alone.
    async fn configure(&mut self, config: &Config) {
        let feed = &config.feed;
        let named: BTreeSet<SourceId> = SourceId::all(feed).collect();
        self.sources.retain(|source, _| named.contains(source));
        self.sweeps.retain(|source, _| named.contains(source));
        self.admission.retain(|source| named.contains(source));
        self.polling.retain(|source, poller| {
            let stays = named.contains(source);
            if !stays {
                poller.abort();
            }
            stays
        });
        for source in &named {
            self.sources.entry(source.clone()).or_default();
        }
        self.readmit(feed);
        for source in named {
            if !self.polling.contains_key(&source)
                && let Some(poller) = self.start(&source)
            {
                self.polling.insert(source, poller);
            }
        }
        // Aborted pollers are reaped here, not kept until the end.
        while self.pollers.try_join_next().is_some() {}
        if !feed.hosts.is_empty() {
            let hosts = Feed { devices: feed.hosts.clone(), ..Feed::default() };
            self.take(Report { source: SourceId::Hosts, word: Ok(hosts), made: None }, config).await;
        }
    }

    /// Starts the task that polls a source for as long as the configuration names it; the owner's own list needs none.
    fn start(&mut self, source: &SourceId) -> Option<AbortHandle> {
        let reports = self.reports.clone();
        match source {
            SourceId::Hosts => None,
            SourceId::Url(url) => Some(self.pollers.spawn(poll(url.clone(), self.client.clone(), reports))),
            SourceId::Discover(discover) => {
                let (clock, config) = (Arc::clone(&self.clock), self.config.clone());
                let wanted = move || {
                    let feed = &config.borrow().feed;
                    Wanted { grace: feed.grace, has_ipv6: feed.has_ipv6 }
                };
                let source = source.clone();
                let report = move |word| swept(source.clone(), word);
                let sweeping =
                    discovery::keep(discover.clone(), self.arp_grant, clock, wanted, reports, report);
                Some(self.pollers.spawn(sweeping))
            }
        }
    }

    /// Judges the known devices anew: those that `feed.allow` no longer allows go at once, not with the next good
    /// answer, which a frozen source may never give.
    fn readmit(&mut self, config: &FeedConfig) {
        self.read_links();
        for (source, state) in self.sources.iter_mut().filter(|(source, _)| **source != SourceId::Hosts) {
            let dropped = state.keep(|device| judge(source, device, &self.last_links, config).is_ok());
            if dropped > 0 {
                info!(%source, dropped, "devices of the feed are no longer allowed");
            }
        }
    }

    /// Where the networks cannot be read, the last good ones hold.
    fn read_links(&mut self) {
        match (self.links)() {
            Ok(links) => self.last_links = links,
            Err(error) => warn!(%error, "failed to read the networks; judging feeds by the last known ones"),
        }
    }

    async fn take(&mut self, report: Report, config: &Config) {
        let Report { source, mut word, made } = report;
        if let (Ok(feed), true) = (&mut word, source != SourceId::Hosts) {
            self.read_links();
            drop_inadmissible(&source, feed, &self.last_links, &config.feed);
            self.admit(&source, feed, config).await;
        }
        let Some(state) = self.sources.get_mut(&source) else { return };
        if let Some(made) = made {
            self.sweeps.insert(source.clone(), made);
        }
        for change in state.apply(self.clock.now(), word) {
            log_change(&source, &change, state.members().len());
        }
    }

    /// Holds back newcomers beyond the limits. Devices that our own discovery has found displace those that other
    /// sources only report.
    async fn admit(&mut self, source: &SourceId, feed: &mut Feed, config: &Config) {
        let known = self.store.known_among(feed.devices.clone()).await;
        // Its newcomers are admitted at their rate, even if the store knows some of them.
        let known = known.inspect_err(|error| {
            warn!(%error, "failed to read which devices are known; admitting newcomers at their rate");
        });
        let known = known.unwrap_or_default();
        let mut record = Record { known: known.endpoints, stored: known.total };
        let named = feed.devices.iter().filter(|device| config.names(device));
        record.known.extend(named.map(Device::endpoint));
        self.admission.admit(source, feed, &record, &config.feed, self.clock.now());
        for (source, leaving) in self.admission.too_many(record.stored, &config.feed) {
            if let Some(state) = self.sources.get_mut(&source) {
                state.keep(|device| !leaving.contains(&device.endpoint()));
            }
        }
    }

    /// Returns what our own discovery has found on all interfaces, without devices that it must not name.
    fn found(&self) -> Option<Found> {
        let ended = self.sweeps.values().map(|made| made.ended).max()?;
        let states = self.sweeps.keys().filter_map(|source| self.sources.get(source));
        let devices = states.flat_map(FeedState::members).map(|member| member.device.clone());
        let by_address: BTreeMap<_, _> = devices.map(|device| (device.address.clone(), device)).collect();
        Some(Found {
            devices: by_address.into_values().collect(),
            ended,
            preparation: self.sweeps.values().map(|made| made.preparation).sum(),
            sweeping: self.sweeps.values().map(|made| made.sweeping).sum(),
        })
    }

    /// Publishes the inventory. Wakes no task when only the time of the last success has changed, which it does in
    /// every poll.
    fn publish(&self) {
        let new = Inventory { found: self.found(), ..Inventory::of(&self.sources) };
        self.publish.send_if_modified(|old| {
            let same =
                old.devices == new.devices
                    && old.sources.len() == new.sources.len()
                    && old.sources.iter().zip(&new.sources).all(|(old, new)| {
                        *old == SourceStatus { last_success: old.last_success, ..new.clone() }
                    });
            *old = new;
            !same
        });
    }
}

/// Creates the report of a sweep, or of its failure.
fn swept(source: SourceId, word: Result<(Feed, Made), String>) -> Report {
    match word {
        Ok((feed, made)) => Report { source, word: Ok(feed), made: Some(made) },
        Err(reason) => Report { source, word: Err(Trouble::Unreachable(reason)), made: None },
    }
}

/// Drops the devices that a source may not name.
fn drop_inadmissible(source: &SourceId, feed: &mut Feed, links: &Links, config: &FeedConfig) {
    let Feed { devices, rejected, .. } = feed;
    devices.retain(|device| {
        judge(source, device, links, config).map_err(|reason| rejected.push(&reason.to_string())).is_ok()
    });
}

/// Decides whether a source may name the device. Our own discovery probes the networks of interfaces that the owner
/// has named.
fn judge(source: &SourceId, device: &Device, links: &Links, config: &FeedConfig) -> Result<(), Inadmissible> {
    match links.check_host(&device.address) {
        // The interface may be back in a moment, and then the device is still known.
        Ok(()) | Err(HostAddressError::UnknownInterface { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if matches!(source, SourceId::Discover(_)) && links.is_own_subnet(&device.address) {
        return Ok(());
    }
    feed::admissible(&device.address, |address| links.is_own_subnet(address), &config.allow)
}

fn log_change(source: &SourceId, change: &FeedChange, devices: usize) {
    match change {
        FeedChange::Up => info!(%source, devices, "the feed is up"),
        FeedChange::Down(trouble) => {
            warn!(%source, devices, reason = %trouble, "the feed is down; its last devices are still scanned");
        }
        FeedChange::Rejecting(rejected) => match rejected.reasons.first() {
            Some(first) => {
                warn!(%source, rejected = rejected.count, %first, "the feed has entries that are refused");
            }
            None => info!(%source, "no entry of the feed is refused any more"),
        },
        FeedChange::HoldingBack(Some(held_back)) => {
            warn!(%source, devices, reason = %held_back, "devices of the feed are held back");
        }
        FeedChange::HoldingBack(None) => {
            info!(%source, devices, "no device of the feed is held back any more")
        }
        FeedChange::Remark(remark) => warn!(%source, %remark, "the feed has a remark"),
    }
}

/// Polls one URL for as long as a receiver exists.
async fn poll(url: FeedUrl, client: HttpClient, reports: mpsc::Sender<Report>) {
    let mut ticks = tokio::time::interval(POLL_EVERY);
    // After a slow answer the next poll is a whole interval away.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let word = match client.get(url.reveal(), LIMITS).await {
            Ok(body) => feed::parse(&body).map_err(|error| Trouble::Malformed(error.to_string())),
            Err(error) => Err(Trouble::Unreachable(error.to_string())),
        };
        if reports.send(Report { source: SourceId::Url(url.clone()), word, made: None }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;

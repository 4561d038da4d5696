//! Sends change events to the owner's channels: at least once and in order on each channel, whatever fails.
//!
//! [`ChannelOutbox`](crate::alerts::ChannelOutbox) decides what is sent when; `channel.rs` carries that out for one
//! channel, as one task. `selection.rs` reads the events to send, `explain.rs` explains their ports,
//! `elsewhere.rs` says at a hub which other sites know a new device, `delivery.rs` and `post.rs` send the message, and `status.rs` keeps the channel's state for display. `snooze.rs` ends the
//! snoozes, and `summary.rs` writes the summaries. `links.rs` keeps the connections to MQTT brokers, each of which is
//! a task (`link.rs`); `state.rs` reads the state for Home Assistant.
//!
//! The appliance's own trouble is a state, not an event: each channel stores what it has reported, and reports what
//! differs from that. Another source of alerts has to be one or the other.

mod channel;
mod delivery;
mod elsewhere;
mod explain;
mod known_device;
mod link;
mod links;
mod post;
mod posted;
mod receiver;
mod secret_file;
mod selection;
mod snooze;
mod state;
mod status;
mod summary;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use tokio::{sync::watch, task::JoinSet};

use self::{
    delivery::Courier,
    link::LinkParts,
    links::{BrokerLinks, LinkTasks},
    selection::Selection,
    state::StateParts,
    status::Statuses,
};
pub use self::{
    delivery::DeliveryError,
    elsewhere::AlertSite,
    status::{ChannelState, ChannelStatus},
};
use crate::{
    client::HttpClient,
    clock::Clock,
    config::{ChannelConfig, Config},
    messages::{AlertMessage, Origin},
    model::DeviceKey,
    resolve::Resolve,
    service::{differences::Differences, health::Health, runner::Runs, watched::replace_if_new},
    store::{MessageRecord, MessageState, Snooze, Store, StoreError},
};

/// How long a channel pauses after an error of the database.
const REST: Duration = Duration::from_secs(10);

/// A channel that has failed for this long is reported by /healthz.
const LONG_FAILURE: Duration = Duration::from_secs(24 * 3600);

/// How often the reports of long failures are renewed.
const REPORT: Duration = Duration::from_secs(60);

/// The parts of the appliance that the alerts need.
pub struct AlertParts {
    /// Stores the events and the position of each channel.
    pub store: Store,
    /// The channels, the rules, and known noise.
    pub config: watch::Receiver<Arc<Config>>,
    /// Finds the receivers.
    pub resolver: Arc<dyn Resolve>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// This machine's name.
    pub hostname: Option<String>,
    /// Starts scans that are asked for by MQTT.
    pub runs: Runs,
    /// At a hub, the site whose copy this store is: its messages name it.
    pub site: Option<AlertSite>,
}

/// The alerts; cheap to clone. They are sent while [`Alerts::run`] runs; everything else works without it.
#[derive(Clone)]
pub struct Alerts(Arc<Shared>);

struct Shared {
    store: Store,
    site: Option<AlertSite>,
    config: watch::Receiver<Arc<Config>>,
    clock: Arc<dyn Clock>,
    selection: Selection,
    courier: Courier,
    link_parts: LinkParts,
    statuses: Mutex<Statuses>,
    notices: watch::Sender<Vec<String>>,
    /// Notified when a snooze begins or ends.
    snooze_changes: watch::Sender<()>,
    /// Whether all alerts are snoozed, those about the appliance itself, too.
    is_all_snoozed: watch::Sender<bool>,
}

/// A channel, and the outcome of its test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelTest {
    /// The channel's name.
    pub channel: String,
    /// What the receiver answered.
    pub outcome: Result<String, DeliveryError>,
}

/// Why a request about a message or a channel cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum AlertRequestError {
    /// The configuration has no such channel.
    #[error("no channel has the name \"{0}\"; GET /v1/alerts lists the channels")]
    UnknownChannel(String),
    /// No channel is configured.
    #[error("no channel is configured; write a [[channel]] into the configuration and reload it")]
    NoChannel,
    /// There is no such message.
    #[error("no message has the number {0}; GET /v1/alerts lists the messages")]
    UnknownMessage(i64),
    /// The message is not parked.
    #[error("the message {0} is not parked, so there is nothing to retry")]
    NotParked(i64),
    /// There is no such device.
    #[error("no device is known as {0}; GET /v1/hosts lists the known devices")]
    UnknownDevice(DeviceKey),
    /// There is no such snooze.
    #[error("alerts are not snoozed there; GET /v1/alerts lists the snoozes")]
    NotSnoozed,
    /// Its changes were deleted, or no rule chooses them any more.
    #[error("the message {0} tells of changes that are not stored any more; acknowledge it instead")]
    Empty(i64),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Alerts {
    /// Creates the alerts; [`Alerts::run`] sends them.
    pub fn new(parts: AlertParts) -> Self {
        let AlertParts { store, config, resolver, clock, hostname, runs, site } = parts;
        let differences = Differences::new(store.clone(), config.clone());
        let client = HttpClient::new(Arc::clone(&resolver));
        let link_parts = LinkParts {
            store: store.clone(),
            config: config.clone(),
            resolver: Arc::clone(&resolver),
            clock: Arc::clone(&clock),
            runs,
        };
        Self(Arc::new(Shared {
            selection: Selection {
                store: store.clone(),
                differences,
                clock: Arc::clone(&clock),
                site: site.clone(),
            },
            courier: Courier {
                client,
                resolver,
                clock: Arc::clone(&clock),
                hostname,
                posted: Arc::default(),
                links: BrokerLinks::default(),
            },
            link_parts,
            store,
            site,
            config,
            clock,
            statuses: Mutex::default(),
            notices: watch::Sender::default(),
            snooze_changes: watch::Sender::default(),
            is_all_snoozed: watch::Sender::default(),
        }))
    }

    /// Sends alerts until the configuration's sender is dropped. `health` reports the appliance's own trouble.
    pub async fn run(self, health: watch::Receiver<Health>) {
        let shared = Arc::clone(&self.0);
        tokio::select! {
            () = self.send(health) => {}
            () = snooze::run(&shared) => {}
        }
    }

    /// The same for a hub's copy of a site's database: the site ends its snoozes itself, and the hub tells its trouble.
    pub async fn run_for_copy(self) {
        // Healthy for ever.
        let (_health, seen) = watch::channel(Health::default());
        self.send(seen).await;
    }

    async fn send(self, health: watch::Receiver<Health>) {
        let mut config = self.0.config.clone();
        let mut links = self.links(&health);
        loop {
            let channels = config.borrow_and_update().channels.clone();
            self.begin(&channels).await;
            links.set(&channels);
            // This includes channels that are no longer configured.
            self.report();
            let mut tasks = JoinSet::new();
            for channel in &channels {
                let (shared, channel, health) = (Arc::clone(&self.0), channel.clone(), health.clone());
                tasks.spawn(async move { channel::run(&shared, &channel, health).await });
            }
            // The tasks end with this scope. A message that is being sent then is sent again, under the same key.
            loop {
                tokio::select! {
                    changed = config.changed() => match changed {
                        Ok(()) if config.borrow().channels == channels => {}
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = tokio::time::sleep(REPORT), if !channels.is_empty() => self.report(),
                }
            }
        }
    }

    fn links(&self, health: &watch::Receiver<Health>) -> LinkTasks {
        let Shared { selection, courier, link_parts, .. } = &*self.0;
        let Selection { store, differences, .. } = selection.clone();
        let LinkParts { config, clock, .. } = link_parts.clone();
        let state = StateParts { store, differences, health: health.clone(), config, clock };
        LinkTasks::new(courier.links.clone(), link_parts.clone(), state)
    }

    /// Forgets channels that are no longer configured.
    async fn begin(&self, channels: &[ChannelConfig]) {
        let names: Vec<_> = channels.iter().map(|channel| channel.name.clone()).collect();
        self.0.statuses().keep(&names);
        while let Err(error) = self.0.store.keep_outboxes(names.clone()).await {
            tracing::warn!(%error, "failed to delete the alert channels that are no longer configured; will retry");
            tokio::time::sleep(REST).await;
        }
    }

    /// Reports which channels have failed for a day.
    fn report(&self) {
        let now = self.0.clock.now();
        let notices = self.0.statuses().long_failures(LONG_FAILURE, now);
        replace_if_new(&self.0.notices, notices);
    }

    /// One sentence for each channel that has failed for a day.
    pub fn notices(&self) -> watch::Receiver<Vec<String>> {
        self.0.notices.subscribe()
    }

    /// All configured channels with their present state.
    pub fn channels(&self) -> Vec<(ChannelConfig, ChannelStatus)> {
        let now = self.0.clock.now();
        let statuses = self.0.statuses();
        let channels = self.0.config.borrow().channels.clone();
        channels.into_iter().map(|channel| (channel.clone(), statuses.of(&channel.name, now))).collect()
    }

    /// Returns the latest messages of all channels, the newest first.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn messages(&self, most: u32) -> Result<Vec<MessageRecord>, StoreError> {
        self.0.store.alert_messages(most).await
    }

    /// Sends a test to one channel, or to all, and returns what the receivers answered.
    ///
    /// # Errors
    /// There is no such channel, or the database fails.
    pub async fn test(&self, name: Option<&str>) -> Result<Vec<ChannelTest>, AlertRequestError> {
        let config = Arc::clone(&self.0.config.borrow());
        let channels = config.channels.iter().filter(|channel| name.is_none_or(|name| name == channel.name));
        let channels: Vec<_> = channels.cloned().collect();
        if channels.is_empty() {
            let unknown = |name: &str| AlertRequestError::UnknownChannel(name.to_owned());
            return Err(name.map_or(AlertRequestError::NoChannel, unknown));
        }
        let origin = self.0.origin(&config).await?;
        let number = self.0.clock.wall().as_millisecond();
        // All at once: one receiver that is down must not use up the request's time.
        let tests = channels.into_iter().map(|channel| {
            let message = origin.test(&channel.name, number);
            async move {
                let outcome = self.0.deliver(&channel, &message).await;
                ChannelTest { channel: channel.name, outcome }
            }
        });
        Ok(join_all(tests).await)
    }

    /// Tries a parked message once more, under its key, and returns the receiver's answer. If the attempt fails, the
    /// message stays parked, with the new reason.
    ///
    /// # Errors
    /// There is no such parked message, or the database fails.
    pub async fn retry(&self, id: i64) -> Result<ChannelTest, AlertRequestError> {
        let record = self.0.store.alert_message(id).await?.ok_or(AlertRequestError::UnknownMessage(id))?;
        if record.state != MessageState::Parked {
            return Err(AlertRequestError::NotParked(id));
        }
        let config = Arc::clone(&self.0.config.borrow());
        let channel = config.channels.iter().find(|channel| channel.name == record.channel);
        let channel = channel.ok_or_else(|| AlertRequestError::UnknownChannel(record.channel.clone()))?;
        let origin = self.0.origin(&config).await?;
        let message = self.0.selection.message(record.events, &channel.name, &config, &origin).await?;
        let message = message.ok_or(AlertRequestError::Empty(id))?;
        let outcome = self.0.deliver(channel, &message).await;
        let (state, reason) = match &outcome {
            Ok(_) => (MessageState::Delivered, None),
            Err(error) => (MessageState::Parked, Some(error.to_string())),
        };
        self.0.store.mark_alert_message(id, state, reason).await?;
        Ok(ChannelTest { channel: record.channel, outcome })
    }

    /// Begins a snooze of the alerts about a device, or of all alerts, or changes the end of the present one; returns
    /// that end. Until then nothing is sent about the device; at the end, one message reports what still holds.
    ///
    /// # Errors
    /// There is no such device, or the database fails.
    pub async fn snooze(
        &self,
        device: Option<DeviceKey>,
        length: Duration,
    ) -> Result<Timestamp, AlertRequestError> {
        let device = match device {
            None => None,
            Some(key) => {
                let record = self.0.store.host(&key).await?;
                Some(record.ok_or(AlertRequestError::UnknownDevice(key))?.device.key())
            }
        };
        let until = self.0.clock.wall().checked_add(length).unwrap_or(Timestamp::MAX);
        self.0.store.begin_snooze(Snooze { device, until, length }).await?;
        self.0.snooze_changes.send_replace(());
        Ok(until)
    }

    /// Ends a snooze early.
    ///
    /// # Errors
    /// There is no such snooze, or the database fails.
    pub async fn end_snooze(&self, device: Option<DeviceKey>) -> Result<(), AlertRequestError> {
        let device = match device {
            None => None,
            Some(key) => Some(self.0.store.host(&key).await?.map_or(key, |record| record.device.key())),
        };
        let was_on = self.0.store.end_snooze(device).await?;
        self.0.snooze_changes.send_replace(());
        if was_on { Ok(()) } else { Err(AlertRequestError::NotSnoozed) }
    }

    /// Returns all snoozes, and how long each still lasts.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn snoozes(&self) -> Result<Vec<(Snooze, Duration)>, StoreError> {
        let wall = self.0.clock.wall();
        let snoozes = self.0.store.snoozes().await?;
        let lasts = |snooze: Snooze| (snooze::remaining(&snooze, wall), snooze);
        Ok(snoozes.into_iter().map(lasts).map(|(rest, snooze)| (snooze, rest)).collect())
    }

    /// Records that the owner has seen a message: it is no longer parked, and its channel sends no further message
    /// about the same changes.
    ///
    /// # Errors
    /// There is no such message, or the database fails.
    pub async fn acknowledge(&self, id: i64) -> Result<(), AlertRequestError> {
        match self.0.store.mark_alert_message(id, MessageState::Acknowledged, None).await? {
            true => Ok(()),
            false => Err(AlertRequestError::UnknownMessage(id)),
        }
    }
}

impl Shared {
    fn statuses(&self) -> std::sync::MutexGuard<'_, Statuses> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers a message, with the channel's templates applied, and returns the receiver's answer.
    async fn deliver(
        &self,
        channel: &ChannelConfig,
        message: &AlertMessage,
    ) -> Result<String, DeliveryError> {
        if channel.templates.is_empty() {
            return self.courier.deliver(channel, message).await;
        }
        let (written, failure) = channel.templates.apply(message);
        if let Some(failure) = &failure {
            tracing::warn!(
                channel = channel.name,
                %failure,
                "a template failed; the alert is sent with the built-in text"
            );
        }
        self.statuses().note_template(&channel.name, failure.clone());
        let answer = self.courier.deliver(channel, &written).await?;
        Ok(failure.map_or(answer.clone(), |failure| format!("{answer}; with the built-in text: {failure}")))
    }

    /// Returns the local time, if the clock is trusted.
    fn local_time(&self) -> Option<DateTime> {
        self.clock.is_synchronised().then(|| self.clock.wall().to_zoned(TimeZone::system()).datetime())
    }

    async fn origin(&self, config: &Config) -> Result<Origin, StoreError> {
        let page = match &self.site {
            Some(site) => format!("{}/sites/{}", page_url(config), site.name),
            None => page_url(config),
        };
        let site = self.site.as_ref().map(|site| site.name.to_string());
        Ok(Origin { appliance: self.store.appliance_id().await?, page, site })
    }
}

/// Returns the page's URL for messages. By a name of the appliance if it has one, because its address may change.
fn page_url(config: &Config) -> String {
    let listen = config.listen.first();
    let port = listen.map(std::net::SocketAddr::port).filter(|port| !matches!(port, 0 | 80));
    let host = match (config.http_names.first(), listen) {
        (Some(name), _) => name.clone(),
        (None, Some(address)) if !address.ip().is_unspecified() => {
            std::net::SocketAddr::new(address.ip(), 0).to_string().trim_end_matches(":0").to_owned()
        }
        _ => format!("{}.local", config.mdns.name),
    };
    port.map_or_else(|| format!("http://{host}"), |port| format!("http://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lead_to_the_page() {
        let mut config = Config::default();
        assert_eq!(page_url(&config), "http://portscan.local");
        config.listen = vec!["[2001:db8::1]:8080".parse().unwrap()];
        assert_eq!(page_url(&config), "http://[2001:db8::1]:8080");
        config.http_names = vec!["scan.example.org".to_owned()];
        assert_eq!(page_url(&config), "http://scan.example.org:8080");
    }
}

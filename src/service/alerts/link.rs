//! One connection to an MQTT broker, and the messages on it.

use std::{path::PathBuf, pin::pin, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{REST, receiver, secret_file, state::EntityStates};
use crate::{
    alerts::{ApplianceState, DeviceBoard, EntityAnnouncement, MqttTopics},
    clock::Clock,
    config::{ChannelConfig, ChannelUrl, Config, MqttConfig, MqttVersion},
    model::Moment,
    net::mqtt::{
        MqttError, MqttMessage, MqttOptions, MqttServer, MqttSession, MqttStream, MqttWill, connect_mqtt,
    },
    resolve::Resolve,
    service::{agenda::Order, runner::Runs},
    store::Store,
};

/// The wait before a lost connection is made again; each failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest such wait. A message ends it.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// For this long after a press, the button starts no other scan.
const BUTTON_PAUSE: Duration = Duration::from_secs(60);

/// How long to wait for the retained list of announced devices before a new one is written.
const SETTLE: Duration = Duration::from_secs(2);

/// The time limit for removing what was announced.
const FAREWELL: Duration = Duration::from_secs(20);

/// The ports (5, 4.2).
const PORTS: [u16; 2] = [1883, 8883];

const ONLINE: &str = "online";
const OFFLINE: &str = "offline";

/// A message, and the sender for its acknowledgement.
pub(super) struct Publication {
    pub(super) payload: String,
    pub(super) answer: oneshot::Sender<Result<(), MqttError>>,
}

/// The parts of the appliance that all connections need.
#[derive(Clone)]
pub(super) struct LinkParts {
    pub(super) store: Store,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) runs: Runs,
}

/// A channel's connection.
pub(super) struct BrokerLink {
    channel: String,
    url: ChannelUrl,
    ca_file: Option<PathBuf>,
    broker: MqttConfig,
    parts: LinkParts,
    states: EntityStates,
    /// The announcements of each device.
    board: DeviceBoard,
    button: Option<Moment>,
}

/// Why a connection is over.
enum Ending {
    /// The connection was lost; another will be made.
    Lost(MqttError),
    /// The connection is not needed any more.
    Retired,
}

/// What a connection waits for.
enum Incident {
    Publication(Option<Publication>),
    Message(Result<MqttMessage, MqttError>),
    State,
    /// The devices' states have changed, or the broker's list of announced devices has arrived.
    Devices,
    Announcement,
    Retired(bool),
}

impl BrokerLink {
    pub(super) fn new(
        channel: &ChannelConfig,
        broker: &MqttConfig,
        parts: LinkParts,
        states: EntityStates,
    ) -> Self {
        let ca_file = channel.ca_file.clone();
        let (channel, url) = (channel.name.clone(), channel.url.clone());
        let board = DeviceBoard::default();
        Self { channel, url, ca_file, broker: broker.clone(), parts, states, board, button: None }
    }

    /// Keeps the connection until it is retired.
    pub(super) async fn run(
        mut self,
        mut publications: mpsc::Receiver<Publication>,
        mut retired: oneshot::Receiver<bool>,
    ) {
        let appliance = loop {
            match self.parts.store.appliance_id().await {
                Ok(id) => break id,
                Err(error) => {
                    tracing::warn!(channel = self.channel, %error, "failed to read the appliance's id; will retry");
                    tokio::time::sleep(REST).await;
                }
            }
        };
        let topics = MqttTopics::new(&appliance, &self.broker);
        let mut version = self.broker.version.unwrap_or(MqttVersion::V5);
        let mut next = None;
        let mut pause = FIRST_PAUSE;
        let mut is_down = false;
        loop {
            let connecting = self.connect(version, &appliance, &topics);
            let connected = tokio::select! {
                connected = connecting => connected,
                _ = &mut retired => return,
            };
            let error = match connected {
                Ok(session) => {
                    if std::mem::take(&mut is_down) {
                        tracing::info!(channel = self.channel, "connected to the MQTT broker again");
                    }
                    let began = self.parts.clock.now();
                    let ending =
                        self.serve(session, &topics, &mut next, &mut publications, &mut retired).await;
                    // A connection that breaks at once must not be made again without a pause.
                    if self.parts.clock.now().since(began) > LAST_PAUSE {
                        pause = FIRST_PAUSE;
                    }
                    match ending {
                        Ending::Lost(error) => error,
                        Ending::Retired => return,
                    }
                }
                Err(MqttError::WrongVersion(_))
                    if self.broker.version.is_none() && version == MqttVersion::V5 =>
                {
                    version = MqttVersion::V311;
                    continue;
                }
                Err(error) => error,
            };
            if !std::mem::replace(&mut is_down, true) {
                tracing::warn!(channel = self.channel, %error, "no connection to the MQTT broker; will retry");
            }
            // Each sender gets the reason, and its channel tries again.
            while let Some(waiting) = next.take().or_else(|| publications.try_recv().ok()) {
                _ = waiting.answer.send(Err(error.clone()));
            }
            next = tokio::select! {
                publication = publications.recv() => match publication {
                    Some(publication) => Some(publication),
                    None => return,
                },
                _ = &mut retired => return,
                () = tokio::time::sleep(pause) => None,
            };
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn connect(
        &self,
        version: MqttVersion,
        appliance: &str,
        topics: &MqttTopics,
    ) -> Result<MqttSession<MqttStream>, MqttError> {
        let is_encrypted = self.url.has_scheme("mqtts");
        let addresses =
            receiver::find(&*self.parts.resolver, &self.url, PORTS[usize::from(is_encrypted)]).await;
        let addresses = addresses.map_err(MqttError::Unreachable)?;
        let password = secret_file::read("password_file", self.broker.password_file.as_deref());
        let password = password.map_err(MqttError::Unreachable)?;
        let options = MqttOptions {
            version,
            client_id: client_id(appliance, &self.channel),
            user: self.broker.user.clone(),
            password,
            will: Some(MqttWill { topic: topics.availability(), payload: OFFLINE.to_owned() }),
        };
        let server = MqttServer {
            name: self.url.host().to_owned(),
            addresses,
            is_encrypted,
            ca_file: self.ca_file.clone(),
        };
        MqttSession::open(connect_mqtt(&server).await?, &options).await
    }

    /// Uses a connection until it ends.
    async fn serve(
        &mut self,
        mut session: MqttSession<MqttStream>,
        topics: &MqttTopics,
        next: &mut Option<Publication>,
        publications: &mut mpsc::Receiver<Publication>,
        retired: &mut oneshot::Receiver<bool>,
    ) -> Ending {
        if let Err(error) = self.begin(&mut session, topics).await {
            return Ending::Lost(error);
        }
        let is_announced = topics.discovery().is_some();
        let mut settled = pin!(tokio::time::sleep(SETTLE));
        let mut is_settled = false;
        loop {
            let incident = match next.take() {
                Some(publication) => Incident::Publication(Some(publication)),
                // In this order: a retired link has also lost its queue, and a flood from the broker must delay
                // neither.
                None => tokio::select! {
                    biased;
                    is_forgotten = &mut *retired => Incident::Retired(is_forgotten.unwrap_or_default()),
                    publication = publications.recv() => Incident::Publication(publication),
                    Ok(()) = self.states.appliance.changed(), if is_announced => Incident::State,
                    Ok(()) = self.states.devices.changed(), if is_announced && is_settled => Incident::Devices,
                    () = &mut settled, if is_announced && !is_settled => Incident::Devices,
                    () = std::future::ready(()), if self.board.is_due() => Incident::Announcement,
                    message = session.receive() => Incident::Message(message),
                },
            };
            let done = match incident {
                // The sender has given up waiting, and will try again.
                Incident::Publication(Some(Publication { answer, .. })) if answer.is_closed() => Ok(()),
                Incident::Publication(Some(Publication { payload, answer })) => {
                    let published = session.publish(&topics.alerts(), payload.as_bytes(), false).await;
                    _ = answer.send(published.clone());
                    self.note_refusal(published)
                }
                Incident::Message(Ok(message)) => self.handle_message(&mut session, topics, &message).await,
                Incident::Message(Err(error)) => Err(error),
                Incident::State => self.publish_state(&mut session, topics).await,
                Incident::Devices => {
                    is_settled = true;
                    self.plan_devices(&session, topics);
                    Ok(())
                }
                Incident::Announcement => match self.board.pop() {
                    Some(EntityAnnouncement { topic, payload }) => {
                        self.publish_retained(&mut session, &topic, &payload).await
                    }
                    None => Ok(()),
                },
                Incident::Publication(None) => return Ending::Retired,
                Incident::Retired(is_forgotten) => {
                    // If the broker does not accept this, either it has lost the announcements anyway, or the owner
                    // has to remove them.
                    let of_devices = self.board.farewell(topics);
                    _ = timeout(FAREWELL, retire(session, topics, is_forgotten, of_devices)).await;
                    return Ending::Retired;
                }
            };
            if let Err(error) = done {
                return Ending::Lost(error);
            }
        }
    }

    /// Publishes that the appliance is online, and its discovery message for Home Assistant.
    async fn begin(
        &mut self,
        session: &mut MqttSession<MqttStream>,
        topics: &MqttTopics,
    ) -> Result<(), MqttError> {
        self.board.begin();
        if let Some(status) = topics.status() {
            let subscribed = session.subscribe(&[status, topics.scan()], false).await;
            self.note_refusal(subscribed)?;
            let subscribed = session.subscribe(&[topics.device_list()], true).await;
            self.note_refusal(subscribed)?;
            self.announce(session, topics).await?;
        }
        self.publish_retained(session, &topics.availability(), ONLINE).await
    }

    async fn announce(
        &mut self,
        session: &mut MqttSession<MqttStream>,
        topics: &MqttTopics,
    ) -> Result<(), MqttError> {
        let Some(discovery) = topics.discovery() else { return Ok(()) };
        let page = super::page_url(&self.parts.config.borrow());
        self.publish_retained(session, &discovery, &topics.device(&page).to_string()).await?;
        self.publish_state(session, topics).await
    }

    async fn publish_state(
        &mut self,
        session: &mut MqttSession<MqttStream>,
        topics: &MqttTopics,
    ) -> Result<(), MqttError> {
        let state = self.states.appliance.borrow_and_update().as_ref().map(ApplianceState::to_json);
        match state {
            Some(state) => self.publish_retained(session, &topics.state(), &state.to_string()).await,
            None => Ok(()),
        }
    }

    /// Plans the announcements of the devices. If the configuration has no entities for devices, those that an
    /// earlier one announced are removed.
    fn plan_devices(&mut self, session: &MqttSession<MqttStream>, topics: &MqttTopics) {
        // What the broker does not retain could never be removed.
        if !session.retains() {
            return;
        }
        let devices = self.states.devices.borrow_and_update().clone();
        let page = super::page_url(&self.parts.config.borrow());
        match devices {
            _ if !self.broker.has_device_entities => self.board.plan(&[], topics, &page),
            Some(devices) => self.board.plan(&devices, topics, &page),
            // The devices are not read yet.
            None => {}
        }
    }

    /// Publishes a retained message.
    async fn publish_retained(
        &self,
        session: &mut MqttSession<MqttStream>,
        topic: &str,
        payload: &str,
    ) -> Result<(), MqttError> {
        let is_retained = session.retains();
        let published = session.publish(topic, payload.as_bytes(), is_retained).await;
        self.note_refusal(published)
    }

    /// A refusal by the broker is logged and does not end the connection: it may permit alerts but no entities.
    fn note_refusal(&self, outcome: Result<(), MqttError>) -> Result<(), MqttError> {
        match outcome {
            Err(error @ MqttError::NotTaken { .. }) => {
                tracing::warn!(channel = self.channel, %error, "the MQTT broker refused a request");
                Ok(())
            }
            other => other,
        }
    }

    /// Handles a message from the broker: Home Assistant's start, or a request for a scan. Any client of the broker
    /// can send one, so nothing here changes what is expected or stored.
    async fn handle_message(
        &mut self,
        session: &mut MqttSession<MqttStream>,
        topics: &MqttTopics,
        message: &MqttMessage,
    ) -> Result<(), MqttError> {
        let MqttMessage { topic, payload, is_retained } = message;
        if *topic == topics.device_list() && *is_retained {
            self.board.read_list(payload);
            // If the list comes late, the announcements are planned again.
            self.states.devices.mark_changed();
            return Ok(());
        }
        if topics.tells_of_start(topic, payload) {
            self.announce(session, topics).await?;
            self.board.begin();
            self.plan_devices(session, topics);
            return self.publish_retained(session, &topics.availability(), ONLINE).await;
        }
        let now = self.parts.clock.now();
        let is_due = self.button.is_none_or(|pressed| now.since(pressed) >= BUTTON_PAUSE);
        if topics.asks_for_scan(topic, payload, *is_retained) && is_due {
            self.button = Some(now);
            let (runs, channel) = (self.parts.runs.clone(), self.channel.clone());
            // The runner may be slow, and the connection must not wait for it.
            tokio::spawn(async move {
                match runs.start(Order::Scanner(None)).await {
                    Ok(_) => tracing::info!(channel, "scanning, as asked for by MQTT"),
                    Err(error) => tracing::warn!(channel, %error, "failed to start a scan asked for by MQTT"),
                }
            });
        }
        Ok(())
    }
}

/// Removes the announcements, or publishes that the appliance is offline, and disconnects.
async fn retire(
    mut session: MqttSession<MqttStream>,
    topics: &MqttTopics,
    is_forgotten: bool,
    of_devices: Vec<EntityAnnouncement>,
) {
    let of_devices = of_devices.into_iter().map(|removed| removed.topic);
    let retained: Vec<_> = match topics.discovery() {
        _ if !session.retains() => Vec::new(),
        Some(discovery) => of_devices.chain([discovery, topics.state(), topics.availability()]).collect(),
        None => vec![topics.availability()],
    };
    if is_forgotten {
        for topic in retained {
            // An empty payload removes the retained message (5, 3.3.1.3).
            match session.publish(&topic, b"", true).await {
                Ok(()) | Err(MqttError::NotTaken { .. }) => {}
                Err(_) => return,
            }
        }
    } else {
        let is_retained = session.retains();
        _ = session.publish(&topics.availability(), OFFLINE.as_bytes(), is_retained).await;
    }
    session.close().await;
}

/// Returns the client id of a channel, the same for each of its connections: 23 letters and digits, which every
/// broker accepts (3.1.1, 3.1.3.1).
fn client_id(appliance: &str, channel: &str) -> String {
    let digest = Sha256::digest(format!("{appliance}/{channel}"));
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("portscan{}", &hex[..15])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_of_each_appliance_has_an_id_that_every_broker_takes() {
        let ids = [client_id("a1", "ha"), client_id("a1", "log"), client_id("a2", "ha")];
        assert!(
            ids.iter().all(|id| id.len() == 23 && id.chars().all(|c| c.is_ascii_alphanumeric())),
            "{ids:?}"
        );
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[0] == client_id("a1", "ha"));
    }
}

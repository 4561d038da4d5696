//! The connections to MQTT brokers, one for each channel: messages and Home Assistant's entities share it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{
    link::{BrokerLink, LinkParts, Publication},
    state::{EntityStates, EntityTellers, StateParts, entity_states, observe},
};
use crate::{
    config::{ChannelConfig, ChannelKind},
    net::mqtt::MqttError,
};

/// How long a message may take, connecting included: two failed versions, log-in, and the acknowledgement.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a new connection waits for the end of the old one: two with the same client id would end each other.
const SUCCESSION: Duration = Duration::from_secs(30);

/// The most messages that wait for a connection: one of the channel, and tests.
const QUEUE: usize = 8;

/// The handle to the connections; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct BrokerLinks(Arc<Mutex<BTreeMap<String, mpsc::Sender<Publication>>>>);

/// The connections themselves.
pub(super) struct LinkTasks {
    links: BrokerLinks,
    parts: LinkParts,
    states: EntityStates,
    /// The task that keeps the state up to date. It starts with the first broker, so an appliance without one never
    /// wakes up for it.
    idle: Option<(StateParts, EntityTellers)>,
    running: Vec<RunningLink>,
    tasks: JoinSet<()>,
}

struct RunningLink {
    channel: ChannelConfig,
    /// Ends the connection; the value says whether to remove what it has announced.
    retire: oneshot::Sender<bool>,
    /// Closed once the connection has ended.
    ended: oneshot::Receiver<()>,
}

impl BrokerLinks {
    /// Publishes a message of a channel, and waits until the broker has it.
    pub(super) async fn publish(&self, channel: &str, payload: String) -> Result<(), MqttError> {
        let gone = || MqttError::Unreachable("the channel is being set up; try again".to_owned());
        let sender = self.lock().get(channel).cloned().ok_or_else(gone)?;
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            sender.send(Publication { payload, answer }).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        };
        timeout(PATIENCE, exchange).await.unwrap_or(Err(MqttError::TimedOut(PATIENCE)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, mpsc::Sender<Publication>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkTasks {
    /// Makes the handle, without any connection yet. When it is dropped, the connections end without a DISCONNECT, so
    /// that brokers publish the wills.
    pub(super) fn new(links: BrokerLinks, parts: LinkParts, state: StateParts) -> Self {
        let (told, states) = entity_states();
        let idle = Some((state, told));
        Self { links, parts, states, idle, running: Vec::new(), tasks: JoinSet::new() }
    }

    /// Ends the connections of channels that were removed or changed, and begins those of new channels.
    pub(super) fn set(&mut self, channels: &[ChannelConfig]) {
        while self.tasks.try_join_next().is_some() {}
        let (kept, retired): (Vec<_>, Vec<_>) =
            self.running.drain(..).partition(|running| channels.contains(&running.channel));
        self.running = kept;
        let mut predecessors = BTreeMap::new();
        for RunningLink { channel, retire, ended } in retired {
            // If the new connection announces the same entities, removing them would only make them flicker.
            let successor = channels.iter().find(|other| other.name == channel.name);
            let is_forgotten = successor.is_none_or(|other| !announces_the_same(&channel, other));
            // The connection may have ended by itself. If not, it gets this before its queue of messages closes.
            _ = retire.send(is_forgotten);
            self.links.lock().remove(&channel.name);
            predecessors.insert(channel.name, ended);
        }
        for channel in channels {
            let ChannelKind::Mqtt(broker) = &channel.kind else { continue };
            if self.running.iter().any(|running| running.channel == *channel) {
                continue;
            }
            if let Some((state, told)) = self.idle.take() {
                self.tasks.spawn(observe(state, told));
            }
            let (sender, publications) = mpsc::channel(QUEUE);
            let (retire, retired) = oneshot::channel();
            let (ending, ended) = oneshot::channel::<()>();
            let link = BrokerLink::new(channel, broker, self.parts.clone(), self.states.clone());
            let predecessor = predecessors.remove(&channel.name);
            self.tasks.spawn(async move {
                if let Some(predecessor) = predecessor {
                    _ = timeout(SUCCESSION, predecessor).await;
                }
                link.run(publications, retired).await;
                drop(ending);
            });
            self.links.lock().insert(channel.name.clone(), sender);
            self.running.push(RunningLink { channel: channel.clone(), retire, ended });
        }
    }
}

fn announces_the_same(channel: &ChannelConfig, other: &ChannelConfig) -> bool {
    match (&channel.kind, &other.kind) {
        (ChannelKind::Mqtt(a), ChannelKind::Mqtt(b)) => {
            (&channel.url, &a.topic, &a.discovery) == (&other.url, &b.topic, &b.discovery)
        }
        _ => false,
    }
}

//! Home Assistant's entities for each device, where the configuration asks for them. Decides what is published and in
//! which order, so that a forgotten device leaves nothing at the broker.
//!
//! The broker keeps the announcements and a list of them. The list is written before a device is announced and after
//! one is removed, so a later start, or another configuration, finds in it what to remove.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::{Value, json};

use super::home_assistant::MqttTopics;
use crate::model::{DeviceKey, one_line};

/// The most devices with entities: each is a discovery message, which loads Home Assistant.
pub const MOST_DEVICES: usize = 200;

/// The most ids of a list that a broker keeps: twice as many as this version announces.
const MOST_LISTED: usize = 2 * MOST_DEVICES;

/// The most characters of a device's name.
const MOST_NAME: usize = 60;

/// The most ports of a device that are listed: attributes of an entity are for a glance.
const MOST_PORTS: usize = 32;

/// What the entities of a device show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEntities {
    /// The device.
    pub key: DeviceKey,
    /// Its name.
    pub name: String,
    /// Whether it is present; `None`: unknown.
    pub is_present: Option<bool>,
    /// Ports that are open and not expected to be.
    pub unexpected: DeviatingCount,
    /// Ports that are expected to be open and were not found open.
    pub missing: DeviatingCount,
}

/// Ports of a device that differ from what is expected in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviatingCount {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub first: Vec<u16>,
}

/// A retained message to publish; an empty payload removes the retained one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityAnnouncement {
    /// The topic.
    pub topic: String,
    /// The payload to retain.
    pub payload: String,
}

/// Tracks what is announced of the devices, from one connection to the next.
#[derive(Debug, Default)]
pub struct DeviceBoard {
    /// Ids that are announced, by this process or by an earlier one.
    listed: BTreeSet<String>,
    /// Digests of what was published on this connection.
    published: BTreeMap<String, (u64, u64)>,
    /// Messages that are yet to be published, in this order.
    queue: VecDeque<EntityAnnouncement>,
}

impl DeviceEntities {
    /// Returns the device's part of topics and ids: letters and digits only.
    pub fn id(&self) -> String {
        let text = self.key.to_string();
        match self.key {
            DeviceKey::Mac(_) => {
                text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_lowercase()
            }
            // Every address has characters that a topic or an id must not have, and another length.
            DeviceKey::Address(_) => format!("a{:016x}", digest(&text)),
        }
    }

    fn device(&self, topics: &MqttTopics, page: &str) -> Value {
        let id = self.id();
        let unique = |entity: &str| format!("{}_{id}_{entity}", topics.node());
        let state = topics.device_state(&id);
        let ports = |what: &str, name: &str, icon: &str| {
            json!({
                "p": "sensor",
                "name": name,
                "unique_id": unique(what),
                "state_topic": state,
                "value_template": format!("{{{{ value_json.{what} }}}}"),
                "json_attributes_topic": state,
                "json_attributes_template": format!("{{{{ {{'ports': value_json.{what}_ports}} | tojson }}}}"),
                "state_class": "measurement",
                "unit_of_measurement": "ports",
                "icon": icon,
            })
        };
        let presence = json!({
            "p": "binary_sensor",
            "name": "Presence",
            "unique_id": unique("presence"),
            "state_topic": state,
            "value_template": "{{ {true: 'ON', false: 'OFF'}.get(value_json.present, 'None') }}",
            "device_class": "connectivity",
        });
        let mut device = json!({
            "ids": [format!("{}_{id}", topics.node())],
            "name": one_line(&self.name, MOST_NAME),
            "via_device": topics.node(),
            "cu": format!("{page}/#/device/{}", self.key.to_string().replace('%', "%25")),
        });
        if let DeviceKey::Mac(mac) = &self.key {
            device["connections"] = json!([["mac", mac.to_string().to_lowercase()]]);
        }
        json!({
            "dev": device,
            "o": { "name": "portscan", "sw": env!("CARGO_PKG_VERSION"), "url": page },
            "availability_topic": topics.availability(),
            "qos": 1,
            "cmps": {
                "presence": presence,
                "unexpected": ports("unexpected", "Unexpected ports", "mdi:lock-open-alert"),
                "missing": ports("missing", "Missing ports", "mdi:lan-disconnect"),
            },
        })
    }

    fn state(&self) -> Value {
        json!({
            "present": self.is_present,
            "unexpected": self.unexpected.count,
            "missing": self.missing.count,
            "unexpected_ports": self.unexpected.first,
            "missing_ports": self.missing.first,
        })
    }
}

impl DeviatingCount {
    /// Counts another port.
    pub fn add(&mut self, port: u16) {
        self.count += 1;
        if self.first.len() < MOST_PORTS {
            self.first.push(port);
        }
    }
}

impl DeviceBoard {
    /// Notes that a connection or Home Assistant itself has just started: everything is announced again.
    pub fn begin(&mut self) {
        self.published.clear();
        self.queue.clear();
    }

    /// Reads the list that the broker keeps. Any client may have written it, so entries that are not ids are left
    /// out.
    pub fn read_list(&mut self, payload: &[u8]) {
        let ids: Vec<String> = serde_json::from_slice(payload).unwrap_or_default();
        let is_id =
            |id: &String| (1..=20).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric());
        self.listed.extend(ids.into_iter().take(MOST_LISTED).filter(is_id));
    }

    /// Plans the messages that announce the first [`MOST_DEVICES`] of these devices, and no others.
    pub fn plan(&mut self, devices: &[DeviceEntities], topics: &MqttTopics, page: &str) {
        self.queue.clear();
        let wanted: BTreeMap<String, &DeviceEntities> =
            devices.iter().take(MOST_DEVICES).map(|device| (device.id(), device)).collect();
        let kept: BTreeSet<String> = wanted.keys().cloned().collect();
        let gone: Vec<String> = self.listed.difference(&kept).cloned().collect();
        let is_new = kept.iter().any(|id| !self.listed.contains(id));
        self.listed.extend(kept.iter().cloned());
        if is_new {
            self.queue.push_back(list(topics, &self.listed));
        }
        for (id, device) in wanted {
            let Some(topic) = topics.device_discovery(&id) else { continue };
            let (config, state) = (device.device(topics, page).to_string(), device.state().to_string());
            let digests = (digest(&config), digest(&state));
            let known = self.published.insert(id.clone(), digests);
            if known.map(|(config, _)| config) != Some(digests.0) {
                self.queue.push_back(EntityAnnouncement { topic, payload: config });
            }
            if known.map(|(_, state)| state) != Some(digests.1) {
                self.queue.push_back(EntityAnnouncement { topic: topics.device_state(&id), payload: state });
            }
        }
        for id in &gone {
            self.queue.extend(removals(topics, id));
        }
        if !gone.is_empty() {
            self.listed = kept;
            self.published.retain(|id, _| self.listed.contains(id));
            self.queue.push_back(list(topics, &self.listed));
        }
    }

    /// Returns the next message to publish.
    pub fn pop(&mut self) -> Option<EntityAnnouncement> {
        self.queue.pop_front()
    }

    /// Whether a message is yet to be published.
    pub fn is_due(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns the messages that remove everything that is announced.
    pub fn farewell(&mut self, topics: &MqttTopics) -> Vec<EntityAnnouncement> {
        self.queue.clear();
        let listed = std::mem::take(&mut self.listed);
        if listed.is_empty() {
            return Vec::new();
        }
        let removed = listed.iter().flat_map(|id| removals(topics, id));
        removed.chain([list(topics, &BTreeSet::new())]).collect()
    }
}

fn removals(topics: &MqttTopics, id: &str) -> impl Iterator<Item = EntityAnnouncement> + use<> {
    let topics = topics.device_discovery(id).into_iter().chain([topics.device_state(id)]);
    topics.map(|topic| EntityAnnouncement { topic, payload: String::new() })
}

fn list(topics: &MqttTopics, ids: &BTreeSet<String>) -> EntityAnnouncement {
    let payload = if ids.is_empty() { String::new() } else { json!(ids).to_string() };
    EntityAnnouncement { topic: topics.device_list(), payload }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(last: u8) -> DeviceEntities {
        DeviceEntities {
            key: format!("02:00:00:00:00:{last:02X}").parse().unwrap(),
            name: format!("gadget {last}"),
            is_present: Some(true),
            unexpected: DeviatingCount { count: 1, first: vec![23] },
            missing: DeviatingCount::default(),
        }
    }

    /// A broker that keeps what is published, and the announcements under test.
    #[derive(Default)]
    struct Broker(BTreeMap<String, String>);

    impl Broker {
        /// Publishes at most this many messages.
        fn take(&mut self, board: &mut DeviceBoard, most: usize) -> usize {
            let mut count = 0;
            while count < most
                && let Some(EntityAnnouncement { topic, payload }) = board.pop()
            {
                count += 1;
                match payload.as_str() {
                    "" => drop(self.0.remove(&topic)),
                    _ => drop(self.0.insert(topic, payload)),
                }
            }
            count
        }
    }

    const PAGE: &str = "http://portscan.local";

    #[test]
    fn a_device_has_entities_that_name_it_and_follow_its_state() {
        let (topics, mut board, mut broker) =
            (MqttTopics::of_a1(Some("ha")), DeviceBoard::default(), Broker::default());
        board.plan(&[device(7)], &topics, PAGE);
        assert_eq!(broker.take(&mut board, 99), 3, "the list, the device, and its state");
        let config: Value =
            serde_json::from_str(&broker.0["ha/device/portscan_a1_020000000007/config"]).unwrap();
        assert_eq!(config["dev"]["connections"], json!([["mac", "02:00:00:00:00:07"]]));
        assert_eq!(config["dev"]["via_device"], "portscan_a1");
        let state: Value = serde_json::from_str(&broker.0["portscan/a1/devices/020000000007"]).unwrap();
        assert_eq!((&state["present"], &state["unexpected"]), (&json!(true), &json!(1)));
        board.plan(&[device(7)], &topics, PAGE);
        assert!(!board.is_due(), "nothing has changed");
        board.plan(&[DeviceEntities { is_present: Some(false), ..device(7) }], &topics, PAGE);
        assert_eq!(broker.take(&mut board, 99), 1);
        board.begin();
        board.plan(&[device(7)], &topics, PAGE);
        assert_eq!(broker.take(&mut board, 99), 2, "on another connection all is announced anew");
    }

    #[test]
    fn nothing_is_left_of_a_forgotten_device_wherever_the_appliance_is_killed() {
        let topics = MqttTopics::of_a1(Some("ha"));
        for killed_after in 0..12 {
            let (mut board, mut broker) = (DeviceBoard::default(), Broker::default());
            board.plan(&[device(1), device(2)], &topics, PAGE);
            broker.take(&mut board, killed_after);
            // A later start, which reads the broker's list and knows only one device.
            let restart = |broker: &Broker| {
                let mut board = DeviceBoard::default();
                board.read_list(broker.0.get(&topics.device_list()).map_or(b"", |list| list.as_bytes()));
                board
            };
            let mut board = restart(&broker);
            board.plan(&[device(2)], &topics, PAGE);
            broker.take(&mut board, killed_after);
            let mut board = restart(&broker);
            board.plan(&[device(2)], &topics, PAGE);
            broker.take(&mut board, 99);
            assert_eq!(broker.0.len(), 3, "killed after {killed_after}: {:?}", broker.0);
            for EntityAnnouncement { topic, .. } in board.farewell(&topics) {
                broker.0.remove(&topic);
            }
            assert_eq!(broker.0, BTreeMap::new(), "killed after {killed_after}");
        }
    }

    #[test]
    fn a_forged_list_removes_no_foreign_topic_and_the_devices_are_bounded() {
        let (topics, mut board) = (MqttTopics::of_a1(Some("ha")), DeviceBoard::default());
        board.read_list(br##"["../x", "a/b", "+", "#", "", "ok1", 7]"##);
        board.read_list(br##"["../x", "a/b", "+", "#", "", "ok1"]"##);
        assert_eq!(board.listed.iter().collect::<Vec<_>>(), ["ok1"]);
        let many: Vec<_> = (0..=255).map(device).collect();
        board.plan(&many, &topics, PAGE);
        assert_eq!(board.listed.len(), MOST_DEVICES);
    }
}

//! The MQTT messages for Home Assistant: one device with its entities (MQTT discovery, from 2024.11 on), and its
//! state.

use serde_json::{Value, json};

use crate::{
    config::MqttConfig,
    messages::{AlertMessage, shapes},
    model::{AlertKind, one_line},
};

/// The `event_type` of a message that says that something is over.
const RESOLVED: &str = "resolved";

/// The `event_type` of a test.
const TEST: &str = "test";

/// The `event_type` of a summary.
const SUMMARY: &str = "summary";

/// The payload that the button sends, and the only one that is acted on.
const PRESS: &[u8] = b"PRESS";

/// The most sentences about the appliance's trouble, and the most characters of each: attributes of an entity are for a
/// glance.
const MOST_SENTENCES: usize = 10;
const MOST_SENTENCE: usize = 300;

/// The topics of one channel, and the payloads that are published to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttTopics {
    appliance: String,
    prefix: String,
    discovery: Option<String>,
}

/// What Home Assistant's entities show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplianceState {
    /// Open ports that are not expected to be open.
    pub unexpected: u64,
    /// Ports that are expected to be open and were not found open.
    pub missing: u64,
    /// Devices with a complete result.
    pub devices: u32,
    /// Open ports.
    pub open: u64,
    /// When the latest complete scan ended.
    pub last_scan: Option<jiff::Timestamp>,
    /// The appliance's own trouble, one sentence each.
    pub trouble: Vec<String>,
}

impl MqttTopics {
    /// Returns the topics of an appliance on a broker.
    pub fn new(appliance: &str, broker: &MqttConfig) -> Self {
        Self {
            appliance: appliance.to_owned(),
            prefix: broker.topic.clone().unwrap_or_else(|| format!("portscan/{appliance}")),
            discovery: broker.discovery.clone(),
        }
    }

    /// Returns the topic of the alerts.
    pub fn alerts(&self) -> String {
        format!("{}/alerts", self.prefix)
    }

    /// Returns the topic of the availability: `online`, or `offline` by the will; retained.
    pub fn availability(&self) -> String {
        format!("{}/availability", self.prefix)
    }

    /// Returns the topic of the entities' state; retained.
    pub fn state(&self) -> String {
        format!("{}/state", self.prefix)
    }

    /// Returns the topic on which the button requests a scan.
    pub fn scan(&self) -> String {
        format!("{}/scan", self.prefix)
    }

    /// Returns the topic on which Home Assistant reports its start, if the appliance is announced to it.
    pub fn status(&self) -> Option<String> {
        Some(format!("{}/status", self.discovery.as_ref()?))
    }

    /// Returns the topic of the device's discovery message, if it is announced; retained, and an empty payload
    /// removes it.
    pub fn discovery(&self) -> Option<String> {
        Some(format!("{}/device/portscan_{}/config", self.discovery.as_ref()?, self.appliance))
    }

    /// Returns the id of the appliance in ids and topics of Home Assistant.
    pub(super) fn node(&self) -> String {
        format!("portscan_{}", self.appliance)
    }

    /// Returns the topic of a scanned device's discovery message, like [`MqttTopics::discovery`].
    pub(super) fn device_discovery(&self, id: &str) -> Option<String> {
        Some(format!("{}/device/{}_{id}/config", self.discovery.as_ref()?, self.node()))
    }

    /// Returns the topic of that device's state; retained.
    pub(super) fn device_state(&self, id: &str) -> String {
        format!("{}/devices/{id}", self.prefix)
    }

    /// Returns the topic of the list of announced devices; retained, and read only by the appliance.
    pub fn device_list(&self) -> String {
        format!("{}/devices", self.prefix)
    }

    /// Whether a message requests a scan. A retained one is ignored, because it would start a scan at every
    /// connection.
    pub fn asks_for_scan(&self, topic: &str, payload: &[u8], is_retained: bool) -> bool {
        topic == self.scan() && payload == PRESS && !is_retained
    }

    /// Whether a message says that Home Assistant has started.
    pub fn tells_of_start(&self, topic: &str, payload: &[u8]) -> bool {
        self.status().is_some_and(|status| status == topic) && payload == b"online"
    }

    /// The device for Home Assistant.
    pub fn device(&self, page: &str) -> Value {
        let id = |entity: &str| format!("portscan_{}_{entity}", self.appliance);
        let entity = |key: &str, platform: &str, name: &str, more: Value| {
            let mut entity = json!({
                "p": platform,
                "name": name,
                "unique_id": id(key),
            });
            if let (Some(entity), Value::Object(more)) = (entity.as_object_mut(), more) {
                entity.extend(more);
            }
            (key.to_owned(), entity)
        };
        let count = |key: &str, name: &str, unit: &str, icon: &str| {
            let more = json!({
                "state_topic": self.state(),
                "value_template": format!("{{{{ value_json.{key} }}}}"),
                "state_class": "measurement",
                "unit_of_measurement": unit,
                "icon": icon,
            });
            entity(key, "sensor", name, more)
        };
        let last_scan = json!({
            "state_topic": self.state(),
            "value_template": "{{ value_json.last_scan }}",
            "device_class": "timestamp",
        });
        let problem = json!({
            "state_topic": self.state(),
            "value_template": "{{ 'ON' if value_json.trouble else 'OFF' }}",
            "json_attributes_topic": self.state(),
            "json_attributes_template": "{{ {'trouble': value_json.trouble} | tojson }}",
            "device_class": "problem",
            "entity_category": "diagnostic",
        });
        let alert = json!({
            "state_topic": self.alerts(),
            "event_types": event_types(),
            "icon": "mdi:shield-alert",
        });
        let scan = json!({
            "command_topic": self.scan(),
            "payload_press": String::from_utf8_lossy(PRESS),
            "icon": "mdi:radar",
        });
        let entities: serde_json::Map<_, _> = [
            count("unexpected", "Unexpected ports", "ports", "mdi:lock-open-alert"),
            count("missing", "Missing ports", "ports", "mdi:lan-disconnect"),
            count("devices", "Devices", "devices", "mdi:lan"),
            count("open", "Open ports", "ports", "mdi:lock-open-variant"),
            entity("last_scan", "sensor", "Last scan", last_scan),
            entity("problem", "binary_sensor", "Problem", problem),
            entity("alert", "event", "Alert", alert),
            entity("scan", "button", "Scan now", scan),
        ]
        .into_iter()
        .collect();
        json!({
            "dev": {
                "ids": [format!("portscan_{}", self.appliance)],
                "name": "portscan",
                "mf": "portscan",
                "mdl": "Port scanner",
                "sw": env!("CARGO_PKG_VERSION"),
                "cu": page,
            },
            "o": { "name": "portscan", "sw": env!("CARGO_PKG_VERSION"), "url": page },
            "availability_topic": self.availability(),
            "qos": 1,
            "cmps": entities,
        })
    }
}

/// Returns every `event_type` that the event entity may have.
fn event_types() -> Vec<&'static str> {
    AlertKind::ALL.iter().map(|kind| kind.as_str()).chain([RESOLVED, TEST, SUMMARY]).collect()
}

impl ApplianceState {
    /// Formats the payload that the entities read.
    pub fn to_json(&self) -> Value {
        let trouble = self.trouble.iter().take(MOST_SENTENCES).map(|text| one_line(text, MOST_SENTENCE));
        json!({
            "unexpected": self.unexpected,
            "missing": self.missing,
            "devices": self.devices,
            "open": self.open,
            "last_scan": self.last_scan,
            "trouble": trouble.collect::<Vec<_>>(),
        })
    }
}

/// The payload of a message: the generic webhook's body, and the `event_type` that an event entity needs.
pub fn mqtt_payload(message: &AlertMessage) -> String {
    let mut body = shapes::generic(message);
    let about = message.changes.iter().filter(|change| change.resolves.is_none());
    // The most urgent change names it.
    let about = about.max_by_key(|change| change.severity).map(|change| change.about.as_str());
    let kind = match about {
        _ if message.is_resolved => RESOLVED,
        Some(about) => about,
        None if message.is_test() => TEST,
        None if message.is_summary() => SUMMARY,
        None => AlertKind::Appliance.as_str(),
    };
    body["event_type"] = kind.into();
    body.to_string()
}

#[cfg(test)]
impl MqttTopics {
    /// Returns the topics of an appliance `a1`, for tests.
    pub(super) fn of_a1(discovery: Option<&str>) -> Self {
        let broker = MqttConfig {
            user: None,
            password_file: None,
            version: None,
            topic: None,
            discovery: discovery.map(ToOwned::to_owned),
            has_device_entities: true,
        };
        Self::new("a1", &broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Origin;

    #[test]
    fn each_entity_has_an_id_of_its_own_and_a_topic_of_this_appliance() {
        let topics = MqttTopics::of_a1(Some("homeassistant"));
        assert_eq!(topics.discovery().unwrap(), "homeassistant/device/portscan_a1/config");
        let device = topics.device("http://portscan.local");
        let entities = device["cmps"].as_object().unwrap();
        let mut ids: Vec<_> = entities.values().map(|entity| entity["unique_id"].to_string()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((entities.len(), ids.len()), (8, 8));
        for entity in entities.values() {
            let topic = entity.get("state_topic").or(entity.get("command_topic")).unwrap();
            assert!(topic.as_str().unwrap().starts_with("portscan/a1/"), "{entity}");
        }
        assert!(device["o"]["name"].is_string() && device["dev"]["ids"].is_array());
    }

    #[test]
    fn only_a_press_that_is_new_asks_for_a_scan() {
        let topics = MqttTopics::of_a1(Some("ha"));
        assert!(topics.asks_for_scan("portscan/a1/scan", b"PRESS", false));
        for (topic, payload, is_retained) in [
            ("portscan/a1/scan", &b"PRESS"[..], true),
            ("portscan/a1/scan", b"press", false),
            ("portscan/a1/scan", b"", false),
            ("portscan/a1/accept", b"PRESS", false),
        ] {
            assert!(!topics.asks_for_scan(topic, payload, is_retained), "{topic}");
        }
        assert!(topics.tells_of_start("ha/status", b"online"));
        assert!(!topics.tells_of_start("ha/status", b"offline"));
        assert!(!MqttTopics::of_a1(None).tells_of_start("homeassistant/status", b"online"));
    }

    #[test]
    fn every_message_is_of_a_type_that_the_entity_knows() {
        let origin =
            Origin { appliance: "a1".to_owned(), page: "http://portscan.local".to_owned(), site: None };
        let kind = |message: &AlertMessage| {
            let body: Value = serde_json::from_str(&mqtt_payload(message)).unwrap();
            body["event_type"].as_str().unwrap().to_owned()
        };
        let trouble = origin.trouble(1, &["full".to_owned()], crate::model::AlertSeverity::High);
        let over = origin.trouble(2, &[], crate::model::AlertSeverity::High);
        let summary = origin.summary("2026-11-29T08:00", "all as expected", "41 devices", true);
        let kinds = [kind(&origin.test("ha", 1)), kind(&trouble), kind(&over), kind(&summary)];
        assert_eq!(kinds, ["test", "appliance", "resolved", "summary"]);
        assert!(kinds.iter().all(|kind| event_types().contains(&kind.as_str())));
    }
}

//! The keys of a `[[channel]]` of type `mqtt`.

use std::net::IpAddr;

use super::{
    broker::{MqttConfig, MqttVersion},
    channel::ChannelUrl,
    parse,
    table::Section,
};
use crate::model::is_local_name;

/// Where Home Assistant looks for devices, if it was not told otherwise.
const DISCOVERY: &str = "homeassistant";

/// What gets entities in Home Assistant: only the appliance, or also each device.
const ENTITIES: [(&str, bool); 2] = [("appliance", false), ("devices", true)];

/// The longest topic prefix, in bytes: with its suffixes it stays far below the standard's 65,535.
const LONGEST_TOPIC: usize = 200;

/// Reads the keys that other types of channels do not have.
pub(super) fn read(section: &mut Section<'_, '_>, url: Option<&ChannelUrl>) -> MqttConfig {
    let user = section.one("user", parse::label);
    let password_file = section.one("password_file", parse::path);
    let version = section.one("version", |text| parse::word(text, "a version of MQTT", &MqttVersion::ALL));
    let topic = section.one("topic", topic);
    let discovery = section.one("discovery", |text| match text {
        "" => Ok(None),
        text => self::topic(text).map(Some),
    });
    let entities = section.one("entities", |text| parse::word(text, "a choice of entities", &ENTITIES));
    let has_device_entities = entities.unwrap_or_default();
    if has_device_entities && discovery == Some(None) {
        section.fault_of("entities", "`discovery` is empty, so nothing is announced; drop one of both keys");
    }
    if password_file.is_some() && user.is_none() {
        section.fault_of("password_file", "this is a password without a user; write `user`, too");
    }
    if url.is_some_and(ChannelUrl::has_path) {
        section.fault_of("url", "this URL has a path; write what the topics begin with as `topic`");
    }
    let discovery = discovery.unwrap_or_else(|| Some(DISCOVERY.to_owned()));
    MqttConfig { user, password_file, version, topic, discovery, has_device_entities }
}

/// Parses a topic prefix: a topic that a client may publish to (5, 4.7), without levels that brokers or Home
/// Assistant treat specially.
fn topic(text: &str) -> Result<String, String> {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '+' | '#' | '$');
    let is_level = |level: &str| !level.is_empty() && level.chars().all(is_plain);
    if text.len() <= LONGEST_TOPIC && text.split('/').all(is_level) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "this is no topic of at most {LONGEST_TOPIC} bytes without blanks, +, #, $ and empty levels; write it as \
         \"home/portscan\""
    ))
}

/// Whether a password would be sent unencrypted to another machine outside private networks. Names are not looked up:
/// a single label, or a name under a suffix that only home networks use, counts as private.
pub(super) fn shows_password(broker: &MqttConfig, url: &ChannelUrl) -> bool {
    broker.password_file.is_some() && url.has_scheme("mqtt") && !is_private(url.host())
}

fn is_private(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => {
            let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
            is_local_name(host) || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_no_wildcards_and_no_empty_levels() {
        for good in ["portscan", "home/port-scan/1", "haus/prüfer"] {
            assert_eq!(topic(good).as_deref(), Ok(good));
        }
        for bad in ["", "/", "a//b", "/a", "a/", "a/+", "a/#", "$SYS/a", "a b", "a\u{0}", &"x".repeat(201)] {
            assert!(topic(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_in_the_clear_is_for_private_networks() {
        for host in
            ["127.0.0.1", "10.1.2.3", "192.168.1.7", "fd00::1", "fe80::1", "broker", "Ha.local", "h.lan."]
        {
            assert!(is_private(host), "{host}");
        }
        for host in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "broker.example.org", "local"] {
            assert_eq!(is_private(host), host == "local", "{host}");
        }
    }
}

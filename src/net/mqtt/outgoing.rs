//! Writes packets. The caller bounds every text and payload.

use super::options::{MqttOptions, MqttWill};
use crate::config::MqttVersion;

/// The longest packet that is received, in bytes. CONNECT announces it to a broker of version 5, which drops longer
/// ones.
pub(super) const LONGEST: u32 = 16 * 1024;

/// QoS 1: at least once.
const AT_LEAST_ONCE: u8 = 1 << 1;

/// CONNECT (3.1), with a clean session: the outbox repeats what was not acknowledged.
pub(super) fn connect(options: &MqttOptions, keep_alive: u16) -> Vec<u8> {
    const CLEAN: u8 = 1 << 1;
    let is_5 = options.version == MqttVersion::V5;
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.push(if is_5 { 5 } else { 4 });
    let will = options.will.as_ref();
    let will_flags = will.map_or(0, |_| 1 << 2 | 1 << 3 | 1 << 5);
    let user_flag = u8::from(options.user.is_some()) << 7;
    let password_flag = u8::from(options.password.is_some()) << 6;
    body.push(CLEAN | will_flags | user_flag | password_flag);
    body.extend(keep_alive.to_be_bytes());
    if is_5 {
        // Maximum Packet Size, and no topic aliases, which is the default.
        let mut properties = vec![0x27];
        properties.extend(LONGEST.to_be_bytes());
        variable(&mut body, properties.len());
        body.extend(properties);
    }
    text(&mut body, &options.client_id);
    if let Some(MqttWill { topic, payload }) = will {
        if is_5 {
            variable(&mut body, 0);
        }
        text(&mut body, topic);
        binary(&mut body, payload.as_bytes());
    }
    if let Some(user) = &options.user {
        text(&mut body, user);
    }
    if let Some(password) = &options.password {
        binary(&mut body, password.as_bytes());
    }
    packet(0x10, &body)
}

/// PUBLISH (3.3) with QoS 1.
pub(super) fn publish(version: MqttVersion, id: u16, topic: &str, payload: &[u8], retain: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 5);
    text(&mut body, topic);
    body.extend(id.to_be_bytes());
    if version == MqttVersion::V5 {
        variable(&mut body, 0);
    }
    body.extend(payload);
    packet(0x30 | AT_LEAST_ONCE | u8::from(retain), &body)
}

/// SUBSCRIBE (3.8) with QoS 0; version 5 can be asked not to send what is retained.
pub(super) fn subscribe(version: MqttVersion, id: u16, filters: &[String], wants_retained: bool) -> Vec<u8> {
    const NO_RETAINED: u8 = 2 << 4;
    let mut body = Vec::new();
    body.extend(id.to_be_bytes());
    if version == MqttVersion::V5 {
        variable(&mut body, 0);
    }
    for filter in filters {
        text(&mut body, filter);
        body.push(if version == MqttVersion::V5 && !wants_retained { NO_RETAINED } else { 0 });
    }
    packet(0x82, &body)
}

/// PINGREQ (3.12).
pub(super) const PING: [u8; 2] = [0xc0, 0];

/// DISCONNECT (3.14) without a reason: the broker drops the will.
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(body.len() + 5);
    packet.push(first);
    variable(&mut packet, body.len());
    packet.extend(body);
    packet
}

/// A variable byte integer (1.5.5).
fn variable(to: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        to.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return;
        }
    }
}

fn text(to: &mut Vec<u8>, text: &str) {
    binary(to, text.as_bytes());
}

/// Appends two bytes of length and the bytes. Anything longer than 65,535 bytes would be cut, but no caller passes
/// that much.
fn binary(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    to.extend(length.to_be_bytes());
    to.extend(&bytes[..usize::from(length)]);
}

//! Parses packets from the broker, only those that a broker may send to a client that subscribes with QoS 0.

use bytes::{Buf, Bytes};

use super::frames::{Frame, remaining_length};
use crate::config::MqttVersion;

/// A packet from the broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// CONNACK (3.2).
    Connected { code: u8, limits: BrokerLimits, reason: Option<String> },
    /// PUBLISH (3.3).
    Message { topic: String, payload: Bytes, is_retained: bool },
    /// PUBACK (3.4).
    Acknowledged { id: u16, code: u8, reason: Option<String> },
    /// SUBACK (3.9).
    Subscribed { id: u16, codes: Vec<u8> },
    /// PINGRESP (3.13).
    Pong,
    /// DISCONNECT (3.14).
    Disconnected { code: u8, reason: Option<String> },
}

/// What a broker of version 5 accepts (3.2.2.3); a broker of 3.1.1 does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokerLimits {
    /// Whether it accepts QoS 1.
    pub(super) acknowledges: bool,
    /// Whether it keeps retained messages.
    pub(super) retains: bool,
    /// The longest packet.
    pub(super) longest: usize,
    /// The keep-alive that the broker demands, in seconds.
    pub(super) keep_alive: Option<u16>,
}

impl Default for BrokerLimits {
    fn default() -> Self {
        // The greatest length that the format can express (2.1.4).
        Self { acknowledges: true, retains: true, longest: 268_435_455, keep_alive: None }
    }
}

/// Why bytes are not a packet.
type Fault = &'static str;

const SHORT: Fault = "a packet ends early";

/// Reads a packet.
pub(super) fn read(version: MqttVersion, frame: Frame) -> Result<Incoming, Fault> {
    let Frame { first, mut body } = frame;
    let flags = first & 0x0f;
    let is_5 = version == MqttVersion::V5;
    if first >> 4 == 3 {
        return message(is_5, flags, body);
    }
    if flags != 0 {
        return Err("a packet has flags that its type does not have");
    }
    let packet = match first >> 4 {
        2 => connected(is_5, &mut body)?,
        4 => {
            let id = number(&mut body)?;
            let (code, reason) = code_and_reason(is_5, &mut body)?;
            Incoming::Acknowledged { id, code, reason }
        }
        9 => {
            let id = number(&mut body)?;
            if is_5 {
                properties(&mut body)?;
            }
            Incoming::Subscribed { id, codes: std::mem::take(&mut body).to_vec() }
        }
        13 => Incoming::Pong,
        14 if is_5 => {
            let (code, reason) = code_and_reason(is_5, &mut body)?;
            Incoming::Disconnected { code, reason }
        }
        _ => return Err("a packet of a type that a broker does not send here"),
    };
    if body.is_empty() { Ok(packet) } else { Err("a packet is longer than it says") }
}

fn connected(is_5: bool, body: &mut Bytes) -> Result<Incoming, Fault> {
    if byte(body)? & 0xfe != 0 {
        return Err("a CONNACK has reserved flags");
    }
    let code = byte(body)?;
    // A broker that knows only 3.1.1 answers in its own format.
    if !is_5 || (body.is_empty() && code != 0) {
        return Ok(Incoming::Connected { code, limits: BrokerLimits::default(), reason: None });
    }
    let mut limits = BrokerLimits::default();
    let mut reason = None;
    for property in properties(body)? {
        match property {
            Property::Byte(0x24, most) => limits.acknowledges = most >= 1,
            Property::Byte(0x25, has) => limits.retains = has != 0,
            Property::Long(0x27, most) => limits.longest = usize::try_from(most).unwrap_or(limits.longest),
            Property::Short(0x13, seconds) => limits.keep_alive = Some(seconds),
            Property::Text(0x1f, text) => reason = Some(text),
            _ => {}
        }
    }
    Ok(Incoming::Connected { code, limits, reason })
}

fn message(is_5: bool, flags: u8, mut body: Bytes) -> Result<Incoming, Fault> {
    if flags & 0b0110 != 0 {
        return Err("a message has a higher QoS than was asked for");
    }
    let topic = text(&mut body)?;
    if is_5 {
        properties(&mut body)?;
    }
    // A copy with the payload's own length, because the packet's buffer holds more than the packet.
    Ok(Incoming::Message { topic, payload: Bytes::copy_from_slice(&body), is_retained: flags & 1 != 0 })
}

/// Reads the reason code of a PUBACK or DISCONNECT; without one, it is success.
fn code_and_reason(is_5: bool, body: &mut Bytes) -> Result<(u8, Option<String>), Fault> {
    if !is_5 || body.is_empty() {
        return Ok((0, None));
    }
    let code = byte(body)?;
    if body.is_empty() {
        return Ok((code, None));
    }
    let reason = properties(body)?.into_iter().find_map(|property| match property {
        Property::Text(0x1f, text) => Some(text),
        _ => None,
    });
    Ok((code, reason))
}

/// A property of a packet (2.2.2), with its identifier.
#[derive(Debug)]
enum Property {
    Byte(u8, u8),
    Short(u8, u16),
    Long(u8, u32),
    Text(u8, String),
    Other,
}

fn properties(body: &mut Bytes) -> Result<Vec<Property>, Fault> {
    let (length, digits) = remaining_length(body)?.ok_or(SHORT)?;
    body.advance(digits);
    if length > body.len() {
        return Err(SHORT);
    }
    let mut all = body.split_to(length);
    let mut properties = Vec::new();
    while !all.is_empty() {
        let property = match byte(&mut all)? {
            id @ (0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a) => {
                Property::Byte(id, byte(&mut all)?)
            }
            id @ (0x13 | 0x21 | 0x22 | 0x23) => Property::Short(id, number(&mut all)?),
            id @ (0x02 | 0x11 | 0x18 | 0x27) => Property::Long(id, all.try_get_u32().map_err(|_| SHORT)?),
            id @ (0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f) => Property::Text(id, text(&mut all)?),
            0x09 | 0x16 => {
                binary(&mut all)?;
                Property::Other
            }
            0x0b => {
                let (_, digits) = remaining_length(&all)?.ok_or(SHORT)?;
                all.advance(digits);
                Property::Other
            }
            0x26 => {
                text(&mut all)?;
                text(&mut all)?;
                Property::Other
            }
            _ => return Err("a packet has an unknown property"),
        };
        properties.push(property);
    }
    Ok(properties)
}

fn byte(body: &mut Bytes) -> Result<u8, Fault> {
    body.try_get_u8().map_err(|_| SHORT)
}

fn number(body: &mut Bytes) -> Result<u16, Fault> {
    body.try_get_u16().map_err(|_| SHORT)
}

fn binary(body: &mut Bytes) -> Result<Bytes, Fault> {
    let length = usize::from(number(body)?);
    if length > body.len() { Err(SHORT) } else { Ok(body.split_to(length)) }
}

fn text(body: &mut Bytes) -> Result<String, Fault> {
    let bytes = binary(body)?;
    std::str::from_utf8(&bytes).map(ToOwned::to_owned).map_err(|_| "a text is not UTF-8")
}

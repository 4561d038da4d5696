//! A connection to a broker.

use std::{collections::VecDeque, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use super::{
    frames::Frames,
    incoming::{BrokerLimits, Incoming, read},
    options::MqttOptions,
    outgoing::{self, DISCONNECT, PING},
};
use crate::{config::MqttVersion, model::one_line};

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The requested keep-alive, in seconds. Two pings in that time keep the connection open in any router. A broker
/// publishes the will after one and a half times this long without a packet.
const KEEP_ALIVE: u16 = 60;

/// The most packets and bytes that a broker may send between two pings: a hostile client of the broker must not use
/// up the processor.
const FLOOD: (usize, usize) = (3000, 1 << 20);

/// The most messages that wait to be taken; further ones are dropped.
const INBOX: usize = 16;

/// How many bytes are read at once.
const PIECE: usize = 4096;

/// The most characters of a reason that a broker gives.
const MOST_REASON: usize = 200;

/// A message from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttMessage {
    /// Where it was published.
    pub topic: String,
    /// What it says.
    pub payload: Bytes,
    /// Whether it was retained.
    pub is_retained: bool,
}

/// Why something failed. No text holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MqttError {
    /// No connection, or it ended.
    #[error("{0}")]
    Unreachable(String),
    /// The broker did not answer in time.
    #[error("the broker did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The broker does not speak this version of the protocol.
    #[error("the broker does not speak MQTT {0}; write another `version`, or none")]
    WrongVersion(&'static str),
    /// The broker refuses the connection.
    #[error("the broker refuses the connection: {0}")]
    NotConnected(String),
    /// The broker does not take the message.
    #[error("the broker does not take the message: {text}")]
    NotTaken {
        /// The reason code (5, 2.4).
        code: u8,
        /// Why.
        text: String,
    },
    /// The broker breaks the protocol.
    #[error("the broker breaks the protocol: {0}; the connection is closed")]
    Malformed(&'static str),
    /// The broker ends the connection.
    #[error("the broker closes the connection: {0}")]
    Disconnected(String),
}

impl MqttError {
    /// Whether the broker would refuse this message again but accept others: it refuses the topic, the content or the
    /// length. Reasons about the account, quotas or the broker itself apply to every message.
    pub fn judges_the_message(&self) -> bool {
        matches!(self, Self::NotTaken { code: 0x90 | 0x95 | 0x99, .. })
    }
}

/// A session; what is published in it is acknowledged before the next message is sent.
pub struct MqttSession<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    version: MqttVersion,
    limits: BrokerLimits,
    frames: Frames,
    /// Bytes to be written, and whether some were that may not have been flushed.
    outgoing: BytesMut,
    is_unflushed: bool,
    ticks: Interval,
    is_ping_unanswered: bool,
    /// Packets and bytes since the latest ping.
    received: (usize, usize),
    inbox: VecDeque<MqttMessage>,
    latest_id: u16,
}

impl<S: AsyncRead + AsyncWrite> MqttSession<S> {
    /// Logs in over a stream.
    ///
    /// # Errors
    /// Fails if the broker refuses that, or does not answer within 15 s.
    pub async fn open(stream: S, options: &MqttOptions) -> Result<Self, MqttError> {
        let (reader, writer) = split(stream);
        let mut session = Self {
            reader,
            writer,
            version: options.version,
            limits: BrokerLimits::default(),
            frames: Frames::default(),
            outgoing: BytesMut::from(&outgoing::connect(options, KEEP_ALIVE)[..]),
            is_unflushed: false,
            ticks: ticks(KEEP_ALIVE),
            // Until the broker has answered, there is no ping.
            is_ping_unanswered: false,
            received: (0, 0),
            inbox: VecDeque::new(),
            latest_id: 0,
        };
        // The first tick of an interval is at once.
        session.ticks.tick().await;
        match in_time(session.packet()).await? {
            Incoming::Connected { code: 0, limits, .. } if !limits.acknowledges => {
                Err(MqttError::NotConnected("it offers no QoS 1, so it acknowledges no message".to_owned()))
            }
            Incoming::Connected { code: 0, limits, .. } => {
                if let Some(seconds) = limits.keep_alive.filter(|&seconds| (1..KEEP_ALIVE).contains(&seconds))
                {
                    session.ticks = ticks(seconds);
                    session.ticks.tick().await;
                }
                session.limits = limits;
                Ok(session)
            }
            Incoming::Connected { code, reason, .. } => Err(refusal(options.version, code, reason)),
            _ => Err(MqttError::Malformed("its first packet is no CONNACK")),
        }
    }

    /// Whether the broker keeps retained messages.
    pub fn retains(&self) -> bool {
        self.limits.retains
    }

    /// Subscribes to topics, with QoS 0. Only version 5 can leave out retained messages: an older broker always sends
    /// them.
    ///
    /// # Errors
    /// Fails if the broker refuses one of them, or does not answer within 15 s.
    pub async fn subscribe(&mut self, filters: &[String], wants_retained: bool) -> Result<(), MqttError> {
        let id = self.next_id();
        let packet = outgoing::subscribe(self.version, id, filters, wants_retained);
        self.outgoing.extend_from_slice(&packet);
        in_time(async {
            loop {
                match self.packet().await? {
                    Incoming::Subscribed { id: of, codes } if of == id && codes.len() == filters.len() => {
                        return match codes.iter().find(|code| **code >= 0x80) {
                            Some(&code) => Err(MqttError::NotTaken { code, text: told(code, None) }),
                            None => Ok(()),
                        };
                    }
                    other => self.keep_message(other)?,
                }
            }
        })
        .await
    }

    /// Publishes a message with QoS 1, and waits for its acknowledgement.
    ///
    /// # Errors
    /// Fails if the broker does not take it, or does not acknowledge it within 15 s; after any error but
    /// [`MqttError::NotTaken`] the session is over, and the message may or may not have been taken.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<(), MqttError> {
        let id = self.next_id();
        let packet = outgoing::publish(self.version, id, topic, payload, retain);
        if packet.len() > self.limits.longest {
            let text = format!("it has {} bytes, and the broker takes {}", packet.len(), self.limits.longest);
            return Err(MqttError::NotTaken { code: 0x95, text });
        }
        self.outgoing.extend_from_slice(&packet);
        in_time(async {
            loop {
                match self.packet().await? {
                    Incoming::Acknowledged { id: of, code, reason } if of == id => {
                        return match code {
                            0..0x80 => Ok(()),
                            code => Err(MqttError::NotTaken { code, text: told(code, reason) }),
                        };
                    }
                    other => self.keep_message(other)?,
                }
            }
        })
        .await
    }

    /// Waits for a message of a subscription, and keeps the connection alive in the meantime. Cancel-safe.
    ///
    /// # Errors
    /// Fails once the session is over.
    pub async fn receive(&mut self) -> Result<MqttMessage, MqttError> {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return Ok(message);
            }
            let packet = self.packet().await?;
            self.keep_message(packet)?;
        }
    }

    /// Disconnects: the broker drops the will.
    pub async fn close(mut self) {
        self.outgoing.extend_from_slice(&DISCONNECT);
        let farewell = async {
            while !self.outgoing.is_empty() || self.is_unflushed {
                write_some(&mut self.writer, &mut self.outgoing, &mut self.is_unflushed).await?;
            }
            self.writer.shutdown().await
        };
        // The connection ends whether this arrives or not.
        _ = timeout(PATIENCE, farewell).await;
    }

    /// Returns how many received bytes are buffered.
    #[cfg(test)]
    pub(super) fn frames_len(&self) -> usize {
        self.frames.buffer.len()
    }

    fn next_id(&mut self) -> u16 {
        // 0 is not a valid identifier (2.2.1).
        self.latest_id = self.latest_id.checked_add(1).unwrap_or(1);
        self.latest_id
    }

    fn keep_message(&mut self, packet: Incoming) -> Result<(), MqttError> {
        match packet {
            Incoming::Message { topic, payload, is_retained } => {
                if self.inbox.len() < INBOX {
                    self.inbox.push_back(MqttMessage { topic, payload, is_retained });
                }
                Ok(())
            }
            _ => Err(MqttError::Malformed("it answers what it was not asked")),
        }
    }

    /// Reads the next packet that is not about the connection itself. Cancel-safe.
    async fn packet(&mut self) -> Result<Incoming, MqttError> {
        loop {
            while let Some(frame) = self.frames.next().map_err(MqttError::Malformed)? {
                self.received.0 += 1;
                self.check_flood()?;
                match read(self.version, frame).map_err(MqttError::Malformed)? {
                    Incoming::Pong => self.is_ping_unanswered = false,
                    Incoming::Disconnected { code, reason } => {
                        return Err(MqttError::Disconnected(told(code, reason)));
                    }
                    packet => return Ok(packet),
                }
            }
            self.frames.buffer.reserve(PIECE);
            let mut piece = (&mut self.frames.buffer).limit_to(PIECE);
            tokio::select! {
                read = self.reader.read_buf(&mut piece) => match read {
                    Ok(0) => return Err(MqttError::Unreachable("the broker has closed the connection".to_owned())),
                    Ok(count) => {
                        self.received.1 += count;
                        self.check_flood()?;
                    }
                    Err(error) => return Err(broken(&error)),
                },
                written = write_some(&mut self.writer, &mut self.outgoing, &mut self.is_unflushed),
                    if self.is_unflushed || !self.outgoing.is_empty() =>
                {
                    written.map_err(|error| broken(&error))?;
                }
                _ = self.ticks.tick() => {
                    if self.is_ping_unanswered {
                        return Err(MqttError::Unreachable("the broker does not answer a ping".to_owned()));
                    }
                    self.is_ping_unanswered = true;
                    self.received = (0, 0);
                    self.outgoing.extend_from_slice(&PING);
                }
            }
        }
    }

    fn check_flood(&self) -> Result<(), MqttError> {
        let (packets, bytes) = self.received;
        let is_flood = packets > FLOOD.0 || bytes > FLOOD.1;
        if is_flood { Err(MqttError::Malformed("it sends far more than was requested")) } else { Ok(()) }
    }
}

/// Limits how much one read appends.
trait LimitTo: Sized {
    fn limit_to(self, most: usize) -> bytes::buf::Limit<Self>;
}

impl LimitTo for &mut BytesMut {
    fn limit_to(self, most: usize) -> bytes::buf::Limit<Self> {
        bytes::BufMut::limit(self, most)
    }
}

/// Returns the interval between pings, so that the broker receives one within the keep-alive.
fn ticks(seconds: u16) -> Interval {
    let mut ticks = interval(Duration::from_millis(u64::from(seconds.max(1)) * 500));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn in_time<T>(answer: impl Future<Output = Result<T, MqttError>>) -> Result<T, MqttError> {
    timeout(PATIENCE, answer).await.unwrap_or(Err(MqttError::TimedOut(PATIENCE)))
}

async fn write_some<W: AsyncWrite + Unpin>(
    writer: &mut W,
    outgoing: &mut BytesMut,
    is_unflushed: &mut bool,
) -> std::io::Result<()> {
    if outgoing.has_remaining() {
        *is_unflushed = true;
        return match writer.write_buf(outgoing).await? {
            0 => Err(std::io::ErrorKind::WriteZero.into()),
            _ => Ok(()),
        };
    }
    writer.flush().await?;
    *is_unflushed = false;
    Ok(())
}

fn broken(error: &std::io::Error) -> MqttError {
    MqttError::Unreachable(format!("the connection broke: {}", one_line(&error.to_string(), MOST_REASON)))
}

fn refusal(version: MqttVersion, code: u8, reason: Option<String>) -> MqttError {
    // 3.1.1 counts its own reasons (3.1.1, 3.2.2.3), which a broker that knows it alone sends to version 5, too.
    let code = match code {
        1 => 0x84,
        2 => 0x85,
        3 => 0x88,
        4 => 0x86,
        5 => 0x87,
        code => code,
    };
    match code {
        0x84 => MqttError::WrongVersion(version.as_str()),
        code => MqttError::NotConnected(told(code, reason)),
    }
}

/// Formats a reason code (2.4), and the broker's own words, if it sends any.
fn told(code: u8, reason: Option<String>) -> String {
    let text = match code {
        0x00 => "it ends",
        0x80 => "without a reason",
        0x82 => "it considers a packet malformed",
        0x85 => "the client's id is not valid",
        0x86 => "bad user name or password; mend `user` and `password_file`",
        0x87 => "not authorised; mend `user` and `password_file`, or the broker's access rules",
        0x88 => "it is not available",
        0x89 => "it is busy",
        0x8a => "this client is banned",
        0x8b => "it shuts down",
        0x8d => "it heard no ping",
        0x8e => "another client has the same id",
        0x8f | 0x90 => "the topic is not valid there",
        0x95 => "the packet is too large",
        0x96 | 0x97 | 0x9f => "a quota is used up",
        0x99 => "it does not accept this content",
        0x9a => "it keeps no retained messages",
        _ => "",
    };
    let code = format!("code 0x{code:02x}");
    let reason = reason.map(|reason| one_line(&reason, MOST_REASON)).filter(|reason| !reason.is_empty());
    match (text, reason) {
        ("", None) => code,
        ("", Some(reason)) => format!("{reason} ({code})"),
        (text, None) => text.to_owned(),
        (text, Some(reason)) => format!("{text} ({reason})"),
    }
}

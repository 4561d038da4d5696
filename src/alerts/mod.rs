//! Layer 1: which message an alert channel sends next, and in which form. Decisions without I/O.
//!
//! Change events have ascending ids, so a [`ChannelOutbox`] holds no copies of them. It holds a position in their
//! order, the extent of the message that is being delivered, and the number of its failed attempts. It takes `now`
//! and returns what to do; `service::alerts` does it.
//!
//! | File | Does |
//! |---|---|
//! | `outbox.rs` | when which events are sent: grouping, retries, quiet hours |
//! | `trouble.rs` | the same for the appliance's own trouble, which is a state, not an event |
//! | `summary.rs` | when a summary is due, and that each is sent once |
//! | `payload.rs` | the request that carries a message over HTTP |
//! | `home_assistant.rs` | the payload and the topics of MQTT, and the messages for Home Assistant |
//! | `device_entities.rs` | the entities of each device in Home Assistant, and their removal |
//! | `line.rs` | the line that carries it to a syslog server |
//! | `mail.rs` | the mail that carries it |

mod device_entities;
mod home_assistant;
mod line;
mod mail;
mod outbox;
mod payload;
#[cfg(test)]
mod simulation;
mod summary;
mod trouble;

pub use self::{
    device_entities::{DeviatingCount, DeviceBoard, DeviceEntities, EntityAnnouncement, MOST_DEVICES},
    home_assistant::{ApplianceState, MqttTopics, mqtt_payload},
    line::syslog_line,
    mail::{Mail, mail},
    outbox::{ChannelOutbox, NextMessage, OutboxStep, Pace, SavedOutbox},
    payload::{HttpPayload, payload},
    summary::{SavedSummary, SummaryStep, SummaryWatch, WaitingSummary},
    trouble::{SavedTrouble, TroubleStep, TroubleWatch},
};

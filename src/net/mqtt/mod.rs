//! An MQTT client with only what a sender of alerts needs of MQTT 5 and 3.1.1 (OASIS, 2019 and 2014).
//!
//! It publishes with QoS 1, one message at a time, so their order is kept; it subscribes with QoS 0; every connection
//! begins a new session. Everything that a broker sends is hostile: the size of packets is checked before they are
//! kept, their rate is bounded, and what the standard does not allow ends the connection.
//!
//! No library: the release build aborts on a panic, and `mqtt-protocol-core` unwraps while it parses received
//! packets, and brings a dozen crates; `rumqttc` pins a certificate verifier with known vulnerabilities. These files
//! are the client's half of the standard.
//!
//! | File | Does |
//! |---|---|
//! | `options.rs` | how to log in |
//! | `outgoing.rs` | writes packets |
//! | `frames.rs` | splits what arrives into packets, within bounds |
//! | `incoming.rs` | reads a packet |
//! | `session.rs` | a connection: CONNECT, acknowledgements, keep-alive, time limits |
//! | `tls.rs` | the stream below it |

mod frames;
mod incoming;
mod options;
mod outgoing;
mod session;
#[cfg(test)]
mod tests;
mod tls;

pub use self::{
    options::{MqttOptions, MqttWill},
    session::{MqttError, MqttMessage, MqttSession},
    tls::{MqttServer, MqttStream, connect_mqtt},
};

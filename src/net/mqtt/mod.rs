//! An MQTT client: what a sender of alerts needs of MQTT 5 and 3.1.1 (OASIS, 2019 and 2014), and no more.
//!
//! It publishes with QoS 1, one message at a time, so their order is kept; it subscribes with QoS 0; every connection
//! begins a new session. Everything a broker sends is hostile: packets are bounded before they are kept, so is their
//! rate, and what the standard does not allow ends the connection.
//!
//! Written here because the release aborts on a panic: `mqtt-protocol-core` unwraps on its way through received packets,
//! and brings a dozen crates; `rumqttc` pins a certificate verifier with known vulnerabilities. A client's half of the
//! standard is these files.
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

//! How to log in to a broker.

use crate::config::MqttVersion;

/// How to log in.
#[derive(Clone)]
pub struct MqttOptions {
    /// The version of the protocol.
    pub version: MqttVersion,
    /// The client id, unique among the connections that exist at a time: of two with the same id, a broker closes the
    /// older one.
    pub client_id: String,
    /// The user that logs in.
    pub user: Option<String>,
    /// The password; only version 5 allows one without a user.
    pub password: Option<String>,
    /// The will, which the broker publishes and retains when the connection ends without a DISCONNECT.
    pub will: Option<MqttWill>,
}

/// A will: a message that the broker publishes when its sender is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttWill {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: String,
}

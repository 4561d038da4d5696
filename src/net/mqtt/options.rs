//! How to log in to a broker.

use crate::config::MqttVersion;

/// How to log in.
#[derive(Clone)]
pub struct MqttOptions {
    /// Which protocol is spoken.
    pub version: MqttVersion,
    /// Its own for each connection that exists at a time: a broker closes the older of two with the same.
    pub client_id: String,
    /// The user that logs in.
    pub user: Option<String>,
    /// With which password; without a user only version 5 allows one.
    pub password: Option<String>,
    /// What the broker publishes, retained, when the connection ends without a farewell.
    pub will: Option<MqttWill>,
}

/// A message that is published when its sender is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttWill {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: String,
}

//! The configuration of an MQTT broker.

use std::path::PathBuf;

/// The settings for an MQTT broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttConfig {
    /// The user that logs in.
    pub user: Option<String>,
    /// A file that holds the password.
    pub password_file: Option<PathBuf>,
    /// The only version of the protocol to use; `None`: 5, or 3.1.1 if the broker refuses 5.
    pub version: Option<MqttVersion>,
    /// What the topics begin with; `None`: `portscan/` and the appliance's id.
    pub topic: Option<String>,
    /// Home Assistant's discovery prefix; `None`: nothing is announced.
    pub discovery: Option<String>,
    /// Whether each device is announced to Home Assistant, too, not only the appliance.
    pub has_device_entities: bool,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// 5 (OASIS, 2019).
    V5,
    /// 3.1.1 (OASIS, 2014).
    V311,
}

impl MqttVersion {
    /// All versions, by their names in the file.
    pub const ALL: [(&'static str, Self); 2] = [("5", Self::V5), ("3.1.1", Self::V311)];

    /// Its name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V5 => "5",
            Self::V311 => "3.1.1",
        }
    }
}

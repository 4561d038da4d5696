//! What a port or a device was identified as, and by which evidence.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DeviceType, state::words};

/// How much identification may send to a device, from the least to the most; each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentifyLevel {
    /// Nothing is identified.
    Off,
    /// Nothing is sent to a port: devices announce what they are (DNS-SD), and describe themselves when asked (UPnP).
    Announced,
    /// Connects, and reads what a service sends unasked; not a byte is written.
    #[default]
    Greetings,
    /// Also sends a TLS hello, an SSH hello or `GET /` to services known for it.
    Requests,
}

/// How something was learned, from the least to the most certain: any device of the network can forge an announcement
/// of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentifyMethod {
    /// DNS-based service discovery (RFC 6763): service type, SRV and TXT.
    DnsSd,
    /// The UPnP description of the device (UPnP Device Architecture 2.0, 2.3).
    Upnp,
    /// What the service sends unasked.
    Greeting,
    /// The server's part of a TLS handshake.
    Tls,
    /// The server's part of an SSH key exchange.
    SshKey,
    /// The answer to `GET /`.
    Http,
}

/// The evidence of an identification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How it was learned.
    pub method: IdentifyMethod,
    /// What was received, on one line, without unseen characters, at most [`EVIDENCE_MAX`] characters.
    pub text: String,
    /// When.
    pub time: Timestamp,
}

/// The longest text of an evidence, in characters.
pub const EVIDENCE_MAX: usize = 300;

/// What a service says of itself and its device by one method; `None` for what it does not say. All texts are on one
/// line, without unseen characters, and short; all are claims of a stranger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortIdentification {
    /// The protocol that is spoken, by nmap's and IANA's short names where they have one: `ssh`, `http`, `mqtt`.
    pub service: Option<String>,
    /// Whether it is spoken inside TLS.
    pub tls: bool,
    /// The software's maker: "Oracle".
    pub vendor: Option<String>,
    /// The software: "MySQL".
    pub product: Option<String>,
    /// The software's version as it claims. Distributions mend faults without a change of it.
    pub version: Option<String>,
    /// The title of its page.
    pub title: Option<String>,
    /// The certificate that it shows.
    pub certificate: Option<Certificate>,
    /// The fingerprint of its SSH host key, as `ssh-keygen -l` prints it: `SHA256:` and 43 characters of base64.
    pub host_key: Option<String>,
    /// The device that it runs on, as it says.
    pub device: DeviceIdentification,
    /// The evidence for all of this.
    pub evidence: Evidence,
}

/// What a device is, as far as something says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceIdentification {
    /// The kind of device.
    pub device_type: Option<DeviceType>,
    /// Its maker: "Synology".
    pub maker: Option<String>,
    /// Its model: "DS218".
    pub model: Option<String>,
}

/// An X.509 certificate (RFC 5280), as far as an owner needs it. Its signature is not verified: most devices sign their
/// own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// As RFC 4514 writes it: `CN=nas,O=Synology Inc.`.
    pub subject: String,
    /// The names and addresses that it is for, at most 16.
    pub sans: Vec<String>,
    /// Written as the subject.
    pub issuer: String,
    /// The end of its validity.
    pub not_after: Timestamp,
    /// Whether subject and issuer are the same.
    pub self_signed: bool,
    /// The kind and size of its key: `RSA 2048`, `EC P-256`, `Ed25519`; empty if unknown.
    pub key: String,
    /// The algorithm of its signature: `SHA256-RSA`, `ECDSA-SHA256`; empty if unknown.
    pub signature: String,
    /// SHA-256 of all of it, 64 hexadecimal digits.
    pub fingerprint: String,
}

words!(
    IdentifyLevel,
    "off, announced, greetings, requests",
    Off = "off",
    Announced = "announced",
    Greetings = "greetings",
    Requests = "requests",
);
words!(
    IdentifyMethod,
    "dns-sd, upnp, greeting, tls, ssh-key, http",
    DnsSd = "dns-sd",
    Upnp = "upnp",
    Greeting = "greeting",
    Tls = "tls",
    SshKey = "ssh-key",
    Http = "http",
);

impl IdentifyMethod {
    /// Whether it is proof, because the service has spoken its protocol. Otherwise another device may have forged it.
    pub const fn is_proof(self) -> bool {
        match self {
            Self::DnsSd | Self::Upnp => false,
            Self::Greeting | Self::Tls | Self::SshKey | Self::Http => true,
        }
    }

    /// How certain it is, from 0 to 10, as nmap's `conf` says it.
    pub const fn confidence(self) -> u8 {
        if self.is_proof() { 10 } else { 7 }
    }
}

impl PortIdentification {
    /// Says nothing but this evidence.
    pub fn unnamed(evidence: Evidence) -> Self {
        Self {
            service: None,
            tls: false,
            vendor: None,
            product: None,
            version: None,
            title: None,
            certificate: None,
            host_key: None,
            device: DeviceIdentification::default(),
            evidence,
        }
    }
}

impl DeviceIdentification {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

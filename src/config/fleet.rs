//! The keys of `[fleet]`, the hub that this appliance sends its data to, and of `[worker]`, the hub for which this machine
//! scans.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use super::{parse, table::Section};
use crate::fleet::{
    SiteName, WorkerName,
    work::{Pool, PoolError},
};

/// In a directory of credentials, the certificate of the fleet's authority.
pub const AUTHORITY_FILE: &str = "ca.crt";

/// Where a member of a fleet has its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialFiles {
    /// The directory if the file does not say it.
    pub default_dir: &'static str,
    /// In the directory, the member's certificate.
    pub certificate: &'static str,
    /// In the directory, the certificate's key.
    pub key: &'static str,
}

/// A site's.
pub const SITE_CREDENTIALS: CredentialFiles =
    CredentialFiles { default_dir: "/etc/portscan/fleet", certificate: "site.crt", key: "site.key" };

/// A worker's.
pub const WORKER_CREDENTIALS: CredentialFiles =
    CredentialFiles { default_dir: "/etc/portscan/worker", certificate: "worker.crt", key: "worker.key" };

/// The port of a hub's broker: the one that IANA has registered for NATS.
pub const HUB_PORT: u16 = 4222;

/// How to write the hub.
const EXAMPLE: &str = "\"tls://hub.example:4222\"";

/// An appliance's place in a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetConfig {
    /// What this appliance is called in the fleet.
    pub site: SiteName,
    /// The hub.
    pub access: HubAccess,
}

/// A machine that scans for a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// What this worker is called in the fleet.
    pub name: WorkerName,
    /// The hub.
    pub access: HubAccess,
    /// The networks that it reaches; empty: this machine's own.
    pub networks: Vec<Pool>,
}

/// How a member of a fleet reaches its hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubAccess {
    /// Where the hub's broker is.
    pub hub: HubUrl,
    /// The directory with the fleet's authority, and this member's certificate and key.
    pub credentials_dir: PathBuf,
    files: CredentialFiles,
}

/// Where a hub's broker is. It is reached by TLS alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubUrl {
    host: String,
    port: u16,
}

impl HubAccess {
    /// The certificate of the fleet's authority, which has signed the hub's.
    pub fn authority_file(&self) -> PathBuf {
        self.credentials_dir.join(AUTHORITY_FILE)
    }

    /// This member's certificate.
    pub fn certificate_file(&self) -> PathBuf {
        self.credentials_dir.join(self.files.certificate)
    }

    /// The certificate's key.
    pub fn key_file(&self) -> PathBuf {
        self.credentials_dir.join(self.files.key)
    }
}

impl HubUrl {
    /// A name in the form in which it is looked up, or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "tls://[{}]:{}", self.host, self.port),
            false => write!(f, "tls://{}:{}", self.host, self.port),
        }
    }
}

/// What stands between the scheme and the end is a host and a port alone: the site's certificate says which site it is.
impl FromStr for HubUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = |why: &str| format!("{why}; write it as {EXAMPLE}");
        let rest = match text.split_once("://") {
            Some(("tls", rest)) => rest.strip_suffix('/').unwrap_or(rest),
            Some(("nats", _)) => return Err(fault("a hub is reached by TLS alone, which its broker speaks")),
            _ => return Err(fault("this URL does not start with tls://")),
        };
        if rest.contains('@') {
            return Err(fault("this URL has a user, and the certificate says which site this is"));
        }
        if rest.contains(['/', '?', '#']) {
            return Err(fault("this URL has a path, and a broker has none"));
        }
        let (host, port) =
            split_port(rest).ok_or_else(|| fault("this URL's port is not a number from 1 to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare.unwrap_or(host).parse::<IpAddr>() {
            Ok(ip) => ip.to_string(),
            Err(_) if host.is_empty() => return Err(fault("this URL names no host")),
            Err(_) => parse::host_name(host)?,
        };
        Ok(Self { host, port })
    }
}

/// Reads the section. A part of it is no fleet: there is no default for a name or a hub.
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<FleetConfig> {
    let site = section.required("site", "\"house-3\"", str::parse::<SiteName>);
    let access = access(section, SITE_CREDENTIALS);
    Some(FleetConfig { site: site?, access: access? })
}

/// Reads `[worker]`.
pub(super) fn read_worker(section: &mut Section<'_, '_>) -> Option<WorkerConfig> {
    let name = section.required("name", "\"worker-1\"", str::parse::<WorkerName>);
    let access = access(section, WORKER_CREDENTIALS);
    let networks = section.list("networks", network).unwrap_or_default();
    Some(WorkerConfig { name: name?, access: access?, networks })
}

/// A network with hosts that mean the same at each machine.
fn network(text: &str) -> Result<Pool, String> {
    let pool: Pool = text.parse().map_err(|error: PoolError| error.to_string())?;
    let first = pool.net().network();
    let is_local = matches!(first, IpAddr::V6(ip) if ip.is_unicast_link_local());
    match first.is_multicast() || is_local {
        true => Err(format!(
            "the hosts of {pool} cannot be scanned for others; name the network's other addresses"
        )),
        false => Ok(pool),
    }
}

fn access(section: &mut Section<'_, '_>, files: CredentialFiles) -> Option<HubAccess> {
    let hub = section.required("hub", EXAMPLE, str::parse::<HubUrl>);
    let credentials_dir = section.one("credentials_dir", parse::path);
    let credentials_dir = credentials_dir.unwrap_or_else(|| files.default_dir.into());
    Some(HubAccess { hub: hub?, credentials_dir, files })
}

/// Splits a host, with its brackets, and a port, [`HUB_PORT`] if there is none.
fn split_port(text: &str) -> Option<(&str, u16)> {
    let end = text.rfind(']').map_or(0, |bracket| bracket + 1);
    match text[end..].rfind(':') {
        None => Some((text, HUB_PORT)),
        Some(colon) => {
            let (host, port) = text.split_at(end + colon);
            let port = port[1..].parse().ok().filter(|port| *port > 0)?;
            Some((host, port))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("tls://hub.example:4222", "hub.example", 4222),
            ("tls://Hub.example", "hub.example", 4222),
            ("tls://hub/", "hub", 4222),
            ("tls://192.0.2.7:443", "192.0.2.7", 443),
            ("tls://[2001:db8::7]:443", "2001:db8::7", 443),
            ("tls://[2001:db8::7]", "2001:db8::7", 4222),
        ] {
            let url: HubUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
            assert_eq!(url.to_string().parse(), Ok(url));
        }
        for text in [
            "tls://",
            "tls://:4222",
            "tls://hub:0",
            "tls://hub:",
            "tls://hub:70000",
            "tls://a b",
            "tls://::1",
            "tls://[hub]",
            "tls://[::1]x:1",
            "hub.example",
            "wss://hub",
            "tls://hub/a",
            "tls://u:p@hub",
        ] {
            assert!(text.parse::<HubUrl>().is_err(), "{text}");
        }
    }
}

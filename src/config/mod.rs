//! Layer 1: the appliance's configuration.
//!
//! Four layers, each over the one before: built-in defaults, the file, the environment, flags. A faulty setting is
//! reported even if a later layer hides it: otherwise it would take effect at the worst moment. All faults are
//! reported at once, each with its place and its remedy.
//!
//! | File | Does |
//! |---|---|
//! | `table.rs` | walks a TOML table, knows lines, suggests the nearest key |
//! | `parse.rs` | one text to one checked value |
//! | `file.rs`, `env.rs` | the layers: which keys and variables there are |
//! | `channel.rs`, `alerts.rs`, `mail.rs` | where alerts go and which; their keys in the file |
//! | `broker.rs`, `mqtt.rs` | the same of an MQTT broker |
//! | `fleet.rs` | the hub that this appliance belongs to, or scans for; their keys in the file |
//! | `load.rs` | the order of the layers; the one function that reads the disk |
//! | `check.rs` | does it fit this machine? for `check-config` |
//! | `show.rs` | the effective configuration, as a file again |
//! | `site.rs` | the part of it that a hub gets |
//!
//! A new key is one field here, one line in `file.rs`, one in `show.rs`, and a line in the default file.

mod alerts;
mod broker;
mod channel;
mod check;
mod device_pattern;
mod env;
mod error;
mod file;
mod fleet;
mod json;
mod load;
mod mail;
mod mqtt;
mod parse;
mod show;
mod site;
mod table;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tracing::level_filters::LevelFilter;

pub use self::{
    broker::{MqttConfig, MqttVersion},
    channel::{
        AlertRule, ChannelConfig, ChannelKind, ChannelUrl, MailConfig, MailSecurity, QuietHours, SummaryTime,
        SyslogFormat, WebhookShape,
    },
    check::{Finding, Machine, Severity, check, unfit_for_hub},
    device_pattern::{AlertSubject, DevicePattern},
    error::{ConfigError, Fault, Place},
    fleet::{
        AUTHORITY_FILE, CredentialFiles, FleetConfig, HUB_PORT, HubAccess, HubUrl, SITE_CREDENTIALS,
        WORKER_CREDENTIALS, WorkerConfig,
    },
    load::{DEFAULT_PATH, Overrides},
};
use crate::model::{
    Address, AlertKind, AlertSeverity, Device, DeviceType, IdentifyLevel, Mac, PortSet, ProbeMethod,
    TargetSpec, Timing, without_secrets,
};

/// The feed where neither the file nor the environment names one: the original's.
pub const DEFAULT_FEED: &str = "http://lanscan.local/lanscan/json";

/// How a scanner's `ports` names the commonest ports.
const COMMON_PORTS: &str = "common";

const DAY: Duration = Duration::from_secs(86_400);

const HOUR: Duration = Duration::from_secs(3600);

/// A phone that dozes misses a sweep or two, and answers again within minutes.
const GRACE: Duration = Duration::from_secs(15 * 60);

/// The whole configuration, checked: flags over environment over file over defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Addresses to serve HTTP on; none twice, none within another. Port 0: any free one.
    pub listen: Vec<SocketAddr>,
    /// Where the database lives.
    pub data_dir: PathBuf,
    /// First segment of the portscan API's paths, without slashes: `portscan`.
    pub base_url: String,
    /// The log level.
    pub log: LevelFilter,
    /// Never probed, whatever other settings say. Addresses, prefixes, ranges, MACs; no names.
    pub exclude: Vec<TargetSpec>,
    /// Hard bound of probes in flight to one device (`MY_NUM_THREADS`), 1 to 4096; default 50.
    pub max_in_flight: u16,
    /// A result older than this is renewed when its device is seen; default 7 d.
    pub cache_expiry: Duration,
    /// A device that was not seen for this long is forgotten unless something is expected of it; default 30 d.
    pub forget: Duration,
    /// The directory from which other scanners' reports are imported; `None`: none.
    pub spool: Option<PathBuf>,
    /// A scan that is older than this and supplies no port's current state is dropped; default 90 d.
    pub keep: Duration,
    /// Where devices come from.
    pub feed: FeedConfig,
    /// How clients find the appliance by name.
    pub mdns: MdnsConfig,
    /// The sources of devices' names.
    pub names: NamesConfig,
    /// How much identification may send to the devices that no rule decides otherwise for.
    pub identify: IdentifyLevel,
    /// The scanners; never empty, names unique.
    pub scanners: Vec<ScannerConfig>,
    /// Settings of single devices; see [`Config::rule_for`].
    pub devices: Vec<DeviceRule>,
    /// Known noise, which raises no alert.
    pub ignore: Vec<IgnoreRule>,
    /// Where alerts go; names unique.
    pub channels: Vec<ChannelConfig>,
    /// Which alerts go where; empty: each to every channel.
    pub alerts: Vec<AlertRule>,
    /// Host names that the server answers to, beside the usual ones; lower case.
    pub http_names: Vec<String>,
    /// The hosts of which an HTTP client may have ports probed, as patterns; `None`: any host.
    pub http_probe: Option<Vec<TargetSpec>>,
    /// The client addresses that may change state without the token; default: loopback.
    pub auth_trust: Vec<IpNet>,
    /// A file that holds the token, such as a systemd credential's; `None`: one is made in `data_dir`.
    pub auth_token_file: Option<PathBuf>,
    /// The fleet that this appliance is a site of; `None`: it is alone.
    pub fleet: Option<FleetConfig>,
    /// The hub for which `portscan worker` scans; `None`: it does not.
    pub worker: Option<WorkerConfig>,
}

/// Where devices come from; all sources together. All three may be empty: then nothing is known until a
/// scanner's own list names it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedConfig {
    /// lanscan feeds, http or https, each polled every 60 s.
    pub urls: Vec<FeedUrl>,
    /// Where the appliance discovers devices itself; no part twice.
    pub discover: Vec<Discover>,
    /// Whether discovery finds link-local IPv6 addresses, too, which are then scanned like others; default false.
    pub has_ipv6: bool,
    /// How long a device that discovery no longer finds is still listed; default 15 min.
    pub grace: Duration,
    /// Devices named by hand; no address twice.
    pub hosts: Vec<Device>,
    /// The most devices, counted at each of their addresses, that are known at once; default 1,024.
    pub max_devices: usize,
    /// The most new devices that a source may report within an hour, and at once; default 512.
    pub max_newcomers: u32,
    /// Addresses outside the machine's own subnets and the private ranges that a feed may name.
    pub allow: Vec<TargetSpec>,
}

/// A feed's URL. It may hold a key, so what is displayed is less than what is requested.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedUrl(String);

/// How the appliance announces its name and resolves others without a name server (RFC 6762).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MdnsConfig {
    /// Whether it takes part at all; default true.
    pub enabled: bool,
    /// One label, lower case, without `.local`: 1 to 58 of a-z, 0-9 and hyphen, the latter neither first nor
    /// last; default `portscan`.
    pub name: String,
}

/// The sources of devices' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamesConfig {
    /// This machine's resolver.
    pub dns: bool,
    /// The neighbours themselves, by the protocol of multicast DNS.
    pub mdns: bool,
}

/// Where to look for devices: `eth0`, or `eth0 10.0.0.0/16`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Discover {
    /// The interface.
    pub interface: String,
    /// This part of its subnets, 65,536 addresses at most; `None`: each of them that has at most 1,024.
    pub net: Option<Ipv4Net>,
}

/// One configured scan job.
#[derive(Clone, Debug, PartialEq)]
pub struct ScannerConfig {
    /// Unique; 1 to 32 of a-z, 0-9 and hyphen.
    pub name: String,
    /// From start to start, at least 1 s.
    pub interval: Duration,
    /// Local time of day of the first start in an interval of whole days.
    pub at: Option<jiff::civil::Time>,
    /// The hosts to scan.
    pub targets: Targets,
    /// Which ports.
    pub ports: ScannerPorts,
    /// The timing template.
    pub timing: Timing,
    /// How ports are asked.
    pub method: ProbeMethod,
}

/// The ports of a scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannerPorts {
    /// These; neither empty nor with port 0.
    Listed(PortSet),
    /// `common`: the commonest ports, and those that were open on the device earlier.
    Common,
}

/// The targets of a scanner.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Every device of the feed.
    Feed,
    /// These; never empty.
    List(Vec<TargetSpec>),
}

/// Settings for single devices: the first rule that matches applies.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceRule {
    /// MAC (or its beginning), address, prefix, range; no name.
    pub matches: TargetSpec,
    /// Its name here.
    pub name: Option<String>,
    /// Whether to scan it at all; default true.
    pub scan: bool,
    /// Replaces the scanner's.
    pub timing: Option<Timing>,
    /// Replaces the scanner's.
    pub ports: Option<PortSet>,
    /// In place of [`Config::identify`].
    pub identify: Option<IdentifyLevel>,
    /// What kind of device it is.
    pub device_type: Option<DeviceType>,
    /// Its tags, beside those that are given on the page.
    pub tags: Vec<String>,
}

/// Known noise: kept in history, out of the differences.
#[derive(Clone, Debug, PartialEq)]
pub struct IgnoreRule {
    /// `None`: every device (`"*"`).
    pub device: Option<TargetSpec>,
    /// Which ports.
    pub ports: PortSet,
    /// Why.
    pub comment: String,
}

impl Config {
    /// Returns the rule for a device: the first that matches, as in a firewall; rules are not combined.
    pub fn rule_for(&self, device: &Device) -> Option<&DeviceRule> {
        self.devices.iter().find(|rule| rule.matches.matches(&device.address, device.mac))
    }

    /// Returns what its owner says of a device here: its type and its tags.
    pub fn described(&self, device: &Device) -> (Option<DeviceType>, Vec<String>) {
        self.rule_for(device).map(|rule| (rule.device_type, rule.tags.clone())).unwrap_or_default()
    }

    /// Returns how much identification may send to a device: nothing to one that must not be scanned.
    pub fn identify_level(&self, device: &Device) -> IdentifyLevel {
        let rule = self.rule_for(device);
        if self.is_excluded(device) || rule.is_some_and(|rule| !rule.scan) {
            return IdentifyLevel::Off;
        }
        rule.and_then(|rule| rule.identify).unwrap_or(self.identify)
    }

    /// Whether the owner names exactly this device: its MAC, or its one address.
    pub fn names(&self, device: &Device) -> bool {
        let is_one = |spec: &TargetSpec| match spec {
            TargetSpec::Address(_) => true,
            TargetSpec::Mac(octets) => octets.len() == 6,
            _ => false,
        };
        let rules = self.devices.iter().map(|rule| &rule.matches);
        rules.filter(|spec| is_one(spec)).any(|spec| spec.matches(&device.address, device.mac))
    }

    /// The ports of a device that are known noise: of a MAC, where that is known, and of an address, where it is
    /// the device's.
    pub fn ignored_ports(&self, mac: Option<Mac>, address: Option<&Address>) -> PortSet {
        let is_meant = |rule: &&IgnoreRule| match (&rule.device, address) {
            (None, _) => true,
            (Some(spec), Some(address)) => spec.matches(address, mac),
            (Some(TargetSpec::Mac(prefix)), None) => mac.is_some_and(|mac| mac.octets().starts_with(prefix)),
            (Some(_), None) => false,
        };
        let rules = self.ignore.iter().filter(is_meant);
        PortSet::from_ranges(rules.flat_map(|rule| rule.ports.ranges().iter().copied()))
    }

    /// Whether an alert of this kind about a device, or about the appliance itself, goes to a channel, and how urgent it
    /// is there: the highest severity of all rules that choose it. `None`: no rule does.
    pub fn alert_severity(
        &self,
        channel: &str,
        kind: AlertKind,
        subject: Option<&AlertSubject<'_>>,
    ) -> Option<AlertSeverity> {
        if self.alerts.is_empty() {
            return Some(kind.severity());
        }
        let rules = self.alerts.iter().filter(|rule| rule.chooses(channel, kind, subject));
        rules.map(|rule| rule.severity.unwrap_or(kind.severity())).max()
    }

    /// Whether a rule for alerts asks for tags or types, which have to be read for each device.
    pub fn alerts_ask_for_traits(&self) -> bool {
        let asks = |pattern: &DevicePattern| !matches!(pattern, DevicePattern::Target(_));
        self.alerts.iter().any(|rule| rule.devices.iter().any(asks))
    }

    /// Whether a device must be left alone for its MAC: then that has to be known before the first probe.
    pub fn excludes_by_mac(&self) -> bool {
        let by_mac = |spec: &TargetSpec| matches!(spec, TargetSpec::Mac(_));
        self.exclude.iter().any(by_mac) || self.devices.iter().any(|rule| !rule.scan && by_mac(&rule.matches))
    }

    /// Whether a device must never be probed. An exclusion by MAC needs the MAC: ask again as soon as the
    /// neighbour table knows it.
    pub fn is_excluded(&self, device: &Device) -> bool {
        self.exclude.iter().any(|spec| spec.matches(&device.address, device.mac))
    }
}

impl Default for Config {
    /// The built-in defaults.
    fn default() -> Self {
        Self {
            listen: vec![(Ipv4Addr::UNSPECIFIED, 80).into(), (Ipv6Addr::UNSPECIFIED, 80).into()],
            data_dir: "/var/lib/portscan".into(),
            base_url: "portscan".to_owned(),
            log: LevelFilter::INFO,
            exclude: Vec::new(),
            max_in_flight: 50,
            cache_expiry: 7 * DAY,
            forget: 30 * DAY,
            spool: None,
            keep: 90 * DAY,
            feed: FeedConfig::default(),
            mdns: MdnsConfig::default(),
            names: NamesConfig::default(),
            identify: IdentifyLevel::default(),
            scanners: vec![
                ScannerConfig::named("lan".to_owned()),
                ScannerConfig {
                    interval: HOUR,
                    ports: ScannerPorts::Common,
                    ..ScannerConfig::named("common".to_owned())
                },
            ],
            devices: Vec::new(),
            ignore: Vec::new(),
            channels: Vec::new(),
            alerts: Vec::new(),
            http_names: Vec::new(),
            http_probe: None,
            auth_trust: vec![
                Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
                Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(),
            ],
            auth_token_file: None,
            fleet: None,
            worker: None,
        }
    }
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            urls: vec![FeedUrl::from(DEFAULT_FEED.to_owned())],
            discover: vec![],
            has_ipv6: false,
            grace: GRACE,
            hosts: vec![],
            max_devices: 1024,
            max_newcomers: 512,
            allow: vec![],
        }
    }
}

impl FeedUrl {
    /// The whole URL, credentials included, for the request itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for FeedUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.0))
    }
}

impl fmt::Debug for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl Discover {
    /// Reads an interface's name, as the file does.
    ///
    /// # Errors
    /// Fails with the fault and the correct form.
    pub fn interface(text: &str) -> Result<String, String> {
        parse::interface(text)
    }

    /// Reads a part of a network, as the file does.
    ///
    /// # Errors
    /// As [`Discover::interface`].
    pub fn net(text: &str) -> Result<Ipv4Net, String> {
        parse::discover_net(text)
    }
}

impl fmt::Display for Discover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.net {
            Some(net) => write!(f, "{} {net}", self.interface),
            None => f.write_str(&self.interface),
        }
    }
}

impl Default for MdnsConfig {
    fn default() -> Self {
        Self { enabled: true, name: "portscan".to_owned() }
    }
}

impl Default for NamesConfig {
    fn default() -> Self {
        Self { dns: true, mdns: true }
    }
}

impl fmt::Display for ScannerPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(ports) => ports.fmt(f),
            Self::Common => f.write_str(COMMON_PORTS),
        }
    }
}

impl ScannerConfig {
    /// A scanner of this name that says nothing else.
    fn named(name: String) -> Self {
        Self {
            name,
            interval: DAY,
            at: None,
            targets: Targets::Feed,
            ports: ScannerPorts::Listed(PortSet::all()),
            timing: Timing::T3,
            method: ProbeMethod::default(),
        }
    }
}

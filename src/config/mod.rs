//! F1: what the appliance is told to do.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

use crate::model::{Device, PortSet, TargetSpec, Timing};

/// The whole configuration, checked: flags over environment over file over defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Addresses to serve HTTP on.
    pub listen: Vec<SocketAddr>,
    /// Where the database lives.
    pub data_dir: PathBuf,
    /// First segment of the portscan API's paths, without slashes: `portscan`.
    pub base_url: String,
    /// Never probed, whatever else says so.
    pub exclude: Vec<TargetSpec>,
    /// Hard bound of probes in flight to one device (MY_NUM_THREADS), 1 to 4096; default 50.
    pub max_in_flight: u16,
    /// A result older than this is renewed when its device is seen; default 7 d.
    pub cache_expiry: Duration,
    /// Where devices come from.
    pub feed: FeedConfig,
    /// What is scanned when.
    pub scanners: Vec<ScannerConfig>,
    /// One device's own way.
    pub devices: Vec<DeviceRule>,
    /// Known noise.
    pub ignore: Vec<IgnoreRule>,
    /// Host names that the server answers to, beside the usual ones.
    pub http_names: Vec<String>,
    /// Who may change state without the token; default: loopback.
    pub auth_trust: Vec<IpNet>,
}

/// Where devices come from; all sources together.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedConfig {
    /// lanscan feeds, http or https, each polled every 60 s.
    pub urls: Vec<String>,
    /// Interfaces to discover on.
    pub discover: Vec<String>,
    /// Devices named by hand.
    pub hosts: Vec<Device>,
    /// Addresses outside the machine's own subnets and the private ranges that a feed may name.
    pub allow: Vec<TargetSpec>,
}

/// One runner.
#[derive(Clone, Debug, PartialEq)]
pub struct ScannerConfig {
    /// Unique.
    pub name: String,
    /// From start to start.
    pub interval: Duration,
    /// Local time of day of the first start in an interval of whole days.
    pub at: Option<jiff::civil::Time>,
    /// Whom.
    pub targets: Targets,
    /// Which ports.
    pub ports: PortSet,
    /// How hard.
    pub timing: Timing,
}

/// Whom a scanner looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Every device of the feed.
    Feed,
    /// These.
    List(Vec<TargetSpec>),
}

/// One device's own way: the first rule that matches holds.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceRule {
    /// MAC (or its beginning), address, prefix, range.
    pub matches: TargetSpec,
    /// Its name here.
    pub name: Option<String>,
    /// Whether to scan it at all; default true.
    pub scan: bool,
    /// In place of the scanner's.
    pub timing: Option<Timing>,
    /// In place of the scanner's.
    pub ports: Option<PortSet>,
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

//! Scenario files: a new network case is a file under `tests/scenarios`, not code.
//!
//! ```toml
//! [lan]                             # all of it optional
//! scanner = "10.77.0.1/16"          # the kernel's end of the wire, where the binary runs
//! router = "10.77.255.254"          # who reports hosts unreachable
//! seed = 1                          # of loss and jitter
//!
//! [[host]]
//! address = "10.77.0.10-49"         # one address or a range
//! mac = "02:00:00:00:00:10+"        # "+": counts up along the range; without it all share it
//! open = "22,80,8000-8010"
//! spread = 3                        # each next host of the range has its open ports 3 higher
//! default = "closed"                # or filtered, rejected, unreachable, open: every other port
//! filtered = "25"                   # ports that are silent whatever the default is
//! rtt = "300us"
//! jitter = "4ms"                    # up to so much more
//! loss = 0.01                       # each way
//! burst = { start = 0.001, stop = 0.2 }   # Gilbert: everything is lost from a start to a stop, each way
//! rst_rate = 200                    # RSTs in any one second, as BSD's net.inet.icmp.icmplim
//! backlog = 1                       # connections a port holds at a time; further SYNs are dropped
//! reboot = { syns = 60, silent = "5s" }   # when more SYNs than that come within 100 ms
//! wake = { delay = "300ms", idle = "2s" } # asleep at first and when idle for so long
//! vanish = { after_syns = 500, back = "20s" }     # or after = "2s" from its first SYN; back: optional
//! handover = { after_syns = 300, mac = "02:00:00:00:01:99", open = "443" }  # the address changes hands
//! ```

use std::{net::Ipv4Addr, path::Path, time::Duration};

use ipnet::Ipv4Net;
use portscan::model::{Mac, PortSet, TargetSpec};
use serde::{Deserialize, Deserializer, de::Error};

use super::wire::Station;

/// A simulated LAN.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    #[serde(default)]
    pub lan: Lan,
    #[serde(rename = "host")]
    groups: Vec<Behaviour>,
}

/// What all hosts share.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lan {
    pub scanner: Ipv4Net,
    pub router: Ipv4Addr,
    pub seed: u64,
}

impl Default for Lan {
    fn default() -> Self {
        Self {
            scanner: Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 0, 1), 16),
            router: Ipv4Addr::new(10, 77, 255, 254),
            seed: 1,
        }
    }
}

/// One `[[host]]`: who they are and how each of them behaves; see the example above.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    #[serde(deserialize_with = "addresses")]
    address: Vec<Ipv4Addr>,
    #[serde(deserialize_with = "macs")]
    mac: Macs,
    #[serde(default)]
    spread: u16,
    #[serde(default)]
    open: PortSet,
    #[serde(default)]
    pub default: Unopened,
    #[serde(default)]
    pub filtered: PortSet,
    #[serde(default, deserialize_with = "duration")]
    pub rtt: Duration,
    #[serde(default, deserialize_with = "duration")]
    pub jitter: Duration,
    #[serde(default)]
    pub loss: f64,
    pub burst: Option<Burst>,
    pub rst_rate: Option<u32>,
    pub backlog: Option<usize>,
    pub reboot: Option<Reboot>,
    pub wake: Option<Wake>,
    pub vanish: Option<Vanish>,
    pub handover: Option<Handover>,
}

/// What a port that is not open does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unopened {
    /// RST.
    #[default]
    Closed,
    /// Nothing.
    Filtered,
    /// ICMP "administratively prohibited" from the host.
    Rejected,
    /// ICMP "host unreachable" from the router.
    Unreachable,
    /// All are open: what a SYN proxy looks like.
    Open,
}

/// Gilbert's loss, chances per packet.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    pub start: f64,
    pub stop: f64,
}

/// Overload: more than `syns` within 100 ms.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reboot {
    pub syns: usize,
    #[serde(deserialize_with = "duration")]
    pub silent: Duration,
}

/// Power saving: what comes while asleep is answered `delay` later.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wake {
    #[serde(deserialize_with = "duration")]
    pub delay: Duration,
    #[serde(deserialize_with = "duration")]
    pub idle: Duration,
}

/// Gone, ARP too.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vanish {
    #[serde(flatten)]
    pub when: When,
    #[serde(default, deserialize_with = "some_duration")]
    pub back: Option<Duration>,
}

/// Another device takes the address, and announces it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    #[serde(flatten)]
    pub when: When,
    pub mac: Mac,
    pub open: PortSet,
}

/// Counted from the first SYN to the host.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    AfterSyns(usize),
    #[serde(deserialize_with = "duration")]
    After(Duration),
}

/// One host of a scenario.
#[derive(Clone, Debug)]
pub struct Host {
    pub station: Station,
    pub open: PortSet,
    pub behaviour: Behaviour,
}

impl Scenario {
    /// The scenario of `tests/scenarios/NAME.toml`.
    pub fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// A scenario written in the test itself.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Every host, one by one.
    pub fn hosts(&self) -> Vec<Host> {
        self.groups.iter().flat_map(Behaviour::hosts).collect()
    }
}

impl Behaviour {
    fn hosts(&self) -> impl Iterator<Item = Host> + '_ {
        self.address.iter().zip(0_u16..).map(|(&ip, index)| Host {
            station: Station { mac: self.mac.nth(index), ip },
            open: shifted(&self.open, self.spread.saturating_mul(index)),
            behaviour: self.clone(),
        })
    }

    /// The open ports of a host whose listed ones are these.
    pub fn open_ports(&self, listed: &PortSet) -> PortSet {
        match self.default {
            Unopened::Open => PortSet::all().iter().filter(|&port| !self.filtered.contains(port)).collect(),
            _ => listed.clone(),
        }
    }
}

fn shifted(ports: &PortSet, by: u16) -> PortSet {
    ports.iter().map(|port| port.checked_add(by).expect("spread stays below port 65536")).collect()
}

#[derive(Clone, Copy, Debug)]
struct Macs {
    first: Mac,
    counting: bool,
}

impl Macs {
    fn nth(self, index: u16) -> Mac {
        let mut octets = [0; 8];
        octets[2..].copy_from_slice(&self.first.octets());
        let number = u64::from_be_bytes(octets) + if self.counting { u64::from(index) } else { 0 };
        let [_, _, mac @ ..] = number.to_be_bytes();
        Mac::new(mac)
    }
}

fn macs<'de, D: Deserializer<'de>>(from: D) -> Result<Macs, D::Error> {
    let text = String::deserialize(from)?;
    let counting = text.ends_with('+');
    let first = text.trim_end_matches('+').parse().map_err(D::Error::custom)?;
    Ok(Macs { first, counting })
}

fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Ipv4Addr>, D::Error> {
    let target: TargetSpec = String::deserialize(from)?.parse().map_err(D::Error::custom)?;
    let addresses: Vec<Ipv4Addr> = target.addresses().filter_map(|address| address.ipv4()).collect();
    if addresses.is_empty() {
        return Err(D::Error::custom(format!("{target} names no IPv4 address")));
    }
    Ok(addresses)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    humantime::parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)
}

fn some_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_file_describes_hosts_that_can_be_told_apart() {
        let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")).unwrap();
        let names = files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
        let mut counts: Vec<String> = names
            .map(|name| {
                let hosts = Scenario::load(&name).hosts();
                let stations: HashSet<_> = hosts
                    .iter()
                    .flat_map(|h| [h.station.ip.to_string(), h.station.mac.to_string()])
                    .collect();
                assert_eq!(stations.len(), 2 * hosts.len(), "{name}");
                format!("{name} {}", hosts.len())
            })
            .collect();
        counts.sort_unstable();
        let expected = "bench-gadget 1, bench-limited 1, bench-mixed 60, bench-silent 1, bench-wifi 1, \
            big 254, forty 40, gadget 1, handover 2, lossy 5, near 3, silent 1, vanish 2, wake 2";
        assert_eq!(counts.join(", "), expected);
    }

    #[test]
    fn ranges_count_up() {
        let scenario = Scenario::parse(
            r#"
            [[host]]
            address = "10.0.0.254-10.0.1.1"
            mac = "02:00:00:00:00:fe+"
            open = "80"
            spread = 2
            "#,
        );
        let told = |host: Host| format!("{} {} {}", host.station.ip, host.station.mac, host.open);
        let hosts: Vec<String> = scenario.unwrap().hosts().into_iter().map(told).collect();
        assert_eq!(hosts[0], "10.0.0.254 02:00:00:00:00:FE 80");
        assert_eq!(hosts[3], "10.0.1.1 02:00:00:00:01:01 86");
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let host = "[[host]]\naddress = \"10.0.0.1\"\nmac = \"02:00:00:00:00:01\"\n";
        for wrong in [
            "opne = \"22\"",
            "vanish = { after_syns = 3, after = \"2s\" }",
            "vanish = { back = \"2s\" }",
            "handover = { after = \"1s\", mac = \"02:00:00:00:00:02\", open = \"22\", port = 1 }",
            "rtt = \"0.3\"",
            "default = \"stealth\"",
        ] {
            assert!(Scenario::parse(&format!("{host}{wrong}")).is_err(), "{wrong}");
        }
    }
}

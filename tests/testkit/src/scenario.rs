//! Scenario files: a new network case is a file under `tests/scenarios`, not code. Two worlds are made from
//! them: this lab, which the real binary scans through a real kernel, and the engine's simulation
//! (`src/engine/simulation`), whose clock jumps.
//!
//! ```toml
//! [lan]                             # all of it optional
//! scanner = "10.77.0.1/16"          # the kernel's end of the wire, where the binary runs
//! router = "10.77.255.254"          # who reports hosts unreachable
//! seed = 1                          # of loss and jitter; the simulation has its own
//!
//! [bound]                           # what any one host may suffer; what is not said is 0
//! reboots = 0                       # at T3 and below, beside the 30 SYNs in 100 ms and 300 in 1 s of every host
//! pressed = 1                       # reboots at T4 and T5, which press until a host suffers
//!
//! [machine]                         # what is wrong with the scanner's own machine
//! descriptors = 64                  # `ulimit -n`; in the simulation, sockets at once
//! no_port = { share = 0.5, lasts = "20s" } # connects that find no free port; in the simulation alone
//!
//! [[host]]
//! address = "10.77.0.10-49"         # one address or a range
//! mac = "02:00:00:00:00:10+"        # "+": counts up along the range; without it all share it
//! open = "22,80,8000-8010"
//! spread = 3                        # each next host of the range has its open ports 3 higher
//! filtered = "25"                   # ports that are silent if not open
//! rejected = "113"                  # ports that are answered by an ICMP error if neither open nor filtered
//! default = "closed"                # or filtered, rejected, unreachable, open: every other port
//! rtt = "300us"
//! jitter = "4ms"                    # up to so much more
//! loss = 0.01                       # each way
//! burst = { every = "2s", lasts = "50ms" } # everything is lost meanwhile, both ways; means of chance times
//! police = { rate = 500, burst = 100 }    # SYNs a second that get through, and so many at once
//! rst_rate = 200                    # RSTs in any one second, as BSD's net.inet.icmp.icmplim
//! icmp_rate = 1                     # ICMP errors in any one second, as Linux' net.ipv4.icmp_ratelimit
//! backlog = 1                       # connections a port holds at a time; further SYNs are dropped
//! connections = 5                   # the same for all ports together
//! reboot = { syns = 60, silent = "5s" }   # when more SYNs than that come within 100 ms
//! wake = { delay = "100ms", jitter = "200ms", idle = "2s" } # asleep at first and when idle for so long
//! vanish = { after_syns = 500, back = "20s" }     # or after = "2s" from its first SYN; back: optional
//! handover = { after_syns = 300, mac = "02:00:00:00:01:99", open = "443" }  # the address changes hands
//! absent = true                     # nobody is there
//! ```

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer, de::Error};

use crate::{Mac, Ports, repository};

/// A simulated LAN.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    #[serde(default)]
    pub lan: Lan,
    #[serde(default)]
    pub bound: Bound,
    #[serde(default)]
    pub machine: Machine,
    #[serde(rename = "host")]
    groups: Vec<Group>,
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

/// How often one host may reboot during a scan.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bound {
    reboots: usize,
    pressed: usize,
}

impl Bound {
    /// The bounds for paced scans and for unpaced ones.
    pub fn reboots(self, is_paced: bool) -> usize {
        if is_paced { self.reboots } else { self.pressed }
    }
}

/// The faults of the scanner's own machine.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    pub descriptors: Option<u32>,
    pub no_port: Option<NoPort>,
}

/// EADDRNOTAVAIL, with this share and duration. In the lab a test occupies the ports itself (`tests/limits.rs`).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoPort {
    pub share: f64,
    #[serde(deserialize_with = "duration")]
    pub lasts: Duration,
}

/// One `[[host]]`: the addresses of its hosts, and their behaviour.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(deserialize_with = "addresses")]
    address: Vec<Ipv4Addr>,
    #[serde(deserialize_with = "macs")]
    mac: Macs,
    #[serde(default)]
    spread: u16,
    #[serde(flatten)]
    behaviour: Behaviour,
}

/// How a host behaves; see the example above.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Behaviour {
    pub open: Ports,
    pub filtered: Ports,
    pub rejected: Ports,
    pub default: Unopened,
    #[serde(deserialize_with = "duration")]
    pub rtt: Duration,
    #[serde(deserialize_with = "duration")]
    pub jitter: Duration,
    pub loss: f64,
    pub burst: Option<Burst>,
    pub police: Option<Police>,
    pub rst_rate: Option<u32>,
    pub icmp_rate: Option<u32>,
    pub backlog: Option<usize>,
    pub connections: Option<usize>,
    pub reboot: Option<Reboot>,
    pub wake: Option<Wake>,
    pub vanish: Option<Vanish>,
    pub handover: Option<Handover>,
    pub absent: bool,
}

/// The reaction of a port that is not open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unopened {
    /// RST.
    #[default]
    Closed,
    /// No reaction.
    Filtered,
    /// ICMP "administratively prohibited" from the host.
    Rejected,
    /// ICMP "host unreachable" from the router.
    Unreachable,
    /// All ports are open, as behind a SYN proxy.
    Open,
}

/// Bursts of loss, at random times with these means. They are measured in time, not in packets as in Gilbert's model:
/// a jammed channel does not wait for a scanner that has slowed down.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    #[serde(deserialize_with = "duration")]
    pub every: Duration,
    #[serde(deserialize_with = "duration")]
    pub lasts: Duration,
}

/// A token bucket: a router's protection against SYN floods, which drops what exceeds it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Police {
    pub rate: u32,
    pub burst: u32,
}

/// Overload: more than `syns` within 100 ms.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reboot {
    pub syns: usize,
    #[serde(deserialize_with = "duration")]
    pub silent: Duration,
}

/// Power saving: a packet that arrives while the device sleeps is answered after `delay` and up to `jitter`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wake {
    #[serde(deserialize_with = "duration")]
    pub delay: Duration,
    #[serde(default, deserialize_with = "duration")]
    pub jitter: Duration,
    #[serde(deserialize_with = "duration")]
    pub idle: Duration,
}

/// Disappears, for ARP too.
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
    pub open: Ports,
}

/// Counted from the first SYN to the host.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    AfterSyns(usize),
    #[serde(deserialize_with = "duration")]
    After(Duration),
}

/// One end of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    pub mac: Mac,
    pub ip: Ipv4Addr,
}

/// One host of a scenario.
#[derive(Clone, Debug)]
pub struct Host {
    pub station: Station,
    pub behaviour: Behaviour,
}

impl Scenario {
    /// The scenario of `tests/scenarios/NAME.toml`.
    pub fn load(name: &str) -> Self {
        let path = Self::directory().join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Where the files are.
    pub fn directory() -> PathBuf {
        repository("tests/scenarios")
    }

    /// A scenario written in the test itself.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Every host, one by one.
    pub fn hosts(&self) -> Vec<Host> {
        self.groups.iter().flat_map(Group::hosts).collect()
    }
}

impl Group {
    fn hosts(&self) -> impl Iterator<Item = Host> + '_ {
        self.address.iter().zip(0_u16..).map(|(&ip, index)| Host {
            station: Station { mac: self.mac.nth(index), ip },
            behaviour: Behaviour {
                open: shifted(&self.behaviour.open, self.spread.saturating_mul(index)),
                ..self.behaviour.clone()
            },
        })
    }
}

fn shifted(ports: &Ports, by: u16) -> Ports {
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
    let text = String::deserialize(from)?;
    let addresses =
        range(&text).ok_or_else(|| D::Error::custom(format!("{text} names no IPv4 addresses")))?;
    if addresses.is_empty() { Err(D::Error::custom(format!("{text} is backwards"))) } else { Ok(addresses) }
}

/// `10.0.0.1`, `10.0.0.1-9` or `10.0.0.1-10.0.1.9`.
fn range(text: &str) -> Option<Vec<Ipv4Addr>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: Ipv4Addr = first.parse().ok()?;
    let last = if last.contains('.') {
        last.parse().ok()?
    } else {
        let [a, b, c, _] = first.octets();
        Ipv4Addr::new(a, b, c, last.parse().ok()?)
    };
    Some((u32::from(first)..=u32::from(last)).map(Ipv4Addr::from).collect())
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
        let files = std::fs::read_dir(Scenario::directory()).unwrap();
        let names = files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
        let mut counts: Vec<String> = names
            .map(|name| {
                let hosts = Scenario::load(&name).hosts();
                let addresses: HashSet<_> = hosts.iter().map(|host| host.station.ip).collect();
                let stations: HashSet<_> = hosts.iter().map(|host| host.station.mac.to_string()).collect();
                // Except for the scenario of a station that answers for many.
                let own = if name == "proxy-arp" { 3 } else { hosts.len() };
                assert_eq!((addresses.len(), stations.len()), (hosts.len(), own), "{name}");
                format!("{name} {}", hosts.len())
            })
            .collect();
        counts.sort_unstable();
        let expected = "absent 234, backlog 2, big 254, bursts 2, descriptors 2, everything 1, far 2, forty 40, \
                        gadget 1, gadget-45 1, half 1, handover 2, icmp-limited 1, lan-250 250, loss-1 2, loss-3 2, \
                        loss-half 2, mixed 60, near 3, policer 1, ports-taken 2, proxy-arp 22, rejecting 2, \
                        rst-limited 1, school 250, silent 1, small-stack 1, vanish 2, wake 2, wake-silent 1, wifi 1";
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
        let told = |host: Host| format!("{} {} {}", host.station.ip, host.station.mac, host.behaviour.open);
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
            "police = { rate = 500 }",
            "[bound]\nrebots = 1",
        ] {
            assert!(Scenario::parse(&format!("{host}{wrong}")).is_err(), "{wrong}");
        }
    }
}

//! The hosts to scan, and the network that every run gets for itself: nobody remembers the one before.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr, path::Path};

use clap::ValueEnum;
use portscan::model::Mac;

use crate::{
    contestant::{Contestant, Place},
    lab::{KernelHost, Lab, outputs::Found},
    timed::Report,
};

/// What is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A Linux kernel at the other end of the wire that refuses; 8 open
    Near,
    /// 4 to 29 ms away, 1 % lost each way; 7 open
    Wifi,
    /// Drops what it does not serve; 4 open
    Silent,
    /// Refuses at most 200 times a second; 6 open
    Limited,
    /// Reboots for 5 s above 60 SYNs in 100 ms; 3 open
    Gadget,
    /// 60 devices of all these kinds
    Mixed,
}

/// What one run came to.
pub struct Measured {
    pub report: Report,
    /// SYNs sent to all hosts, the kernel's retransmits included.
    pub syns: u64,
    /// Open ports that are there.
    pub there: u32,
    /// Those of them that it named, and others that it named; `None`: it was killed before it said anything.
    pub found: Option<(u32, u32)>,
    /// How often a host fell over.
    pub reboots: usize,
}

/// Around the calling thread.
enum Network {
    Kernel(KernelHost),
    Lab(Lab),
}

impl Target {
    /// Who is measured here unless the user says otherwise.
    pub fn contestants(self) -> &'static [Contestant] {
        use Contestant as C;
        match self {
            Self::Near | Self::Wifi | Self::Silent | Self::Limited => {
                &[C::Floor, C::PortscanT4, C::PortscanT5, C::NmapConnect, C::NmapSyn, C::RustScan, C::Masscan]
            }
            // What portscan does unless told otherwise was made for these.
            Self::Gadget => &[
                C::PortscanT3,
                C::PortscanT4,
                C::PortscanT5,
                C::NmapConnect,
                C::NmapSyn,
                C::RustScan,
                C::Masscan,
            ],
            Self::Mixed => &[C::PortscanT4, C::PortscanT3, C::NmapConnect],
        }
    }

    /// Seconds until a contestant is stopped.
    fn patience(self) -> u64 {
        if self == Self::Mixed { 1800 } else { 600 }
    }

    /// Lets the contestant scan, in a network that the calling thread cannot leave any more; `None`: it is
    /// not installed.
    pub fn measure(self, contestant: Contestant, portscan: &Path) -> Option<Measured> {
        let network = match self {
            Self::Near => {
                let open = "22,80,111,443,3306,8080,32400,51413".parse().expect("a set of ports");
                Network::Kernel(KernelHost::enter(&open))
            }
            simulated => Network::Lab(Lab::enter(&format!("bench-{simulated}"))),
        };
        let home = tempfile::tempdir().expect("a temporary directory");
        let hosts = network.hosts();
        let patience = self.patience();
        let (report, found) =
            contestant.run(&Place { hosts: &hosts, portscan, home: home.path(), patience })?;
        let truth = network.truth();
        let (syns, reboots) = network.record();
        Some(Measured {
            report,
            syns,
            there: truth.values().map(|open| open.len()).sum(),
            found: found.map(|found| judged(&found, &truth)),
            reboots,
        })
    }
}

/// How many of the open ports it found, and how many others it named.
fn judged(found: &Found, truth: &Found) -> (u32, u32) {
    let mut counts = (0, 0);
    for (host, named) in found {
        let right =
            truth.get(host).map_or(0, |open| named.iter().filter(|&port| open.contains(port)).count());
        let right = u32::try_from(right).expect("at most 65,536");
        counts = (counts.0 + right, counts.1 + named.len() - right);
    }
    counts
}

impl Network {
    fn hosts(&self) -> Vec<(Ipv4Addr, Mac)> {
        match self {
            Self::Kernel(host) => vec![(host.address(), host.mac())],
            Self::Lab(lab) => lab.hosts().map(|host| (host.address(), host.mac())).collect(),
        }
    }

    fn truth(&self) -> Found {
        match self {
            Self::Kernel(host) => BTreeMap::from([(host.address(), host.open_ports())]),
            Self::Lab(lab) => lab.truth(),
        }
    }

    /// SYNs and reboots.
    fn record(&self) -> (u64, usize) {
        match self {
            Self::Kernel(host) => (host.syns(), 0),
            Self::Lab(lab) => lab.hosts().map(|host| host.stats()).fold((0, 0), |(syns, reboots), stats| {
                (syns + u64::try_from(stats.syns).expect("a count"), reboots + stats.reboots)
            }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("none is hidden").get_name())
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { capped, wall, cpu, peak, .. } = &self.report;
        let cap = if *capped { "> " } else { "" };
        write!(f, "{cap}{wall:.2} s, {cpu:.2} s CPU, {} MB, {} SYNs, ", peak / 1024, self.syns)?;
        match self.found {
            Some((right, wrong)) => write!(f, "{right}/{} open, {wrong} false, ", self.there)?,
            None => write!(f, "nothing said, ")?,
        }
        write!(f, "{} reboots", self.reboots)
    }
}

//! The hosts to scan, and the network of each run: it is new each time, so that no host keeps state from an earlier
//! run.

use std::{
    fmt,
    net::Ipv4Addr,
    path::Path,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use clap::ValueEnum;
use testkit::{
    Mac, Ports,
    lab::{Host, KernelHost, Lab, outputs::Found},
    report::Run,
};

use crate::contestant::{Contestant, Place};

/// What is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// One near host that refuses at once, a Linux kernel; 8 open
    Near,
    /// One on a wireless link, 4 to 29 ms away, 1 % lost each way; 7 open
    Wifi,
    /// One that drops what it does not serve; 4 open
    Silent,
    /// One that refuses at most 200 times a second; 5 open
    Limited,
    /// One that reboots for 5 s above 60 SYNs in 100 ms; 2 open
    Gadget,
    /// One that reboots above 45 SYNs in 100 ms; 2 open
    #[value(name = "gadget-45")]
    Gadget45,
    /// 60 devices of all these kinds
    Mixed,
    /// 254 near hosts, at all of which a Linux kernel refuses at once; 8 open on each
    Subnet,
}

/// The result of one run.
pub struct Measured {
    pub run: Run,
    /// Open ports that are there.
    pub there: u32,
    /// Whether the run was stopped.
    capped: bool,
}

/// Around the calling thread.
enum Network {
    Kernel(KernelHost),
    Lab(Lab),
}

impl Target {
    /// What is measured here unless the user says otherwise.
    pub fn contestants(self) -> &'static [Contestant] {
        use Contestant as C;
        match self {
            Self::Near => &[
                C::Floor,
                C::SynFloor,
                C::PortscanT4,
                C::PortscanT5,
                C::PortscanSynT4,
                C::PortscanSynT5,
                C::NmapConnect,
                C::NmapSyn,
                C::NmapSynT5,
                C::RustScan,
                C::Masscan,
            ],
            Self::Wifi | Self::Silent | Self::Limited => &[
                C::Floor,
                C::PortscanT4,
                C::PortscanT5,
                C::PortscanSynT4,
                C::PortscanSynT5,
                C::NmapConnect,
                C::NmapSyn,
                C::RustScan,
                C::Masscan,
            ],
            // portscan's defaults were made for these.
            Self::Gadget | Self::Gadget45 => &[
                C::PortscanT3,
                C::PortscanT4,
                C::PortscanT5,
                C::NmapConnect,
                C::NmapSyn,
                C::RustScan,
                C::Masscan,
            ],
            Self::Mixed => &[C::PortscanT4, C::PortscanT3, C::NmapConnect],
            Self::Subnet => &[
                C::PortscanT4,
                C::PortscanT3,
                C::PortscanSynT4,
                C::PortscanSynT3,
                C::PortscanSynT4OneCore,
                C::NmapSyn,
            ],
        }
    }

    /// Seconds until a contestant is stopped.
    pub fn patience(self) -> u64 {
        if matches!(self, Self::Mixed | Self::Subnet) { 1800 } else { 600 }
    }

    /// Describes the target in one line.
    pub fn about(self) -> String {
        let value = self.to_possible_value().expect("none is hidden");
        value.get_help().map(ToString::to_string).unwrap_or_default()
    }

    /// Lets the contestant scan, in a network that the calling thread cannot leave any more; `None`: it is
    /// not installed.
    pub fn measure(self, contestant: Contestant, portscan: &Path) -> Option<Measured> {
        let network = match self {
            Self::Near => Network::Kernel(KernelHost::enter(&few_open())),
            Self::Subnet => Network::Kernel(KernelHost::enter_many(&few_open())),
            Self::Limited => Network::Lab(Lab::enter("rst-limited")),
            simulated => Network::Lab(Lab::enter(&simulated.to_string())),
        };
        let home = tempfile::tempdir().expect("a temporary directory");
        let hosts = network.hosts();
        let place = Place { hosts: &hosts, portscan, home: home.path(), patience: self.patience() };
        let (report, found) = network.while_it_chatters(|| contestant.run(&place))?;
        let truth = network.truth();
        let (syns, reboots) = network.record();
        let run = Run {
            scanner: contestant.to_string(),
            wall: report.wall,
            cpu: report.cpu,
            peak: report.peak,
            syns,
            found: found.map(|found| judged(&found, &truth)),
            reboots,
        };
        let there = truth.values().map(Ports::len).sum();
        Some(Measured { run, there, capped: report.capped })
    }
}

fn few_open() -> Ports {
    "22,80,111,443,3306,8080,32400,51413".parse().expect("a set of ports")
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
            Self::Kernel(host) => host.addresses().iter().map(|address| (*address, host.mac())).collect(),
            Self::Lab(lab) => lab.hosts().map(|host| (host.address(), host.mac())).collect(),
        }
    }

    fn truth(&self) -> Found {
        match self {
            Self::Kernel(host) => {
                host.addresses().iter().map(|address| (*address, host.open_ports())).collect()
            }
            Self::Lab(lab) => lab.truth(),
        }
    }

    /// Makes a host announce itself now and then while a closure runs: see [`KernelHost`]'s chatter.
    fn while_it_chatters<T>(&self, done: impl FnOnce() -> T) -> T {
        let Self::Lab(lab) = self else { return done() };
        let (ended, end) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                while end.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
                    lab.hosts().next().into_iter().for_each(Host::announce);
                }
            });
            let done = done();
            drop(ended);
            done
        })
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
        let Run { scanner, wall, cpu, peak, syns, found, reboots } = &self.run;
        let cap = if self.capped { "stopped after " } else { "" };
        write!(f, "{scanner} {cap}{wall:.2} s, {cpu:.2} s CPU, {} MB, {syns} SYNs, ", peak / 1024)?;
        match found {
            Some((right, wrong)) => write!(f, "{right}/{} open, {wrong} false, ", self.there)?,
            None => write!(f, "nothing said, ")?,
        }
        write!(f, "{reboots} reboots")
    }
}

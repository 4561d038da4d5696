//! The scanners: how they are started, and what they report.

use std::{
    fmt,
    fs::{self, File},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use clap::ValueEnum;
use testkit::{
    Mac,
    lab::outputs::{self, Found},
};

use crate::timed::Report;

/// A scanner under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Contestant {
    #[value(name = "portscan-T3")]
    PortscanT3,
    #[value(name = "portscan-T4")]
    PortscanT4,
    #[value(name = "portscan-T5")]
    PortscanT5,
    #[value(name = "portscan-sS-T3")]
    PortscanSynT3,
    #[value(name = "portscan-sS-T4")]
    PortscanSynT4,
    #[value(name = "portscan-sS-T4-one-core")]
    PortscanSynT4OneCore,
    #[value(name = "portscan-sS-T5")]
    PortscanSynT5,
    #[value(name = "nmap-sT")]
    NmapConnect,
    #[value(name = "nmap-sS")]
    NmapSyn,
    #[value(name = "nmap-sS-T5")]
    NmapSynT5,
    #[value(name = "rustscan")]
    RustScan,
    #[value(name = "masscan")]
    Masscan,
    #[value(name = "floor")]
    Floor,
    #[value(name = "syn-floor")]
    SynFloor,
}

/// The program that a scanner is an invocation of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Portscan,
    Nmap,
    RustScan,
    Masscan,
    /// This one.
    Floor,
}

/// The environment of a run.
pub struct Place<'a> {
    pub hosts: &'a [(Ipv4Addr, Mac)],
    pub portscan: &'a Path,
    /// A directory of its own.
    pub home: &'a Path,
    /// Seconds until it is killed.
    pub patience: u64,
}

impl Contestant {
    /// Runs it in the calling thread's network; `None`: it is not installed.
    pub fn run(self, place: &Place<'_>) -> Option<(Report, Option<Found>)> {
        let program = self.program(place)?;
        let [report, printed, said] = ["report", "printed", "said"].map(|name| place.home.join(name));
        let create = |path: &Path| File::create(path).expect("a file in a directory of our own");
        let status = Command::new(std::env::current_exe().expect("this program has a file"))
            .arg("timed")
            .arg(&report)
            .arg(place.patience.to_string())
            .arg(program)
            .args(self.arguments(place))
            .current_dir(place.home)
            // Without this machine's configuration, and without the variables that portscan reads.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", place.home)
            .stdin(std::process::Stdio::null())
            .stdout(create(&printed))
            .stderr(create(&said))
            .status()
            .expect("starting this program again");
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        assert!(status.success(), "{self} could not be measured: {}", read(&said));
        let report: Report = serde_json::from_str(&read(&report)).expect("what `timed` wrote");
        assert!(report.success || report.capped, "{self} failed: {}", read(&said));
        let found = (!report.capped).then(|| self.found(&read(&printed)));
        Some((report, found))
    }

    /// Its file, if it is installed.
    fn program(self, place: &Place<'_>) -> Option<PathBuf> {
        let name = match self.tool() {
            Tool::Portscan if self == Self::PortscanSynT4OneCore => "taskset",
            // It is started in another directory.
            Tool::Portscan => return std::path::absolute(place.portscan).ok().filter(|file| file.is_file()),
            Tool::Floor => return std::env::current_exe().ok(),
            Tool::Nmap => "nmap",
            Tool::RustScan => "rustscan",
            Tool::Masscan => "masscan",
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    }

    /// All ports, no look-ups, no probes of anything else, and the result on standard output.
    fn arguments(self, place: &Place<'_>) -> Vec<String> {
        let (fixed, hosts): (&str, String) = match self {
            Self::PortscanT3 => ("scan -T3 -n --json -p-", list(place)),
            Self::PortscanT4 => ("scan -T4 -n --json -p-", list(place)),
            Self::PortscanT5 => ("scan -T5 -n --json -p-", list(place)),
            Self::PortscanSynT3 => ("scan -sS -T3 -n --json -p-", list(place)),
            Self::PortscanSynT4 => ("scan -sS -T4 -n --json -p-", list(place)),
            Self::PortscanSynT4OneCore => {
                let program = std::path::absolute(place.portscan).expect("it was found before");
                return ["--cpu-list", "0", &program.display().to_string()]
                    .map(str::to_owned)
                    .into_iter()
                    .chain(Self::PortscanSynT4.arguments(place))
                    .collect();
            }
            Self::PortscanSynT5 => ("scan -sS -T5 -n --json -p-", list(place)),
            Self::NmapConnect => ("-sT -T4 -n -Pn -p- -oG -", list(place)),
            Self::NmapSyn => ("-sS -T4 -n -Pn -p- -oG -", list(place)),
            Self::NmapSynT5 => ("-sS -T5 -n -Pn -p- -oG -", list(place)),
            Self::RustScan => (
                "--no-config --no-banner --scripts none -g -b 4500 -t 1500 --range 1-65535",
                format!("-a {}", joined(place, ",")),
            ),
            // masscan has its own network stack, which requires a router even if none is needed. The host itself
            // serves as the router, so only one host can be scanned.
            Self::Masscan => (
                "-p1-65535 --rate 5000 --wait 3 --adapter lan0 --adapter-ip 10.77.0.1 -oL -",
                format!("--router-mac {} {}", place.hosts[0].1.to_lower(), joined(place, " ")),
            ),
            Self::Floor => ("floor", joined(place, " ")),
            Self::SynFloor => {
                ("syn-floor", format!("{} {} 10.77.0.1", place.hosts[0].0, place.hosts[0].1.to_lower()))
            }
        };
        fixed.split(' ').chain(hosts.split(' ')).map(str::to_owned).collect()
    }

    fn found(self, printed: &str) -> Found {
        match self.tool() {
            Tool::Portscan => outputs::portscan(&serde_json::from_str(printed).expect("a JSON document")),
            Tool::Nmap => outputs::nmap(printed),
            // The floor prints RustScan's format.
            Tool::RustScan | Tool::Floor => outputs::rustscan(printed),
            Tool::Masscan => outputs::masscan(printed),
        }
    }

    const fn tool(self) -> Tool {
        match self {
            Self::PortscanT3
            | Self::PortscanT4
            | Self::PortscanT5
            | Self::PortscanSynT3
            | Self::PortscanSynT4
            | Self::PortscanSynT4OneCore
            | Self::PortscanSynT5 => Tool::Portscan,
            Self::NmapConnect | Self::NmapSyn | Self::NmapSynT5 => Tool::Nmap,
            Self::RustScan => Tool::RustScan,
            Self::Masscan => Tool::Masscan,
            Self::Floor | Self::SynFloor => Tool::Floor,
        }
    }
}

/// The targets as a file: the mixed ones are many.
fn list(place: &Place<'_>) -> String {
    let path = place.home.join("hosts");
    fs::write(&path, joined(place, "\n")).expect("a file in a directory of our own");
    format!("-iL {}", path.display())
}

fn joined(place: &Place<'_>, between: &str) -> String {
    let hosts: Vec<String> = place.hosts.iter().map(|(address, _)| address.to_string()).collect();
    hosts.join(between)
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("none is hidden").get_name())
    }
}

//! The command line's syntax.

use std::{
    ffi::{OsStr, OsString},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};

use super::{
    alert::AlertCommand,
    backup::BackupArgs,
    changes::ChangesArgs,
    check::CheckArgs,
    diff::DiffArgs,
    discover::DiscoverArgs,
    doctor::DoctorArgs,
    expected::ExpectedCommand,
    explain::ExplainArgs,
    hosts::HostsArgs,
    hub::HubCommand,
    import::ImportArgs,
    import_expected::ImportExpectedArgs,
    nmap,
    ports::{self, NamedPorts},
    run::RunArgs,
    setup::SetupArgs,
    status::StatusArgs,
};
use crate::{
    config::{HubUrl, Overrides},
    engine::{Liveness, ScanSettings},
    model::{PortSet, ProbeMethod, Protocol, TargetSpec, Timing, parse_duration},
    nmap::Format,
    service::udp_scan::may_be_asked,
    udp::{UdpSettings, known_ports},
};

/// What listens on my network, what changed, and is that all right?
#[derive(Parser, Debug, Clone, PartialEq)]
#[command(name = "portscan", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Arguments {
    /// Configuration file [default: /etc/portscan/portscan.toml]
    #[arg(long, value_name = "FILE", global = true, help_heading = APPLIANCE)]
    pub config: Option<PathBuf>,
    /// Increase verbosity (repeatable)
    #[arg(short, long, action = clap::ArgAction::Count, global = true, display_order = 900)]
    pub verbose: u8,
    /// Serve HTTP here instead of where the file says; repeatable
    #[arg(long, value_name = "ADDRESS:PORT", global = true, help_heading = APPLIANCE)]
    pub listen: Vec<String>,
    /// Keep the database here instead
    #[arg(long, value_name = "DIR", global = true, help_heading = APPLIANCE)]
    pub data_dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The heading of the options that are common to all commands.
const APPLIANCE: &str = "The appliance's settings";

const EXAMPLES: &str = "\
Examples:
  portscan scan 192.168.1.0/24           what listens on this network?
  portscan scan -p- -T4 nas.lan          every port of one machine of your own
  portscan probe printer.lan 9100        does it answer, now?
  portscan discover eth0                 which devices are on this network?
  portscan explain 7000                  what is this port, and is it all right that it is open?
  portscan serve                         the appliance: scan by schedule, store, report
`portscan help COMMAND` explains one command.";

/// What to do.
#[derive(Subcommand, Debug, Clone, PartialEq)]
pub enum Command {
    /// Run the appliance: scan by schedule, store results, serve HTTP
    Serve,
    /// Take part in scans of a fleet, as `portscan scan --fleet` asks at the hub
    Worker,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    Now(Now),
}

/// The one-off commands: all but the appliance itself.
#[derive(Subcommand, Debug, Clone, PartialEq)]
pub enum Now {
    /// Scan now and print what was found; stores nothing
    Scan(Box<ScanArgs>),
    /// Check one port now: is it open?
    Probe(ProbeArgs),
    /// Find the devices of the LAN, now, and print them as lanscan's JSON
    Discover(DiscoverArgs),
    /// Show the health and the contents of a running appliance
    Status(StatusArgs),
    /// Have the appliance scan now, all devices or one
    Run(RunArgs),
    /// Print, change or accept the expected state
    #[command(subcommand)]
    Expected(ExpectedCommand),
    /// Compare the network with its expected state, or two scans
    Diff(DiffArgs),
    /// List what has changed
    Changes(ChangesArgs),
    /// Test the alert channels, or list them
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Import nmap's reports (-oX), or the original portscan's results
    Import(ImportArgs),
    /// Import the expected state of a running portmantool or another appliance
    ImportExpected(ImportExpectedArgs),
    /// List the devices that are known, and what is open there
    Hosts(HostsArgs),
    /// Explain an open port, or all of a device: what it is, and is that all right?
    Explain(ExplainArgs),
    /// Copy the database, whether or not the appliance runs
    Backup(BackupArgs),
    /// Write a configuration with the networks to search for devices
    Setup(SetupArgs),
    /// Check what this machine allows and lacks; sends nothing on any network
    Doctor(DoctorArgs),
    /// Show many appliances as one: their keys, and the hub that copies their databases
    #[command(subcommand)]
    Hub(HubCommand),
    /// Print the token that authorises changes over HTTP
    Token,
    /// Check the configuration and report every fault
    CheckConfig(CheckArgs),
}

const SCAN_HELP: &str = "\
Timing  probes to one host                 unanswered at once   a silent port is asked
  -T0   1 every 5 minutes                  1                    2 to 5 times
  -T1   1 every 15 seconds                 1                    2 to 5 times
  -T2   1 every 0.4 seconds                1                    2 to 5 times
  -T3   266 a second, 30 in any 0.1 s      16 to 512            2 to 5 times, 2 s apart
  -T4   as many as it answers              64 to 4096           2 to 5 times, 2 s apart
  -T5   as many as it answers              64 to 4096           2 to 3 times, 0.5 s apart
T3, the default, spares small gadgets. T4 is for the LAN you own: it slows down where a host
suffers, and T5 presses harder. 16 hosts are scanned at once, within what this machine allows.

UDP (-sU): each known service gets one small request that it answers, any other port of -p an empty
datagram, ports of printers and machine controls nothing. An answer is open, ICMP port unreachable
is closed, silence after two tries is open|filtered, which is no finding. A host gets one datagram a
second at most, because it reports no more closed ports than that: 40 ports take 40 to 90 s.

Examples:
  portscan scan 192.168.1.0/24           the 1000 commonest ports of a whole network
  portscan scan -p- -T4 nas.lan          every port of one machine
  portscan scan -F --open 10.0.0.5-20    only what is open among the 100 commonest
  portscan scan -sV nas.lan              also which program listens, and its version
  portscan scan -sU 192.168.1.0/24       DNS, NTP, SNMP and other services that speak UDP
  portscan scan -p 22,80,8000-8100 -iL hosts.txt --exclude 10.0.0.9
  portscan scan --json fe80::1%eth0 | jq '.hosts[].ports[]'
  portscan scan -F -oA today 10.0.0.0/24 today.xml, today.nmap and today.gnmap, as nmap writes them

Exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted (what is known so far is printed).";

/// What to scan, and how.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(after_help = SCAN_HELP)]
pub struct ScanArgs {
    /// Address, name, 192.0.2.0/24, 192.0.2.10-20; at most 65,536 addresses
    #[arg(value_name = "TARGET", required_unless_present = "input_list", value_parser = TargetSpec::parse_target)]
    pub targets: Vec<TargetSpec>,
    /// 22,80,8000-8100 or ssh,http; -p- is all; U:53,161 with -sU [default: the 1000 commonest]
    #[arg(short, long, value_name = "PORTS", value_parser = ports::parse_named, allow_hyphen_values = true,
        conflicts_with_all = ["fast", "top_ports"])]
    pub ports: Option<NamedPorts>,
    /// The 100 commonest ports
    #[arg(short = 'F', long, conflicts_with = "top_ports")]
    pub fast: bool,
    /// The N commonest ports, 1 to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub top_ports: Option<u16>,
    /// Leave these ports out
    #[arg(long, value_name = "PORTS", value_parser = ports::parse_named, allow_hyphen_values = true)]
    pub exclude_ports: Option<NamedPorts>,
    /// Read targets from a file (nmap's -iL), "-" is standard input
    #[arg(long, value_name = "FILE")]
    pub input_list: Vec<PathBuf>,
    /// Leave these out, separated by commas; networks of any size; a neighbour also by its MAC
    #[arg(long, value_name = "TARGETS", value_delimiter = ',')]
    pub exclude: Vec<TargetSpec>,
    /// Leave out the targets in this file
    #[arg(long, alias = "excludefile", value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,
    /// Scan also what the configuration excludes
    #[arg(long)]
    pub ignore_exclude: bool,
    /// Scan as if every host were up (nmap's -Pn): slow where none is
    #[arg(long)]
    pub skip_liveness: bool,
    /// How hard to press: -T0 (slowest) to -T5; see below
    #[arg(short = 'T', long, value_name = "0-5", default_value = "T3")]
    pub timing: Timing,
    /// How to ask ports: connect (nmap's -sT), syn (nmap's -sS, takes CAP_NET_RAW), auto: SYNs where they are possible
    #[arg(long, value_name = "METHOD", default_value = "connect")]
    pub method: ProbeMethod,
    /// Scan UDP's ports in place of TCP's (nmap's -sU) [default: some 40 known services]; see below
    #[arg(long)]
    pub udp: bool,
    /// Never more probes a second than this towards one host
    #[arg(long, value_name = "N")]
    pub max_rate: Option<NonZeroU32>,
    /// Never more connections at once than this towards one host
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub max_parallelism: Option<u16>,
    /// Ask a silent port at most this often again [default: as needed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=10))]
    pub max_retries: Option<u8>,
    /// Leave a host after this time: 90s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub host_timeout: Option<Duration>,
    /// Look names up as IPv6 addresses only
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// No names for addresses: none are looked up anyway
    #[arg(short = 'n', long = "no-dns")]
    pub no_dns: bool,
    /// Identify what listens on open ports (nmap's -sV): reads greetings; asks SSH, TLS and web servers for a little
    #[arg(long)]
    pub identify: bool,
    /// Have the workers of this machine's hub scan, each in the networks that it reaches (docs/fleet.md)
    #[arg(long, conflicts_with = "identify")]
    pub fleet: bool,
    /// The hub's directory [default: hub in the appliance's data_dir]
    #[arg(long, value_name = "DIR", requires = "fleet")]
    pub fleet_dir: Option<PathBuf>,
    /// The hub's broker, where it is not on this machine: tls://HOST:PORT
    #[arg(long, value_name = "URL", requires = "fleet")]
    pub broker: Option<HubUrl>,
    /// Show only open ports, and only hosts that have some
    #[arg(long)]
    pub open: bool,
    /// Show what each verdict rests on (-v does too)
    #[arg(long)]
    pub reason: bool,
    /// Print one JSON document instead of the tables
    #[arg(long)]
    pub json: bool,
    /// Write nmap's XML too (nmap's -oX); "-" is standard output, instead of the tables
    #[arg(long, value_name = "FILE")]
    pub output_xml: Option<PathBuf>,
    /// Write what nmap would print (nmap's -oN)
    #[arg(long, value_name = "FILE")]
    pub output_normal: Option<PathBuf>,
    /// Write a line or two for each host, for grep (nmap's -oG)
    #[arg(long, value_name = "FILE")]
    pub output_grepable: Option<PathBuf>,
    /// Write NAME.xml, NAME.nmap and NAME.gnmap (nmap's -oA)
    #[arg(long, value_name = "NAME")]
    pub output_all: Option<PathBuf>,
    /// The whole command line, which reports quote.
    #[arg(skip)]
    pub line: String,
}

impl Arguments {
    /// Returns the settings that override the configuration file and the environment.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            config: self.config.clone(),
            listen: self.listen.clone(),
            data_dir: self.data_dir.clone(),
        }
    }
}

impl ScanArgs {
    /// Returns the reports to write, each with its file.
    pub(super) fn outputs(&self) -> Vec<(Format, PathBuf)> {
        let named = [
            (Format::Xml, &self.output_xml),
            (Format::Normal, &self.output_normal),
            (Format::Grepable, &self.output_grepable),
        ];
        let all = self.output_all.iter().flat_map(|name| {
            let with = |suffix| {
                let mut file = name.clone().into_os_string();
                file.push(suffix);
                PathBuf::from(file)
            };
            [(Format::Xml, with(".xml")), (Format::Normal, with(".nmap")), (Format::Grepable, with(".gnmap"))]
        });
        named.into_iter().filter_map(|(format, file)| Some((format, file.clone()?))).chain(all).collect()
    }

    /// Whether the tables are omitted because a report replaces them.
    pub(super) fn is_quiet(&self) -> bool {
        self.outputs_on_stdout() > 0
    }

    fn outputs_on_stdout(&self) -> usize {
        usize::from(self.json) + self.outputs().iter().filter(|(_, file)| file.as_os_str() == "-").count()
    }

    /// How each host is scanned.
    pub(super) fn settings(&self) -> ScanSettings {
        ScanSettings {
            ports: self.port_set(),
            timing: self.timing,
            by_syn: self.method.allows_syns(),
            liveness: if self.skip_liveness { Liveness::Assume } else { Liveness::Check },
            max_in_flight: self.max_parallelism,
            max_retries: self.max_retries,
            max_rate: self.max_rate,
            deadline: self.host_timeout,
        }
    }

    /// Which protocol's ports are scanned.
    pub fn protocol(&self) -> Protocol {
        if self.udp { Protocol::Udp } else { Protocol::Tcp }
    }

    /// How each host's UDP ports are asked.
    pub(super) fn udp_settings(&self) -> UdpSettings {
        let usual = UdpSettings::of(self.timing);
        UdpSettings {
            tries: self.max_retries.map_or(usual.tries, |retries| retries.saturating_add(1)),
            at_once: self.max_parallelism.map_or(usual.at_once, |most| most.min(usual.at_once)),
            deadline: self.host_timeout,
            ..usual
        }
    }

    /// Why these options do not fit together, beyond what clap knows.
    fn misfit(&self) -> Option<&'static str> {
        let names = |protocol| {
            let mut all = [&self.ports, &self.exclude_ports].into_iter().flatten();
            all.any(|ports| ports.names(protocol))
        };
        match self.udp {
            false if names(Protocol::Udp) => {
                Some("U: names UDP ports, which take -sU; scan TCP ports by a command of their own")
            }
            false => None,
            true if names(Protocol::Tcp) => {
                Some("T: names TCP ports, which -sU leaves out; scan them by a command of their own")
            }
            true if self.method != ProbeMethod::Connect => Some(
                "-sU asks UDP ports alone; leave out -sS and --method, and scan TCP by a command of its own",
            ),
            true if self.fast || self.top_ports.is_some() => Some(
                "-F and --top-ports rank TCP's ports; leave them out for UDP's known services, or name ports by -p",
            ),
            true if self.identify => Some("-sV identifies TCP's services alone; write -sU without it"),
            true if self.fleet => Some("a fleet scans TCP's ports alone; leave out --fleet, or -sU"),
            true if self.max_rate.is_some() => {
                Some("-sU never sends a host more than one datagram a second; leave out --max-rate")
            }
            true => None,
        }
    }

    /// Returns the ports to scan.
    pub fn port_set(&self) -> PortSet {
        self.named_ports().minus(&self.never_asked())
    }

    /// Returns the named ports that are never sent a datagram.
    pub(super) fn never_asked(&self) -> PortSet {
        self.named_ports().iter().filter(|port| self.udp && !may_be_asked(*port)).collect()
    }

    fn named_ports(&self) -> PortSet {
        use crate::services::{RANKED, commonest};
        let chosen = match (&self.ports, self.fast, self.top_ports) {
            (Some(ports), ..) => ports.of(self.protocol()).clone(),
            (None, ..) if self.udp => known_ports(),
            (None, true, _) => commonest(100),
            (None, false, count) => commonest(count.map_or(RANKED, usize::from)),
        };
        match &self.exclude_ports {
            Some(excluded) => chosen.minus(excluded.of(self.protocol())),
            None => chosen,
        }
    }
}

/// Which port of which host.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(after_help = "Exit: 0 the port is open, 1 it is not, 2 wrong usage.")]
pub struct ProbeArgs {
    /// Address or name
    #[arg(value_parser = host)]
    pub host: String,
    /// 1 to 65535
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Probe it also if the configuration excludes it
    #[arg(long)]
    pub ignore_exclude: bool,
    /// Print JSON instead of a line
    #[arg(long)]
    pub json: bool,
}

/// Reads a command line, the program's name first. An error knows how to print itself and its exit code
/// (0 for `--help` and `--version`, 2 for wrong usage).
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    let usage = |kind, message: String| {
        let mut command = Arguments::command();
        command.build();
        match command.find_subcommand_mut("scan") {
            Some(scan) => scan.error(kind, message),
            None => clap::Error::raw(kind, message),
        }
    };
    let translated =
        nmap::translate(&argv).map_err(|refusal| usage(ErrorKind::UnknownArgument, refusal.to_string()))?;
    let mut arguments = Arguments::try_parse_from(translated).map_err(|error| hint_at_scan(error, &argv))?;
    if let Command::Now(Now::Scan(scan)) = &mut arguments.command {
        scan.line = argv.join(OsStr::new(" ")).to_string_lossy().into_owned();
        if scan.outputs_on_stdout() > 1 {
            let message = "only one report fits on standard output; name files for the others".to_owned();
            return Err(usage(ErrorKind::ArgumentConflict, message));
        }
        if scan.output_all.as_deref().is_some_and(|name| name.as_os_str() == "-") {
            let message = "-oA writes three files, which do not fit on standard output; name them, as in -oA today, or \
                           write one of -oX -, -oN - and -oG -";
            return Err(usage(ErrorKind::ValueValidation, message.to_owned()));
        }
        if let Some(mac) = scan.targets.iter().find(|target| matches!(target, TargetSpec::Mac(_))) {
            let message =
                format!("{mac} is a MAC: only the appliance knows which device has it; name an address");
            return Err(usage(ErrorKind::ValueValidation, message));
        }
        if let Some(why) = scan.misfit() {
            return Err(usage(ErrorKind::ArgumentConflict, why.to_owned()));
        }
        if scan.port_set().is_empty() {
            let why = match scan.never_asked().is_empty() {
                true => "no port is left to scan",
                false => {
                    "no port is left to scan: ports of printers and machine controls are sent no datagram"
                }
            };
            return Err(usage(ErrorKind::ValueValidation, why.to_owned()));
        }
    }
    Ok(arguments)
}

/// Adds a hint for nmap's users, who type the target first: the error says which command is missing.
fn hint_at_scan(error: clap::Error, argv: &[OsString]) -> clap::Error {
    let first = argv.get(1).and_then(|first| first.to_str()).unwrap_or_default();
    let target =
        matches!(first.parse(), Ok(TargetSpec::Address(_) | TargetSpec::Net(_) | TargetSpec::Range(..)))
            || matches!(first.parse::<TargetSpec>(), Ok(TargetSpec::Name(name)) if name.contains('.'));
    if error.kind() != ErrorKind::InvalidSubcommand || !target {
        return error;
    }
    let rest = argv[1..].join(OsStr::new(" "));
    let message = format!("what to do with it? Write: portscan scan {}", rest.to_string_lossy());
    Arguments::command().error(ErrorKind::InvalidSubcommand, message)
}

/// An address or a name; a prefix is not one host.
fn host(text: &str) -> Result<String, String> {
    match text.parse() {
        Ok(TargetSpec::Address(_) | TargetSpec::Name(_)) => Ok(text.to_owned()),
        Ok(_) => Err("name one host, by its address or name; `portscan scan` takes more".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// nmap's time: a number and ms, s, m or h; seconds without.
fn duration(text: &str) -> Result<Duration, String> {
    let malformed = || format!("\"{text}\" is not a time; write 500ms, 90s, 5m or 1h");
    let time = parse_duration(text, &["ms", "", "s", "m", "h"]).ok();
    time.filter(|time| !time.is_zero()).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Arguments, clap::Error> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn scan(line: &str) -> ScanArgs {
        match typed(&format!("portscan scan {line}"))
            .unwrap_or_else(|error| panic!("{line}: {error}"))
            .command
        {
            Command::Now(Now::Scan(scan)) => *scan,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn reads_real_nmap_command_lines() {
        let line = scan("-sT -Pn -n -p- -T4 --open 10.0.0.5");
        assert!(line.skip_liveness && line.no_dns && line.open);
        assert_eq!(line.port_set(), PortSet::all());
        assert_eq!((line.timing, line.method), (Timing::T4, ProbeMethod::Connect));
        assert_eq!(scan("-sS 10.0.0.5").method, ProbeMethod::Syn);

        let line = scan("-p22,80,8000-8100 --max-retries 1 --host-timeout 30m 192.168.1.0/24 nas.lan");
        assert_eq!(line.port_set().to_string(), "22,80,8000-8100");
        assert_eq!((line.max_retries, line.host_timeout), (Some(1), Some(Duration::from_secs(1800))));
        assert_eq!(line.targets.len(), 2);

        let line = scan("-nF -T aggressive --max-rate 100 -6 fe80::1%eth0 --exclude 10.0.0.9,10.0.1.0/24");
        assert_eq!((line.port_set().len(), line.timing), (100, Timing::T4));
        assert_eq!((line.max_rate, line.ipv6), (NonZeroU32::new(100), true));
        assert_eq!(line.exclude.len(), 2);

        let line = scan("-iL hosts.txt --excludefile not.txt --top-ports=10 --reason");
        assert_eq!(line.input_list, [PathBuf::from("hosts.txt")]);
        assert_eq!(line.exclude_file, [PathBuf::from("not.txt")]);
        assert_eq!(line.port_set().len(), 10);

        let line = scan("--exclude ::/0,10.0.0.0/8,fd00::/64 127.0.0.1");
        assert_eq!(line.exclude.len(), 3);

        let line = scan("-p -100 --exclude-ports 22,80 127.0.0.1");
        assert_eq!(line.port_set().to_string(), "1-21,23-79,81-100");
        for (typed, left) in [
            ("-p 79-81 --exclude-ports -79", "80-81"),
            ("-p -79 --exclude-ports -21,23-77", "22,78-79"),
            ("-p60000- --exclude-ports 60002-", "60000-60001"),
            ("--exclude-ports=-65533 -p-", "65534-65535"),
        ] {
            assert_eq!(scan(&format!("{typed} 127.0.0.1")).port_set().to_string(), left, "{typed}");
        }
        let Command::Now(Now::Run(run)) = typed("portscan run --host 10.0.0.5 --ports -79").unwrap().command
        else {
            panic!("another command")
        };
        assert_eq!(run.ports.unwrap().to_string(), "1-79");

        let line = scan("-sU --exclude-ports U:161 10.0.0.5");
        assert_eq!((line.protocol(), line.port_set().len()), (Protocol::Udp, 39));
        assert_eq!(scan("-sU -p U:53,161 10.0.0.5").port_set().to_string(), "53,161");
        assert_eq!(scan("-sU -p 53,ntp 10.0.0.5").port_set().to_string(), "53,123");
        let settings = scan("-sU --max-retries 0 --host-timeout 20s 10.0.0.5").udp_settings();
        assert_eq!((settings.tries, settings.deadline), (1, Some(Duration::from_secs(20))));

        assert_eq!(scan("127.0.0.1").port_set().len(), 1000);
        assert_eq!(scan("127.0.0.1").timing, Timing::T3);
    }

    #[test]
    fn counts_verbosity_before_and_behind() {
        for line in ["portscan -v scan -v a.lan", "portscan scan -vv a.lan", "portscan -vv scan a.lan"] {
            assert_eq!(
                typed(line).unwrap().verbose,
                if line.contains("-v scan -v") { 1 } else { 2 },
                "{line}"
            );
        }
    }

    #[test]
    fn errors_name_the_fault_and_the_remedy() {
        for (line, why) in [
            ("scan", "TARGET"),
            ("scan -sN a.lan", "write -sT"),
            ("scan --method raw a.lan", "write \"connect\""),
            ("scan -p 22 -F a.lan", "cannot be used with"),
            ("scan -p 70000 a.lan", "not a port"),
            ("scan --top-ports 2000 a.lan", "1..=1000"),
            ("scan -T9 a.lan", "T0 (slowest) to T5"),
            ("scan 10.0.0.0/8", "smaller prefix"),
            ("scan 10.0.0.300", "not a target"),
            ("scan AA:BB:CC:DD:EE:FF", "is a MAC"),
            ("scan -p 22 --exclude-ports 22 a.lan", "no port is left"),
            ("scan -p U:53 a.lan", "take -sU"),
            ("scan -sU -p T:53 a.lan", "which -sU leaves out"),
            ("scan -sU -sS a.lan", "leave out -sS"),
            ("scan -sU -sV a.lan", "without it"),
            ("scan -sU -F a.lan", "known services"),
            ("scan -sU --fleet a.lan", "leave out --fleet"),
            ("scan -sU --max-rate 9 a.lan", "one datagram a second"),
            ("scan -sU --exclude-ports - a.lan", "no port is left"),
            ("scan -sU -p 502,47808 a.lan", "machine controls"),
            ("scan --host-timeout 5x a.lan", "90s"),
            ("scan --host-timeout 0 a.lan", "90s"),
            ("scan --max-rate 0 a.lan", "--max-rate"),
            ("scan -oX - --json a.lan", "only one report"),
            ("scan -oX", "name a file"),
            ("scan -oA - a.lan", "three files"),
            ("scan -oA- a.lan", "three files"),
            ("scan --output-all=- a.lan", "three files"),
            ("scan --exclude-ports -p 22 a.lan", "not a port"),
            ("scan --openn a.lan", "--open"),
            ("192.168.1.0/24 -p 22", "Write: portscan scan 192.168.1.0/24 -p 22"),
            ("nas.lan", "Write: portscan scan nas.lan"),
            ("probe 10.0.0.0/24 80", "one host"),
            ("probe a.lan 0", "1..=65535"),
            ("discover", "IFACE"),
            ("discover lo", "name the interface of the LAN"),
            ("discover eth0 10.0.0.0/8", "65,536"),
            ("explain", "PORT|DEVICE"),
            ("explain 70000", "a port is a number from 1 to 65535"),
            ("explain 0/tcp", "a port is a number from 1 to 65535"),
            ("explain 80/web", "write 80/tcp or 80/udp"),
            ("explain 80-90", "name one port"),
            ("explain 192.168.1.0/24", "name one device"),
            ("explain 192.168.1.7%eth0", "192.168.1.7"),
            ("statos", "status"),
        ] {
            let error = typed(&format!("portscan {line}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for line in ["--help", "scan --help", "--version", "help scan"] {
            assert_eq!(typed(&format!("portscan {line}")).unwrap_err().exit_code(), 0, "{line}");
        }
    }

    #[test]
    fn the_help_matches_its_snapshot() {
        // A fixed width: clap would ask the terminal that the tests run in.
        let mut command = Arguments::command().term_width(100);
        command.build();
        insta::assert_snapshot!("help", command.render_help());
        let scan = command.find_subcommand_mut("scan").unwrap();
        insta::assert_snapshot!("help_scan", scan.render_help());
    }
}

//! Layer 5: the command line.
//!
//! [`parse`] reads it, nmap's spellings included. [`run`] executes the one-off commands; `app` runs the appliance
//! itself ([`Command::Serve`]). All output goes through the two writers of a [`Terminal`], and
//! everything that a command needs from the machine is in the [`CommandEnv`].

mod alert;
mod appliance;
mod args;
mod backup;
mod changes;
mod check;
mod columns;
mod devices;
mod diff;
mod discover;
mod doctor;
mod expected;
mod explain;
mod findings;
mod fleet_scan;
mod found;
mod hosts;
mod hub;
mod identify;
mod import;
mod import_expected;
mod interrupt;
mod json;
mod nmap;
mod output;
mod ports;
mod probe;
mod progress;
mod run;
mod runs;
mod scan;
mod scan_output;
mod service_user;
mod setup;
mod stage;
mod status;
mod table;
mod targets;
mod token;

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
    sync::Arc,
};

pub use alert::{AlertCommand, AlertListArgs, AlertMessageArgs, AlertSnoozeArgs, AlertTestArgs};
pub use appliance::ApplianceArgs;
pub use args::{Arguments, Command, Now, ProbeArgs, ScanArgs, parse};
pub use backup::BackupArgs;
pub use changes::ChangesArgs;
pub use diff::DiffArgs;
pub use discover::DiscoverArgs;
pub use doctor::DoctorArgs;
pub use expected::ExpectedCommand;
pub use explain::ExplainArgs;
pub use hosts::HostsArgs;
pub use hub::{
    AdoptArgs, EnrolArgs, ForgetSiteArgs, HubCommand, HubDirArgs, InitArgs, KeyCommand, RevokeArgs,
    ServeHubArgs,
};
pub use import::ImportArgs;
pub use import_expected::ImportExpectedArgs;
pub use ports::NamedPorts;
pub use run::RunArgs;
pub use setup::SetupArgs;
pub use status::StatusArgs;

use crate::{
    client::ClientError,
    clock::Clock,
    http::TokenError,
    model::{Address, HostAddressError, one_line},
    net::{LinkWatch, Links, SystemLimits},
    resolve::{Resolve, ResolveError},
    service::scanner::{Scanner, ScannerThread},
};

/// The interfaces to the machine that commands use; `app` makes them.
pub struct CommandEnv {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Resolves names to addresses.
    pub resolver: Arc<dyn Resolve>,
    /// This machine's networks, as of now.
    pub links: Box<dyn Fn() -> io::Result<Links>>,
    /// Starts the probe engine: only commands that probe pay for its threads.
    pub prober: Box<dyn Fn() -> io::Result<ProbeEngine>>,
}

/// The probe engine and this machine's limits for it.
pub struct ProbeEngine {
    /// Accepts hosts to scan.
    pub scanner: Scanner,
    /// The engine's thread, which ends with the command.
    pub thread: ScannerThread,
    /// This machine's limits.
    pub limits: SystemLimits,
    /// This machine's links.
    pub watch: LinkWatch,
}

/// Where output goes.
pub struct Terminal<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Warnings and errors.
    pub err: &'a mut dyn Write,
    /// Answers to questions, where standard input is a terminal.
    pub input: Option<&'a mut dyn BufRead>,
    /// The columns of `out`, where that is a terminal.
    pub width: Option<u16>,
    /// The columns of standard error, where that is a terminal: a progress bar may be drawn there.
    pub progress: Option<u16>,
}

/// Why a command failed, once the command line was understood.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Targets(#[from] targets::TargetsError),
    #[error("none of the targets can be scanned")]
    NoTargets,
    #[error(transparent)]
    Unresolved(#[from] ResolveError),
    #[error(transparent)]
    Target(#[from] HostAddressError),
    #[error("\"{name}\" leads nowhere: {source}")]
    NameTarget { name: String, source: HostAddressError },
    #[error("cannot read this machine's networks: {0}")]
    Links(io::Error),
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error(transparent)]
    Status(#[from] status::StatusError),
    #[error(transparent)]
    Appliance(#[from] appliance::ApplianceError),
    #[error(transparent)]
    Explain(#[from] explain::ExplainError),
    #[error(transparent)]
    Setup(#[from] setup::SetupError),
    #[error(transparent)]
    Hub(#[from] hub::HubError),
    #[error(transparent)]
    FleetScan(#[from] fleet_scan::FleetScanError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Discovery(#[from] crate::service::discovery::DiscoveryError),
    #[error(transparent)]
    AllSilent(#[from] crate::service::discovery::AllSilent),
    #[error(
        "SYNs cannot be sent: {0}; they take CAP_NET_RAW, so run it by sudo, or give the program the capability (sudo \
         setcap cap_net_raw+p FILE), or leave out -sS to scan by connects"
    )]
    NoSyns(io::Error),
    #[error("cannot start the scanner: {0}")]
    Prober(io::Error),
    #[error("cannot find out which MAC has {address}, which decides whether it is excluded: {source}")]
    Unsolicited { address: Address, source: io::Error },
    #[error(
        "--exclude or the configuration names a MAC, and this process may not ask which MAC {0} has; run it as root, or \
         grant it CAP_NET_RAW (sudo setcap cap_net_raw+ep $(command -v portscan)), or leave out an address instead, or, \
         if the configuration names it, ignore that with --ignore-exclude"
    )]
    MayNotAsk(Address),
    #[error("{0}: the configuration excludes it; --ignore-exclude probes it")]
    Excluded(Address),
    #[error(
        "what the configuration excludes is not known; mend it, or scan without it by --ignore-exclude:\n{0}"
    )]
    Exclusions(crate::config::ConfigError),
    #[error("cannot wait for Ctrl-C: {0}")]
    Interrupt(io::Error),
    #[error("the scanner stopped before its time")]
    Stopped,
    #[error("cannot read it: {0}")]
    Unreadable(io::Error),
    #[error("{url}: {error}")]
    Elsewhere { url: String, error: ClientError },
    #[error(
        "this is not what is expected as portmantool or `expected list --json` write it ({0}); nothing was changed"
    )]
    NotExpected(String),
    #[error("cannot write {}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    User(#[from] service_user::UserError),
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
}

/// Exit codes, as documented in the help.
const DONE: u8 = 0;
const FAILED: u8 = 1;
const INTERRUPTED: u8 = 130;

/// The most characters of a warning. Foreign text in it is far shorter; a command that mends something names files by
/// their whole paths, and is useless if it is cut off.
const LONGEST_WARNING: usize = 16 * 1024;

impl<'a> Terminal<'a> {
    /// The process's own, given its locked standard output and error.
    pub fn standard(out: &'a mut dyn Write, err: &'a mut dyn Write, input: &'a mut dyn BufRead) -> Self {
        let width_of = |size: Option<(terminal_size::Width, _)>| size.map(|(width, _)| width.0);
        Self {
            out,
            err,
            input: io::stdin().is_terminal().then_some(input),
            width: width_of(terminal_size::terminal_size_of(io::stdout())),
            progress: width_of(terminal_size::terminal_size_of(io::stderr())),
        }
    }

    /// Warns the user of something that does not stop the command.
    fn warn(&mut self, warning: &str) {
        // Standard error may be closed; the results still count.
        for line in warning.lines() {
            _ = writeln!(self.err, "portscan: {}", one_line(line, LONGEST_WARNING));
        }
    }
}

/// Runs a command and returns the exit code. A closed pipe (`| head`) ends it early and is no error.
pub async fn run(now: &Now, arguments: &Arguments, world: &CommandEnv, mut terminal: Terminal<'_>) -> u8 {
    let ended = dispatch(now, arguments, world, &mut terminal).await;
    exit_code(ended, &mut terminal)
}

async fn dispatch(
    now: &Now,
    arguments: &Arguments,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    match now {
        Now::Scan(scan) => {
            let interrupted = interrupt::listen().map_err(CliError::Interrupt)?;
            let options = (arguments.verbose, &arguments.overrides());
            match scan.fleet {
                true => fleet_scan::scan(scan, options, world, terminal, interrupted).await,
                false => scan::scan(scan, options, world, terminal, interrupted).await,
            }
        }
        Now::Probe(probe) => probe::probe(probe, &arguments.overrides(), world, terminal).await,
        Now::Discover(args) => discover::discover(args, world, terminal).await,
        Now::Status(status) => status::status(status, &arguments.overrides(), world, terminal).await,
        Now::Run(run) => {
            let interrupted = interrupt::listen().map_err(CliError::Interrupt)?;
            run::run(run, &arguments.overrides(), world, terminal, interrupted).await
        }
        Now::ImportExpected(import) => {
            import_expected::import_expected(import, &arguments.overrides(), world, terminal).await
        }
        Now::Import(import) => import::import(import, &arguments.overrides(), world, terminal).await,
        Now::Hosts(hosts) => {
            hosts::hosts(hosts, (arguments.verbose, &arguments.overrides()), world, terminal).await
        }
        Now::Explain(args) => explain::explain(args, &arguments.overrides(), world, terminal).await,
        Now::Backup(backup) => backup::backup(backup, &arguments.overrides(), world, terminal).await,
        Now::Expected(what) => expected::expected(what, &arguments.overrides(), world, terminal).await,
        Now::Diff(diff) => diff::diff(diff, &arguments.overrides(), world, terminal).await,
        Now::Changes(changes) => changes::changes(changes, &arguments.overrides(), world, terminal).await,
        Now::Alert(what) => alert::alert(what, &arguments.overrides(), world, terminal).await,
        Now::Doctor(args) => doctor::doctor(args, &arguments.overrides(), world, terminal),
        Now::Setup(args) => setup::setup(args, &arguments.overrides(), terminal),
        Now::Hub(what) => hub::hub(what, &arguments.overrides(), world, terminal).await,
        Now::Token => token::token(&arguments.overrides(), terminal),
        Now::CheckConfig(args) => {
            check::check_config(args, &arguments.overrides(), arguments.verbose, world, terminal).await
        }
    }
}

fn exit_code(ended: Result<u8, CliError>, terminal: &mut Terminal<'_>) -> u8 {
    match ended {
        Ok(code) => code,
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
        Err(error) => {
            terminal.warn(&error.to_string());
            FAILED
        }
    }
}

#[cfg(test)]
mod tests;

//! Layer 5: the composition root, which starts and stops all parts in order. Clocks, resolvers and probers are
//! created here and passed down; no other module creates its own.

mod health;
mod hub;
mod links;
mod log;
mod manager;
mod reload;
mod serve;
mod site;
mod startup;
mod worker;

use std::{
    hash::{BuildHasher, RandomState},
    io::{self, BufReader},
    num::NonZeroUsize,
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use tokio::runtime::Runtime;
use tracing::level_filters::LevelFilter;

use crate::{
    cli::{self, Arguments, Command, CommandEnv, HubCommand, Now, ProbeEngine, Terminal},
    clock::SystemClock,
    config::{Config, Overrides},
    net::{
        ConnectProber, Links, SynProber, SystemLimits,
        mdns::{Daemon, LocalResolver, MdnsScope},
        raise_permitted_capabilities,
    },
    service::scanner::Scanner,
};

/// Threads for blocking work: name look-ups (and reading files at the start). A name server
/// that does not answer holds each for half a minute, long after we have given up on it; tokio's 512 would be
/// as many half-dead threads on a Pi of 1 GB. Look-ups beyond these wait, and time out as those before did.
const BLOCKING_THREADS: usize = 32;

/// Parses the command line, runs the command, and returns the exit code.
pub fn run() -> ExitCode {
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    // Before any thread is started: each has capabilities of its own.
    raise_permitted_capabilities();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = match runtime.enable_all().max_blocking_threads(BLOCKING_THREADS).build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&anyhow::Error::new(error).context("the runtime cannot start")),
    };
    let code = run_on(&runtime, &arguments);
    // A look-up that hangs must not delay the exit.
    runtime.shutdown_background();
    code
}

fn run_on(runtime: &Runtime, arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::Serve => match runtime.block_on(serve::serve(&arguments.overrides(), arguments.verbose)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        },
        Command::Worker => match runtime.block_on(worker::work(&arguments.overrides(), arguments.verbose)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        },
        Command::Now(Now::Hub(HubCommand::Serve(args))) => {
            match runtime.block_on(hub::serve(args, &arguments.overrides(), arguments.verbose)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => complain(&error),
            }
        }
        Command::Now(now) => {
            log::start(LevelFilter::ERROR, arguments.verbose);
            let (mut out, mut err) = (io::stdout().lock(), io::stderr());
            let mut input = BufReader::new(io::stdin());
            let terminal = Terminal::standard(&mut out, &mut err, &mut input);
            ExitCode::from(runtime.block_on(cli::run(
                now,
                arguments,
                &world(arguments.overrides()),
                terminal,
            )))
        }
    }
}

/// The machine's clocks, resolver and prober, for one-off commands.
fn world(flags: Overrides) -> CommandEnv {
    let clock = SystemClock::start();
    let daemon = OnceLock::new();
    CommandEnv {
        clock: Arc::new(clock),
        resolver: Arc::new(LocalResolver::new(move || daemon.get_or_init(|| asking(&flags)).clone())),
        links: Box::new(Links::read),
        prober: Box::new(move || probing(clock)),
    }
}

/// Resolves names in `.local`; starts with the first of them, since most commands name addresses.
fn asking(flags: &Overrides) -> Option<Daemon> {
    // Only commands that need the configuration report its faults.
    if Config::read(flags).is_ok_and(|config| !config.mdns.enabled) {
        return None;
    }
    Daemon::start(&MdnsScope::EVERYWHERE)
        .inspect_err(|error| {
            tracing::warn!(%error, "failed to start mDNS; this machine's resolver looks up names in .local");
        })
        .ok()
}

/// The one engine of the process, with a prober on every core.
fn probing(clock: SystemClock) -> io::Result<ProbeEngine> {
    let limits = SystemLimits::raise_and_read()?;
    let connects = ConnectProber::start(NonZeroUsize::new(limits.cores).unwrap_or(NonZeroUsize::MIN), clock)?;
    // The order of the ports must be unpredictable: the standard library's keys are random per process.
    let seed = RandomState::new().hash_one(std::process::id());
    // A limit that can no longer be read keeps its last value.
    let mut known = limits.bounds();
    let bounds = move || {
        known = SystemLimits::read().map_or(known, |limits| limits.bounds());
        known
    };
    tracing::info!(%limits, "read this machine's limits");
    let watch = connects.links().clone();
    let prober = SynProber::new(connects, clock);
    let (scanner, thread) = Scanner::start(seed, prober, clock, bounds)?;
    Ok(ProbeEngine { scanner, thread, limits, watch })
}

/// Reports a fatal error with all its causes, and returns the exit code.
#[expect(clippy::print_stderr, reason = "the last word of the process, also where no log was started")]
fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("portscan: {}", with_causes(error));
    ExitCode::FAILURE
}

/// Formats an error and its causes, each once: many errors already quote their cause in their own text.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use anyhow::Context;

    use super::*;
    use crate::store::StoreError;

    #[test]
    fn does_not_repeat_a_quoted_cause() {
        let source = || io::Error::from(io::ErrorKind::PermissionDenied);
        let quoted = StoreError::File { path: PathBuf::from("/d/portscan.db"), source: source() };
        assert_eq!(with_causes(&quoted.into()).matches("permission denied").count(), 1);
        let added = Err::<(), _>(source()).context("the runtime cannot start").unwrap_err();
        assert_eq!(with_causes(&added), "the runtime cannot start: permission denied");
    }
}

//! F5: the composition root. What is started, in which order, and how it stops; here clocks, resolvers and
//! probers are made and handed down. Nothing else in the house makes its own.

mod log;
mod reload;
mod serve;

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    io,
    num::NonZeroUsize,
    process::ExitCode,
    sync::Arc,
};

use crate::{
    cli::{self, Action, Probing, Terminal, World},
    clock::SystemClock,
    config::{LevelFilter, Overrides},
    engine::Engine,
    net::{ConnectProber, Limits, Links, SystemResolver},
    service::scanner::Scanner,
};

/// Reads the command line, does what it says, and returns the exit code.
pub fn run() -> ExitCode {
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let flags = Overrides { config: arguments.config.clone(), ..Overrides::default() };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&anyhow::Error::new(error).context("the runtime cannot start")),
    };
    match &arguments.action() {
        Action::Serve(_) => match runtime.block_on(serve::serve(flags, arguments.verbose)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        },
        Action::Now(now) => {
            log::start(LevelFilter::WARN, arguments.verbose);
            let (mut out, mut err) = (io::stdout().lock(), io::stderr());
            let terminal = Terminal::standard(&mut out, &mut err);
            ExitCode::from(runtime.block_on(cli::run(now, &arguments, &world(), terminal)))
        }
    }
}

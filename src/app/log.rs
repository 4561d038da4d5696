//! Where the log goes: standard error, which systemd keeps.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging at this level; `-v` and `-vv` ask for more, `RUST_LOG` (its filter syntax) overrides all.
pub(super) fn start(level: LevelFilter, verbose: u8) {
    let level = match verbose {
        0 => level,
        1 => level.max(LevelFilter::DEBUG),
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    // Under systemd the journal dates every line itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    let lines = lines.with_ansi(io::stderr().is_terminal());
    if journal { lines.without_time().init() } else { lines.init() }
}

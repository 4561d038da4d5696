//! Where the log goes: standard error, which systemd keeps.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, filter::Targets, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt,
};

/// Starts logging at this level; `-v` and `-vv` ask for more, `RUST_LOG` (`debug`, or
/// `info,portscan::engine=trace`) overrides all; one that cannot be read is told of and changes nothing.
pub(super) fn start(level: LevelFilter, verbose: u8) {
    let level = match verbose {
        0 => level,
        1 => level.max(LevelFilter::DEBUG),
        _ => LevelFilter::TRACE,
    };
    // `Targets` rather than `EnvFilter`: what that adds (fields, spans) nobody here needs, and it brings a
    // regular-expression engine of 1 MB.
    let wanted = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let parsed = wanted.as_deref().map(str::parse::<Targets>).transpose();
    let unreadable = parsed.is_err();
    let filter = parsed.ok().flatten().unwrap_or_else(|| Targets::new().with_default(level));
    // Under systemd the journal dates every line itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let lines = fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(io::stderr().is_terminal());
    let lines = if journal { lines.without_time().boxed() } else { lines.boxed() };
    registry().with(lines.with_filter(filter)).init();
    if unreadable {
        tracing::warn!("RUST_LOG is left aside: write a level (info), or target=level, with commas between");
    }
}

//! Writes the log to standard error, which systemd stores, one line per event.
//!
//! Names of files and devices, and libraries' messages about what they have read, come from outside. Here, where every
//! event passes, characters that would end the line, act on a terminal or turn the direction of the text are escaped,
//! so that no caller has to.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal},
};

use tracing::{field::Field, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    field::MakeExt,
    filter::Targets,
    fmt::{FormatFields, format, layer},
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

use crate::model::is_unseen;

/// Starts logging at this level; `-v` and `-vv` (which includes the libraries) ask for more, `RUST_LOG` (`debug`, or
/// `info,portscan::engine=trace`) overrides all; an invalid one is reported and ignored.
pub(super) fn start(level: LevelFilter, verbose: u8) {
    let level = match verbose {
        0 => level,
        1 => level.max(LevelFilter::DEBUG),
        _ => LevelFilter::TRACE,
    };
    // `Targets` rather than `EnvFilter`: nothing here needs what that adds (fields, spans), and it brings a
    // regular-expression engine of 1 MB.
    let wanted = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let parsed = wanted.as_deref().map(str::parse::<Targets>).transpose();
    let unreadable = parsed.is_err();
    let filter = parsed.ok().flatten().unwrap_or_else(|| targets(level));
    // Under systemd the journal dates every line itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let lines = layer().fmt_fields(fields()).with_writer(io::stderr).with_target(false);
    let lines = lines.with_ansi(io::stderr().is_terminal());
    let lines = if journal { lines.without_time().boxed() } else { lines.boxed() };
    registry().with(lines.with_filter(filter)).init();
    if unreadable {
        tracing::warn!(
            "ignoring invalid RUST_LOG: write a level (info), or target=level, with commas between"
        );
    }
}

/// What is logged at a level. Libraries are quieter than this program below `trace`: a command that prints more with `-v`
/// (`hosts -v`) would show each of its own connections.
fn targets(level: LevelFilter) -> Targets {
    let libraries = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::INFO) };
    // `net::nats` logs the same in this program's words.
    let broker = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    Targets::new()
        .with_default(libraries)
        .with_target("async_nats", broker)
        .with_target(env!("CARGO_CRATE_NAME"), level)
}

/// Writes the fields of an event as `tracing_subscriber` does by default, `message name=value`, each escaped.
fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    let write = |writer: &mut format::Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        if field.name() != "message" {
            write!(writer, "{field}=")?;
        }
        write!(Escaping(writer), "{value:?}")
    };
    format::debug_fn(write).delimited(" ")
}

/// Escapes invisible characters: a line feed as `\n`, others by their number, `\u{1b}`.
struct Escaping<'a, 'writer>(&'a mut format::Writer<'writer>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match is_unseen(c) {
            true => write!(self.0, "{}", c.escape_default()),
            false => self.0.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::Level;

    use super::*;

    /// Where a test's lines go.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_from_outside_forges_a_line_or_acts_on_a_terminal() {
        let written = Lines::default();
        let writer = written.clone();
        let log = layer().fmt_fields(fields()).with_writer(move || writer.clone()).with_target(false);
        let subscriber = registry().with(log.without_time().with_ansi(false));
        let hostile = "a\nINFO forged\r\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{2028}\u{200b}é";
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(path = %hostile, name = hostile, ?hostile, count = 3, "a report of {hostile}");
            let error = io::Error::other(hostile);
            tracing::warn!(%error, error = &error as &dyn std::error::Error, "{error}");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().count(), 2, "{written:?}");
        let unseen: Vec<char> = written.chars().filter(|&c| c != '\n' && is_unseen(c)).collect();
        assert!(unseen.is_empty(), "{unseen:?} in {written:?}");
        let shown = r"a\nINFO forged\r\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{2028}\u{200b}é";
        let expected = format!(" INFO a report of {shown} path={shown} name=\"{shown}\" ");
        assert!(written.starts_with(&expected) && written.contains(" count=3\n"), "{written}");
        assert!(written.contains(&format!(" WARN {shown} error={shown}")), "{written}");
    }

    #[test]
    fn libraries_are_silent_below_trace() {
        let debug = targets(LevelFilter::DEBUG);
        assert!(debug.would_enable("portscan::net", &Level::DEBUG));
        assert!(!debug.would_enable("hyper_util::client", &Level::DEBUG));
        assert!(debug.would_enable("hyper_util::client", &Level::INFO));
        assert!(targets(LevelFilter::TRACE).would_enable("hyper_util::client", &Level::TRACE));
        assert!(!targets(LevelFilter::WARN).would_enable("mdns_sd", &Level::INFO));
    }
}

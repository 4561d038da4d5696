//! `portscan import FILE...`: imports other scanners' reports, also while the appliance runs.

use std::{
    future::ready,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt},
};

use super::{
    CliError, CommandEnv, DONE, FAILED, Terminal,
    appliance::{Appliance, ApplianceArgs, ApplianceError, DatabaseUse},
    found::sanitize_for_terminal,
    table::counted,
};
use crate::{config::Overrides, http};

/// The largest file that an appliance takes, in bytes.
const LARGEST: u64 = 128 << 20;

/// The number of bytes that show a file's kind: it may begin with blank lines.
const FIRST: usize = 1024;

/// What to take in.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(after_help = "Exit: 0 all are taken in (or were before), 1 some are not, 2 wrong usage.")]
pub struct ImportArgs {
    /// Files that nmap or masscan has written with -oX FILE, or the original portscan's results (one for each MAC);
    /// - reads standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Print what was taken and what was left out as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// The result of one file, as `--json` prints it.
#[derive(Serialize)]
struct Outcome {
    file: String,
    #[serde(flatten)]
    summary: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// An appliance's summary of an import.
#[derive(Debug, Serialize, Deserialize)]
struct Summary {
    id: i64,
    known: bool,
    hosts: Hosts,
    ports: Ports,
    left_out: Vec<Omission>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hosts {
    scanned: u64,
    seen: u64,
    unfinished: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ports {
    listed: u64,
    open: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Omission {
    what: String,
    count: u64,
    reason: String,
}

/// Imports the files in turn; a refused one does not stop the others.
pub(super) async fn import(
    args: &ImportArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let appliance = Appliance::find(&args.access, overrides, world, DatabaseUse::Writing)?;
    let mut code = DONE;
    let mut outcomes = Vec::new();
    for path in &args.files {
        let handed_in = hand_in(&appliance, path).await;
        let file = path.display().to_string();
        if let Err(error) = &handed_in {
            terminal.warn(&format!("{file}: {error}"));
            code = FAILED;
        }
        let error = handed_in.as_ref().err().map(ToString::to_string);
        let summary = handed_in.ok().flatten();
        match (&summary, args.json) {
            (_, true) => outcomes.push(Outcome { file, summary, error }),
            (Some(summary), false) => {
                writeln!(terminal.out, "{}: {}", sanitize_for_terminal(&file), sentence(summary))?;
            }
            (None, false) => {}
        }
    }
    appliance.close().await?;
    if args.json {
        serde_json::to_writer_pretty(&mut *terminal.out, &outcomes).map_err(io::Error::from)?;
        writeln!(terminal.out)?;
    }
    terminal.out.flush()?;
    Ok(code)
}

/// `scan 1772359200: 3 hosts with 12 listed ports (7 open), 1 host only seen; left out: 253 hosts (down)`
fn sentence(summary: &Summary) -> String {
    let Summary { id, known, hosts, ports, left_out } = summary;
    if *known {
        return format!("scan {id} has been imported before: nothing is changed");
    }
    let scanned = format!(
        "{} with {} ({} open)",
        number(hosts.scanned, "host"),
        number(ports.listed, "listed port"),
        ports.open
    );
    let others = [(hosts.seen, "only seen"), (hosts.unfinished, "without a result")];
    let others = others.iter().filter(|(count, _)| *count > 0);
    let others = others.map(|(count, what)| format!("{} {what}", number(*count, "host")));
    let taken: Vec<String> = (hosts.scanned > 0).then_some(scanned).into_iter().chain(others).collect();
    let taken = if taken.is_empty() { "no hosts".to_owned() } else { taken.join(", ") };
    let omission = |it: &Omission| {
        let what = number(it.count, it.what.trim_end_matches('s'));
        format!("{} ({})", sanitize_for_terminal(&what), sanitize_for_terminal(&it.reason))
    };
    match left_out.iter().map(omission).collect::<Vec<_>>() {
        none if none.is_empty() => format!("scan {id}: {taken}"),
        omissions => format!("scan {id}: {taken}; left out: {}", omissions.join(", ")),
    }
}

fn number(count: u64, what: &str) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), what)
}

/// Uploads a file while it is read, because it may be larger than the memory. `None`: the appliance is an older
/// version, which returns no summary.
async fn hand_in(appliance: &Appliance, path: &Path) -> Result<Option<Summary>, CliError> {
    let answer = if path.as_os_str() == "-" {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(CliError::Unreadable)?;
        send(appliance, File::from_std(stdin.into())).await?
    } else {
        let file = File::open(path).await.map_err(CliError::Unreadable)?;
        let length = file.metadata().await.map_err(CliError::Unreadable)?.len();
        if length > LARGEST {
            return Err(CliError::Unreadable(io::ErrorKind::FileTooLarge.into()));
        }
        send(appliance, file).await?
    };
    let summary = (!answer.is_empty()).then(|| serde_json::from_slice(&answer)).transpose();
    Ok(summary.map_err(ApplianceError::Foreign)?)
}

async fn send(
    appliance: &Appliance,
    mut source: impl AsyncRead + Unpin + Send + 'static,
) -> Result<Bytes, CliError> {
    let mut first = BytesMut::with_capacity(FIRST);
    while first.len() < FIRST && source.read_buf(&mut first).await.map_err(CliError::Unreadable)? > 0 {}
    // The appliance itself detects which of the two it is.
    let kind =
        if first.trim_ascii_start().starts_with(b"{") { "application/json" } else { "application/xml" };
    let rest = stream::once(ready(Ok(first.freeze()))).chain(http::pieces(source));
    let report = StreamBody::new(rest.map_ok(Frame::data)).boxed_unsync();
    Ok(appliance.hand_in("/v1/scan", kind, report).await?)
}

//! `portscan diff`: compares the network with its expected state, or two scans.

use std::io;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    CliError, CommandEnv, DONE, FAILED, Terminal,
    appliance::{Appliance, ApplianceArgs, ApplianceInfo, DatabaseUse, not_rows},
    found::sanitize_for_terminal,
    table,
};
use crate::config::Overrides;

/// What is compared.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(
    after_help = "Without IDs: the present state with what is expected. ID1: what that scan saw with what is \
                  expected. ID1 ID2: the two scans.\nExit: 0 done, or nothing was ever accepted as expected; 1 it \
                  failed, or there are differences and --exit-code; 2 wrong usage."
)]
pub struct DiffArgs {
    /// A scan, by its id in /v1/scans
    #[arg(value_name = "ID1")]
    pub one: Option<i64>,
    /// Another one
    #[arg(value_name = "ID2")]
    pub other: Option<i64>,
    /// End with 1 if there are differences
    #[arg(long)]
    pub exit_code: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// A difference of either comparison; the expected state, or the first scan, comes first.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    address: String,
    port: u16,
    protocol: String,
    #[serde(alias = "state_a")]
    expected_state: String,
    #[serde(alias = "state_b")]
    actual_state: String,
    #[serde(default)]
    comment: String,
}

/// Fetches and prints the differences.
pub(super) async fn diff(
    args: &DiffArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let path = match (args.one, args.other) {
        (None, _) => "/v1/diff".to_owned(),
        (Some(one), None) => format!("/v1/diff/{one}"),
        (Some(one), Some(other)) => format!("/v1/diff/{one}/{other}"),
    };
    let appliance = Appliance::find(&args.access, overrides, world, DatabaseUse::Reading)?;
    let found: Result<Vec<serde_json::Value>, _> = appliance.get(&path).await;
    // Two scans need no expected state.
    let info = match args.other {
        None => appliance.get::<ApplianceInfo>("/v1/info").await.map(Some),
        Some(_) => Ok(None),
    };
    appliance.close().await?;
    let (found, info) = (found?, info?);
    let is_same = found.is_empty();
    let has_baseline = info.is_none_or(|info| info.baseline != Some(false));
    if args.json {
        serde_json::to_writer(&mut *terminal.out, &found).map_err(io::Error::from)?;
        writeln!(terminal.out)?;
    } else {
        if !has_baseline {
            terminal.out.write_all(NO_BASELINE.as_bytes())?;
        }
        match is_same {
            false => print(found, args.other.is_some(), terminal)?,
            true if has_baseline => writeln!(terminal.out, "no differences")?,
            true => {}
        }
    }
    terminal.out.flush()?;
    Ok(if args.exit_code && !is_same && has_baseline { FAILED } else { DONE })
}

/// The state of a port that a scan has not covered.
const NOT_SCANNED: &str = "not scanned";

/// Before the first accept every open port is listed, and none is alarming.
const NO_BASELINE: &str = "\
no baseline yet: nothing was ever accepted as expected, so every open port is listed
accept the present state as expected with: portscan expected accept --all
";

fn print(
    found: Vec<serde_json::Value>,
    two_scans: bool,
    terminal: &mut Terminal<'_>,
) -> Result<(), CliError> {
    let foreign = not_rows(&found);
    let rows = found.into_iter().map(|mut row| {
        // A scan's row has both sides in portmantool's later keys as well as the expected state.
        if let Some(row) = row.as_object_mut().filter(|row| row.contains_key("expected_state")) {
            row.remove("state_a");
            row.remove("state_b");
        }
        serde_json::from_value(row)
    });
    let rows = rows.collect::<Result<Vec<Row>, _>>().map_err(foreign)?;
    let header = match two_scans {
        true => ["ADDRESS", "PORT", "ID1", "ID2", ""],
        false => ["ADDRESS", "PORT", "EXPECTED", "ACTUAL", "COMMENT"],
    };
    let word = |state: &str, missing: &str| match state {
        "" => missing.to_owned(),
        state => sanitize_for_terminal(state),
    };
    // What is missing from a scan was not covered by it; nothing may well be expected of a port.
    let first_missing = if two_scans { NOT_SCANNED } else { "-" };
    let rows = rows.iter().map(|row| {
        vec![
            sanitize_for_terminal(&row.address),
            format!("{}/{}", row.port, sanitize_for_terminal(&row.protocol)),
            word(&row.expected_state, first_missing),
            word(&row.actual_state, NOT_SCANNED),
            sanitize_for_terminal(&row.comment),
        ]
    });
    Ok(table::write(terminal.out, &header, rows, 4, terminal.width)?)
}

//! `portscan diff`: compares the network with its expected state, or two scans.

use std::io;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    CliError, CommandEnv, DONE, FAILED, Terminal,
    appliance::{Appliance, ApplianceArgs, ApplianceError, DatabaseUse},
    found::sanitize_for_terminal,
    table,
};
use crate::config::Overrides;

/// What is compared.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(
    after_help = "Without IDs: the present state with what is expected. ID1: what that scan saw with what is \
                  expected. ID1 ID2: the two scans.\nExit: 0 done; 1 it failed, or there are differences and \
                  --exit-code; 2 wrong usage."
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
    appliance.close().await?;
    let found = found?;
    let is_same = found.is_empty();
    if args.json {
        serde_json::to_writer(&mut *terminal.out, &found).map_err(io::Error::from)?;
        writeln!(terminal.out)?;
    } else if !is_same {
        print(found, args.other.is_some(), terminal)?;
    }
    terminal.out.flush()?;
    Ok(if args.exit_code && !is_same { FAILED } else { DONE })
}

fn print(
    found: Vec<serde_json::Value>,
    two_scans: bool,
    terminal: &mut Terminal<'_>,
) -> Result<(), CliError> {
    let rows = found.into_iter().map(|mut row| {
        // A scan's row has both sides in portmantool's later keys as well as the expected state.
        if let Some(row) = row.as_object_mut().filter(|row| row.contains_key("expected_state")) {
            row.remove("state_a");
            row.remove("state_b");
        }
        serde_json::from_value(row)
    });
    let rows = rows.collect::<Result<Vec<Row>, _>>().map_err(ApplianceError::Foreign)?;
    let header = match two_scans {
        true => ["ADDRESS", "PORT", "ID1", "ID2", ""],
        false => ["ADDRESS", "PORT", "EXPECTED", "IS", "COMMENT"],
    };
    let word = |state: &str| if state.is_empty() { "-".to_owned() } else { sanitize_for_terminal(state) };
    let rows = rows.iter().map(|row| {
        vec![
            sanitize_for_terminal(&row.address),
            format!("{}/{}", row.port, sanitize_for_terminal(&row.protocol)),
            word(&row.expected_state),
            word(&row.actual_state),
            sanitize_for_terminal(&row.comment),
        ]
    });
    Ok(table::write(terminal.out, &header, rows, 4, terminal.width)?)
}

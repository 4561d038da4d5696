//! `portscan import FILE...`: what others found, also while the appliance is at work.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;

use super::{
    CliError, DONE, FAILED, Terminal, World,
    appliance::{Access, Appliance},
};
use crate::config::Overrides;

/// The largest file that an appliance takes, in bytes.
const LARGEST: u64 = 128 << 20;

/// What to take in.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(after_help = "Exit: 0 all are taken in (or were before), 1 some are not, 2 wrong usage.")]
pub struct ImportArgs {
    /// Files that `nmap -oX FILE` has written, or the original portscan's results (one for each MAC)
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: Access,
}

/// Takes one file after the other in; one that is refused does not keep the others out.
pub(super) async fn import(
    args: &ImportArgs,
    overrides: &Overrides,
    world: &World,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let appliance = Appliance::find(&args.access, overrides, world)?;
    let mut code = DONE;
    for file in &args.files {
        if let Err(error) = hand_in(&appliance, file).await {
            terminal.warn(&format!("{}: {error}", file.display()));
            code = FAILED;
        }
    }
    appliance.close().await?;
    Ok(code)
}

async fn hand_in(appliance: &Appliance, path: &Path) -> Result<(), CliError> {
    if fs::metadata(path).map_err(CliError::Unreadable)?.len() > LARGEST {
        return Err(CliError::Unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    let report = Bytes::from(fs::read(path).map_err(CliError::Unreadable)?);
    // Which of the two it is the appliance sees for itself.
    let kind =
        if report.trim_ascii_start().starts_with(b"{") { "application/json" } else { "application/xml" };
    Ok(appliance.hand_in("/v1/scan", kind, report).await?)
}

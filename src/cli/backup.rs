//! `portscan backup FILE`: a copy of the database, also while the appliance is at work.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    CliError, DONE, Terminal, World,
    appliance::{Access, Appliance, ApplianceError},
};
use crate::config::Overrides;

/// Where to.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct BackupArgs {
    /// The copy; one that is there is replaced
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: Access,
}

/// Writes the copy, under its name only once it is whole.
pub(super) async fn backup(
    args: &BackupArgs,
    overrides: &Overrides,
    world: &World,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let appliance = Appliance::find(&args.access, overrides, world)?;
    let mut partial = args.file.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let copied = copy(&appliance, &partial).await;
    appliance.close().await?;
    let kept = copied.and_then(|bytes| Ok(fs::rename(&partial, &args.file).map(|()| bytes)?));
    let bytes = kept.inspect_err(|_| drop(fs::remove_file(&partial)))?;
    writeln!(terminal.out, "{}: {:.1} MB", args.file.display(), bytes as f64 / 1e6)?;
    Ok(DONE)
}

async fn copy(appliance: &Appliance, to: &Path) -> Result<u64, CliError> {
    let unwritable = |source: io::Error| CliError::File { path: to.to_owned(), source };
    // It tells what everybody has open: for its owner's eyes.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to);
    let mut file = BufWriter::new(file.map_err(unwritable)?);
    let mut bytes = 0;
    let take = |piece: &[u8]| {
        bytes += piece.len() as u64;
        file.write_all(piece)
    };
    appliance.read_long("/v1/backup", take).await?;
    let file: File = file.into_inner().map_err(|error| unwritable(error.into_error()))?;
    file.sync_all().map_err(unwritable)?;
    match bytes {
        0 => Err(ApplianceError::Broken("nothing came".to_owned()).into()),
        bytes => Ok(bytes),
    }
}

//! `portscan backup FILE`: copies the database, also while the appliance runs.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    CliError, CommandEnv, DONE, Terminal,
    appliance::{Appliance, ApplianceArgs, ApplianceError, Located},
};
use crate::{config::Overrides, data_dir::create_file, store};

/// Where to.
#[derive(Args, Debug, Clone, PartialEq)]
pub struct BackupArgs {
    /// The copy; one that is there is replaced
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// Writes the copy, and gives it its name only once it is complete.
pub(super) async fn backup(
    args: &BackupArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    match Located::find(&args.access, overrides, world)? {
        Located::Running(appliance) => receive(&appliance, &args.file).await?,
        // The API would need room for another copy, in a directory that may be read-only.
        Located::AtRest { database, lock: _lock } => {
            store::backup(&database, &args.file).map_err(ApplianceError::Store)?;
        }
    }
    let bytes = fs::metadata(&args.file)?.len();
    writeln!(terminal.out, "{}: {:.1} MB", args.file.display(), bytes as f64 / 1e6)?;
    Ok(DONE)
}

async fn receive(appliance: &Appliance, file: &Path) -> Result<(), CliError> {
    let mut partial = file.to_owned().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let copied = copy(appliance, &partial).await;
    let kept = copied.and_then(|()| Ok(fs::rename(&partial, file)?));
    kept.inspect_err(|_| drop(fs::remove_file(&partial)))
}

async fn copy(appliance: &Appliance, to: &Path) -> Result<(), CliError> {
    let unwritable = |source: io::Error| CliError::File { path: to.to_owned(), source };
    // The remains of an earlier attempt. A link that another user has placed there is not followed.
    let _ = fs::remove_file(to);
    let file = create_file(to, appliance.data_dir()).map_err(unwritable)?;
    let mut file = BufWriter::new(file);
    let mut bytes = 0;
    let take = |piece: &[u8]| {
        bytes += piece.len();
        file.write_all(piece)
    };
    appliance.read_long("/v1/backup", take).await?;
    let file: File = file.into_inner().map_err(|error| unwritable(error.into_error()))?;
    file.sync_all().map_err(unwritable)?;
    match bytes {
        0 => Err(ApplianceError::Broken("nothing came".to_owned()).into()),
        _ => Ok(()),
    }
}

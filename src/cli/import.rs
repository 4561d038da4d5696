//! `portscan import FILE...`: what others found, also while the appliance is at work.

use std::{
    future::ready,
    io,
    path::{Path, PathBuf},
};

use bytes::BytesMut;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::{fs::File, io::AsyncReadExt};

use super::{
    CliError, DONE, FAILED, Terminal, World,
    appliance::{Access, Appliance, Use},
};
use crate::{config::Overrides, http};

/// The largest file that an appliance takes, in bytes.
const LARGEST: u64 = 128 << 20;

/// How much of a file tells of which kind it is, in bytes: it may begin with blank lines.
const FIRST: usize = 1024;

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
    let appliance = Appliance::find(&args.access, overrides, world, Use::Writing)?;
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

/// Hands a file in as it is read: it may be larger than what memory there is.
async fn hand_in(appliance: &Appliance, path: &Path) -> Result<(), CliError> {
    let mut file = File::open(path).await.map_err(CliError::Unreadable)?;
    let length = file.metadata().await.map_err(CliError::Unreadable)?.len();
    if length > LARGEST {
        return Err(CliError::Unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    let mut first = BytesMut::with_capacity(FIRST);
    while first.len() < FIRST && file.read_buf(&mut first).await.map_err(CliError::Unreadable)? > 0 {}
    // Which of the two it is the appliance sees for itself.
    let kind =
        if first.trim_ascii_start().starts_with(b"{") { "application/json" } else { "application/xml" };
    let rest = stream::once(ready(Ok(first.freeze()))).chain(http::pieces(file));
    let report = StreamBody::new(rest.map_ok(Frame::data)).boxed_unsync();
    Ok(appliance.hand_in("/v1/scan", kind, report).await?)
}

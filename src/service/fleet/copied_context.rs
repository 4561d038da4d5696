//! The part of a copy that is no database: a file beside it, so that a hub that starts again shows a site as it was.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{data_dir, fleet::SiteContext};

/// The file's name in the directory of the copy.
const NAME: &str = "site.json";

/// What the hub knows of a site beside its database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CopiedContext {
    /// The version of its program.
    pub(super) version: Option<String>,
    /// The host name of its machine.
    pub(super) host: Option<String>,
    /// What it last sent.
    pub(super) context: SiteContext,
}

fn file(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Reads the file. One that is missing or damaged is as if there were none: the site sends it again.
pub(super) fn read(dir: &Path) -> CopiedContext {
    let text = fs::read(file(dir)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Replaces the file.
pub(super) fn write(dir: &Path, context: &CopiedContext) -> io::Result<()> {
    let text = serde_json::to_vec(context).map_err(io::Error::other)?;
    data_dir::replace_file(&file(dir), &text, dir)
}

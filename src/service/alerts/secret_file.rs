//! The files with secrets and authorities that a channel's configuration names.

use std::{io, path::Path};

use crate::data_dir::read_secret;

/// Reads the secret of the file under a key, if there is one.
///
/// # Errors
/// As [`unusable`].
pub(super) fn read(key: &str, file: Option<&Path>) -> Result<Option<String>, String> {
    file.map(read_secret).transpose().map_err(|error| unusable(key, file, &error))
}

/// Formats the error about a file that cannot be used: one that the configuration names, or the machine's own
/// authorities.
pub(super) fn unusable(key: &str, file: Option<&Path>, error: &io::Error) -> String {
    let shown = file.unwrap_or(Path::new("")).display();
    format!("{key}: cannot read {shown}: {error}")
}

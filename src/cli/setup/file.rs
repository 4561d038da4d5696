//! The configuration file that `portscan setup` writes.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::SetupError;
use crate::{
    config::{Config, ConfigError, Overrides},
    data_dir::create_dir,
};

/// What the package installs: it holds no decision of the owner's.
const PACKAGED: &str = include_str!("../../../systemd/portscan.toml");

/// How many copies of earlier files are kept.
const MOST_COPIES: u32 = 100;

/// Returns the text of the file, which is valid.
///
/// # Errors
/// Fails if `--listen` or `--data-dir` is malformed.
pub(super) fn text(path: &Path, overrides: &Overrides, discover: &[String]) -> Result<String, ConfigError> {
    let list = |values: &[String]| {
        toml::Value::Array(values.iter().cloned().map(toml::Value::String).collect()).to_string()
    };
    let mut text = "\
# portscan's configuration, written by `portscan setup`. Keys that are not here have their defaults:
# `portscan check-config -v` prints all, docs/configuration.md explains them.
"
    .to_owned();
    if !overrides.listen.is_empty() {
        text += &format!("listen = {}\n", list(&overrides.listen));
    }
    if let Some(data_dir) = &overrides.data_dir {
        let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.clone());
        text += &format!("data_dir = {}\n", toml::Value::String(data_dir.display().to_string()));
    }
    text += &format!(
        "\n[feed]\n# The networks that are searched for devices every five minutes.\ndiscover = {}\n",
        list(discover)
    );
    Config::load(&Overrides::default(), &|_| None, Some((path, &text)))?;
    Ok(text)
}

/// Whether a file is there that its owner has written or changed.
///
/// # Errors
/// Fails if it cannot be read.
pub(super) fn is_owners(path: &Path) -> io::Result<bool> {
    match fs::read(path) {
        Ok(text) => Ok(text != PACKAGED.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.is_symlink()),
        Err(error) => Err(error),
    }
}

/// Writes the file under its name only once it is whole. One that is there is copied first; returns the copy.
///
/// # Errors
/// Fails if the file, its directory or the copy cannot be written.
pub(super) fn write(path: &Path, text: &str) -> Result<Option<PathBuf>, SetupError> {
    let failed = |source| SetupError::Unwritable { path: path.to_owned(), source };
    // A link stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = target.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        create_dir(folder).map_err(failed)?;
    }
    let copy = keep_copy(&target).map_err(failed)?;
    let draft = beside(&target, ".new");
    // What an interrupted attempt has left.
    _ = fs::remove_file(&draft);
    let written = write_new(&draft, text.as_bytes(), 0o644).and_then(|()| match copy {
        Some(_) => fs::rename(&draft, &target),
        // Unlike a rename, a link never replaces a file that has appeared in the meantime.
        None => fs::hard_link(&draft, &target).and_then(|()| fs::remove_file(&draft)),
    });
    written.inspect_err(|_| drop(fs::remove_file(&draft))).map_err(failed)?;
    Ok(copy)
}

/// Copies a file to `NAME.bak`, or to the first of `NAME.bak-2` and so on that is free.
fn keep_copy(path: &Path) -> io::Result<Option<PathBuf>> {
    let (text, mode) = match fs::read(path) {
        Ok(text) => (text, fs::metadata(path)?.permissions().mode() & 0o777),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for number in 1..=MOST_COPIES {
        let suffix = if number == 1 { ".bak".to_owned() } else { format!(".bak-{number}") };
        let copy = beside(path, &suffix);
        match write_new(&copy, &text, mode) {
            Ok(()) => return Ok(Some(copy)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("there are {MOST_COPIES} copies of earlier files beside it; remove some")))
}

fn write_new(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_file_is_valid_and_says_what_was_chosen() {
        let discover = ["eth0".to_owned(), "eth1 10.0.0.0/16".to_owned()];
        let path = Path::new("portscan.toml");
        let plain = text(path, &Overrides::default(), &discover).unwrap();
        insta::assert_snapshot!("setup_file", plain);
        let overrides = Overrides {
            listen: vec!["127.0.0.1:8080".to_owned()],
            data_dir: Some("/tmp/\"data\"".into()),
            ..Overrides::default()
        };
        let text_with_flags = text(path, &overrides, &discover).unwrap();
        let config = Config::load(&Overrides::default(), &|_| None, Some((path, &text_with_flags))).unwrap();
        assert_eq!(config.listen, ["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(config.data_dir, Path::new("/tmp/\"data\""));
        assert!(config.feed.urls.is_empty() && config.feed.discover.len() == 2);
        let faulty = Overrides { listen: vec!["8080".to_owned()], ..Overrides::default() };
        text(path, &faulty, &discover).unwrap_err();
    }

    #[test]
    fn what_was_there_is_copied_and_nothing_is_left_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/portscan.toml");
        assert!(!is_owners(&path).unwrap());
        assert_eq!(write(&path, "first").unwrap(), None);
        assert!(is_owners(&path).unwrap());
        assert_eq!(names(path.parent().unwrap()), ["portscan.toml"]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let copy = write(&path, "second").unwrap().unwrap();
        assert_eq!(fs::read_to_string(&copy).unwrap(), "first");
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        write(&path, "third").unwrap();
        assert_eq!(
            names(path.parent().unwrap()),
            ["portscan.toml", "portscan.toml.bak", "portscan.toml.bak-2"]
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "third");
        fs::write(&path, PACKAGED).unwrap();
        assert!(!is_owners(&path).unwrap(), "the package's own is nobody's decision");
    }

    #[test]
    fn a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "first").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, "second").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "second");
    }
}

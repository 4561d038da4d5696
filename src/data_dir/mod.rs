//! Layer 1: the files in the data directory: which user owns them, and what denies this user access.
//!
//! Files that show which ports are open are readable by their owner alone. So a single `sudo portscan import`
//! in the service's directory would leave a database that the service can never open. [`create_file`] and
//! [`create_dir`] therefore give what root creates to the owner of the directory around it. If a file cannot
//! be opened all the same, [`obstacle`] explains why.
//!
//! The directory's owner may be another user than root, and may be hostile: nothing here follows a link that
//! lies in the directory, and only what was created just now is given away.

mod obstacle;
mod secret;

pub use obstacle::{Obstacle, obstacle, strangers};
pub use secret::read_secret;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::OFlag,
    unistd::{AccessFlags, access, geteuid},
};

/// Creates a file that only its owner may read and write: the owner of its directory, if that is `data_dir` or in
/// it and this user is root; else this user.
///
/// Elsewhere root's files stay root's, as a copy by `cp` would: a backup in another user's directory is not for
/// that user to read.
///
/// # Errors
/// Fails if the file exists already, even as a dangling link, or cannot be created.
pub fn create_file(path: &Path, data_dir: &Path) -> io::Result<File> {
    create(path, data_dir, 0o600)
}

/// Replaces a file by one with this content, as [`create_file`] makes it: after a power cut it is the old one or the new
/// one, whole.
///
/// # Errors
/// The new one cannot be written; then the old one stays.
pub fn replace_file(path: &Path, content: &[u8], data_dir: &Path) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    // What an interrupted attempt has left may have another owner, mode or target.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_file(&draft, data_dir)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(parent(path))?.sync_all()
}

/// As [`create_file`], but other users may read the file if the process's umask permits.
///
/// # Errors
/// As [`create_file`].
pub fn create_readable_file(path: &Path, data_dir: &Path) -> io::Result<File> {
    create(path, data_dir, 0o644)
}

fn create(path: &Path, data_dir: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
    let parent = parent(path);
    if is_within(parent, data_dir) {
        give(&file, parent);
    }
    Ok(file)
}

/// Creates a directory, and those around it that are missing; each belongs to the owner of the one around it, if
/// this user is root. One that exists stays as it is.
///
/// # Errors
/// Fails if it cannot be created, or is something other than a directory.
pub fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    create_dir(parent)?;
    match DirBuilder::new().mode(0o777).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(error) => return Err(error),
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let created = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    give(&created, parent);
    Ok(())
}

/// Gives what root has just created to the owner of the directory around it.
fn give(created: &File, directory: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let given = || -> io::Result<()> {
        let (wanted, found) = (fs::metadata(directory)?, created.metadata()?);
        match (wanted.uid(), wanted.gid()) == (found.uid(), found.gid()) {
            true => Ok(()),
            false => fchown(created, Some(wanted.uid()), Some(wanted.gid())),
        }
    };
    // No reason to give up: where files cannot change hands (a user namespace without that user, some network
    // disks), root is likely to be the only user of the directory.
    if let Err(error) = given() {
        tracing::warn!(
            %error,
            directory = %directory.display(),
            "failed to give a new file to its directory's owner; it belongs to root"
        );
    }
}

/// Whether files could be created in this directory; if it is missing, whether it could be created.
///
/// # Errors
/// Fails with the reason why they could not.
pub fn writable(folder: &Path) -> nix::Result<()> {
    match access(folder, AccessFlags::W_OK | AccessFlags::X_OK) {
        Err(nix::errno::Errno::ENOENT) => match folder.parent() {
            Some(parent) if parent != Path::new("") => writable(parent),
            _ => access(".", AccessFlags::W_OK),
        },
        result => result,
    }
}

/// Returns the directory that contains a path.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        // The root contains itself.
        None => path,
    }
}

/// Whether a directory is another or lies in it, after links are resolved.
fn is_within(directory: &Path, other: &Path) -> bool {
    let real = directory.canonicalize().ok().zip(other.canonicalize().ok());
    real.is_some_and(|(directory, other)| directory.starts_with(other))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_created_file_is_its_owners_alone_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = create_file(&path, dir.path()).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let again = create_file(&path, dir.path()).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn no_link_is_followed_to_create_something() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        let link = dir.path().join("link");
        symlink(&elsewhere, &link).unwrap();
        assert!(create_file(&link, dir.path()).is_err());
        assert!(create_dir(&link).is_err());
        assert!(!elsewhere.exists());
    }

    #[test]
    fn missing_directories_are_created_and_a_file_in_the_way_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one/two/three");
        create_dir(&path).unwrap();
        create_dir(&path).unwrap();
        assert!(path.is_dir());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_dir(&dir.path().join("file")).is_err());
        assert!(create_dir(&dir.path().join("file/below")).is_err());
    }

    #[test]
    fn a_directory_is_within_another_by_whichever_path() {
        let dir = tempfile::tempdir().unwrap();
        create_dir(&dir.path().join("data/archive")).unwrap();
        symlink("data", dir.path().join("link")).unwrap();
        let at = |path: &str| dir.path().join(path);
        assert!(is_within(&at("link/archive"), &at("data")) && is_within(&at("data"), &at("link")));
        assert!(!is_within(dir.path(), &at("data")) && !is_within(&at("missing"), dir.path()));
    }

    #[test]
    fn a_missing_folder_is_judged_by_where_it_would_be() {
        let folder = tempfile::tempdir().unwrap();
        writable(&folder.path().join("not/there/yet")).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(writable(&file.join("below")).is_err());
    }
}

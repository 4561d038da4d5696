//! Locks the data directory for one process, by flock(2).

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag},
};

use super::{
    error::{Result, StoreError},
    schema::FILE_NAME,
};
use crate::data_dir::{Obstacle, create_file, obstacle};

/// The file in the data directory that is locked while a process uses the directory.
const LOCK_FILE: &str = "portscan.lock";

/// Holds the data directory until it is dropped; the kernel also releases it when the process dies, for whatever
/// reason. The file stays: if it were removed, two processes could lock two files of one name.
#[derive(Debug)]
pub struct DirLock {
    file: Flock<File>,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // The id of a process that has ended must not be taken for that of the next holder.
        let _ = self.file.set_len(0);
    }
}

/// Takes the data directory for this process.
///
/// # Errors
/// [`StoreError::Locked`] with the holder's process id if another process (or another caller in this one) has
/// it; [`StoreError::Inaccessible`] or [`StoreError::File`] if the file cannot be made or opened there.
pub fn lock(dir: &Path) -> Result<DirLock> {
    let path = dir.join(LOCK_FILE);
    let opened = match open(&path, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match create_file(&path, dir) {
            // Another process was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open(&path, true),
            created => created,
        },
        opened => opened,
    };
    take(opened.map_err(|source| refused(dir, &path, source, true))?, &path)
}

/// Takes the data directory for this process, as [`lock`] does, if it was ever taken before; creates nothing. No
/// appliance is running on a directory without a lock file.
///
/// # Errors
/// As [`lock`].
pub fn lock_existing(dir: &Path) -> Result<Option<DirLock>> {
    let path = dir.join(LOCK_FILE);
    let opened = match open(&path, true) {
        // flock(2) accepts any descriptor, and a user that only reads may not be allowed to write.
        Err(error) if is_unwritable(&error) => open(&path, false),
        opened => opened,
    };
    match opened {
        Ok(file) => take(file, &path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(refused(dir, &path, source, false)),
    }
}

fn is_unwritable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Opens the lock file, but does not follow a symbolic link: the owner of the directory may have pointed it at a file
/// of root.
fn open(path: &Path, writes: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(writes).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)
}

fn refused(dir: &Path, path: &Path, source: io::Error, writes: bool) -> StoreError {
    if source.raw_os_error() == Some(Errno::ELOOP as i32) {
        return StoreError::Inaccessible(Obstacle::Link(path.to_owned()));
    }
    match obstacle(dir, &[LOCK_FILE, FILE_NAME], writes) {
        Some(obstacle) => StoreError::Inaccessible(obstacle),
        None => StoreError::File { path: path.to_owned(), source },
    }
}

fn take(file: File, path: &Path) -> Result<DirLock> {
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((file, Errno::EWOULDBLOCK)) => {
            return Err(StoreError::Locked { holder: holder(&file), path: path.to_owned() });
        }
        Err((_, errno)) => return Err(StoreError::File { path: path.to_owned(), source: errno.into() }),
    };
    // Only informs the process that is refused: a disk that does not accept it is no reason not to start.
    let _ =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    Ok(DirLock { file })
}

fn holder(mut file: &File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn refuses_a_second_holder_and_names_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        for refused in [lock(dir.path()).unwrap_err(), lock_existing(dir.path()).unwrap_err()] {
            assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        }
        drop(first);
        let second = lock_existing(dir.path()).unwrap();
        assert!(second.is_some());
        drop(second);
        assert_eq!(fs::read(dir.path().join(LOCK_FILE)).unwrap(), b"", "no process holds it");
        lock(dir.path()).unwrap();
    }

    #[test]
    fn names_a_missing_directory() {
        let error = lock(Path::new("/nonexistent/data")).unwrap_err().to_string();
        assert!(error.contains("there is no directory /nonexistent/data;"), "{error}");
    }

    #[test]
    fn reading_leaves_no_lock_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(lock_existing(dir.path()).unwrap().is_none());
        assert!(lock_existing(&dir.path().join("missing")).unwrap().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// The directory's owner may be another user, and root must not write where that user's link points.
    #[test]
    fn refuses_a_link_in_place_of_the_lock_and_leaves_its_target_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "precious").unwrap();
        symlink(&target, dir.path().join(LOCK_FILE)).unwrap();
        for refused in [lock(dir.path()).unwrap_err(), lock_existing(dir.path()).unwrap_err()] {
            assert!(refused.to_string().contains("portscan.lock is a symbolic link"), "{refused}");
        }
        assert_eq!(fs::read(&target).unwrap(), b"precious");
    }
}

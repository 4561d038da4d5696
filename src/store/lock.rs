//! Who owns the data directory: one process, by flock(2).

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

/// The file in the data directory whose lock says that it is taken.
const LOCK_FILE: &str = "portscan.lock";

/// Holds the data directory until it is dropped; the kernel drops it too when the process dies, however it
/// does. The file stays, because removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub struct DirLock {
    file: Flock<File>,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // A process that has ended is not to be taken for the next holder.
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

/// Takes the data directory for this process, as [`lock`] does, if it was ever taken before; creates nothing. In a
/// directory without a lock file no appliance is at work.
///
/// # Errors
/// As [`lock`].
pub fn lock_existing(dir: &Path) -> Result<Option<DirLock>> {
    let path = dir.join(LOCK_FILE);
    let opened = match open(&path, true) {
        // flock(2) takes any descriptor, and whoever only reads may be one who cannot write.
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

/// Opens the lock file. Not through a link, which whoever owns the directory may have laid to a file of root's.
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
    // Only a courtesy to whoever is refused: a disk that does not take it is no reason not to start.
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
    fn one_holder_at_a_time_and_the_next_is_told_who() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        for refused in [lock(dir.path()).unwrap_err(), lock_existing(dir.path()).unwrap_err()] {
            assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        }
        drop(first);
        let second = lock_existing(dir.path()).unwrap();
        assert!(second.is_some());
        drop(second);
        assert_eq!(fs::read(dir.path().join(LOCK_FILE)).unwrap(), b"", "nobody holds it");
        lock(dir.path()).unwrap();
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = lock(Path::new("/nonexistent/data")).unwrap_err().to_string();
        assert!(error.contains("there is no directory /nonexistent/data;"), "{error}");
    }

    #[test]
    fn whoever_only_reads_leaves_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        assert!(lock_existing(dir.path()).unwrap().is_none());
        assert!(lock_existing(&dir.path().join("missing")).unwrap().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// The directory's owner may be another user, and root must not write where that one points.
    #[test]
    fn a_link_in_the_place_of_the_lock_is_refused_and_its_target_untouched() {
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

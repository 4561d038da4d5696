//! Who owns the data directory: one process, by flock(2).

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::error::{Result, StoreError};

/// The file in the data directory whose lock says that it is taken.
const LOCK_FILE: &str = "portscan.lock";

/// Holds the data directory until it is dropped; the kernel drops it too when the process dies, however it
/// does. The file stays, because removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub struct DirLock {
    _file: Flock<File>,
}

/// Takes the data directory for this process.
///
/// # Errors
/// [`StoreError::Locked`] with the holder's process id if another process (or another caller in this one) has
/// it; [`StoreError::File`] if the file cannot be made there.
pub fn lock(dir: &Path) -> Result<DirLock> {
    let path = dir.join(LOCK_FILE);
    let file_error = |source| StoreError::File { path: path.clone(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(file_error)?;
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((file, Errno::EWOULDBLOCK)) => return Err(StoreError::Locked { holder: holder(&file), path }),
        Err((_, errno)) => return Err(file_error(errno.into())),
    };
    // Only a courtesy to whoever is refused: a disk too full to take it is no reason not to start.
    let _ =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    Ok(DirLock { _file: file })
}

fn holder(mut file: &File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_the_next_is_told_who() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let refused = lock(dir.path()).unwrap_err();
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = lock(Path::new("/nonexistent/data")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/data/portscan.lock"), "{error}");
    }
}

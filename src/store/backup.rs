//! Copies of the whole database while it is in use.

use std::{
    fs::{self, File},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use nix::sys::statvfs::statvfs;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    error::{Result, StoreError},
    handle::Store,
    schema,
};
use crate::data_dir::parent;

/// Free space that a copy leaves on the disk, in bytes: results are written during the copy, too.
const SPARED: u64 = 16 << 20;

/// The suffix of a copy's file name, while the copy has a name.
const SUFFIX: &str = ".backup";

/// Copies a database that no appliance has open to a file that only this user can read, replacing an existing file: the
/// copy is complete and on the disk, or it is not made at all. Blocks meanwhile: a Pi copies some 10 MB a second.
/// Creates no other file.
///
/// # Errors
/// The database cannot be read, or the file cannot be written.
pub fn backup(database: &Path, to: &Path) -> Result<()> {
    copy(&schema::open_copied_at_rest(database)?, database, to)
}

fn copy(connection: &Connection, database: &Path, to: &Path) -> Result<()> {
    let copied = schema::copy(connection, to, parent(database));
    copied.map_err(|reason| StoreError::Backup { to: to.to_owned(), reason })
}

impl Store {
    /// Returns a copy of the database, open for reading. It has no name, so the file system frees its space once the
    /// file is closed, for whatever reason.
    ///
    /// # Errors
    /// The database cannot be read, the disk has no room for a copy, or another is being made.
    pub async fn backup(&self) -> Result<File> {
        let (done, copied) = oneshot::channel();
        let (path, bytes, copying) = (Arc::clone(&self.path), self.bytes(), Arc::clone(&self.copying));
        if self.condition.is_replaced() {
            // The path no longer leads to the database. The reader still has it open; other queries wait.
            return self
                .read(move |reader| copy_unnamed(&path, bytes, &copying, |to| copy_read(reader, &path, to)))
                .await;
        }
        self.spawn_copying(move || {
            let made =
                copy_unnamed(&path, bytes, &copying, |to| copy(&schema::open_copied(&path)?, &path, to));
            drop(done.send(made));
        })?;
        copied.await.map_err(|_| StoreError::Closed)?
    }

    /// Copies the database to a file beside it whose name ends so, in place of an earlier one.
    pub(super) async fn keep_copy(&self, suffix: &str) -> Result<()> {
        let (done, copied) = oneshot::channel();
        let (path, bytes, copying) = (Arc::clone(&self.path), self.bytes(), Arc::clone(&self.copying));
        let to = schema::beside(&path, suffix);
        self.spawn_copying(move || {
            let made = || copy(&schema::open_copied(&path)?, &path, &to);
            drop(done.send(copy_beside(&path, &to, bytes, &copying, made)));
        })?;
        copied.await.map_err(|_| StoreError::Closed)?
    }

    /// A thread of its own, not one of the runtime's blocking threads: name look-ups may occupy all of those.
    fn spawn_copying(&self, job: impl FnOnce() + Send + 'static) -> Result<()> {
        let spawned = thread::Builder::new().name("store-backup".to_owned()).spawn(job);
        spawned.map(drop).map_err(|source| StoreError::File { path: self.path.to_path_buf(), source })
    }
}

/// Copies the database through the reader's connection, which may write nothing else.
fn copy_read(reader: &Connection, database: &Path, to: &Path) -> Result<()> {
    reader.execute_batch("PRAGMA query_only = OFF")?;
    let copied = copy(reader, database, to);
    reader.execute_batch("PRAGMA query_only = ON")?;
    copied
}

fn copy_unnamed(
    database: &Path,
    bytes: u64,
    copying: &Mutex<()>,
    copy: impl FnOnce(&Path) -> Result<()>,
) -> Result<File> {
    let to = schema::beside(database, SUFFIX);
    copy_beside(database, &to, bytes, copying, || {
        copy(&to)?;
        let copy = File::open(&to).and_then(|copy| fs::remove_file(&to).map(|()| copy));
        copy.map_err(|source| StoreError::File { path: to.clone(), source })
    })
}

/// Makes one copy at a time, if the disk has room for it.
fn copy_beside<T>(
    database: &Path,
    to: &Path,
    bytes: u64,
    copying: &Mutex<()>,
    copy: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let refused = |reason: String| StoreError::Backup { to: to.to_owned(), reason };
    let Ok(_guard) = copying.try_lock() else { return Err(refused("another copy is being made".into())) };
    let disk = statvfs(database.parent().unwrap_or(database)).map_err(|errno| refused(errno.to_string()))?;
    let free = disk.blocks_available() as u64 * disk.fragment_size() as u64;
    if free < bytes + SPARED {
        return Err(refused("the disk has too little room for a copy; free some space".into()));
    }
    copy()
}

/// Removes the partial file that a crash during a copy left.
pub(super) fn tidy(database: &Path) {
    for suffix in [SUFFIX.to_owned(), format!("{SUFFIX}.partial")] {
        // Usually there is no such file.
        let _ = fs::remove_file(schema::beside(database, &suffix));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::{
        clock::SystemClock,
        model::{PortSet, ScanKind},
        store::FILE_NAME,
    };

    #[tokio::test]
    async fn a_copy_is_whole_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::write(dir.path().join("portscan.db.backup.partial"), "cut short").unwrap();
        let (store, writer) = Store::open(&path, Arc::new(SystemClock::start())).unwrap();
        let scan = store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await.unwrap();
        let mut copy = store.backup().await.unwrap();
        let mut bytes = Vec::new();
        copy.read_to_end(&mut bytes).unwrap();
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().contains("backup")), "{names:?}");

        let restored = dir.path().join("restored.db");
        fs::write(&restored, bytes).unwrap();
        let connection = Connection::open(&restored).unwrap();
        let id: i64 = connection.query_row("SELECT id FROM scans", [], |row| row.get(0)).unwrap();
        assert_eq!(id, scan.0);
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        drop(store);
        tokio::task::spawn_blocking(|| writer.join()).await.unwrap().unwrap();
    }

    #[test]
    fn a_foreign_database_is_not_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (missing, foreign) = (dir.path().join("none.db"), dir.path().join("foreign.db"));
        let to = dir.path().join("copy");
        assert!(matches!(backup(&missing, &to), Err(StoreError::NoDatabase { .. })));
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        assert!(matches!(backup(&foreign, &to), Err(StoreError::Foreign { .. })));
        assert!(!to.exists() && !missing.exists());
    }
}

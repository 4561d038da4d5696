//! Reading a database that no appliance has open.

use std::{
    path::Path,
    sync::{Arc, mpsc::sync_channel},
    thread::JoinHandle,
};

use tokio::sync::{mpsc, watch};

use super::{
    condition::Condition,
    error::{Result, StoreError},
    handle::Store,
    numbers, reader, schema,
};

/// The thread behind a [`Store`] that only reads.
#[derive(Debug)]
pub struct ReaderThread {
    reader: JoinHandle<()>,
    store: Store,
}

impl Store {
    /// Opens a database for reading only and creates no file: neither the database nor files beside it. Writes to this
    /// handle fail with [`StoreError::Closed`]. The caller makes sure that no appliance is running on the database.
    ///
    /// # Errors
    /// The database does not exist, cannot be read, is not ours, or was written by an earlier or later version.
    pub fn open_at_rest(path: &Path) -> Result<(Self, ReaderThread)> {
        let mut connection = schema::open_at_rest(path)?;
        // No thread takes changes, so neither the condition nor the latest event can change.
        let (writes, _) = mpsc::channel(1);
        let condition = Arc::new(Condition::new(path, sync_channel(1).0));
        let (_, latest_event) = watch::channel(numbers::latest_event(&connection)?);
        let (reads, mut requests) = mpsc::channel(reader::QUEUE);
        let reader = std::thread::Builder::new()
            .name("store-reader".to_owned())
            .spawn(move || reader::run(&mut connection, &mut requests))
            .map_err(|source| StoreError::File { path: path.to_owned(), source })?;
        let (path, opened_bytes, copying) = (path.into(), schema::size_on_disk(path), Arc::default());
        let store = Self { writes, reads, condition, latest_event, path, opened_bytes, copying };
        Ok((store.clone(), ReaderThread { reader, store }))
    }
}

impl ReaderThread {
    /// Closes the database; remaining handles get [`StoreError::Closed`]. Blocks, so it must not be called from a task.
    pub fn join(self) {
        // A thread that has already ended needs no message.
        let _ = self.store.reads.blocking_send(reader::ReadRequest::Stop);
        let _ = self.reader.join();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
        sync::Arc,
    };

    use rusqlite::Connection;

    use super::*;
    use crate::{
        clock::SystemClock,
        model::{PortSet, ScanKind},
        store::{FILE_NAME, backup},
    };

    fn names(dir: &Path) -> Vec<PathBuf> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| PathBuf::from(entry.unwrap().file_name())).collect();
        names.sort();
        names
    }

    /// A database with one scan in it; the folder's name is one that a URI would misread.
    async fn database(dir: &Path) -> PathBuf {
        let folder = dir.join("a?b#c%20d é");
        fs::create_dir(&folder).unwrap();
        let path = folder.join(FILE_NAME);
        let (store, writer) = Store::open(&path, Arc::new(SystemClock::start())).unwrap();
        store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await.unwrap();
        drop(store);
        tokio::task::spawn_blocking(|| writer.join()).await.unwrap().unwrap();
        path
    }

    async fn scans(path: &Path) -> usize {
        let (store, reader) = Store::open_at_rest(path).unwrap();
        let found = store.open_scans().await.unwrap().len();
        let refused = store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await;
        assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
        drop(store);
        tokio::task::spawn_blocking(|| reader.join()).await.unwrap();
        found
    }

    #[tokio::test]
    async fn reading_at_rest_creates_nothing_and_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path()).await;
        let (folder, before) = (path.parent().unwrap(), fs::read(&path).unwrap());
        assert_eq!(scans(&path).await, 1);
        let copy = dir.path().join("copy.db");
        backup(&path, &copy).unwrap();
        assert_eq!(scans(&copy).await, 1);
        assert_eq!(names(folder), [PathBuf::from(FILE_NAME)]);
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    /// A crash leaves the last commits in the log only.
    #[tokio::test]
    async fn reads_what_a_crash_left_in_the_log_and_removes_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = database(dir.path()).await;
        let crashed = tempfile::tempdir().unwrap();
        let other = Connection::open(&path).unwrap();
        let another = "INSERT INTO scans (id, scanner, kind, ports, status, started) VALUES (1, '', 'run', '', 'running', 0)";
        other.execute(another, []).unwrap();
        for name in names(path.parent().unwrap()) {
            fs::copy(path.parent().unwrap().join(&name), crashed.path().join(&name)).unwrap();
        }
        drop(other);
        let log = crashed.path().join("portscan.db-wal");
        assert!(fs::metadata(&log).unwrap().len() > 0);
        assert_eq!(scans(&crashed.path().join(FILE_NAME)).await, 2);
        assert_eq!(names(crashed.path()), [PathBuf::from(FILE_NAME)]);
    }

    #[test]
    fn a_missing_database_is_not_created() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join(FILE_NAME), dir.path().join("missing").join(FILE_NAME)] {
            let error = Store::open_at_rest(&path).unwrap_err().to_string();
            assert!(error.contains("portscan serve"), "{error}");
        }
        fs::write(dir.path().join(FILE_NAME), "").unwrap();
        let empty = Store::open_at_rest(&dir.path().join(FILE_NAME));
        assert!(matches!(empty, Err(StoreError::NoDatabase { .. })));
        assert_eq!(names(dir.path()), [PathBuf::from(FILE_NAME)]);
    }

    #[test]
    fn an_earlier_schema_is_refused_and_not_upgraded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        drop(schema::open_writer(&path, &schema::LADDER[..1]).unwrap());
        let before = fs::read(&path).unwrap();
        let error = Store::open_at_rest(&path).unwrap_err();
        assert!(matches!(error, StoreError::Older { found: 1, .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(names(dir.path()), [PathBuf::from(FILE_NAME)]);
        // A backup of it is still possible.
        backup(&path, &dir.path().join("copy.db")).unwrap();
    }
}

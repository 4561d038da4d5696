//! The faults of the store. The writer, the reader and the check report their findings here, and only this file decides
//! which fault is shown.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, mpsc},
};

use rusqlite::ErrorCode;
use tokio::sync::watch;

use super::{
    error::StoreError,
    health::{StoreHealth, diagnose},
};
use crate::{data_dir::parent, fleet::SiteName};

/// A message to the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckSignal {
    /// A query has failed.
    Suspicion,
    /// The check shall end.
    Stop,
}

/// The known faults of the store, and the channel that publishes the most severe one.
#[derive(Debug)]
pub(super) struct Condition {
    path: PathBuf,
    /// The site of which the database is a hub's copy; `None`: it is an appliance's own.
    copy_of: Option<SiteName>,
    /// The open file; `None` if it could not be identified.
    file: Option<FileId>,
    faults: Mutex<Faults>,
    published: watch::Sender<StoreHealth>,
    /// The check, which distinguishes damage from a transient fault.
    check: mpsc::SyncSender<CheckSignal>,
}

#[derive(Debug, Default)]
struct Faults {
    is_replaced: bool,
    damage: Option<String>,
    /// The result of the last attempt to write.
    writing: StoreHealth,
}

impl Condition {
    /// The condition of the store in the file at this path, which starts healthy.
    pub(super) fn new(path: &Path, check: mpsc::SyncSender<CheckSignal>) -> Self {
        let (published, _) = watch::channel(StoreHealth::Ok);
        Self {
            path: path.to_owned(),
            copy_of: None,
            file: FileId::of(path).ok(),
            faults: Mutex::default(),
            published,
            check,
        }
    }

    /// The same for a hub's copy of this site.
    pub(super) fn of_copy(self, copy_of: Option<SiteName>) -> Self {
        Self { copy_of, ..self }
    }

    /// The error of a query in the words for whom it concerns: where a copy is damaged, no backup is to be restored.
    pub(super) fn explain(&self, error: StoreError) -> StoreError {
        match (&self.copy_of, self.damage(&error)) {
            (Some(site), Some(reason)) => StoreError::DamagedCopy {
                site: site.clone(),
                reason,
                directory: parent(&self.path).to_owned(),
            },
            _ => error,
        }
    }

    /// The published health and every change of it.
    pub(super) fn watch(&self) -> watch::Receiver<StoreHealth> {
        self.published.subscribe()
    }

    /// Records the result of the last attempt to write.
    pub(super) fn note_writing(&self, writing: StoreHealth) {
        self.change(|faults| faults.writing = writing);
    }

    /// Records that a write has failed.
    pub(super) fn note_failed_write(&self, error: &rusqlite::Error) {
        self.note_writing(diagnose(&self.path, error));
    }

    /// Checks whether the path still leads to the open file, publishes the result, and returns whether it does not.
    ///
    /// Call this before anything is opened by that path. With another file there, SQLite would take the log and its
    /// index for those of the new file and truncate the index, which this process has mapped.
    pub(super) fn is_replaced(&self) -> bool {
        let is_replaced = self.file.is_some_and(|file| file.is_replaced_at(&self.path));
        self.change(|faults| faults.is_replaced = is_replaced);
        is_replaced
    }

    /// Records the result of a check: the damage, or `None`.
    pub(super) fn note_checked(&self, damage: Option<String>) {
        self.change(|faults| faults.damage = damage);
    }

    /// Records that a query has failed. Possible damage is reported until a check finds none.
    pub(super) fn note_failed_read(&self, error: &StoreError) {
        let Some(damage) = self.damage(error) else { return };
        self.change(|faults| faults.damage = Some(damage));
        // One pending signal is enough. Without a check, as in a store that only reads, the damage stays reported.
        let _ = self.check.try_send(CheckSignal::Suspicion);
    }

    /// The damage of the file that a failure indicates, if any.
    pub(super) fn damage(&self, error: &StoreError) -> Option<String> {
        match error {
            StoreError::Damaged(reason) => Some(reason.clone()),
            StoreError::Sqlite(error) => match diagnose(&self.path, error) {
                StoreHealth::Damaged(reason) => Some(reason),
                StoreHealth::Failing(reason) if is_io_failure(error) => Some(reason),
                _ => None,
            },
            _ => None,
        }
    }

    fn change(&self, note: impl FnOnce(&mut Faults)) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut faults);
        let health = match &*faults {
            Faults { is_replaced: true, .. } => StoreHealth::Replaced(self.path.clone()),
            Faults { damage: Some(reason), .. } => StoreHealth::Damaged(reason.clone()),
            Faults { writing, .. } => writing.clone(),
        };
        self.published.send_if_modified(|published| {
            if *published == health {
                return false;
            }
            match (&self.copy_of, &health) {
                (None, StoreHealth::Ok) => tracing::info!("the database can be written again"),
                (None, unwell) => tracing::warn!(reason = %unwell, "the database needs attention; scanning waits"),
                (Some(site), StoreHealth::Ok) => tracing::info!(%site, "the copy of a site can be written again"),
                (Some(site), unwell) => {
                    let reason = unwell.of_copy(parent(&self.path));
                    tracing::warn!(%site, %reason, "the copy of a site needs attention; the others are served");
                }
            }
            *published = health;
            true
        });
    }
}

fn is_io_failure(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

/// Which file a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The id of the file at this path.
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|data| Self { device: data.dev(), inode: data.ino() })
    }

    /// Whether the path leads to another file or to none. A path that cannot be examined does not count as replaced.
    fn is_replaced_at(self, path: &Path) -> bool {
        match Self::of(path) {
            Ok(found) => found != self,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn shows_the_most_severe_fault_and_each_source_clears_its_own() {
        let (check, signals) = mpsc::sync_channel(1);
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("portscan.db"), dir.path().join("aside"));
        fs::write(&path, "").unwrap();
        let condition = Condition::new(&path, check);
        let health = condition.watch();
        let published = || health.borrow().clone();
        condition.note_writing(StoreHealth::Full);
        assert_eq!(published(), StoreHealth::Full);
        condition.note_failed_read(&StoreError::Sqlite(failure(ffi::SQLITE_CORRUPT)));
        assert!(matches!(published(), StoreHealth::Damaged(_)), "{}", published());
        assert!(matches!(signals.try_recv(), Ok(CheckSignal::Suspicion)));
        fs::rename(&path, &aside).unwrap();
        assert!(condition.is_replaced());
        assert_eq!(published(), StoreHealth::Replaced(path.clone()));
        fs::write(&path, "").unwrap();
        assert!(condition.is_replaced(), "another of that name is another");
        condition.note_writing(StoreHealth::Ok);
        fs::rename(&aside, &path).unwrap();
        assert!(!condition.is_replaced());
        assert!(
            matches!(published(), StoreHealth::Damaged(_)),
            "a commit says nothing of what is read: {}",
            published()
        );
        condition.note_checked(None);
        assert_eq!(published(), StoreHealth::Ok);
    }

    #[test]
    fn the_log_names_the_site_of_a_copy_and_no_backup() {
        let (check, _signals) = mpsc::sync_channel(1);
        let path = Path::new("/nowhere/sites/house-3/portscan.db");
        let condition = Condition::new(path, check).of_copy("house-3".parse().ok());
        let log = tempfile::NamedTempFile::new().unwrap();
        let writer = Mutex::new(log.reopen().unwrap());
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
        tracing::subscriber::with_default(subscriber, || {
            condition.note_failed_read(&StoreError::Damaged("no address".to_owned()));
        });
        let line = fs::read_to_string(log.path()).unwrap();
        assert!(line.contains("site=house-3") && line.contains("remove /nowhere/sites/house-3"), "{line}");
        assert!(line.contains("no address") && !line.contains("backup"), "{line}");
    }

    #[test]
    fn only_possible_damage_counts_as_damage() {
        let (check, _signals) = mpsc::sync_channel(1);
        let condition = Condition::new(Path::new("/nowhere/portscan.db"), check);
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_IOERR_READ] {
            assert!(condition.damage(&failure(code).into()).is_some(), "{code}");
        }
        assert!(condition.damage(&StoreError::Damaged("no address".to_owned())).is_some());
        for code in [ffi::SQLITE_BUSY, ffi::SQLITE_INTERRUPT, ffi::SQLITE_FULL, ffi::SQLITE_NOMEM] {
            assert_eq!(condition.damage(&failure(code).into()), None, "{code}");
        }
        assert_eq!(condition.damage(&StoreError::UnknownScan(crate::model::ScanId(1))), None);
    }
}

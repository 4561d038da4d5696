//! The faults of the store. The writer, the reader and the check report here what they find, and this file alone
//! decides which fault is shown.

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

/// What the check is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckSignal {
    /// A query has failed.
    Suspicion,
    /// The check is to end.
    Stop,
}

/// What is known of the store's faults, and where they are told.
#[derive(Debug)]
pub(super) struct Condition {
    path: PathBuf,
    /// The file that is open; `None` where that is not known.
    file: Option<FileId>,
    faults: Mutex<Faults>,
    told: watch::Sender<StoreHealth>,
    /// The check, which tells damage from a fault that passes.
    check: mpsc::SyncSender<CheckSignal>,
}

#[derive(Debug, Default)]
struct Faults {
    is_replaced: bool,
    damage: Option<String>,
    /// What the last try to write has met.
    writing: StoreHealth,
}

impl Condition {
    /// That of the store in the file that is at this path now: it is well.
    pub(super) fn new(path: &Path, check: mpsc::SyncSender<CheckSignal>) -> Self {
        let (told, _) = watch::channel(StoreHealth::Ok);
        Self { path: path.to_owned(), file: FileId::of(path).ok(), faults: Mutex::default(), told, check }
    }

    /// What is told now, and every change of it.
    pub(super) fn watch(&self) -> watch::Receiver<StoreHealth> {
        self.told.subscribe()
    }

    /// The last try to write has ended so.
    pub(super) fn note_writing(&self, writing: StoreHealth) {
        self.change(|faults| faults.writing = writing);
    }

    /// Whether the file has its name no longer; looks, and tells.
    ///
    /// To be asked before anything is opened by that name. Of another file SQLite would take the log and its index for
    /// those of that one, and cut off the index, which this process has mapped.
    pub(super) fn is_replaced(&self) -> bool {
        let is_replaced = self.file.is_some_and(|file| file.is_replaced_at(&self.path));
        self.change(|faults| faults.is_replaced = is_replaced);
        is_replaced
    }

    /// What the check has found: damage or none.
    pub(super) fn note_checked(&self, damage: Option<String>) {
        self.change(|faults| faults.damage = damage);
    }

    /// A query has failed. What may be damage is told until the check finds none.
    pub(super) fn note_failed_read(&self, error: &StoreError) {
        let Some(damage) = self.damage(error) else { return };
        self.change(|faults| faults.damage = Some(damage));
        // One that waits is as good as two; and without a check, as in a store that only reads, the damage stays.
        let _ = self.check.try_send(CheckSignal::Suspicion);
    }

    /// What a failure says of the file itself, if anything.
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
        self.told.send_if_modified(|told| {
            if *told == health {
                return false;
            }
            match &health {
                StoreHealth::Ok => tracing::info!("the database is written again"),
                unwell => tracing::warn!("{unwell}"),
            }
            *told = health;
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
    /// That of the file at this path.
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|data| Self { device: data.dev(), inode: data.ino() })
    }

    /// Whether the path leads to another file, or to none. What cannot be looked at is not known to be another.
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
    fn the_gravest_fault_is_told_and_each_is_cleared_by_what_found_it() {
        let (check, words) = mpsc::sync_channel(1);
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("portscan.db"), dir.path().join("aside"));
        fs::write(&path, "").unwrap();
        let condition = Condition::new(&path, check);
        let health = condition.watch();
        let told = || health.borrow().clone();
        condition.note_writing(StoreHealth::Full);
        assert_eq!(told(), StoreHealth::Full);
        condition.note_failed_read(&StoreError::Sqlite(failure(ffi::SQLITE_CORRUPT)));
        assert!(matches!(told(), StoreHealth::Damaged(_)), "{}", told());
        assert!(matches!(words.try_recv(), Ok(CheckSignal::Suspicion)));
        fs::rename(&path, &aside).unwrap();
        assert!(condition.is_replaced());
        assert_eq!(told(), StoreHealth::Replaced(path.clone()));
        fs::write(&path, "").unwrap();
        assert!(condition.is_replaced(), "another of that name is another");
        condition.note_writing(StoreHealth::Ok);
        fs::rename(&aside, &path).unwrap();
        assert!(!condition.is_replaced());
        assert!(
            matches!(told(), StoreHealth::Damaged(_)),
            "a commit says nothing of what is read: {}",
            told()
        );
        condition.note_checked(None);
        assert_eq!(told(), StoreHealth::Ok);
    }

    #[test]
    fn only_what_may_be_damage_is_taken_for_it() {
        let (check, _words) = mpsc::sync_channel(1);
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

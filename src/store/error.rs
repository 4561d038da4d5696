//! What can go wrong with the store.

use std::{io, path::PathBuf};

use rusqlite::ErrorCode;

use super::{copy_remedy::copy_remedy, health::StoreHealth};
use crate::data_dir::Obstacle;
use crate::{fleet::SiteName, model::ScanId};

/// The store's `Result`.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// This user cannot use the directory or a file in it.
    #[error(transparent)]
    Inaccessible(#[from] Obstacle),
    /// The file cannot be made, read or locked.
    #[error("cannot use {}: {source}; it must be on a writable disk and belong to this user", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The disk has no room for what must be written before anything can be read.
    #[error("cannot open the database {}: the disk is full; free some space there", path.display())]
    Full {
        /// Which file.
        path: PathBuf,
    },
    /// SQLite cannot open it, or it is damaged.
    #[error("cannot open the database {}: {source}; {}", path.display(), remedy(source))]
    Open {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// An SQLite database of another program.
    #[error("{} is not a portscan database; move it away or choose another data_dir", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// Written by a later version of this program.
    #[error(
        "the database {} has schema {found}, but this version of portscan knows schemas up to {known}; \
         install the newer version again, or restore the copy made when it upgraded ({}.v{known})",
        path.display(), path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The newest schema of this program.
        known: i64,
    },
    /// The copy that is made before an upgrade failed; nothing was changed.
    #[error(
        "cannot copy the database to {} before upgrading it: {reason}; free some space; nothing was changed",
        copy.display()
    )]
    Copy {
        /// Where the copy was to be.
        copy: PathBuf,
        /// What the system or SQLite says.
        reason: String,
    },
    /// There is no database to read.
    #[error(
        "there is no database {}: no appliance has stored anything there yet; start it with `portscan serve`, or \
         name the right data_dir",
        path.display()
    )]
    NoDatabase {
        /// Which file.
        path: PathBuf,
    },
    /// Written by an earlier version, and this command must change nothing.
    #[error(
        "the database {} has schema {found}, and this version of portscan reads schema {known}; \
         `portscan serve` upgrades it when it starts, and keeps a copy",
        path.display()
    )]
    Older {
        /// Which file.
        path: PathBuf,
        /// Its `user_version`.
        found: usize,
        /// The schema of this program.
        known: usize,
    },
    /// The database was not closed cleanly, and this user may not write it, which the repair requires.
    #[error(
        "the database {} was not closed cleanly, and this user cannot repair it ({source}); start the appliance, or \
         run this as the user that it belongs to",
        path.display()
    )]
    Unclosed {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A requested copy could not be made.
    #[error("cannot copy the database to {}: {reason}", to.display())]
    Backup {
        /// Where the copy was to be.
        to: PathBuf,
        /// What the system or SQLite says.
        reason: String,
    },
    /// An upgrade failed; the database is as it was.
    #[error(
        "cannot upgrade the database {} from schema {from}: {source}; {}it is unchanged, the version before still reads it",
        path.display(), if is_full(source) { "free some space; " } else { "" }
    )]
    Migrate {
        /// Which file.
        path: PathBuf,
        /// Its `user_version`.
        from: i64,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Another process owns the directory.
    #[error(
        "{} is in use by {}; stop that one first, or give this one another data_dir",
        path.display(), holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process, if the file names it.
        holder: Option<u32>,
    },
    /// A query failed.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored value cannot be parsed.
    #[error("the database is damaged: {0}; restore a backup")]
    Damaged(String),
    /// A hub's copy of a site's database cannot be read.
    #[error("the hub's copy of the site {site} is damaged: {reason}. {}", copy_remedy(directory))]
    DamagedCopy {
        /// The site.
        site: SiteName,
        /// What cannot be read.
        reason: String,
        /// The directory of the copy.
        directory: PathBuf,
    },
    /// There is no such scan.
    #[error("there is no scan {}", .0.0)]
    UnknownScan(ScanId),
    /// A report of another scanner cannot be read to its end.
    #[error("the report's results cannot be read again: {0}; check the disk and its file system")]
    Import(io::Error),
    /// The disk accepts no writes at the moment.
    #[error("nothing can be stored for the moment: {0}")]
    Unwell(String),
    /// The store was closed before this was done.
    #[error("the store is closed; nothing more is written or read")]
    Closed,
    /// The store was closed while the disk did not accept the remaining records.
    #[error("{count} records could not be written before stopping: {reason}")]
    Unwritten {
        /// How many.
        count: usize,
        /// What the disk's last answer was.
        reason: String,
    },
}

impl StoreError {
    /// What is wrong with a hub's copy that cannot be opened, without a remedy that is meant for an appliance.
    pub fn of_copy(&self) -> String {
        match self {
            Self::Open { path, source } => format!("cannot open {}: {source}", path.display()),
            Self::Damaged(reason) => reason.clone(),
            error => error.to_string(),
        }
    }

    /// The transient fault that keeps the store from writing, if that is the only fault.
    pub(super) fn passing(&self) -> Option<StoreHealth> {
        match self {
            Self::Full { .. } => Some(StoreHealth::Full),
            Self::Inaccessible(Obstacle::ReadOnly(_)) => Some(StoreHealth::ReadOnly),
            _ => None,
        }
    }
}

/// The remedy for a database that does not open. A sound database may be on a failing disk.
fn remedy(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => {
            "check the disk and its file system (the kernel's log may say more: dmesg); where these are sound, restore \
             a backup, or move it away to start anew"
        }
        _ => "restore a backup, or move it away to start anew",
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

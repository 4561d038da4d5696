//! Whether the database can be written and read, and what an SQLite failure means for that.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};
use rusqlite::ErrorCode;

use super::copy_remedy::copy_remedy;
use crate::data_dir::parent;

/// Whether records reach the disk, and whether the file can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreHealth {
    /// Both work.
    #[default]
    Ok,
    /// The disk is full. Records wait in memory; the writer retries by itself.
    Full,
    /// The file system is read-only. Records wait and are retried, too.
    ReadOnly,
    /// The disk or the file fails in another way. Records wait and are retried, too.
    Failing(String),
    /// Some or all of the file cannot be read.
    Damaged(String),
    /// The path no longer leads to the open file. Anything written to that file would be lost.
    Replaced(PathBuf),
}

impl StoreHealth {
    /// What it means for a hub's copy of a site in this directory: the site keeps what the copy does not have.
    pub fn of_copy(&self, directory: &Path) -> String {
        match self {
            Self::Ok => "its copy is written".to_owned(),
            Self::Full => {
                "the hub's disk is full, and the site keeps what it has to send; free some space".to_owned()
            }
            Self::ReadOnly => {
                "the hub's file system is mounted read-only, and the site keeps what it has to send; check \
                               the disk (see dmesg), and mount it for writing"
                    .to_owned()
            }
            Self::Failing(reason) => {
                format!("its copy cannot be written: {reason}; check the disk and its file system")
            }
            Self::Damaged(reason) => format!("its copy is damaged: {reason}. {}", copy_remedy(directory)),
            Self::Replaced(path) => format!(
                "{} was deleted or replaced while the hub has it open, and nothing is stored; restart the hub",
                path.display()
            ),
        }
    }
}

impl fmt::Display for StoreHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("the database is written"),
            Self::Full => f.write_str(
                "the disk is full: results are kept in memory and scanning waits; free some space in data_dir",
            ),
            Self::ReadOnly => f.write_str(
                "the file system of data_dir is mounted read-only: what is stored is served, and scanning waits. The \
                 kernel does so when a card fails (see dmesg): stop the appliance, save the database elsewhere with \
                 `portscan backup FILE`, check or replace the card, and mount it for writing",
            ),
            Self::Failing(reason) => {
                write!(f, "the database cannot be written: {reason}; check the disk and its file system")
            }
            Self::Damaged(reason) => write!(
                f,
                "the database is damaged: {reason}. What can be read is served, and scanning waits. Stop the \
                 appliance, restore a backup or move portscan.db away to start anew, and check the disk"
            ),
            Self::Replaced(path) => write!(
                f,
                "{} was deleted or replaced while the appliance has it open: nothing is stored, and scanning waits. \
                 What it knows, `portscan backup FILE` saves. Put the file back, or restart the appliance, which uses \
                 what is there and otherwise begins anew",
                path.display()
            ),
        }
    }
}

/// What SQLite's answer means, for the database at this path.
pub(super) fn diagnose(path: &Path, error: &rusqlite::Error) -> StoreHealth {
    use ErrorCode::{CannotOpen, DatabaseCorrupt, DiskFull, NotADatabase, ReadOnly, SystemIoFailure};
    let disk = || statvfs(parent(path)).ok();
    match error.sqlite_error_code() {
        Some(DiskFull) => StoreHealth::Full,
        Some(DatabaseCorrupt | NotADatabase) => StoreHealth::Damaged(error.to_string()),
        // SQLite reports "disk I/O error" for many causes; the file system shows which.
        Some(SystemIoFailure | CannotOpen | ReadOnly) => match disk() {
            Some(disk) if disk.flags().contains(FsFlags::ST_RDONLY) => StoreHealth::ReadOnly,
            Some(disk) if is_nearly_full(&disk) => StoreHealth::Full,
            _ => StoreHealth::Failing(error.to_string()),
        },
        _ => StoreHealth::Failing(error.to_string()),
    }
}

/// Whether so little space is left that a failed write may be due to it: 64 blocks are 256 KB on most disks. A file
/// system with a limited number of inodes may have no room for another file.
fn is_nearly_full(disk: &Statvfs) -> bool {
    disk.blocks_available() < 64 || (disk.files() > 0 && disk.files_available() == 0)
}

/// Whether the disk of the database at this path may have no room for a commit.
pub(super) fn is_short_of_room(path: &Path) -> bool {
    statvfs(parent(path)).is_ok_and(|disk| is_nearly_full(&disk))
}

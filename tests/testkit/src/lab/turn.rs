//! Whose turn it is on the two cores that carry the scanners and their LANs.
//!
//! Most tests wait most of the time, for a gadget that takes its seconds or a run that is due in one, so several are
//! at it side by side: as many as the test runner has threads. What measures, or keeps the cores busy by itself,
//! has them to itself (`tests/alone`).

use std::{
    fs::{self, File},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use nix::fcntl::{Flock, FlockArg};

use crate::repository;

/// Locked while a test has the cores to itself, for what runs beside the tests to stop meanwhile (`.ci/beside`).
const ALONE: &str = "target/alone";

/// Within a process. The standard library's lock lets nobody in before one that waits to be alone, so that those who
/// do get their turn one after the other, as they stand in a file.
static CORES: RwLock<()> = RwLock::new(());

/// Held as long as its test's LAN stands. A test that failed in its turn says nothing about the next.
#[derive(Debug)]
#[expect(dead_code, reason = "they are held, not read")]
pub(super) enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>, Flock<File>),
}

impl Turn {
    pub(super) fn shared() -> Self {
        Self::Shared(CORES.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn alone() -> Self {
        let cores = CORES.write().unwrap_or_else(PoisonError::into_inner);
        Self::Alone(cores, lock_file())
    }
}

fn lock_file() -> Flock<File> {
    fs::create_dir_all(repository("target")).expect("creating target");
    let file = File::create(repository(ALONE)).unwrap_or_else(|e| panic!("{ALONE}: {e}"));
    Flock::lock(file, FlockArg::LockExclusive).unwrap_or_else(|(_, e)| panic!("locking {ALONE}: {e}"))
}

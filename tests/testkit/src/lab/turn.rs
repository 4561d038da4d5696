//! Shares the machine's two cores among the tests.
//!
//! Most tests mostly wait, for a slow gadget or for a run that is due, so several run side by side: as many as the
//! test runner has threads. A test that measures, or that keeps the cores busy, has them to itself (`tests/alone`).

use std::{
    fs::{self, File},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use nix::fcntl::{Flock, FlockArg};

use crate::repository;

/// Locked while a test has the cores to itself, so that other work stops in the meantime (`.ci/beside`).
const ALONE: &str = "target/alone";

/// The lock within a process. The standard library's lock prefers a waiting writer to new readers, so tests that need
/// the cores to themselves run one after the other, in the order of their file.
static CORES: RwLock<()> = RwLock::new(());

/// Held as long as the LAN of its test exists. A test that panicked with the lock does not affect the next one.
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

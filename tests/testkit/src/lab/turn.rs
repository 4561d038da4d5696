//! Whose turn it is on the two cores that carry the scanners and their LANs.
//!
//! Most tests wait most of the time, for a gadget that takes its seconds or a run that is due in one, so several are
//! at it side by side: as many as the test runner has threads. What measures, or keeps the cores busy by itself,
//! has them to itself.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Within a process. The standard library's lock lets nobody in before one that waits to be alone, so that those who
/// do get their turn one after the other, as they stand in a file.
static CORES: RwLock<()> = RwLock::new(());

/// Held as long as its test's LAN stands. A test that failed in its turn says nothing about the next.
#[derive(Debug)]
#[expect(dead_code, reason = "they are held, not read")]
pub(super) enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Turn {
    pub(super) fn shared() -> Self {
        Self::Shared(CORES.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn alone() -> Self {
        Self::Alone(CORES.write().unwrap_or_else(PoisonError::into_inner))
    }
}

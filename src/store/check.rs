//! Checks in the background that the file is sound: a page that is never read may be damaged for years, and every
//! backup with it.
//!
//! The check reads the whole file (`PRAGMA quick_check`: the structure, not whether indices have every row) on its own
//! connection and thread: at the start, once a week, and soon after a query has failed. It works only a quarter of the
//! time, because everything on a Pi shares the card. During a check the log is not restarted and grows by what is
//! written in that time.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    condition::{CheckSignal, Condition},
    error::{Result, StoreError},
    pace::DiskPace,
    schema,
};
use crate::{clock::Clock, model::Moment};

/// SQLite steps between two readings of the clock: well below a millisecond, except on a slow disk.
const STEPS: i32 = 200;

/// How long the check works without a pause.
const WORK: Duration = Duration::from_millis(20);

/// Length of the pause, as a multiple of the time worked.
const REST: u32 = 3;

/// The longest pause, so that the check can be stopped; without it, the pause after a hanging read would be as long as
/// the hang.
const LONGEST_REST: Duration = Duration::from_millis(200);

/// The thread that runs the checks.
#[derive(Debug)]
pub(super) struct CheckThread {
    stopping: Arc<AtomicBool>,
    signals: mpsc::SyncSender<CheckSignal>,
    thread: JoinHandle<()>,
}

impl CheckThread {
    /// Starts checking the database at this path and reports the results to `condition`.
    pub(super) fn start(
        path: &Path,
        clock: Arc<dyn Clock>,
        pace: DiskPace,
        condition: Arc<Condition>,
        (signals, received): (mpsc::SyncSender<CheckSignal>, mpsc::Receiver<CheckSignal>),
    ) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let checker =
            Checker { path: path.to_owned(), clock, pace, condition, stopping: Arc::clone(&stopping) };
        let thread =
            thread::Builder::new().name("store-check".to_owned()).spawn(move || checker.run(&received))?;
        Ok(Self { stopping, signals, thread })
    }

    /// Ends a running check, and the thread. Blocks for as long as the disk takes to read one page.
    pub(super) fn join(self) {
        self.stopping.store(true, Ordering::Relaxed);
        // A thread that has already ended needs no message.
        let _ = self.signals.send(CheckSignal::Stop);
        let _ = self.thread.join();
    }
}

struct Checker {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    pace: DiskPace,
    condition: Arc<Condition>,
    stopping: Arc<AtomicBool>,
}

impl Checker {
    fn run(self, signals: &mpsc::Receiver<CheckSignal>) {
        loop {
            let begun = self.clock.now();
            let damage = self.check();
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
            let mut next = begun + self.pace.recheck;
            match damage {
                Ok(damage) => {
                    let took = self.clock.now().since(begun);
                    tracing::debug!(?took, sound = damage.is_none(), "the database has been checked");
                    if damage.is_none() {
                        next = begun + self.pace.check;
                    }
                    self.condition.note_checked(damage);
                }
                // The database is busy or cannot be opened, which says nothing about its content.
                Err(error) => tracing::debug!(%error, "failed to check the database; retrying"),
            }
            if !self.wait(signals, begun, next) {
                return;
            }
        }
    }

    /// Waits until the next check is due, or sooner after a suspicion; returns whether to check. A query that keeps
    /// failing triggers no more than one check every [`DiskPace::recheck`].
    fn wait(&self, signals: &mpsc::Receiver<CheckSignal>, begun: Moment, mut next: Moment) -> bool {
        loop {
            match signals.recv_timeout(self.clock.now().until(next)) {
                Ok(CheckSignal::Suspicion) => next = next.min(begun + self.pace.recheck),
                Ok(CheckSignal::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    /// Returns a description of the damage, if there is any.
    fn check(&self) -> Result<Option<String>> {
        let found = self.quick_check();
        match found {
            Err(error) => self.condition.damage(&error).map_or(Err(error), |damage| Ok(Some(damage))),
            found => found,
        }
    }

    fn quick_check(&self) -> Result<Option<String>> {
        if self.condition.is_replaced() {
            return Err(StoreError::Unwell("its file was moved or deleted".to_owned()));
        }
        let connection = schema::open_reader(&self.path)?;
        let (clock, stopping) = (Arc::clone(&self.clock), Arc::clone(&self.stopping));
        let mut working = clock.now();
        let rest = move || {
            let worked = clock.now().since(working);
            if worked >= WORK {
                thread::sleep((worked * REST).min(LONGEST_REST));
                working = clock.now();
            }
            stopping.load(Ordering::Relaxed)
        };
        connection.progress_handler(STEPS, Some(rest))?;
        // The first fault is enough.
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        // The line with `***` names the database, and there is only one database.
        let faults = found.lines().filter(|line| !line.starts_with("***"));
        Ok((found != "ok").then(|| faults.collect::<Vec<_>>().join(" ")))
    }
}

//! Whether the file is sound, checked in the background: what is never read may be damaged for years, and every
//! backup with it.
//!
//! The check reads the whole file (`PRAGMA quick_check`: its structure, not whether indices have every row), on a
//! connection and a thread of its own, at the start and once a week, and soon after a query has failed. It works a
//! quarter of the time only, for on a Pi the card is everything's. Meanwhile the log is not begun anew; it grows by
//! what is written in that time.

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
    pace::Pace,
    schema,
};
use crate::{clock::Clock, model::Moment};

/// Steps of SQLite's from one look at the time to the next: well below a millisecond, but for a slow disk.
const STEPS: i32 = 200;

/// How long it works at a stretch.
const WORK: Duration = Duration::from_millis(20);

/// How many times as long it rests then.
const REST: u32 = 3;

/// The longest rest, so that it can be stopped: after a disk that hangs it would be as long.
const LONGEST_REST: Duration = Duration::from_millis(200);

/// The thread that checks.
#[derive(Debug)]
pub(super) struct CheckThread {
    stopping: Arc<AtomicBool>,
    signals: mpsc::SyncSender<CheckSignal>,
    thread: JoinHandle<()>,
}

impl CheckThread {
    /// Begins to check the database at this path; what is found goes to `condition`.
    pub(super) fn start(
        path: &Path,
        clock: Arc<dyn Clock>,
        pace: Pace,
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

    /// Ends the check that is under way, and the thread. Blocks for as long as the disk takes over one page.
    pub(super) fn join(self) {
        self.stopping.store(true, Ordering::Relaxed);
        // A thread that is already gone needs no telling.
        let _ = self.signals.send(CheckSignal::Stop);
        let _ = self.thread.join();
    }
}

struct Checker {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    pace: Pace,
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
                // It is busy, or cannot be opened, which says nothing of what is in it.
                Err(error) => tracing::debug!(%error, "the database could not be checked; it is tried again"),
            }
            if !self.wait(signals, begun, next) {
                return;
            }
        }
    }

    /// Waits until the next check is due, and no longer than it takes to follow a suspicion; whether there is to be
    /// one. What fails again and again is not followed more often than [`Pace::recheck`].
    fn wait(&self, signals: &mpsc::Receiver<CheckSignal>, begun: Moment, mut next: Moment) -> bool {
        loop {
            match signals.recv_timeout(self.clock.now().until(next)) {
                Ok(CheckSignal::Suspicion) => next = next.min(begun + self.pace.recheck),
                Ok(CheckSignal::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    /// What is damaged, if anything is.
    fn check(&self) -> Result<Option<String>> {
        let found = self.quick_check();
        match found {
            Err(error) => self.condition.damage(&error).map_or(Err(error), |damage| Ok(Some(damage))),
            found => found,
        }
    }

    fn quick_check(&self) -> Result<Option<String>> {
        if self.condition.is_replaced() {
            return Err(StoreError::Unwell("it has its name no longer".to_owned()));
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
        // A headline names the database, of which there is one.
        let faults = found.lines().filter(|line| !line.starts_with("***"));
        Ok((found != "ok").then(|| faults.collect::<Vec<_>>().join(" ")))
    }
}

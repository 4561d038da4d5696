//! The writer thread, the only one that writes.
//!
//! Small synchronous writes wear an SD card, so hosts that finish within ten seconds share a commit. The changes of a
//! commit stay in memory until the disk has them, so that a full disk loses none.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rusqlite::Connection;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};

use super::{
    change::{ChangeContext, Urgency, WriterState},
    commit::{Done, Pending, touch, write},
    condition::Condition,
    error::{Result, StoreError},
    health::{StoreHealth, diagnose, is_short_of_room},
    numbers,
    pace::DiskPace,
    reopen::Reopening,
};
use crate::model::Moment;

/// Requests that wait for the writer. On a full disk this limit makes callers wait.
pub(super) const QUEUE: usize = 64;

/// Most changes of one commit: the limit of what is kept in memory while the disk accepts no writes.
const BATCH: usize = 256;

/// A request to the writer.
pub(super) enum WriteRequest {
    /// Complete this change, and commit it with others.
    Change(Completion),
    /// Run this job alone.
    Exclusive(RunExclusive),
    /// Commit all earlier requests.
    Flush(Done<()>),
}

/// Completes a change when the writer takes it; returns `None` if there is nothing to write and the caller has its
/// answer.
pub(super) type Completion = Box<dyn FnOnce(&mut ChangeContext<'_>) -> Option<Box<dyn Pending>> + Send>;

/// A job that has the connection to itself between two commits, in transactions of its own. It sends its own answer,
/// including that nothing can be written, and is not retried.
pub(super) struct RunExclusive {
    pub(super) turn: Turn,
    pub(super) job: Job,
}

pub(super) type Job = Box<dyn FnOnce(Result<&mut Connection>, &mut WriterState) + Send>;

/// When a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// After all earlier requests are committed, or the disk did not accept them.
    AfterCommit,
    /// The first of several short steps: after the same commit, and not at all while the disk accepts no writes.
    FirstStep,
    /// A further step: only what is due is committed before it. So other writes wait for at most one step, without a
    /// commit per step.
    NextStep,
}

/// What a writer is made of.
pub(super) struct Parts {
    /// `None`: the file could be opened only for reading, until `reopening` succeeds.
    pub(super) connection: Option<Connection>,
    pub(super) reopening: Reopening,
    pub(super) path: PathBuf,
    pub(super) pace: DiskPace,
    pub(super) condition: Arc<Condition>,
    pub(super) state: WriterState,
    /// The id of the latest change event on the disk.
    pub(super) latest_event: watch::Sender<i64>,
    /// The first changes to commit.
    pub(super) batch: Vec<Box<dyn Pending>>,
}

/// The writer's state; lives on its thread.
pub(super) struct Writer {
    connection: Option<Connection>,
    reopening: Reopening,
    path: PathBuf,
    pace: DiskPace,
    condition: Arc<Condition>,
    state: WriterState,
    latest_event: watch::Sender<i64>,
    batch: Vec<Box<dyn Pending>>,
    flushes: Vec<Done<()>>,
    /// Whether pending changes are to be committed without waiting for others.
    is_urgent: bool,
    /// When hosts were last committed. Other writes are rare, and the first host of a scan must not wait because the
    /// scan's start was just committed.
    last_hosts: Option<Moment>,
    last_failure: Option<Moment>,
}

impl Writer {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { connection, reopening, path, pace, condition, state, latest_event, batch } = parts;
        // Whether a nearly full disk accepts a commit is known only after a try.
        let is_unsure = connection.is_none() || is_short_of_room(&path);
        Self {
            last_failure: is_unsure.then(|| state.now()),
            connection,
            reopening,
            path,
            pace,
            condition,
            state,
            latest_event,
            batch,
            flushes: Vec::new(),
            is_urgent: false,
            last_hosts: None,
        }
    }

    /// Runs until it is stopped or every handle is gone, then commits what is queued.
    ///
    /// # Errors
    /// [`StoreError::Unwritten`] if the disk does not accept the remaining changes.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<WriteRequest>,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<()> {
        if self.last_failure.is_some() {
            self.commit();
        }
        let mut name_checks = interval(self.pace.look);
        name_checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wait = self.wait();
            tokio::select! {
                biased;
                _ = &mut stop => break,
                request = requests.recv(), if self.batch.len() < BATCH => match request {
                    Some(request) => self.take(request),
                    None => break,
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                    self.reopen().await;
                    self.commit();
                }
                _ = name_checks.tick() => drop(self.check_name()),
            }
        }
        requests.close();
        while let Some(request) = requests.recv().await {
            self.take(request);
        }
        self.commit();
        match self.batch.len() {
            0 => Ok(()),
            count => Err(StoreError::Unwritten { count, reason: self.health().to_string() }),
        }
    }

    /// The time until the next commit is due; `None` if there is nothing to commit.
    fn wait(&self) -> Option<Duration> {
        let now = self.state.now();
        if let Some(failed) = self.last_failure {
            return Some(now.until(failed + self.pace.retry));
        }
        if self.batch.is_empty() && self.flushes.is_empty() {
            return None;
        }
        if self.is_urgent || self.batch.len() >= BATCH {
            return Some(Duration::ZERO);
        }
        Some(self.last_hosts.map_or(Duration::ZERO, |last| now.until(last + self.pace.commit)))
    }

    fn take(&mut self, request: WriteRequest) {
        match request {
            WriteRequest::Change(complete) => {
                let connection = self.connection.as_ref();
                let change = complete(&mut ChangeContext { connection, state: &mut self.state });
                self.is_urgent |= change.as_ref().is_some_and(|it| it.urgency() == Urgency::Immediate);
                self.batch.extend(change);
            }
            WriteRequest::Exclusive(exclusive) => self.run_exclusive(exclusive),
            WriteRequest::Flush(done) => {
                self.is_urgent = true;
                self.flushes.push(done);
            }
        }
    }

    fn run_exclusive(&mut self, RunExclusive { turn, job }: RunExclusive) {
        let is_due = self.wait().is_some_and(|wait| wait.is_zero());
        if turn != Turn::NextStep || is_due {
            self.commit();
        }
        let may_write = match turn {
            Turn::AfterCommit => !self.condition.is_replaced(),
            Turn::FirstStep | Turn::NextStep => self.last_failure.is_none(),
        };
        let unwell = StoreError::Unwell(self.health().to_string());
        let connection = self.connection.as_mut().filter(|_| may_write).ok_or(unwell);
        let is_run = connection.is_ok();
        job(connection, &mut self.state);
        // The job may have changed the ids of scans; the ids in pending changes are fixed already.
        if let (Turn::AfterCommit, true, Some(connection)) = (turn, self.batch.is_empty(), &self.connection) {
            self.state.read_last_scan(connection);
        }
        if is_run {
            self.announce_events();
        }
    }

    /// Commits all pending changes and answers the callers, or keeps the changes for the next try.
    fn commit(&mut self) {
        let now = self.state.now();
        // An empty batch shows that the file can be written only where that is tried on purpose.
        let is_tried = !self.batch.is_empty() || self.last_failure.is_some();
        match self.write() {
            Ok(()) => {
                self.last_failure = None;
                self.is_urgent = false;
                if self.batch.iter().any(|pending| pending.urgency() == Urgency::Paced) {
                    self.last_hosts = Some(now);
                }
                if is_tried {
                    self.condition.note_writing(StoreHealth::Ok);
                }
                self.announce_events();
                for pending in self.batch.drain(..) {
                    pending.answer();
                }
                for done in self.flushes.drain(..) {
                    let _ = done.send(Ok(()));
                }
            }
            Err(health) => {
                self.last_failure = Some(now);
                if let Some(health) = health {
                    self.condition.note_writing(health);
                }
            }
        }
    }

    /// Makes the pending changes; the error is the fault, unless it is already reported.
    fn write(&mut self) -> Result<(), Option<StoreHealth>> {
        self.check_name().map_err(|()| None)?;
        let connection = self.connection.as_mut().ok_or(None)?;
        let made = match self.last_failure {
            Some(_) if self.batch.is_empty() => touch(connection),
            _ => write(connection, &mut self.batch),
        };
        made.map_err(|error| Some(diagnose(&self.path, &error)))
    }

    /// Checks that the path still leads to the file: data written to a file without a name is lost.
    fn check_name(&mut self) -> Result<(), ()> {
        let is_replaced = self.condition.is_replaced();
        if is_replaced && let Some(connection) = &self.connection {
            // Writes the log into its own file, wherever that is now. Otherwise the log, which kept its name, would be
            // merged into the file that replaced it. If this fails, the next check tries again.
            let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        if is_replaced { Err(()) } else { Ok(()) }
    }

    /// Opens the database for writing if that failed before and is possible now.
    async fn reopen(&mut self) {
        if self.connection.is_none() {
            self.connection = self.reopening.attempt(&self.path).await;
        }
    }

    /// The published health of the store.
    fn health(&self) -> StoreHealth {
        self.condition.watch().borrow().clone()
    }

    /// Announces the change events since the last commit, if there are any.
    fn announce_events(&self) {
        // If this cannot be read now, the next commit announces it.
        if let Some(Ok(latest)) = self.connection.as_ref().map(numbers::latest_event) {
            self.latest_event.send_if_modified(|announced| std::mem::replace(announced, latest) != latest);
        }
    }
}

//! The one thread that writes.
//!
//! An SD card is worn by small synchronous writes, so hosts that finish within ten seconds share a commit; a
//! commit's changes stay in memory until the disk has them, so that a full disk loses none.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use nix::sys::statvfs::statvfs;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    clock::Clock,
    model::{Device, HostStatus, Moment, ScanStatus},
};

use super::{
    Hearing, Observation, Pace, ScanId, ScanKind, Schedule, StoreHealth, Wish,
    apply::Change,
    error::{Result, StoreError},
    identity,
    import::{self, Step},
    news,
    sightings::Sightings,
};

/// Changes that wait for the writer. When the disk is full this is what makes the askers wait.
pub(super) const QUEUE: usize = 64;

/// Most changes of one commit: what is kept in memory while the disk takes nothing.
const BATCH: usize = 256;

/// Who is told when a change is committed.
pub(super) type Done<T> = oneshot::Sender<Result<T>>;

/// What the writer is asked to do.
pub(super) enum Request {
    /// Start a scan: committed at once, because its id is told to others.
    Begin { scanner: String, kind: ScanKind, ports: String, done: Done<ScanId> },
    /// Note a finished host.
    Record(Box<Observation>, Done<()>),
    /// End a scan.
    End(ScanId, ScanStatus, Done<()>),
    /// Make a step of an import, in a commit of its own.
    Import(Box<Step>),
    /// Note that devices were seen, and which others somebody tells of.
    See { seen: Vec<Device>, told: Vec<Device>, done: Done<()> },
    /// Keep names.
    Hear(Vec<Hearing>, Done<()>),
    /// Tell who was not seen since.
    Miss(Timestamp, Done<()>),
    /// Keep a schedule.
    Schedule(String, Schedule, Done<()>),
    /// Change what is expected: committed at once, because somebody waits for it.
    Expect(Vec<Wish>, Done<()>),
    /// Run this between two commits, in transactions of its own; it answers by itself.
    Aside { change: Box<dyn FnOnce(&mut Connection) + Send>, forgets: bool },
    /// Commit what was asked before.
    Flush(Done<()>),
}

/// A change that waits for its commit, and what then tells the asker.
struct Pending {
    change: Change,
    tell: Box<dyn FnOnce(Result<()>) + Send>,
}

/// The writer's state; lives on its thread.
pub(super) struct Writer {
    connection: Connection,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    pace: Pace,
    health: watch::Sender<StoreHealth>,
    /// The id of the latest news on the disk.
    news: watch::Sender<i64>,
    batch: Vec<Pending>,
    flushes: Vec<Done<()>>,
    /// Whether what waits is to be committed without waiting for company.
    urgent: bool,
    /// When hosts were last committed. What else is written is rare, and the first host of a scan is not to
    /// wait because the scan has just begun.
    last_hosts: Option<Moment>,
    last_failure: Option<Moment>,
    last_scan: i64,
    last_seq: i64,
    sightings: Sightings,
}

impl Writer {
    /// A writer on a connection to a file of the newest schema.
    pub(super) fn new(
        connection: Connection,
        path: PathBuf,
        clock: Arc<dyn Clock>,
        pace: Pace,
        (health, news): (watch::Sender<StoreHealth>, watch::Sender<i64>),
    ) -> Result<Self> {
        let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        // Reads the whole table: some 50 bytes a row, once at start. An index would cost a page per commit.
        let last_seq = number("SELECT coalesce(max(seq), 0) FROM observations")?;
        // An import from tomorrow is not to carry our own ids with it.
        let last_scan = number("SELECT coalesce(max(id), 0) FROM scans WHERE kind <> 'import'")?;
        news.send_replace(news::newest(&connection)?);
        let abandoned = number("SELECT count(*) FROM scans WHERE status = 'running' AND kind <> 'run'")? > 0;
        // The first change in the queue and not made here: the disk may be full, which is no reason not to
        // start and serve.
        let abandon = abandoned.then(|| Pending { change: Change::Abandon, tell: Box::new(drop) });
        Ok(Self {
            connection,
            path,
            clock,
            pace,
            health,
            news,
            batch: Vec::from_iter(abandon),
            flushes: Vec::new(),
            urgent: false,
            last_hosts: None,
            last_failure: None,
            last_scan,
            last_seq,
            sightings: Sightings::default(),
        })
    }

    /// Works until told to stop or nobody is left to ask, then commits what is queued.
    ///
    /// # Errors
    /// [`StoreError::Unwritten`] if the disk does not take the last of it.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<()> {
        loop {
            let wait = self.wait();
            tokio::select! {
                biased;
                _ = &mut stop => break,
                request = requests.recv(), if self.batch.len() < BATCH => match request {
                    Some(request) => self.take(request),
                    None => break,
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => self.commit(),
            }
        }
        requests.close();
        while let Some(request) = requests.recv().await {
            self.take(request);
        }
        self.commit();
        match self.batch.len() {
            0 => Ok(()),
            count => Err(StoreError::Unwritten { count, reason: self.health.borrow().to_string() }),
        }
    }

    /// How long until the next commit is due; `None` if there is nothing to commit.
    fn wait(&self) -> Option<Duration> {
        if self.batch.is_empty() && self.flushes.is_empty() {
            return None;
        }
        let now = self.clock.now();
        if let Some(failed) = self.last_failure {
            return Some(now.until(failed + self.pace.retry));
        }
        if self.urgent || self.batch.len() >= BATCH {
            return Some(Duration::ZERO);
        }
        Some(self.last_hosts.map_or(Duration::ZERO, |last| now.until(last + self.pace.commit)))
    }

    /// Turns a request into a change that no longer depends on when it is made.
    fn take(&mut self, request: Request) {
        let (change, done) = match request {
            Request::Begin { scanner, kind, ports, done } => {
                let started = self.clock.wall();
                let wanted = started.as_second().max(self.last_scan + 1);
                // An import may have it. What cannot be read now will not be written either.
                self.last_scan = import::free(&self.connection, wanted).unwrap_or(wanted);
                let id = ScanId(self.last_scan);
                self.urgent = true;
                let change = Change::Begin { id, scanner, kind, ports, started };
                let tell = Box::new(move |made: Result<()>| drop(done.send(made.map(|()| id))));
                self.batch.push(Pending { change, tell });
                return;
            }
            Request::Record(observation, done) => {
                if observation.report.status != HostStatus::Down {
                    self.sightings.note(&observation.device, self.clock.now());
                }
                self.last_seq += 1;
                (Change::Record { seq: self.last_seq, observation }, done)
            }
            Request::Import(step) => return self.import(*step),
            Request::End(id, status, done) => (Change::End { id, status, finished: self.clock.wall() }, done),
            Request::See { mut seen, mut told, done } => {
                // One that cannot be looked up now is told of again in a minute.
                told.retain(|device| identity::is_known(&self.connection, device).unwrap_or(false));
                seen.append(&mut told);
                let devices = self.sightings.news(seen, self.clock.now());
                if devices.is_empty() {
                    let _ = done.send(Ok(()));
                    return;
                }
                (Change::See { devices, at: self.clock.wall() }, done)
            }
            Request::Hear(heard, done) => (Change::Hear { heard, at: self.clock.wall() }, done),
            Request::Miss(since, done) => (Change::Miss { since, at: self.clock.wall() }, done),
            Request::Schedule(scanner, schedule, done) => (Change::Schedule { scanner, schedule }, done),
            Request::Expect(wishes, done) => {
                self.urgent = true;
                (Change::Expect { wishes, at: self.clock.wall() }, done)
            }
            Request::Aside { change, forgets } => {
                // In the order in which they were asked, unless the disk takes nothing.
                self.commit();
                change(&mut self.connection);
                if forgets {
                    // Whatever was forgotten is to be written anew.
                    self.sightings.forget();
                }
                return;
            }
            Request::Flush(done) => {
                self.urgent = true;
                self.flushes.push(done);
                return;
            }
        };
        // Nobody minds if the asker no longer waits: the change is made all the same.
        let tell = Box::new(move |made| drop(done.send(made)));
        self.batch.push(Pending { change, tell });
    }

    /// Makes a step of an import, after all that was asked before it began and whatever else is due: who asks for
    /// something meanwhile waits for one step at most. It is not kept for another try as our own results are:
    /// whoever brings it still has it.
    fn import(&mut self, step: Step) {
        if matches!(step, Step::Begin(..)) || self.wait().is_some_and(|wait| wait.is_zero()) {
            self.commit();
        }
        if self.last_failure.is_some() {
            step.refuse(StoreError::Unwell(self.health.borrow().to_string()));
            return;
        }
        step.make(&mut self.connection, &*self.clock, &mut self.last_seq);
        self.tell_news();
    }

    /// Commits all that waits and tells the askers, or keeps it for the next try.
    fn commit(&mut self) {
        let now = self.clock.now();
        match write(&mut self.connection, &self.batch) {
            Ok(made) => {
                self.last_failure = None;
                self.urgent = false;
                if self.batch.iter().any(|pending| matches!(pending.change, Change::Record { .. })) {
                    self.last_hosts = Some(now);
                }
                self.tell(StoreHealth::Ok);
                self.tell_news();
                for (pending, made) in self.batch.drain(..).zip(made) {
                    (pending.tell)(made);
                }
                for done in self.flushes.drain(..) {
                    let _ = done.send(Ok(()));
                }
            }
            Err(error) => {
                self.last_failure = Some(now);
                self.tell(self.diagnose(&error));
            }
        }
    }

    /// What a failed commit means.
    fn diagnose(&self, error: &rusqlite::Error) -> StoreHealth {
        // Some file systems say "full" only by the way. 64 blocks are 256 KB on most.
        let nearly_full = || {
            let dir = self.path.parent().unwrap_or(&self.path);
            statvfs(dir).is_ok_and(|disk| disk.blocks_available() < 64)
        };
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreHealth::Full,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if nearly_full() => StoreHealth::Full,
            _ => StoreHealth::Failing(error.to_string()),
        }
    }

    /// Tells that there are news since the last commit, if so.
    fn tell_news(&self) {
        // One that cannot be read now is told with the next commit.
        if let Ok(newest) = news::newest(&self.connection) {
            self.news.send_if_modified(|told| std::mem::replace(told, newest) != newest);
        }
    }

    /// Tells the health if it is another than before.
    fn tell(&self, health: StoreHealth) {
        self.health.send_if_modified(|told| {
            if *told == health {
                return false;
            }
            match &health {
                StoreHealth::Ok => tracing::info!("the database is written again"),
                unwell => tracing::warn!(kept = self.batch.len(), "{unwell}"),
            }
            *told = health;
            true
        });
    }
}

/// Whether a failure is the disk's or the machine's, so that the same change may well be made later. Any other
/// would fail again and again, and with it all that is in the same commit.
fn may_pass(error: &rusqlite::Error) -> bool {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, FileLockingProtocolFailed,
        NotADatabase, OperationInterrupted, OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure,
    };
    matches!(
        error.sqlite_error_code(),
        Some(
            CannotOpen
                | DatabaseBusy
                | DatabaseCorrupt
                | DatabaseLocked
                | DiskFull
                | FileLockingProtocolFailed
                | NotADatabase
                | OperationInterrupted
                | OutOfMemory
                | PermissionDenied
                | ReadOnly
                | SystemIoFailure
        )
    )
}

/// Makes the changes in one transaction. A change that cannot be made, whatever the disk, is left out and its
/// asker told; a failure that may pass undoes them all.
fn write(connection: &mut Connection, batch: &[Pending]) -> rusqlite::Result<Vec<Result<()>>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut made = Vec::with_capacity(batch.len());
    for pending in batch {
        let savepoint = transaction.savepoint()?;
        match pending.change.apply(&savepoint) {
            Ok(()) => {
                savepoint.commit()?;
                made.push(Ok(()));
            }
            Err(StoreError::Sqlite(error)) if may_pass(&error) => return Err(error),
            Err(refused) => made.push(Err(refused)),
        }
    }
    transaction.commit()?;
    Ok(made)
}

//! The one thread that writes.
//!
//! An SD card is worn by small synchronous writes, so hosts that finish within ten seconds share a commit; a
//! commit's changes stay in memory until the disk has them, so that a full disk loses none.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};

use crate::{
    clock::Clock,
    model::{Device, HostStatus, Moment, ScanId, ScanKind, ScanStatus},
};

use super::{
    Hearing, Observation, Pace, Schedule, Wish,
    apply::Change,
    commit::{Pending, touch, write},
    condition::Condition,
    error::{Result, StoreError},
    health::{StoreHealth, diagnose, is_short_of_room},
    identity,
    import::Step,
    numbers,
    opened::Reopening,
    sightings::Sightings,
};

/// Changes that wait for the writer. When the disk is full this is what makes the askers wait.
pub(super) const QUEUE: usize = 64;

/// Most changes of one commit: what is kept in memory while the disk takes nothing.
const BATCH: usize = 256;

/// Who is told when a change is committed.
pub(super) type Done<T> = oneshot::Sender<Result<T>>;

/// What is run on the writer's connection, if there is one that may write.
pub(super) type Aside = Box<dyn FnOnce(Result<&mut Connection>) + Send>;

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
    /// Run this between two commits, in transactions of its own; it answers by itself, also that nothing can be
    /// written.
    Aside { change: Aside, forgets: bool },
    /// Commit what was asked before.
    Flush(Done<()>),
}

/// What the writer works on.
pub(super) struct Parts {
    /// `None`: the file could be opened to be read only, until `reopening` succeeds.
    pub(super) connection: Option<Connection>,
    pub(super) reopening: Reopening,
    pub(super) path: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pace: Pace,
    pub(super) condition: Arc<Condition>,
    /// The id of the latest news on the disk.
    pub(super) news: watch::Sender<i64>,
}

/// The writer's state; lives on its thread.
pub(super) struct Writer {
    connection: Option<Connection>,
    reopening: Reopening,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    pace: Pace,
    condition: Arc<Condition>,
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
    /// A writer of a file of the newest schema, which `reader` reads.
    pub(super) fn new(reader: &Connection, parts: Parts) -> Result<Self> {
        let Parts { connection, reopening, path, clock, pace, condition, news } = parts;
        let number = |sql| reader.query_row(sql, [], |row| row.get::<_, i64>(0));
        let last_seq = numbers::latest_observation(reader)?;
        let last_scan = numbers::latest_own_scan(reader)?;
        news.send_replace(numbers::latest_event(reader)?);
        let abandoned = number("SELECT count(*) FROM scans WHERE status = 'running' AND kind <> 'run'")? > 0;
        // The first change in the queue and not made here: the disk may be full, which is no reason not to
        // start and serve.
        let abandon = abandoned.then(|| Pending { change: Change::Abandon, tell: Box::new(drop) });
        // Whether a disk with no room to spare takes a commit is known only once it is tried.
        let is_unsure = connection.is_none() || is_short_of_room(&path);
        Ok(Self {
            last_failure: is_unsure.then(|| clock.now()),
            connection,
            reopening,
            path,
            clock,
            pace,
            condition,
            news,
            batch: Vec::from_iter(abandon),
            flushes: Vec::new(),
            urgent: false,
            last_hosts: None,
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
        if self.last_failure.is_some() {
            self.commit();
        }
        let mut looks = interval(self.pace.look);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                _ = looks.tick() => drop(self.look()),
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

    /// How long until the next commit is due; `None` if there is nothing to commit.
    fn wait(&self) -> Option<Duration> {
        let now = self.clock.now();
        if let Some(failed) = self.last_failure {
            return Some(now.until(failed + self.pace.retry));
        }
        if self.batch.is_empty() && self.flushes.is_empty() {
            return None;
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
                let free = self.connection.as_ref().and_then(|it| numbers::free_scan_id(it, wanted).ok());
                self.last_scan = free.unwrap_or(wanted);
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
                let connection = self.connection.as_ref();
                let is_known =
                    |device: &_| connection.is_some_and(|it| identity::is_known(it, device).unwrap_or(false));
                told.retain(is_known);
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
            Request::Aside { change, forgets } => return self.step_aside(change, forgets),
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

    /// Runs something else between two commits.
    fn step_aside(&mut self, change: Aside, forgets: bool) {
        // In the order in which they were asked, unless the disk takes nothing.
        self.commit();
        let unwell = StoreError::Unwell(self.health().to_string());
        match &mut self.connection {
            Some(connection) if !self.condition.is_replaced() => change(Ok(connection)),
            _ => change(Err(unwell)),
        }
        if forgets {
            // Whatever was forgotten is to be written anew.
            self.sightings.forget();
        }
        // Ids that lay ahead may have been mended; those of what waits are given already.
        if let (true, Some(connection)) = (self.batch.is_empty(), &self.connection) {
            self.last_scan = numbers::latest_own_scan(connection).unwrap_or(self.last_scan);
        }
    }

    /// Makes a step of an import, after all that was asked before it began and whatever else is due: who asks for
    /// something meanwhile waits for one step at most. It is not kept for another try as our own results are:
    /// whoever brings it still has it.
    fn import(&mut self, step: Step) {
        if matches!(step, Step::Begin(..)) || self.wait().is_some_and(|wait| wait.is_zero()) {
            self.commit();
        }
        match &mut self.connection {
            Some(connection) if self.last_failure.is_none() => {
                step.make(connection, &*self.clock, &mut self.last_seq);
                self.tell_news();
            }
            _ => step.refuse(StoreError::Unwell(self.health().to_string())),
        }
    }

    /// Commits all that waits and tells the askers, or keeps it for the next try.
    fn commit(&mut self) {
        let now = self.clock.now();
        match self.write() {
            Ok(made) => {
                self.last_failure = None;
                self.urgent = false;
                if self.batch.iter().any(|pending| matches!(pending.change, Change::Record { .. })) {
                    self.last_hosts = Some(now);
                }
                self.condition.note_writing(StoreHealth::Ok);
                self.tell_news();
                for (pending, made) in self.batch.drain(..).zip(made) {
                    (pending.tell)(made);
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

    /// Makes the changes that wait; or why not, where that is not told yet.
    fn write(&mut self) -> Result<Vec<Result<()>>, Option<StoreHealth>> {
        self.look().map_err(|()| None)?;
        let connection = self.connection.as_mut().ok_or(None)?;
        let made = match self.last_failure {
            Some(_) if self.batch.is_empty() => touch(connection).map(|()| Vec::new()),
            _ => write(connection, &self.batch),
        };
        made.map_err(|error| Some(diagnose(&self.path, &error)))
    }

    /// Looks whether the file still has its name, for what is written to one without a name is lost.
    fn look(&mut self) -> Result<(), ()> {
        let is_replaced = self.condition.is_replaced();
        if is_replaced && let Some(connection) = &self.connection {
            // To the file, wherever it is now, goes what is its own. Otherwise the log, which kept its name, would be
            // put into the file that has come instead. Whether there was anything to do tells the next look, too.
            let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        if is_replaced { Err(()) } else { Ok(()) }
    }

    /// Opens what could not be opened to be written before, if it can be now.
    async fn reopen(&mut self) {
        if self.connection.is_none() {
            self.connection = self.reopening.attempt(&self.path).await;
        }
    }

    /// What is told of the store.
    fn health(&self) -> StoreHealth {
        self.condition.watch().borrow().clone()
    }

    /// Tells that there are news since the last commit, if so.
    fn tell_news(&self) {
        // One that cannot be read now is told with the next commit.
        if let Some(Ok(newest)) = self.connection.as_ref().map(numbers::latest_event) {
            self.news.send_if_modified(|told| std::mem::replace(told, newest) != newest);
        }
    }
}

//! F2: what is remembered: SQLite, one writer.
//!
//! ```text
//!  any task --Request--> writer thread --commit--> portscan.db-wal --checkpoint--> portscan.db
//!     ^  `----Query----> reader thread <------------------------------------------------'
//!     `--oneshot: committed / answer--'
//! ```
//!
//! [`Store`] is the handle: its methods wait for a thread's answer and block nobody. What is written is
//! acknowledged when it is *committed*; commits are shared ([`Pace`]). `opened` starts the threads, `commit` and
//! `apply` are what the writer does, `condition` tells how the store is, `check` looks whether the file is sound.
//! `reader` has the reader's SQL, `pages` what is read in pieces, `current` what all looks together say, `expected`
//! what they should, `compared` what single scans say, `hosts` all that is known of devices, `names` what they call
//! themselves, `prune` what is forgotten, `room` what is forgotten where too much is remembered, `news` what has
//! changed, `sightings` which sightings need not be written again, `schema` the file and its versions, `verdicts` how
//! a host's result is spelled in bytes.
//!
//! **Identity.** A device is its MAC, else its one address; an *endpoint* is a device at an address, and it is
//! endpoints that are looked at and have a state. `identity` alone answers which device something belongs to;
//! `placement` decides, without I/O, what addresses a device has; `merge` makes two rows one, `endpoints` has the
//! rows, `presence` tells which devices are gone.
//!
//! **Order.** The wall clock of a machine without a battery jumps. The newest of our observations is that with
//! the greatest sequence number, the newest scan that with the greatest id; times are only shown. Imports alone
//! take their places by their time.
//! **History** belongs to the device: a MAC keeps its own wherever it goes, and an address that another MAC takes
//! begins another.

mod ahead;
mod apply;
mod at_rest;
mod backup;
mod check;
mod commit;
mod compared;
mod condition;
mod current;
mod endpoints;
mod error;
mod expected;
mod health;
mod hosts;
mod identity;
mod import;
mod known;
mod lock;
mod lookups;
mod merge;
mod names;
mod news;
mod numbers;
mod opened;
mod page;
mod pages;
mod placement;
mod presence;
mod prune;
mod reader;
mod reports;
mod room;
mod row;
mod schema;
mod sightings;
mod summary;
mod verdicts;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use self::condition::Condition;
use crate::model::{Device, DeviceKey, HostReport, Mac, PortSet, ScanId, ScanKind, ScanStatus};

pub use ahead::Repaired;
pub use at_rest::ReaderThread;
pub use backup::backup;
pub use compared::ScanDevice;
pub use current::HostState;
pub use error::{Result, StoreError};
pub use expected::Wish;
pub use health::StoreHealth;
pub use hosts::{AddressRecord, Host, NewWords, OpenPort, PortKey, Words};
pub use import::{Import, Imported, ImportedHost};
pub use known::KnownDevices;
pub use lock::{DirLock, lock, lock_existing};
pub use names::Hearing;
pub use opened::WriterThread;
pub use page::Page;
pub use pages::{ScanHost, ScanSummary};
pub use prune::Pruned;
pub use reports::HostRecord;
pub use summary::ScannerSummary;

/// The database's name in the data directory.
pub const FILE_NAME: &str = "portscan.db";

/// One look at one host, to be stored.
///
/// Only an `Up` report's ports are kept: of one that is down or partial the status is, and what was known
/// before stays the newest. Ports that it did not cover stay what an earlier look found them to be.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Of which scan.
    pub scan: ScanId,
    /// Whose result it is; its `name` and address become the device's present ones.
    pub device: Device,
    /// What was found.
    pub report: HostReport,
    /// When the look began, by the wall clock.
    pub started: Timestamp,
    /// When it ended, by the wall clock.
    pub finished: Timestamp,
}

/// A scheduled run that was begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenScan {
    /// Its id, to go on recording under.
    pub id: ScanId,
    /// The scanner's name.
    pub scanner: String,
    /// When it began, by the wall clock of then.
    pub started: Timestamp,
    /// What it has an answer for (up or down): devices at the addresses that they have now, and addresses at which
    /// nothing answered.
    pub done: Vec<Device>,
}

/// The present state of a device's TCP ports at all of its addresses: each is what the newest complete look there says
/// that covered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedHost {
    /// The device at its main address: if it has moved since the scan, the new one.
    pub device: Device,
    /// The scan of the newest complete look, whatever it covered.
    pub scan: ScanId,
    /// When that look began, by the wall clock of then.
    pub started: Timestamp,
    /// Its time to the first answer; resolution 1 ms.
    pub preparation: Duration,
    /// Time from then to the last verdict; resolution 1 ms.
    pub scanning: Duration,
    /// The open ports by all looks that still count, ascending.
    pub open: Vec<u16>,
}

/// How much is remembered, and how new it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Devices that have a complete result.
    pub devices: u32,
    /// When the newest complete scan ended, by the wall clock of then.
    pub last_scan: Option<Timestamp>,
}

/// When a scanner last started, in a form that survives a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The last start's age on the monotonic clock when this was saved; resolution 1 ms.
    pub since_start: Duration,
    /// The last start by the wall clock of then.
    pub started: Timestamp,
}

/// How often the disk is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Least time from a commit of finished hosts to the next: the first host after a pause is committed at
    /// once, what follows together, at most this much later. Default 10 s.
    pub commit: Duration,
    /// Time between tries while the disk takes nothing. Default 5 s.
    pub retry: Duration,
    /// From one look whether the file is still there to the next. Default 10 s.
    pub look: Duration,
    /// From one check of the whole file to the next. Default a week.
    pub check: Duration,
    /// The same while damage is known or suspected. Default 10 min.
    pub recheck: Duration,
}

impl Pace {
    /// What a card bears for years.
    pub const DEFAULT: Self = Self {
        commit: Duration::from_secs(10),
        retry: Duration::from_secs(5),
        look: Duration::from_secs(10),
        check: Duration::from_secs(7 * 24 * 3600),
        recheck: Duration::from_secs(600),
    };
}

impl Default for Pace {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A handle to the database; cheap to clone, usable from any task.
///
/// A write's future may be dropped: once it has been polled to the point of waiting for the commit, the
/// change is made all the same. While the disk is full, writes wait; reads never do.
#[derive(Clone, Debug)]
pub struct Store {
    writes: mpsc::Sender<writer::Request>,
    reads: mpsc::Sender<reader::Request>,
    condition: Arc<Condition>,
    newest: watch::Receiver<i64>,
    path: Arc<Path>,
    /// Its size when it was opened.
    opened_bytes: u64,
    /// Held while a copy is made.
    copying: Arc<Mutex<()>>,
}

impl Store {
    /// Begins a scan and tells its id, which is committed at once.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn begin_scan(&self, scanner: &str, kind: ScanKind, ports: &PortSet) -> Result<ScanId> {
        let (scanner, ports) = (scanner.to_owned(), ports.to_string());
        self.write(|done| writer::Request::Begin { scanner, kind, ports, done }).await
    }

    /// Stores a finished host; resolves when it is committed, at most [`Pace::commit`] later.
    ///
    /// # Errors
    /// There is no such scan, or the store is closed.
    pub async fn record(&self, observation: Observation) -> Result<()> {
        self.write(|done| writer::Request::Record(Box::new(observation), done)).await
    }

    /// Ends a scan; what was begun and never ended is resumed (runs) or partial (others) after a restart.
    ///
    /// # Errors
    /// There is no such scan, or the store is closed.
    pub async fn end_scan(&self, scan: ScanId, status: ScanStatus) -> Result<()> {
        self.write(|done| writer::Request::End(scan, status, done)).await
    }

    /// Notes that devices are there now: those that were `seen`, and those that somebody has only `told` of, as far
    /// as they have answered before. Written at most hourly for a device that has not changed, and for one that keeps
    /// changing only now and then.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn see(&self, seen: Vec<Device>, told: Vec<Device>) -> Result<()> {
        self.write(|done| writer::Request::See { seen, told, done }).await
    }

    /// Keeps a scanner's schedule.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn save_schedule(&self, scanner: &str, schedule: Schedule) -> Result<()> {
        self.write(|done| writer::Request::Schedule(scanner.to_owned(), schedule, done)).await
    }

    /// Commits all that was asked before.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn flush(&self) -> Result<()> {
        self.write(writer::Request::Flush).await
    }

    /// The MACs of the devices that have a complete result, ascending.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn macs(&self) -> Result<Vec<Mac>> {
        self.macs_after(None, u32::MAX).await
    }

    /// Those of them after this one, at most so many.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn macs_after(&self, after: Option<Mac>, most: u32) -> Result<Vec<Mac>> {
        self.read(move |connection| lookups::macs(connection, after, most)).await
    }

    /// The present state of a device's ports; `None` if there is no complete look at it.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn latest(&self, device: &DeviceKey) -> Result<Option<CachedHost>> {
        let device = device.clone();
        self.read(move |connection| lookups::latest(connection, &device)).await
    }

    /// How old the present state of each endpoint is: when the oldest look began that still supplies a port of it,
    /// by the wall clock of then. A narrower look since does not make the rest any younger; ports that are
    /// asked for no more stay, and so does their age. An endpoint that is not in it has no complete look.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn ages(&self) -> Result<Vec<(Device, Timestamp)>> {
        self.read(lookups::ages).await
    }

    /// How much is remembered, and how new it is.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn totals(&self) -> Result<Totals> {
        self.read(lookups::totals).await
    }

    /// A number that is another after every change of the database.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn version(&self) -> Result<i64> {
        self.read(lookups::version).await
    }

    /// The scheduled runs that have no end, oldest first: right after opening, what a crash interrupted.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn open_scans(&self) -> Result<Vec<OpenScan>> {
        self.read(lookups::open_scans).await
    }

    /// A scanner's schedule as last saved.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn schedule(&self, scanner: &str) -> Result<Option<Schedule>> {
        let scanner = scanner.to_owned();
        self.read(move |connection| lookups::schedule(connection, &scanner)).await
    }

    /// Whether what is recorded reaches the disk and can be read, and every change of that.
    pub fn health(&self) -> watch::Receiver<StoreHealth> {
        self.condition.watch()
    }

    /// The size of the database and its log on disk.
    pub fn bytes(&self) -> u64 {
        bytes(&self.path)
    }

    /// What [`Store::bytes`] was when the database was opened.
    pub const fn opened_bytes(&self) -> u64 {
        self.opened_bytes
    }

    async fn write<T>(&self, request: impl FnOnce(writer::Done<T>) -> writer::Request) -> Result<T> {
        let (done, committed) = oneshot::channel();
        self.writes.send(request(done)).await.map_err(|_| StoreError::Closed)?;
        committed.await.map_err(|_| StoreError::Closed)?
    }

    /// As `write`, for a thread of its own.
    fn write_blocking<T>(&self, request: impl FnOnce(writer::Done<T>) -> writer::Request) -> Result<T> {
        let (done, committed) = oneshot::channel();
        self.writes.blocking_send(request(done)).map_err(|_| StoreError::Closed)?;
        committed.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    async fn aside<T, F>(&self, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        self.run_aside(change, false).await
    }

    /// As [`Store::aside`], for a change that forgets devices.
    async fn forget_aside<T, F>(&self, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        self.run_aside(change, true).await
    }

    async fn run_aside<T, F>(&self, change: F, forgets: bool) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        let run = |done: writer::Done<T>| {
            let job = move |connection: Result<&mut Connection>| {
                drop(done.send(connection.and_then(change)));
            };
            writer::Request::Aside { change: Box::new(job), forgets }
        };
        self.write(run).await
    }

    async fn read<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (request, answered) = query_request(query, &self.condition);
        self.reads.send(request).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// As `read`, for a thread of its own.
    fn read_blocking<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (request, answered) = query_request(query, &self.condition);
        self.reads.blocking_send(request).map_err(|_| StoreError::Closed)?;
        answered.blocking_recv().map_err(|_| StoreError::Closed)?
    }
}

/// A query for the reader's thread, and where its answer comes.
fn query_request<T, F>(
    query: F,
    condition: &Arc<Condition>,
) -> (reader::Request, oneshot::Receiver<Result<T>>)
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let condition = Arc::clone(condition);
    let job = Box::new(move |connection: &Connection| {
        // Whoever asked may have gone: an HTTP client that hung up.
        if !answer.is_closed() {
            let found = query(connection);
            let _ = answer.send(found.inspect_err(|error| condition.note_failed_read(error)));
        }
    });
    (reader::Request::Query(job), answered)
}

/// The size of the database at this path and of its log.
fn bytes(path: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |data| data.len());
    size(path) + size(&schema::beside(path, "-wal"))
}

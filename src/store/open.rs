//! Opens the store and starts its threads, which end in a fixed order.

use std::{
    path::Path,
    sync::{Arc, mpsc::sync_channel},
    thread::{self, JoinHandle},
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    backup,
    change::WriterState,
    check::CheckThread,
    commit::Pending,
    condition::Condition,
    error::{Result, StoreError},
    handle::Store,
    numbers,
    pace::DiskPace,
    reader,
    reopen::Reopening,
    scans, schema, writer,
};
use crate::{clock::Clock, fleet::SiteName};

/// The threads behind a [`Store`]. Dropping it lets them finish what is queued without waiting for it.
#[derive(Debug)]
pub struct WriterThread {
    stop: oneshot::Sender<()>,
    writer: JoinHandle<Result<()>>,
    reader: JoinHandle<()>,
    check: CheckThread,
    /// Keeps the threads waiting for work when every other handle is gone, so that they always stop in order.
    store: Store,
}

impl Store {
    /// Opens the database, creating or upgrading it as needed; an existing one is copied to `PATH.vN` before an
    /// upgrade. The caller holds the directory's [`lock`](super::lock()).
    ///
    /// # Errors
    /// The file cannot be used, is not ours, is damaged, was written by a later version, or its upgrade failed and
    /// changed nothing.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<(Self, WriterThread)> {
        Self::open_at_pace(path, clock, DiskPace::default())
    }

    /// [`Store::open`] with another pace than the default.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_at_pace(path: &Path, clock: Arc<dyn Clock>, pace: DiskPace) -> Result<(Self, WriterThread)> {
        let writer = schema::open_writer(path, schema::LADDER)?;
        Self::start(Some(writer), schema::open_reader(path)?, path, clock, pace)
    }

    /// As [`Store::open`], for an appliance, which can serve data even while nothing can be written because the disk is
    /// full or mounted read-only. Writes wait until the disk accepts them again, which the store detects by itself.
    ///
    /// # Errors
    /// As [`Store::open`]; or nothing can be written and nothing can be read.
    pub fn open_to_serve(path: &Path, clock: Arc<dyn Clock>, pace: DiskPace) -> Result<(Self, WriterThread)> {
        let error = match Self::open_at_pace(path, Arc::clone(&clock), pace) {
            Err(error) => error,
            opened => return opened,
        };
        let Some(health) = error.passing() else { return Err(error) };
        // The first error names what to mend; why reading fails, too, does not matter.
        let Ok(reader) = schema::open_at_rest(path) else { return Err(error) };
        let (store, threads) = Self::start(None, reader, path, clock, pace)?;
        store.condition.note_writing(health);
        Ok((store, threads))
    }

    /// Opens a hub's copy of this site's database, creating it as needed: as [`Store::open`], but scans that are under way
    /// at the site stay so.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_copy(path: &Path, site: &SiteName, clock: Arc<dyn Clock>) -> Result<(Self, WriterThread)> {
        let writer = schema::open_writer(path, schema::LADDER)?;
        let reader = schema::open_reader(path)?;
        Self::start_with((Some(writer), reader), path, Some(site.clone()), clock, DiskPace::default(), |_| {
            Ok(None)
        })
    }

    pub(super) fn start(
        connection: Option<Connection>,
        read_only: Connection,
        path: &Path,
        clock: Arc<dyn Clock>,
        pace: DiskPace,
    ) -> Result<(Self, WriterThread)> {
        Self::start_with((connection, read_only), path, None, clock, pace, scans::close_abandoned)
    }

    /// Starts the threads; `first` returns a change that is committed before all others.
    fn start_with(
        (connection, mut read_only): (Option<Connection>, Connection),
        path: &Path,
        copy_of: Option<SiteName>,
        clock: Arc<dyn Clock>,
        pace: DiskPace,
        first: impl FnOnce(&Connection) -> Result<Option<Box<dyn Pending>>>,
    ) -> Result<(Self, WriterThread)> {
        let thread_error = |source| StoreError::File { path: path.to_owned(), source };
        let (signals, received) = sync_channel(1);
        let condition = Arc::new(Condition::new(path, signals.clone()).of_copy(copy_of));
        let (reads, mut read_requests) = mpsc::channel(reader::QUEUE);
        let stored = || -> Result<_> {
            let state = WriterState::read(&read_only, Arc::clone(&clock))?;
            let latest_event = numbers::latest_event(&read_only)?;
            Ok((state, latest_event, first(&read_only)?))
        };
        let (state, latest_event, first) = stored().map_err(|error| match error {
            StoreError::Sqlite(source) => StoreError::Open { path: path.to_owned(), source },
            error => error,
        })?;
        let (events, latest_event) = watch::channel(latest_event);
        let writer = writer::Writer::new(writer::Parts {
            connection,
            reopening: Reopening(reads.clone()),
            path: path.to_owned(),
            pace,
            condition: Arc::clone(&condition),
            state,
            latest_event: events,
            batch: Vec::from_iter(first),
        });
        let (writes, write_requests) = mpsc::channel(writer::QUEUE);
        let (stop, stopped) = oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(thread_error)?;
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || runtime.block_on(writer.run(write_requests, stopped)))
            .map_err(thread_error)?;
        let reader = thread::Builder::new()
            .name("store-reader".to_owned())
            .spawn(move || reader::run(&mut read_only, &mut read_requests))
            .map_err(thread_error)?;
        let check = CheckThread::start(path, clock, pace, Arc::clone(&condition), (signals, received));
        let check = check.map_err(thread_error)?;

        backup::tidy(path);
        let (path, opened_bytes, copying) = (path.into(), schema::size_on_disk(path), Arc::default());
        let store = Self { writes, reads, condition, latest_event, path, opened_bytes, copying };
        Ok((store.clone(), WriterThread { stop, writer, reader, check, store }))
    }
}

impl WriterThread {
    /// Commits what is queued and closes the database; remaining handles get [`StoreError::Closed`]. Blocks, so it must
    /// not be called from a task.
    ///
    /// # Errors
    /// [`StoreError::Unwritten`] if the disk did not accept the remaining changes.
    pub fn join(self) -> Result<()> {
        let Self { stop, writer, reader, check, store } = self;
        // The reading threads first: SQLite removes the log only when the last connection closes, and only if that one
        // may write. A thread that has already ended needs no message.
        check.join();
        let _ = store.reads.blocking_send(reader::ReadRequest::Stop);
        let _ = reader.join();
        let _ = stop.send(());
        writer.join().unwrap_or(Err(StoreError::Closed))
    }
}

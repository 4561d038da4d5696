//! The handle that tasks use: it sends changes to the writer thread and queries to the reader thread, and awaits the
//! answers without blocking. The possible changes and queries are in the files that have the SQL.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    change::{ChangeContext, DatabaseChange, WriterState},
    commit::{Done, pending},
    condition::Condition,
    error::{Result, StoreError},
    health::StoreHealth,
    reader, schema,
    writer::{RunExclusive, Turn, WriteRequest},
};

/// A handle to the database; cheap to clone, usable from any task.
///
/// A write's future may be dropped: once it waits for the commit, the change is made anyway. While the disk is full,
/// writes wait; reads never do.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) writes: mpsc::Sender<WriteRequest>,
    pub(super) reads: mpsc::Sender<reader::ReadRequest>,
    pub(super) condition: Arc<Condition>,
    /// The id of the latest change event.
    pub(super) latest_event: watch::Receiver<i64>,
    pub(super) path: Arc<Path>,
    /// The size of the database when it was opened.
    pub(super) opened_bytes: u64,
    /// Held while a copy is made.
    pub(super) copying: Arc<Mutex<()>>,
}

impl Store {
    /// Commits all earlier requests.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn flush(&self) -> Result<()> {
        self.request(WriteRequest::Flush).await
    }

    /// Whether records reach the disk and can be read, and every change of that.
    pub fn health(&self) -> watch::Receiver<StoreHealth> {
        self.condition.watch()
    }

    /// The size of the database and its log on disk.
    pub fn bytes(&self) -> u64 {
        schema::size_on_disk(&self.path)
    }

    /// What [`Store::bytes`] was when the database was opened.
    pub const fn opened_bytes(&self) -> u64 {
        self.opened_bytes
    }

    /// Commits a change, which is completed when the writer takes it.
    pub(super) async fn write<C: DatabaseChange>(
        &self,
        complete: impl FnOnce(&mut ChangeContext<'_>) -> C + Send + 'static,
    ) -> Result<C::Answer> {
        self.request(|done| {
            let complete = move |context: &mut ChangeContext<'_>| Some(pending(complete(context), done));
            WriteRequest::Change(Box::new(complete))
        })
        .await
    }

    /// As [`Store::write`], where `complete` may find that there is nothing to write.
    pub(super) async fn write_if<C: DatabaseChange<Answer = ()>>(
        &self,
        complete: impl FnOnce(&mut ChangeContext<'_>) -> Option<C> + Send + 'static,
    ) -> Result<()> {
        self.request(|done| {
            WriteRequest::Change(Box::new(move |context: &mut ChangeContext<'_>| match complete(context) {
                Some(change) => Some(pending(change, done)),
                None => {
                    let _ = done.send(Ok(()));
                    None
                }
            }))
        })
        .await
    }

    /// Runs a job alone on the writer's connection, in transactions of its own.
    pub(super) async fn run_exclusive<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        self.request(|done| exclusive(Turn::AfterCommit, |connection, _| job(connection?), done)).await
    }

    /// As [`Store::run_exclusive`], for a job that deletes devices: the next sighting of a device is written again.
    pub(super) async fn run_exclusive_deletion<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        let job = |connection: Result<&mut Connection>, state: &mut WriterState| {
            state.sightings.forget();
            job(connection?)
        };
        self.request(|done| exclusive(Turn::AfterCommit, job, done)).await
    }

    /// Sends the writer a request and awaits its answer.
    async fn request<T>(&self, request: impl FnOnce(Done<T>) -> WriteRequest) -> Result<T> {
        let (done, answered) = oneshot::channel();
        self.writes.send(request(done)).await.map_err(|_| StoreError::Closed)?;
        answer(answered).await
    }

    /// Runs a step of a long job alone. Blocks, so the caller needs a thread of its own.
    pub(super) fn run_step_blocking<T, F>(&self, turn: Turn, step: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &mut WriterState) -> Result<T> + Send + 'static,
    {
        let (done, made) = oneshot::channel();
        let request = exclusive(turn, |connection, state| step(connection?, state), done);
        self.writes.blocking_send(request).map_err(|_| StoreError::Closed)?;
        made.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    /// Runs a query and returns its answer.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (request, answered) = self.query(query);
        self.reads.send(request).await.map_err(|_| StoreError::Closed)?;
        answer(answered).await
    }

    /// As [`Store::read`]. Blocks, so the caller needs a thread of its own.
    pub(super) fn read_blocking<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (request, answered) = self.query(query);
        self.reads.blocking_send(request).map_err(|_| StoreError::Closed)?;
        answered.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    /// A request for the reader thread and the receiver of its answer.
    fn query<T, F>(&self, query: F) -> (reader::ReadRequest, oneshot::Receiver<Result<T>>)
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (done, answered) = oneshot::channel();
        let condition = Arc::clone(&self.condition);
        let job = Box::new(move |connection: &Connection| {
            // The caller may have gone, as an HTTP client does that hangs up.
            if !done.is_closed() {
                let found = query(connection);
                let noted = found.map_err(|error| {
                    condition.note_failed_read(&error);
                    condition.explain(error)
                });
                let _ = done.send(noted);
            }
        });
        (reader::ReadRequest::Query(job), answered)
    }
}

/// A request to run a job alone, which gives its answer to `done`.
fn exclusive<T, F>(turn: Turn, job: F, done: Done<T>) -> WriteRequest
where
    T: Send + 'static,
    F: FnOnce(Result<&mut Connection>, &mut WriterState) -> Result<T> + Send + 'static,
{
    let job = move |connection: Result<&mut Connection>, state: &mut WriterState| {
        let _ = done.send(job(connection, state));
    };
    WriteRequest::Exclusive(RunExclusive { turn, job: Box::new(job) })
}

async fn answer<T>(answered: oneshot::Receiver<Result<T>>) -> Result<T> {
    answered.await.map_err(|_| StoreError::Closed)?
}

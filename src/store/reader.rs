//! The reader thread. Because of the write-ahead log, it never waits for the writer.

use rusqlite::Connection;
use tokio::sync::mpsc;

/// Queries that wait for the reader.
pub(super) const QUEUE: usize = 64;

/// A request to the reader.
pub(super) enum ReadRequest {
    /// Run this query, which sends its own answer.
    Query(Box<dyn FnOnce(&Connection) + Send>),
    /// Replace the connection.
    Reopen(Box<dyn FnOnce(&mut Connection) + Send>),
    /// Close the connection.
    Stop,
}

/// Runs until it is stopped or every handle is gone. One thread is enough: the longest query of an appliance takes
/// milliseconds, and a second connection would need its own cache.
pub(super) fn run(connection: &mut Connection, requests: &mut mpsc::Receiver<ReadRequest>) {
    loop {
        match requests.blocking_recv() {
            Some(ReadRequest::Query(query)) => query(connection),
            Some(ReadRequest::Reopen(reopen)) => reopen(connection),
            Some(ReadRequest::Stop) | None => return,
        }
    }
}

//! The thread that reads. A write-ahead log lets it never wait for the writer.

use rusqlite::Connection;
use tokio::sync::mpsc;

/// Queries that wait for the reader.
pub(super) const QUEUE: usize = 64;

/// What the reader is asked to do.
pub(super) enum Request {
    /// Run this; it answers by itself.
    Query(Box<dyn FnOnce(&Connection) + Send>),
    /// Put another connection in the place of this one.
    Reopen(Box<dyn FnOnce(&mut Connection) + Send>),
    /// Close the connection.
    Stop,
}

/// Works until it is stopped or every handle is gone. One thread is enough: the longest query of an
/// appliance takes milliseconds, and a second connection would cost its cache.
pub(super) fn run(connection: &mut Connection, requests: &mut mpsc::Receiver<Request>) {
    loop {
        match requests.blocking_recv() {
            Some(Request::Query(query)) => query(connection),
            Some(Request::Reopen(reopen)) => reopen(connection),
            Some(Request::Stop) | None => return,
        }
    }
}

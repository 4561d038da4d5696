//! Reopens the database for a writer without a connection: the disk was full or mounted read-only when the store was
//! opened.

use std::path::Path;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{reader, schema};

/// Opens the database for writing through the reader thread, which then sees what is written.
pub(super) struct Reopening(pub(super) mpsc::Sender<reader::ReadRequest>);

impl Reopening {
    /// The writer's connection; `None` while the disk accepts no writes.
    pub(super) async fn attempt(&self, path: &Path) -> Option<Connection> {
        // The disk is tried first, because the reader answers no query while it opens the file.
        if !schema::takes_files(path) {
            return None;
        }
        let (done, opened) = oneshot::channel();
        let path = path.to_owned();
        let job = move |reader: &mut Connection| drop(done.send(schema::reopen(&path, reader)));
        self.0.send(reader::ReadRequest::Reopen(Box::new(job))).await.ok()?;
        let opened = opened.await.ok()?;
        opened.inspect_err(|error| tracing::debug!(%error, "the database cannot be written yet")).ok()
    }
}

//! Every write that shares a commit with others is one type that implements [`DatabaseChange`], in the file that has its
//! SQL. The writer thread handles changes without knowing the concrete types. A write with transactions of its own is a
//! job (`Store::run_exclusive`).

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;

use super::{error::Result, numbers, sighting_filter::SightingFilter};
use crate::{
    clock::Clock,
    model::{Moment, ScanId},
};

/// A complete change of the database: applied again after a rollback, it writes the same rows.
pub(super) trait DatabaseChange: Send + 'static {
    /// The result that the caller gets once the change is committed.
    type Answer: Send + 'static;

    /// How long the commit may wait.
    fn urgency(&self) -> Urgency {
        Urgency::Shared
    }

    /// Applies the change, inside the writer's transaction.
    fn apply(&self, connection: &Connection) -> Result<Self::Answer>;
}

/// How long a change may wait for others to share its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Not at all: a client waits for it, or later requests refer to it.
    Immediate,
    /// Until the next commit is due, which is at once if no host was committed lately.
    Shared,
    /// As `Shared`, but such commits are at least [`DiskPace::commit`](super::DiskPace::commit) apart, because hosts
    /// finish often.
    Paced,
}

/// State that the writer keeps between changes.
pub(super) struct WriterState {
    clock: Arc<dyn Clock>,
    last_scan: i64,
    /// The sequence number of the newest observation.
    pub(super) last_seq: i64,
    pub(super) sightings: SightingFilter,
}

impl WriterState {
    /// Continues the sequence of the database that `reader` reads.
    pub(super) fn read(reader: &Connection, clock: Arc<dyn Clock>) -> Result<Self> {
        let last_scan = numbers::latest_own_scan(reader)?;
        let last_seq = numbers::latest_observation(reader)?;
        Ok(Self { clock, last_scan, last_seq, sightings: SightingFilter::default() })
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Reads the latest scan id again: a job may have given scans other ids.
    pub(super) fn read_last_scan(&mut self, connection: &Connection) {
        self.last_scan = numbers::latest_own_scan(connection).unwrap_or(self.last_scan);
    }
}

/// What the writer provides to complete a change, so that the result no longer depends on when the change is applied.
pub(super) struct ChangeContext<'a> {
    /// `None` while the file cannot be opened for writing.
    pub(super) connection: Option<&'a Connection>,
    pub(super) state: &'a mut WriterState,
}

impl ChangeContext<'_> {
    pub(super) fn now(&self) -> Moment {
        self.state.now()
    }

    pub(super) fn wall(&self) -> Timestamp {
        self.state.wall()
    }

    /// The sequence number of the next observation.
    pub(super) fn next_seq(&mut self) -> i64 {
        self.state.last_seq += 1;
        self.state.last_seq
    }

    /// The id of a scan that starts now.
    pub(super) fn next_scan(&mut self, started: Timestamp) -> ScanId {
        let wanted = started.as_second().max(self.state.last_scan + 1);
        // An import may already have this id. If the database cannot be read now, it cannot be written either.
        let free = self.connection.and_then(|connection| numbers::free_scan_id(connection, wanted).ok());
        self.state.last_scan = free.unwrap_or(wanted);
        ScanId(self.state.last_scan)
    }
}

//! The results of each scanner's latest runs.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;

use super::{
    error::Result,
    handle::Store,
    row::{text, timestamp},
};
use crate::model::ScanStatus;

/// The results of a scanner's latest runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannerSummary {
    /// Its name.
    pub scanner: String,
    /// How its newest ended run ended.
    pub status: ScanStatus,
    /// Its duration by the wall clock of then; `None` if the clock was set meanwhile.
    pub took: Option<Duration>,
    /// When its newest complete run ended; `None` before the first.
    pub complete: Option<Timestamp>,
}

impl Store {
    /// Returns the results of the latest runs of every scanner that has an ended run.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn scanner_summaries(&self) -> Result<Vec<ScannerSummary>> {
        self.read(scanner_summaries).await
    }
}

fn scanner_summaries(connection: &Connection) -> Result<Vec<ScannerSummary>> {
    let sql = "SELECT scanner, status, started, finished,
                      (SELECT c.finished FROM scans c
                       WHERE c.scanner = s.scanner AND c.kind = 'run' AND c.status = 'complete'
                       ORDER BY c.id DESC LIMIT 1)
               FROM scans s
               WHERE id IN (SELECT max(id) FROM scans
                            WHERE kind = 'run' AND finished IS NOT NULL GROUP BY scanner)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut summaries = Vec::new();
    while let Some(row) = rows.next()? {
        let (started, finished) = (timestamp(row.get(2)?)?, timestamp(row.get(3)?)?);
        summaries.push(ScannerSummary {
            scanner: row.get(0)?,
            status: text(row, 1)?,
            took: finished.duration_since(started).try_into().ok(),
            complete: row.get::<_, Option<i64>>(4)?.map(timestamp).transpose()?,
        });
    }
    Ok(summaries)
}

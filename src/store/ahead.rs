//! Repairs dates in the future. They come from a clock that was wrong, and data with such a date would never look
//! old.
//!
//! | column | what a date ahead does |
//! |---|---|
//! | `scans.id` | every later scan gets an id after it, and by its id none ever grows old |
//! | `scans.started`, `finished` | the scan is the latest for ever |
//! | `observations.started`, `finished` | an import never supersedes it; its age is unknown to the agenda |
//! | `endpoints.last_seen` | the device is never missed, and never forgotten, unless it is seen again |
//! | `endpoints.first_seen`, `devices.first_seen` | the device seems to come after what it came before |
//! | `devices.name_at`, `names.heard` | the name outlives all that is heard later; it is not asked for again |
//! | `unconfirmed.since` | none: a later look takes its own date in place of it |
//! | `changes.at` | the change is shown, and selected, as of then; the order is by id |
//! | `marks.at` | the first accept seems to come after every change |
//! | `schedules.started` | none: a start ahead of the clock is not believed |
//!
//! Reports of other scanners keep the dates that they came with.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use super::{error::Result, handle::Store, numbers, prune::unchecked};
use crate::clock::EARLIEST_SANE;

/// A date that is ahead by at least this much came from a wrong clock. It exceeds what setting the clock back a little
/// can cause.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// The other columns that hold the id of a scan.
const REFERENCES: [(&str, &str); 5] = [
    ("observations", "scan"),
    ("unanswered", "scan"),
    ("earlier", "scan"),
    ("endpoints", "latest_scan"),
    ("changes", "scan"),
];

/// Columns in which future dates become the date of the repair. The true dates are unknown, but they cannot be later.
const DATES: [(&str, &str); 8] = [
    ("endpoints", "first_seen"),
    ("endpoints", "last_seen"),
    ("devices", "first_seen"),
    ("devices", "name_at"),
    ("names", "heard"),
    ("unconfirmed", "since"),
    ("changes", "at"),
    ("marks", "at"),
];

/// What a repair changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Scans that got another id.
    pub scans: u64,
    /// Rows that got another date.
    pub dates: u64,
}

impl Store {
    /// Renumbers scans with ids more than a day later than `now`: each gets an id from its start time, in the
    /// order of creation. Dates that are as far ahead become `now`. Call this only while the clock is trusted. Does
    /// nothing while such a scan is running.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn repair_dates(&self, now: Timestamp) -> Result<Repaired> {
        self.run_exclusive(move |connection| unchecked(connection, |connection| repair(connection, now)))
            .await
    }
}

fn repair(connection: &Connection, now: Timestamp) -> Result<Repaired> {
    let limit = now.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
    let sql = "SELECT EXISTS (SELECT 1 FROM scans WHERE status = 'running' AND kind <> 'import' AND id > ?1)";
    if connection.query_row(sql, [limit.as_second()], |row| row.get(0))? {
        return Ok(Repaired::default());
    }
    // First the scans with ids that change: their start is then derived from the id.
    let scans = renumber(connection, limit)?;
    let mut dates = 0;
    for (table, column) in DATES {
        // An endpoint may have unconfirmed ports of several future dates. Only one of them can take the new date; the
        // others stay ahead.
        let sql = format!("UPDATE OR IGNORE {table} SET {column} = ?1 WHERE {column} > ?2");
        dates += connection.execute(&sql, [now.as_millisecond(), limit.as_millisecond()])? as u64;
    }
    for sql in [
        "UPDATE scans SET started = id * 1000 WHERE kind <> 'import' AND started > ?1",
        "UPDATE scans SET finished = started WHERE kind <> 'import' AND finished > ?1",
        "UPDATE observations SET started = (SELECT started FROM scans WHERE id = scan)
         WHERE started > ?1 AND scan IN (SELECT id FROM scans WHERE kind <> 'import')",
        "UPDATE observations SET finished = started
         WHERE finished > ?1 AND scan IN (SELECT id FROM scans WHERE kind <> 'import')",
    ] {
        dates += connection.execute(sql, [limit.as_millisecond()])? as u64;
    }
    Ok(Repaired { scans, dates })
}

fn renumber(connection: &Connection, limit: Timestamp) -> Result<u64> {
    let sql = "SELECT id, started FROM scans WHERE kind <> 'import' AND id > ?1 ORDER BY id";
    let mut statement = connection.prepare(sql)?;
    let rows =
        statement.query_map([limit.as_second()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    let ahead = rows.collect::<Result<Vec<_>, _>>()?;
    let sql = "SELECT coalesce(max(id), 0) FROM scans WHERE kind <> 'import' AND id <= ?1";
    let mut last: i64 = connection.query_row(sql, [limit.as_second()], |row| row.get(0))?;
    let sane = EARLIEST_SANE.as_millisecond()..=limit.as_millisecond();
    for (id, started) in &ahead {
        let by_start = if sane.contains(started) { started / 1000 } else { 0 };
        last = numbers::free_scan_id(connection, by_start.max(last + 1))?;
        connection.execute("UPDATE scans SET id = ?2 WHERE id = ?1", params![id, last])?;
        for (table, column) in REFERENCES {
            let sql = format!("UPDATE {table} SET {column} = ?2 WHERE {column} = ?1");
            connection.execute(&sql, params![id, last])?;
        }
    }
    Ok(ahead.len() as u64)
}

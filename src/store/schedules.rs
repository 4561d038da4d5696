//! Stores when scanners last started.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    change::DatabaseChange,
    error::Result,
    handle::Store,
    row::{duration, milliseconds, timestamp},
};

/// When a scanner last started, in a form that survives a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The last start's age on the monotonic clock when this was saved; resolution 1 ms.
    pub since_start: Duration,
    /// The last start by the wall clock of then.
    pub started: Timestamp,
}

impl Store {
    /// Saves a scanner's schedule.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn save_schedule(&self, scanner: &str, schedule: Schedule) -> Result<()> {
        let scanner = scanner.to_owned();
        self.write(move |_| SaveSchedule { scanner, schedule }).await
    }

    /// Returns a scanner's schedule as last saved.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn schedule(&self, scanner: &str) -> Result<Option<Schedule>> {
        let scanner = scanner.to_owned();
        self.read(move |connection| schedule(connection, &scanner)).await
    }
}

struct SaveSchedule {
    scanner: String,
    schedule: Schedule,
}

impl DatabaseChange for SaveSchedule {
    type Answer = ();

    fn apply(&self, connection: &Connection) -> Result<()> {
        let sql = "INSERT INTO schedules (scanner, since_start, started) VALUES (?1, ?2, ?3)
                   ON CONFLICT (scanner) DO UPDATE
                   SET since_start = excluded.since_start, started = excluded.started";
        let Schedule { since_start, started } = self.schedule;
        let row = params![self.scanner, milliseconds(since_start), started.as_millisecond()];
        connection.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }
}

fn schedule(connection: &Connection, scanner: &str) -> Result<Option<Schedule>> {
    let sql = "SELECT since_start, started FROM schedules WHERE scanner = ?1";
    let found = connection
        .prepare_cached(sql)?
        .query_row([scanner], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found
        .map(|(since_start, started)| {
            Ok(Schedule { since_start: duration(since_start), started: timestamp(started)? })
        })
        .transpose()
}

//! Deletes old data, and reclaims its space.
//!
//! Each step is one transaction between two commits of results: short, so that no result waits for long, and complete,
//! so that a power cut leaves a database in which merely less is deleted.
//!
//! **Space.** New data reuses the space of deleted data, so a database with a fixed retention stops growing after that
//! time. SQLite's incremental auto-vacuum would constantly move pages and keep a map of them: 13 % more pages written
//! (measured: 40 devices, hourly, 90 days kept), for a file of the same size. Instead the file is rewritten once if
//! more than half of it is empty, as after `keep` was shortened or thousands of devices were forgotten.

use std::iter;

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    endpoints::STATE_TABLES,
    error::Result,
    handle::Store,
    identified,
    row::{key, timestamp},
};
use crate::{
    clock::EARLIEST_SANE,
    model::{DeviceKey, ScanId},
};

/// Observations deleted in one step: some milliseconds on a Pi.
pub(super) const STEP: u32 = 500;

/// A file is not rewritten to reclaim less than this, in bytes.
const WORTHWHILE: i64 = 16 << 20;

/// Later than every id that a clock can give, and small enough to be converted to milliseconds.
const ALL: i64 = i64::MAX / 1000;

/// What pruning deleted or would delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Observations of single devices.
    pub looks: u64,
    /// Scans that had no observations left.
    pub scans: u64,
}

/// Where a step ended.
struct Step {
    looks: u64,
    /// The last observation that was judged; `None` at the end.
    at: Option<(i64, i64)>,
}

impl Store {
    /// Deletes the observations that supply no port's current state, then the scans that have none left, of scans
    /// before this one (`None`: of all). Running scans stay, and so does the newest complete scan, by which clients see
    /// how recent the data is.
    ///
    /// # Errors
    /// The database fails, or the store is closed; what was deleted until then stays deleted.
    pub async fn prune(&self, before: Option<ScanId>) -> Result<Pruned> {
        let before = before.map_or(ALL, |scan| scan.0.min(ALL));
        let mut pruned = Pruned::default();
        let mut after = Some((i64::MIN, 0));
        while let Some(from) = after {
            let step =
                self.run_exclusive(move |connection| drop_observations(connection, before, from)).await?;
            pruned.looks += step.looks;
            after = step.at;
        }
        pruned.looks += self.run_exclusive(move |connection| drop_unanswered(connection, before)).await?;
        pruned.scans = self.run_exclusive(move |connection| drop_scans(connection, before)).await?;
        self.run_exclusive(tidy).await?;
        Ok(pruned)
    }

    /// Returns what [`Store::prune`] would delete now.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn would_prune(&self, before: Option<ScanId>) -> Result<Pruned> {
        let before = before.map_or(ALL, |scan| scan.0.min(ALL));
        self.read(move |connection| would_prune(connection, before)).await
    }

    /// Deletes the device with this row and all its observations; returns whether it existed. Its expectations and
    /// change events stay. If a feed names it again, it is new.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn forget(&self, row: i64) -> Result<bool> {
        self.run_exclusive_deletion(move |connection| forget(connection, row)).await
    }

    /// Returns the devices that have not been seen since then and of which nothing is expected, with their rows.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn unseen_since(&self, since: Timestamp) -> Result<Vec<(i64, DeviceKey)>> {
        self.read(move |connection| unseen_since(connection, since)).await
    }

    /// Returns the latest date in the database: of a sighting or of the start of a scan. `None` if it is empty.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn latest_date(&self) -> Result<Option<Timestamp>> {
        let sql = "SELECT max(at) FROM (SELECT max(last_seen) AS at FROM endpoints UNION SELECT max(started) FROM scans)";
        let read = move |connection: &Connection| {
            let latest: Option<i64> = connection.query_row(sql, [], |row| row.get(0))?;
            latest.map(timestamp).transpose()
        };
        self.read(read).await
    }
}

/// The ended scans `s` that are older than ?1. If ?1 is the id of a scan, ids decide; if it is a date, the start of the
/// scan counts, too, provided that the clock can have been right by then: once the clock was ahead, all following ids
/// are later than their start.
macro_rules! older {
    () => {
        "s.status <> 'running' AND (s.id < ?1 OR s.started BETWEEN 1767225600000 AND ?1 * 1000 - 1
           AND NOT EXISTS (SELECT 1 FROM scans WHERE id = ?1))"
    };
}

/// Observations of ended scans that supply nothing: the rows `o`, with the scan `s`.
const UNUSED: &str = concat!(
    "observations o JOIN scans s ON s.id = o.scan WHERE ",
    older!(),
    " AND o.seq NOT IN (SELECT seq FROM current)"
);

/// Addresses that did not answer an ended scan.
const UNANSWERED: &str = concat!("unanswered WHERE scan IN (SELECT s.id FROM scans s WHERE ", older!(), ")");

/// Scans that are neither running nor the newest, nor the newest complete one: the rows `s`.
const OLD_SCANS: &str = concat!(
    "scans s WHERE ",
    older!(),
    " AND s.id NOT IN (SELECT max(id) FROM scans UNION SELECT max(id) FROM scans WHERE status = 'complete')"
);

/// Makes a change without SQLite's search for rows that refer to the deleted ones: without an index for that it would
/// read every device for every observation, and the change itself makes sure that there are none.
pub(super) fn unchecked<T>(
    connection: &mut Connection,
    change: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    connection.execute_batch("PRAGMA foreign_keys = OFF")?;
    let changed = || -> Result<T> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = change(&transaction)?;
        transaction.commit()?;
        Ok(changed)
    };
    let changed = changed();
    connection.execute_batch("PRAGMA foreign_keys = ON")?;
    changed
}

fn drop_observations(connection: &mut Connection, before: i64, from: (i64, i64)) -> Result<Step> {
    unchecked(connection, |connection| {
        let sql = format!(
            "SELECT o.scan, o.seq FROM {UNUSED} AND (o.scan, o.seq) > (?2, ?3) ORDER BY o.scan, o.seq LIMIT ?4"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![before, from.0, from.1, STEP], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?;
        let unused = rows.collect::<Result<Vec<_>, _>>()?;
        let mut delete =
            connection.prepare_cached("DELETE FROM observations WHERE scan = ?1 AND seq = ?2")?;
        for (scan, seq) in &unused {
            delete.execute([scan, seq])?;
        }
        let at = unused.last().copied().filter(|_| unused.len() >= STEP as usize);
        Ok(Step { looks: unused.len() as u64, at })
    })
}

fn drop_unanswered(connection: &mut Connection, before: i64) -> Result<u64> {
    Ok(connection.execute(&format!("DELETE FROM {UNANSWERED}"), [before])? as u64)
}

fn drop_scans(connection: &mut Connection, before: i64) -> Result<u64> {
    unchecked(connection, |connection| {
        let sql = format!(
            "DELETE FROM scans WHERE id IN (SELECT s.id FROM {OLD_SCANS}
             AND NOT EXISTS (SELECT 1 FROM observations o WHERE o.scan = s.id))"
        );
        let dropped = connection.execute(&sql, [before])?;

        let sql = "DELETE FROM results WHERE id NOT IN
                   (SELECT result FROM observations WHERE result IS NOT NULL)";
        connection.execute(sql, [])?;
        identified::drop_unused(connection)?;
        Ok(dropped as u64)
    })
}

/// Rewrites the file if most of it is empty.
fn tidy(connection: &mut Connection) -> Result<()> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let (pages, free) = (number("PRAGMA page_count")?, number("PRAGMA freelist_count")?);
    if free * 2 > pages && free * number("PRAGMA page_size")? >= WORTHWHILE {
        tracing::info!(pages, free, "rewriting the database, more than half of which is empty");
        connection.execute_batch("VACUUM")?;
    }
    Ok(())
}

fn would_prune(connection: &Connection, before: i64) -> Result<Pruned> {
    let count = |sql: &str| connection.query_row(sql, [before], |row| row.get::<_, i64>(0));
    let looks = count(&format!("SELECT count(*) FROM {UNUSED}"))?
        + count(&format!("SELECT count(*) FROM {UNANSWERED}"))?;
    let scans = count(&format!(
        "SELECT count(*) FROM {OLD_SCANS}
         AND s.id NOT IN (SELECT scan FROM current)"
    ))?;
    let number = |count: i64| u64::try_from(count).unwrap_or(0);
    Ok(Pruned { looks: number(looks), scans: number(scans) })
}

fn forget(connection: &mut Connection, row: i64) -> Result<bool> {
    unchecked(connection, |connection| {
        connection.execute(
            "DELETE FROM names WHERE device = (SELECT key FROM identities WHERE device = ?1)",
            [row],
        )?;
        Ok(delete_devices(connection, &row.to_string())? > 0)
    })
}

/// Deletes devices with all that hangs on their rows, and returns how many there were. Inside [`unchecked`] nothing else
/// does: a later device that gets the number of one that is gone would inherit it. `devices` is a list of rows for SQL's
/// `IN`, or a query for them.
pub(super) fn delete_devices(connection: &Connection, devices: &str) -> Result<usize> {
    let endpoints = format!("SELECT id FROM endpoints WHERE device IN ({devices})");
    for table in iter::once("observations").chain(STATE_TABLES) {
        connection.execute(&format!("DELETE FROM {table} WHERE endpoint IN ({endpoints})"), [])?;
    }
    for table in ["identified_devices", "endpoints"] {
        connection.execute(&format!("DELETE FROM {table} WHERE device IN ({devices})"), [])?;
    }
    Ok(connection.execute(&format!("DELETE FROM devices WHERE id IN ({devices})"), [])?)
}

fn unseen_since(connection: &Connection, since: Timestamp) -> Result<Vec<(i64, DeviceKey)>> {
    // A date from before the clock was set says nothing about how long ago that was.
    let sql = "SELECT device, mac, address FROM identities i WHERE last_seen BETWEEN ?2 AND ?1 - 1
               AND NOT EXISTS (SELECT 1 FROM expectations e WHERE e.device = i.mac)
               AND NOT EXISTS (SELECT 1 FROM expectations e JOIN endpoints h ON h.address = e.device
                               WHERE h.device = i.device AND h.held = 'now')
               ORDER BY device";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([since.as_millisecond(), EARLIEST_SANE.as_millisecond()])?;
    let mut unseen = Vec::new();
    while let Some(row) = rows.next()? {
        unseen.push((row.get(0)?, key(row, 1)?));
    }
    Ok(unseen)
}

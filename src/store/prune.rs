//! What is forgotten, and how the room that it took is given back.
//!
//! Each step is one transaction of its own, between two commits of what is found: short, so that no finding
//! waits for long, and whole, so that a power cut leaves a database that is only less far forgotten.
//!
//! **Room.** What is deleted is written over by what comes next, so that a database which keeps so many days
//! stops growing after them. SQLite's incremental auto-vacuum would move pages for that all the time and keep
//! a map of them: 13 % more pages written (measured: 40 devices, hourly, 90 days kept), for a file of the same
//! size. Instead the file is rewritten once where more than half of it is empty, as after `keep` was shortened
//! or thousands of devices were forgotten.

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    error::Result,
    handle::Store,
    row::{key, timestamp},
};
use crate::{
    clock::EARLIEST_SANE,
    model::{DeviceKey, ScanId},
};

/// Looks of one step: some milliseconds on a Pi.
pub(super) const STEP: u32 = 500;

/// A file is not rewritten for less than this, in bytes.
const WORTHWHILE: i64 = 16 << 20;

/// After every id that a clock can give, and small enough to be taken for a date in milliseconds.
const ALL: i64 = i64::MAX / 1000;

/// What pruning has taken away, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Looks at single devices.
    pub looks: u64,
    /// Scans that had no others.
    pub scans: u64,
}

/// Where a step ended.
struct Step {
    looks: u64,
    /// The last look that was judged; `None` at the end.
    at: Option<(i64, i64)>,
}

impl Store {
    /// Drops the looks that supply no port's present state, then scans that are left without any, of scans
    /// before this one (`None`: of all). What is running stays, and so does the newest complete scan, by which
    /// clients see how new all of this is.
    ///
    /// # Errors
    /// The database fails, or the store is closed; what was dropped by then stays dropped.
    pub async fn prune(&self, before: Option<ScanId>) -> Result<Pruned> {
        let before = before.map_or(ALL, |scan| scan.0.min(ALL));
        let mut pruned = Pruned::default();
        let mut after = Some((i64::MIN, 0));
        while let Some(from) = after {
            let step = self.run_exclusive(move |connection| drop_looks(connection, before, from)).await?;
            pruned.looks += step.looks;
            after = step.at;
        }
        pruned.looks += self.run_exclusive(move |connection| drop_unanswered(connection, before)).await?;
        pruned.scans = self.run_exclusive(move |connection| drop_scans(connection, before)).await?;
        self.run_exclusive(tidy).await?;
        Ok(pruned)
    }

    /// What [`Store::prune`] would drop now.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn would_prune(&self, before: Option<ScanId>) -> Result<Pruned> {
        let before = before.map_or(ALL, |scan| scan.0.min(ALL));
        self.read(move |connection| would_prune(connection, before)).await
    }

    /// Forgets the device with this row and all its looks; whether there was one. What is expected of it stays,
    /// and so does what has changed. Named again by a feed, it is new.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn forget(&self, row: i64) -> Result<bool> {
        self.run_exclusive_deletion(move |connection| forget(connection, row)).await
    }

    /// The devices that have not been seen since and of which nothing is expected, with their rows.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn unseen_since(&self, since: Timestamp) -> Result<Vec<(i64, DeviceKey)>> {
        self.read(move |connection| unseen_since(connection, since)).await
    }

    /// The latest date in the database: when a device was last seen, or a scan begun. `None` if it is empty.
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

/// The scans `s` that are over and older than ?1. Where that is the id of a scan, ids decide; where it is a date, so does
/// the start, if the clock can have been right by then: a clock that was ahead has led all later ids away from it.
macro_rules! older {
    () => {
        "s.status <> 'running' AND (s.id < ?1 OR s.started BETWEEN 1767225600000 AND ?1 * 1000 - 1
           AND NOT EXISTS (SELECT 1 FROM scans WHERE id = ?1))"
    };
}

/// Looks of scans that are over which supply nothing: the rows `o`, with the scan `s`.
const SPENT: &str = concat!(
    "observations o JOIN scans s ON s.id = o.scan WHERE ",
    older!(),
    " AND o.seq NOT IN (SELECT seq FROM current)"
);

/// Addresses that did not answer a scan that is over.
const UNANSWERED: &str = concat!("unanswered WHERE scan IN (SELECT s.id FROM scans s WHERE ", older!(), ")");

/// Scans that are neither running nor the newest, nor the newest complete one: the rows `s`.
const OLD_SCANS: &str = concat!(
    "scans s WHERE ",
    older!(),
    " AND s.id NOT IN (SELECT max(id) FROM scans UNION SELECT max(id) FROM scans WHERE status = 'complete')"
);

/// Makes a change without SQLite looking for rows that refer to those that go: it would read every device for
/// every look, there being no index by which to find them, and the change itself has made sure.
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

fn drop_looks(connection: &mut Connection, before: i64, from: (i64, i64)) -> Result<Step> {
    unchecked(connection, |connection| {
        let sql = format!(
            "SELECT o.scan, o.seq FROM {SPENT} AND (o.scan, o.seq) > (?2, ?3) ORDER BY o.scan, o.seq LIMIT ?4"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![before, from.0, from.1, STEP], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?;
        let spent = rows.collect::<Result<Vec<_>, _>>()?;
        let mut delete =
            connection.prepare_cached("DELETE FROM observations WHERE scan = ?1 AND seq = ?2")?;
        for (scan, seq) in &spent {
            delete.execute([scan, seq])?;
        }
        let at = spent.last().copied().filter(|_| spent.len() >= STEP as usize);
        Ok(Step { looks: spent.len() as u64, at })
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
    let looks = count(&format!("SELECT count(*) FROM {SPENT}"))?
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
        for table in ["observations", "earlier", "unconfirmed"] {
            let sql =
                format!("DELETE FROM {table} WHERE endpoint IN (SELECT id FROM endpoints WHERE device = ?1)");
            connection.execute(&sql, [row])?;
        }
        connection.execute("DELETE FROM endpoints WHERE device = ?1", [row])?;
        Ok(connection.execute("DELETE FROM devices WHERE id = ?1", [row])? > 0)
    })
}

fn unseen_since(connection: &Connection, since: Timestamp) -> Result<Vec<(i64, DeviceKey)>> {
    // A date from before the clock was set says nothing of how long ago that was.
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

//! Makes room for new devices when as many are remembered as allowed: probably invented devices go first, likely real
//! ones last, and a device that answered lately or has an annotation never goes.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    contributors::{Contributor, contributors_between, standings},
    error::Result,
    handle::Store,
    prune::{STEP, delete_devices, unchecked},
    row::{key, timestamp},
};
use crate::{clock::EARLIEST_SANE, model::DeviceKey};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long a device must be unseen before it is dropped for room, if it was never up in a scan.
const NEVER_ANSWERED: Duration = HOUR;

/// The same for a device that answered with nothing open: a machine that answers ARP for a thousand addresses makes
/// such devices.
const NOTHING_OPEN: Duration = DAY;

/// The same for any other device.
const ANSWERED: Duration = Duration::from_secs(7 * 24 * 3600);

/// The most devices dropped within one call, so that the page writes of a full database are spread over several days.
const MOST: usize = 4096;

/// Change events that are kept: years of those of a household; weeks if devices are invented. As many again are kept while
/// an alert channel has not sent them; one that never will must not fill the disk.
const CHANGES: i64 = 50_000;

/// A device that may be dropped.
struct Candidate {
    row: i64,
    device: DeviceKey,
    has_answered: bool,
}

impl Store {
    /// Deletes devices, in short steps, until there is room for an eighth of `most`, if little room is left; returns
    /// how many. Devices that feeds name now (`named`) stay.
    ///
    /// # Errors
    /// The database fails, or the store is closed; what was deleted until then stays deleted.
    pub async fn make_room(&self, most: usize, named: HashSet<DeviceKey>, at: Timestamp) -> Result<usize> {
        let total = self.known_among(Vec::new()).await?.total;
        if total <= most - most / 16 {
            return Ok(0);
        }
        let excess = total.saturating_sub(most - most / 8).min(MOST);
        let mut candidates = self.read(move |connection| candidates(connection, at)).await?;
        candidates.retain(|candidate| !named.contains(&candidate.device));
        candidates.truncate(excess);
        let count = candidates.len();
        while !candidates.is_empty() {
            let step = candidates.split_off(candidates.len().saturating_sub(STEP as usize));
            self.run_exclusive_deletion(move |connection| forget_all(connection, &step)).await?;
        }
        Ok(count)
    }

    /// Deletes the oldest excess change events, in short steps, except those that record since when a port is open; and
    /// the names of devices that are no longer known.
    ///
    /// # Errors
    /// The database fails, or the store is closed; what was deleted until then stays deleted.
    pub async fn drop_old_changes(&self) -> Result<u64> {
        let mut dropped = 0;
        loop {
            let step = self.run_exclusive(|connection| drop_changes(connection)).await?;
            dropped += step;
            if step < u64::from(STEP) {
                return Ok(dropped);
            }
        }
    }
}

/// The devices that may be dropped, in the order in which they are.
fn candidates(connection: &Connection, at: Timestamp) -> Result<Vec<Candidate>> {
    let sql = "SELECT i.device, i.mac, i.address, i.last_seen, EXISTS (
                   SELECT 1 FROM endpoints e WHERE e.device = i.device AND e.latest_seq IS NOT NULL) AS answered
               FROM identities i JOIN devices d ON d.id = i.device
               WHERE i.last_seen BETWEEN ?1 AND ?2 AND d.own_name IS NULL AND d.note IS NULL
               AND d.own_type IS NULL AND d.tags IS NULL
               AND NOT EXISTS (SELECT 1 FROM expectations e WHERE e.device = i.mac)
               AND NOT EXISTS (SELECT 1 FROM expectations e JOIN endpoints h ON h.address = e.device
                               WHERE h.device = i.device AND h.held = 'now')
               ORDER BY answered, i.last_seen";
    let mut statement = connection.prepare_cached(sql)?;
    let latest = (at - NEVER_ANSWERED).as_millisecond();
    let mut rows = statement.query(params![EARLIEST_SANE.as_millisecond(), latest])?;
    let mut candidates = Vec::new();
    while let Some(row) = rows.next()? {
        let (device_row, seen, has_answered): (i64, _, bool) =
            (row.get(0)?, timestamp(row.get(3)?)?, row.get(4)?);
        let may_go = !has_answered
            || seen < at - ANSWERED
            || seen < at - NOTHING_OPEN && !has_open_ports(connection, device_row)?;
        if may_go {
            candidates.push(Candidate { row: device_row, device: key(row, 1)?, has_answered });
        }
    }
    Ok(candidates)
}

fn has_open_ports(connection: &Connection, device: i64) -> Result<bool> {
    let is_open = |newest_first: &Vec<Contributor>| {
        standings(newest_first).values().any(|standing| !standing.open().is_empty())
    };
    Ok(contributors_between(connection, device, device)?.values().any(is_open))
}

/// All at once: without an index, each table is read once for all of them.
fn forget_all(connection: &mut Connection, candidates: &[Candidate]) -> Result<()> {
    unchecked(connection, |connection| {
        connection.execute_batch(
            "CREATE TEMP TABLE leaving (device INTEGER PRIMARY KEY, name TEXT, ever INTEGER)",
        )?;
        let mut insert = connection.prepare_cached("INSERT INTO leaving VALUES (?1, ?2, ?3)")?;
        for Candidate { row, device, has_answered } in candidates {
            insert.execute(params![row, device.to_string(), has_answered])?;
        }
        connection.execute_batch(
            "DELETE FROM names WHERE device IN (SELECT name FROM leaving);
             DELETE FROM changes WHERE device IN (SELECT name FROM leaving WHERE NOT ever)
                 AND id <= coalesce((SELECT min(cursor) FROM alert_channels), id)",
        )?;
        delete_devices(connection, "SELECT device FROM leaving")?;
        Ok(connection.execute_batch("DROP TABLE leaving")?)
    })
}

fn drop_changes(connection: &Connection) -> Result<u64> {
    connection.execute("DELETE FROM names WHERE device NOT IN (SELECT key FROM identities)", [])?;
    let forgotten =
        "DELETE FROM told_findings WHERE device <> '' AND device NOT IN (SELECT key FROM identities)";
    connection.execute(forgotten, [])?;
    let sql = "DELETE FROM changes WHERE id IN (
                   SELECT id FROM changes c
                   WHERE id <= (SELECT max(id) FROM changes) - ?1
                   AND (id <= coalesce((SELECT min(cursor) FROM alert_channels), id)
                        OR id <= (SELECT max(id) FROM changes) - 2 * ?1)
                   AND NOT (kind = 'opened' AND EXISTS (SELECT 1 FROM identities i WHERE i.key = c.device))
                   ORDER BY id LIMIT ?2)";
    Ok(connection.execute(sql, params![CHANGES, STEP])? as u64)
}

//! A device at an address: the rows of `endpoints`.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{error::Result, placement::Present, row::text};
use crate::{
    clock::EARLIEST_SANE,
    model::{Address, DeviceKey, Mac},
};

/// The device and the endpoint to which an observation or a sighting belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credit {
    /// The device's row.
    pub(super) device: i64,
    /// The row of the endpoint.
    pub(super) endpoint: i64,
    pub(super) mac: Option<Mac>,
}

/// `held` of an address that the device no longer has.
pub(super) const LEFT: &str = "left";

/// `held` of an address that is known only from an import of the past.
pub(super) const ONCE: &str = "once";

/// The row of a device. An address belongs to the device that came last; a device with a MAC precedes one without.
pub(super) fn device_of(connection: &Connection, key: &DeviceKey) -> Result<Option<i64>> {
    let (sql, key) = match key {
        DeviceKey::Mac(mac) => ("SELECT id FROM devices WHERE mac = ?1", mac.to_string()),
        DeviceKey::Address(address) => (
            "SELECT e.device FROM endpoints e JOIN devices d ON d.id = e.device
             WHERE e.address = ?1 AND e.held = 'now'
             ORDER BY d.mac IS NULL, e.last_seen DESC, e.id DESC LIMIT 1",
            address.to_string(),
        ),
    };
    Ok(connection.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?)
}

/// The addresses that a device has.
pub(super) fn held_by(connection: &Connection, device: i64) -> Result<Vec<Present>> {
    let sql = "SELECT e.id, e.address, e.first_seen, e.last_seen, e.up, EXISTS (
                   SELECT 1 FROM endpoints o JOIN devices d ON d.id = o.device
                   WHERE o.address = e.address AND o.held = 'now' AND o.device <> e.device
                       AND d.mac IS NOT NULL AND (o.last_seen, o.id) > (e.last_seen, e.id))
               FROM endpoints e WHERE e.device = ?1 AND e.held = 'now'
               ORDER BY instr(e.address, ':') > 0, e.id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([device])?;
    let mut present = Vec::new();
    while let Some(row) = rows.next()? {
        present.push(Present {
            endpoint: row.get(0)?,
            address: text(row, 1)?,
            first_seen: row.get(2)?,
            last_seen: row.get(3)?,
            up: row.get(4)?,
            is_taken: row.get(5)?,
        });
    }
    Ok(present)
}

/// Returns the endpoint that holds the state of a device scanned at this address: the endpoint at the address or, for a
/// scan from before the device moved, its main one.
pub(super) fn of(connection: &Connection, device: i64, address: &Address) -> Result<i64> {
    let sql = "SELECT id FROM endpoints WHERE device = ?1 AND held = 'now'
               ORDER BY address <> ?2, instr(address, ':') > 0, id LIMIT 1";
    Ok(connection.prepare_cached(sql)?.query_row(params![device, address.to_string()], |row| row.get(0))?)
}

/// Whether a device has an address with this `held`: `now`, `left`, or `once` (known only from an old import).
pub(super) fn is_held(connection: &Connection, device: i64, address: &Address, held: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM endpoints WHERE device = ?1 AND address = ?2 AND held = ?3";
    Ok(connection.prepare_cached(sql)?.exists(params![device, address.to_string(), held])?)
}

/// When a device was last seen at any address, in Unix milliseconds.
pub(super) fn last_seen(connection: &Connection, device: i64) -> Result<i64> {
    let sql = "SELECT max(last_seen) FROM endpoints WHERE device = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([device], |row| row.get(0))?)
}

/// A date that is ahead of a sighting by more than this was written by a wrong clock.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// Records the time of a sighting. A sighting that is written slightly late does not set the date back. A date from a
/// wrong clock is replaced, and a clock that is not set yet makes nothing look older than it is.
pub(super) fn touch(connection: &Connection, endpoint: i64, at: Timestamp) -> Result<()> {
    let (at, sane) = (at.as_millisecond(), EARLIEST_SANE.as_millisecond());
    let ahead = at.saturating_add(i64::try_from(AHEAD.as_millis()).unwrap_or(i64::MAX));
    let sql = "UPDATE endpoints SET last_seen = ?2
               WHERE id = ?1 AND (last_seen < ?3 OR ?2 >= ?3 AND last_seen NOT BETWEEN ?2 AND ?4)";
    connection.prepare_cached(sql)?.execute(params![endpoint, at, sane, ahead])?;
    Ok(())
}

/// Gives a device an address, which it may have had before; returns the endpoint's row.
pub(super) fn enter(connection: &Connection, device: i64, address: &Address, at: Timestamp) -> Result<i64> {
    let sql =
        "INSERT INTO endpoints (device, address, held, first_seen, last_seen) VALUES (?1, ?2, 'now', ?3, ?3)
               ON CONFLICT (device, address) DO UPDATE SET
                   held = 'now', last_seen = max(last_seen, excluded.last_seen)
               RETURNING id";
    let row = params![device, address.to_string(), at.as_millisecond()];
    Ok(connection.prepare_cached(sql)?.query_row(row, |row| row.get(0))?)
}

/// Takes an address from a device; the ports there are no longer part of its state.
pub(super) fn leave(connection: &Connection, endpoint: i64) -> Result<()> {
    drop_state(connection, endpoint)?;
    let sql =
        "UPDATE endpoints SET held = 'left', up = NULL, latest_scan = NULL, latest_seq = NULL WHERE id = ?1";
    connection.prepare_cached(sql)?.execute([endpoint])?;
    Ok(())
}

/// The tables of what supplies the state of an endpoint, except its latest observation; of its unconfirmed changes; and
/// of what its ports were identified as.
pub(super) const STATE_TABLES: [&str; 3] = ["earlier", "unconfirmed", "identified_ports"];

/// Deletes the rows of an endpoint in the [`STATE_TABLES`].
fn drop_state(connection: &Connection, endpoint: i64) -> Result<()> {
    for table in STATE_TABLES {
        let sql = format!("DELETE FROM {table} WHERE endpoint = ?1");
        connection.prepare_cached(&sql)?.execute([endpoint])?;
    }
    Ok(())
}

/// Moves the state of an endpoint to the endpoint that the device moved to.
pub(super) fn carry_state(connection: &Connection, from: i64, to: i64) -> Result<()> {
    // That the old address did not answer says nothing about the new one.
    let sql = "UPDATE endpoints SET (latest_scan, latest_seq, up) =
                   (SELECT latest_scan, latest_seq, nullif(up, 0) FROM endpoints WHERE id = ?1) WHERE id = ?2";
    connection.prepare_cached(sql)?.execute([from, to])?;
    for table in STATE_TABLES {
        let sql = format!("UPDATE {table} SET endpoint = ?2 WHERE endpoint = ?1");
        connection.prepare_cached(&sql)?.execute([from, to])?;
    }
    Ok(())
}

/// Takes an address from the other devices that were seen there, except from those that have no other: their last known
/// address is kept.
pub(super) fn evict_others(connection: &Connection, device: i64, address: &Address) -> Result<()> {
    let sql =
        "SELECT e.id FROM endpoints e WHERE e.address = ?2 AND e.held = 'now' AND e.device <> ?1 AND EXISTS (
                   SELECT 1 FROM endpoints o WHERE o.device = e.device AND o.held = 'now' AND o.id <> e.id)";
    let mut statement = connection.prepare_cached(sql)?;
    let others = statement.query_map(params![device, address.to_string()], |row| row.get(0))?;
    let others: Vec<i64> = others.collect::<rusqlite::Result<_>>()?;
    others.into_iter().try_for_each(|endpoint| leave(connection, endpoint))
}

/// Records that a device had an address from one time to another; `held` applies only to an address that is new to it.
/// Returns the endpoint's row.
pub(super) fn note_past(
    connection: &Connection,
    device: i64,
    address: &Address,
    (first_seen, last_seen): (i64, i64),
    held: &str,
) -> Result<i64> {
    let sql =
        "INSERT INTO endpoints (device, address, held, first_seen, last_seen) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (device, address) DO UPDATE SET
                   first_seen = min(first_seen, excluded.first_seen),
                   last_seen = max(last_seen, excluded.last_seen)
               RETURNING id";
    let row = params![device, address.to_string(), held, first_seen, last_seen];
    Ok(connection.prepare_cached(sql)?.query_row(row, |row| row.get(0))?)
}

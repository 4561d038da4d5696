//! Which device is meant, where it is, and who was where.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    ScanId,
    error::Result,
    expected,
    news::{self, Draft, What},
    reader::{mac, parsed},
};
use crate::{
    clock::EARLIEST_SANE,
    model::{Address, Device, Mac},
};

/// A device's row as it is.
pub(super) struct Known {
    pub(super) id: i64,
    address: String,
    name: Option<String>,
    last_seen: i64,
    presence: String,
}

/// For how long a device that answers at an address of before may still have the present one, too: a day's look
/// and a half. Whoever has two, and is looked at now here and now there, does not move each time.
const LAPSE: Duration = Duration::from_secs(36 * 3600);

/// Whether a device is known to be there, as the database has it.
const THERE: &str = "there";
/// It was told that nobody has seen it for long.
const GONE: &str = "gone";
/// It was looked for, and nobody has ever answered.
const SOUGHT: &str = "sought";

impl Known {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            address: row.get(1)?,
            name: row.get(2)?,
            last_seen: row.get(3)?,
            presence: row.get(4)?,
        })
    }
}

fn find(connection: &Connection, device: &Device) -> Result<Option<Known>> {
    let by_mac = "SELECT id, address, name, last_seen, presence FROM devices WHERE mac = ?1";
    let by_address =
        "SELECT id, address, name, last_seen, presence FROM devices WHERE mac IS NULL AND address = ?1";
    let (sql, key) = match device.mac {
        Some(mac) => (by_mac, mac.to_string()),
        None => (by_address, device.address.to_string()),
    };
    Ok(connection.prepare_cached(sql)?.query_row([key], Known::read).optional()?)
}

/// Notes that a device was seen at all of these addresses, and at no others: it keeps that which it is known by, if
/// it is among them, and has moved to the first if not.
pub(super) fn sight_at_all(connection: &Connection, device: &[Device], at: Timestamp) -> Result<()> {
    let Some(first) = device.first() else { return Ok(()) };
    let known = find(connection, first)?;
    let kept = |here: &&Device| known.as_ref().is_some_and(|known| known.address == here.address.to_string());
    let present = device.iter().find(kept).unwrap_or(first);
    let id = settle(connection, known.as_ref(), present, at, None)?;
    for other in device.iter().filter(|other| other.address != present.address) {
        also_at(connection, id, &other.address, at)?;
    }
    Ok(())
}

/// Notes that a device was seen, where, and what it is called; returns its row. That it is new or has moved is
/// told.
pub(super) fn sight(
    connection: &Connection,
    device: &Device,
    at: Timestamp,
    scan: Option<ScanId>,
) -> Result<i64> {
    let known = find(connection, device)?;
    match &known {
        Some(known) if has_both(connection, known, &device.address, at)? => {
            also_at(connection, known.id, &device.address, at)?;
            Ok(known.id)
        }
        known => settle(connection, known.as_ref(), device, at, scan),
    }
}

/// Whether a device that was seen at an address that is not its present one may well have both.
fn has_both(connection: &Connection, known: &Known, address: &Address, at: Timestamp) -> Result<bool> {
    let address = address.to_string();
    let lapse = i64::try_from(LAPSE.as_millis()).unwrap_or(i64::MAX);
    let is_there = known.presence == THERE && at.as_millisecond() - known.last_seen < lapse;
    if known.address == address || !is_there {
        return Ok(false);
    }
    let sql = "SELECT 1 FROM addresses WHERE device = ?1 AND address = ?2";
    Ok(connection.prepare_cached(sql)?.exists(params![known.id, address])?)
}

/// Notes that a device was seen at another of its addresses.
fn also_at(connection: &Connection, id: i64, address: &Address, at: Timestamp) -> Result<()> {
    let sql = "INSERT INTO addresses (device, address, first_seen, last_seen) VALUES (?1, ?2, ?3, ?3)
               ON CONFLICT (device, address) DO UPDATE SET last_seen = excluded.last_seen";
    connection.prepare_cached(sql)?.execute(params![id, address.to_string(), at.as_millisecond()])?;
    Ok(())
}

/// Notes that a device is at an address and has left any other. `known`: what is known of it so far.
fn settle(
    connection: &Connection,
    known: Option<&Known>,
    device: &Device,
    at: Timestamp,
    scan: Option<ScanId>,
) -> Result<i64> {
    let Some(known) = known else {
        let id = insert(connection, device, at, THERE)?;
        news::tell(
            connection,
            &Draft { at, scan, device, what: What::New, alert: news::is_baseline(connection)? },
        )?;
        return Ok(id);
    };
    let address = device.address.to_string();
    if known.address != address {
        let sql = "UPDATE addresses SET last_seen = ?3 WHERE device = ?1 AND address = ?2";
        connection.prepare_cached(sql)?.execute(params![known.id, known.address, known.last_seen])?;
        also_at(connection, known.id, &device.address, at)?;
        // By itself: what is set costs a page of the index, be it the same as before.
        let sql = "UPDATE devices SET address = ?2 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![known.id, address])?;
        let what = What::Moved { from: parsed::<Address>(&known.address)? };
        news::tell(connection, &Draft { at, scan, device, what, alert: false })?;
    }
    if known.presence != THERE {
        let is_new = known.presence == SOUGHT;
        let sql = "UPDATE devices SET presence = ?2, first_seen = iif(?3, ?4, first_seen) WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![known.id, THERE, is_new, at.as_millisecond()])?;
        let what = if is_new { What::New } else { What::Back };
        let alert = is_new && news::is_baseline(connection)?;
        news::tell(connection, &Draft { at, scan, device, what, alert })?;
    }
    // A feed that does not know the name does not take it away.
    let name = device.name.as_ref().or(known.name.as_ref());
    let sql =
        "UPDATE devices SET name_at = iif(name IS ?2, name_at, ?3), name = ?2, last_seen = ?3 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![known.id, name, at.as_millisecond()])?;
    Ok(known.id)
}

/// Whose an imported look is, which was taken at this time; returns the row. Without a MAC it is whoever had the
/// address then. What is older than what is known moves nobody, and brings no news.
pub(super) fn imported(connection: &Connection, device: &Device, at: Timestamp, scan: ScanId) -> Result<i64> {
    if device.mac.is_none()
        && let Some(holder) = holder(connection, &device.address, at)?
    {
        return Ok(holder);
    }
    match find(connection, device)? {
        Some(known) if at.as_millisecond() <= known.last_seen => {
            let sql = "INSERT INTO addresses (device, address, first_seen, last_seen) VALUES (?1, ?2, ?3, ?3)
                       ON CONFLICT (device, address) DO UPDATE SET
                           first_seen = min(first_seen, excluded.first_seen),
                           last_seen = max(last_seen, excluded.last_seen)";
            let address = device.address.to_string();
            connection.prepare_cached(sql)?.execute(params![known.id, address, at.as_millisecond()])?;
            Ok(known.id)
        }
        Some(known) => {
            // The name that a feed gave is better than one that somebody else's scan looked up.
            let device = Device { name: known.name.or_else(|| device.name.clone()), ..device.clone() };
            sight(connection, &device, at, Some(scan))
        }
        None if is_newest(connection, scan)? => sight(connection, device, at, Some(scan)),
        // It was there, once: that nobody has seen it since is no news either.
        None => insert(connection, device, at, GONE),
    }
}

/// The row of a device that nobody answered for, and whose address it therefore need not have.
pub(super) fn sought(connection: &Connection, device: &Device, at: Timestamp) -> Result<i64> {
    match find(connection, device)? {
        Some(known) => Ok(known.id),
        None => insert(connection, device, at, SOUGHT),
    }
}

/// The MAC of a device, if it has one.
pub(super) fn mac_of(connection: &Connection, device: i64) -> Result<Option<Mac>> {
    let mut statement = connection.prepare_cached("SELECT mac FROM devices WHERE id = ?1")?;
    let mut rows = statement.query([device])?;
    rows.next()?.map_or(Ok(None), |row| mac(row, 0))
}

/// Tells of every device that was not seen since then that it is gone, once. A date that cannot be right tells
/// nothing.
pub(super) fn miss(connection: &Connection, since: Timestamp, at: Timestamp) -> Result<()> {
    let sql = "SELECT id, mac, address, name FROM devices WHERE presence = 'there' AND last_seen BETWEEN ?1 AND ?2 - 1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([EARLIEST_SANE.as_millisecond(), since.as_millisecond()])?;
    let is_baseline = news::is_baseline(connection)?;
    while let Some(row) = rows.next()? {
        let device =
            Device { address: parsed(row.get::<_, String>(2)?)?, mac: mac(row, 1)?, name: row.get(3)? };
        let id: i64 = row.get(0)?;
        let sql = "UPDATE devices SET presence = ?2 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![id, GONE])?;
        // Of whom nothing is expected nobody misses anything.
        let alert = is_baseline && !expected::of(connection, device.mac, Some(&device.address))?.is_empty();
        news::tell(connection, &Draft { at, scan: None, device: &device, what: What::Gone, alert })?;
    }
    Ok(())
}

/// The device that had an address at a time: of those that were seen there before and after, or are there still,
/// the last that came; before anybody was seen there, the first that was.
fn holder(connection: &Connection, address: &Address, at: Timestamp) -> Result<Option<i64>> {
    let sql = "SELECT a.device FROM addresses a JOIN devices d ON d.id = a.device
               WHERE a.address = ?1 AND d.mac IS NOT NULL AND (?2 <= a.last_seen OR d.address = ?1)
               ORDER BY a.first_seen > ?2, abs(a.first_seen - ?2) LIMIT 1";
    let holder = connection
        .prepare_cached(sql)?
        .query_row(params![address.to_string(), at.as_millisecond()], |row| row.get(0))
        .optional()?;
    Ok(holder)
}

fn is_newest(connection: &Connection, scan: ScanId) -> Result<bool> {
    let newest: i64 =
        connection.prepare_cached("SELECT max(id) FROM scans")?.query_row([], |row| row.get(0))?;
    Ok(newest == scan.0)
}

fn insert(connection: &Connection, device: &Device, at: Timestamp, presence: &str) -> Result<i64> {
    let (address, at) = (device.address.to_string(), at.as_millisecond());
    let sql = "INSERT INTO devices (mac, address, name, name_at, first_seen, last_seen, presence)
               VALUES (?1, ?2, ?3, iif(?3 IS NULL, NULL, ?4), ?4, ?4, ?5)";
    let mac = device.mac.map(|mac| mac.to_string());
    connection.prepare_cached(sql)?.execute(params![mac, address, device.name, at, presence])?;
    let id = connection.last_insert_rowid();
    let sql = "INSERT INTO addresses (device, address, first_seen, last_seen) VALUES (?1, ?2, ?3, ?3)";
    connection.prepare_cached(sql)?.execute(params![id, address, at])?;
    Ok(id)
}

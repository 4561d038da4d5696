//! Whether devices are there, or were not seen for long.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    error::Result,
    expected,
    news::{self, Draft},
    row::device,
};
use crate::{clock::EARLIEST_SANE, model::ChangeKind};

/// A device is there, as the database has it.
pub(super) const THERE: &str = "there";
/// It was told that the device has not been seen for long.
pub(super) const GONE: &str = "gone";

/// Tells of every device that was not seen since then that it is gone, once. A date that cannot be right tells
/// nothing.
pub(super) fn mark_absent_since(connection: &Connection, since: Timestamp, at: Timestamp) -> Result<()> {
    let sql = "SELECT d.id, i.mac, i.address, d.name FROM devices d JOIN identities i ON i.device = d.id
               WHERE d.presence = ?3 AND i.last_seen BETWEEN ?1 AND ?2 - 1 ORDER BY d.id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![EARLIEST_SANE.as_millisecond(), since.as_millisecond(), THERE])?;
    let is_baseline = news::is_baseline(connection)?;
    let mut gone = Vec::new();
    while let Some(row) = rows.next()? {
        let device = device(row, 1)?;
        gone.push((row.get::<_, i64>(0)?, device));
    }
    for (id, device) in gone {
        let sql = "UPDATE devices SET presence = ?2 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![id, GONE])?;
        // A device of which nothing is expected is not missed.
        let alert = is_baseline && !expected::of(connection, device.mac, Some(&device.address))?.is_empty();
        news::tell(connection, &Draft { at, scan: None, device: &device, what: ChangeKind::Gone, alert })?;
    }
    Ok(())
}

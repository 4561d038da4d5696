//! Records whether devices are present or have not been seen for long.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    change::DatabaseChange,
    error::Result,
    events::{NewEvent, record_event},
    expected::{self, has_baseline},
    handle::Store,
    row::device,
};
use crate::{clock::EARLIEST_SANE, model::ChangeKind};

/// `presence` of a device that is there.
pub(super) const THERE: &str = "there";
/// `presence` of a device that was reported as not seen for long.
pub(super) const GONE: &str = "gone";

impl Store {
    /// Marks every device that was not seen since then as gone, and reports it once.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn mark_absent_since(&self, since: Timestamp) -> Result<()> {
        self.write(move |context| MarkAbsent { since, at: context.wall() }).await
    }
}

struct MarkAbsent {
    since: Timestamp,
    at: Timestamp,
}

impl DatabaseChange for MarkAbsent {
    type Answer = ();

    fn apply(&self, connection: &Connection) -> Result<()> {
        mark_absent_since(connection, self.since, self.at)
    }
}

/// Devices with an implausible date are not marked.
fn mark_absent_since(connection: &Connection, since: Timestamp, at: Timestamp) -> Result<()> {
    let sql = "SELECT d.id, i.mac, i.address, d.name FROM devices d JOIN identities i ON i.device = d.id
               WHERE d.presence = ?3 AND i.last_seen BETWEEN ?1 AND ?2 - 1 ORDER BY d.id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![EARLIEST_SANE.as_millisecond(), since.as_millisecond(), THERE])?;
    let is_baseline = has_baseline(connection)?;
    let mut gone = Vec::new();
    while let Some(row) = rows.next()? {
        let device = device(row, 1)?;
        gone.push((row.get::<_, i64>(0)?, device));
    }
    for (id, device) in gone {
        let sql = "UPDATE devices SET presence = ?2 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![id, GONE])?;
        // The absence of a device of which nothing is expected raises no alert.
        let alert = is_baseline && !expected::of(connection, device.mac, &device.address)?.is_empty();
        record_event(
            connection,
            &NewEvent { at, scan: None, device: &device, kind: ChangeKind::Gone, alert },
        )?;
    }
    Ok(())
}

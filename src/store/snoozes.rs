//! The snoozes: devices about which the owner wants no alerts for a while.
//!
//! The events of a snoozed device are stored as usual. A snooze holds those with ids after the latest event at its
//! beginning, up to the event that records its end. That event makes each channel report what was held. So the
//! position of a channel is still one number, and a channel that reads late holds the same events as one that reads
//! at once.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    change::{DatabaseChange, Urgency},
    error::Result,
    events::{NewEvent, record_event},
    handle::Store,
    row::{duration, milliseconds, parse, text, timestamp},
};
use crate::model::{ChangeKind, Device, DeviceKey};

/// A snooze: no channel sends alerts about the device, or about any device, until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snooze {
    /// The device; `None`: all, and the appliance itself.
    pub device: Option<DeviceKey>,
    /// When it ends, by the wall clock.
    pub until: Timestamp,
    /// The longest time that it lasts, whatever that clock says.
    pub length: Duration,
}

impl Store {
    /// Returns all snoozes, that of all devices first.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn snoozes(&self) -> Result<Vec<Snooze>> {
        self.read(snoozes).await
    }

    /// Begins a snooze, or changes the end of the present one.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn begin_snooze(&self, snooze: Snooze) -> Result<()> {
        self.write(move |_| BeginSnooze(snooze)).await
    }

    /// Ends a snooze: writes an event for each device with held events. Returns whether the snooze existed.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn end_snooze(&self, device: Option<DeviceKey>) -> Result<bool> {
        self.write(move |context| EndSnooze { device, at: context.wall() }).await
    }
}

struct BeginSnooze(Snooze);

impl DatabaseChange for BeginSnooze {
    type Answer = ();

    fn urgency(&self) -> Urgency {
        Urgency::Immediate
    }

    fn apply(&self, connection: &Connection) -> Result<()> {
        let Snooze { device, until, length } = &self.0;
        let sql = "INSERT INTO alert_snoozes (device, after, until, length)
                   VALUES (?1, (SELECT coalesce(max(id), 0) FROM changes), ?2, ?3)
                   ON CONFLICT (device) DO UPDATE SET until = excluded.until, length = excluded.length";
        let row = params![name(device.as_ref()), until.as_millisecond(), milliseconds(*length)];
        connection.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }
}

struct EndSnooze {
    device: Option<DeviceKey>,
    at: Timestamp,
}

impl DatabaseChange for EndSnooze {
    type Answer = bool;

    fn urgency(&self) -> Urgency {
        Urgency::Immediate
    }

    fn apply(&self, connection: &Connection) -> Result<bool> {
        let name = name(self.device.as_ref());
        let sql = "DELETE FROM alert_snoozes WHERE device = ?1 RETURNING after";
        let ended = connection.prepare_cached(sql)?.query_row([&name], |row| row.get(0)).optional()?;
        let Some(after): Option<i64> = ended else { return Ok(false) };
        // Only events that may be sent: alerts, ends of alerts, and the end of another snooze within this one. The
        // address is that of the row with the greatest id (SQLite, "Bare columns in an aggregate query").
        let sql = "SELECT device, address, max(id) FROM changes
                   WHERE id > ?1 AND (?2 = '' OR device = ?2)
                   AND (alert OR kind IN ('opened', 'closed', 'back', 'snooze-ended'))
                   GROUP BY device ORDER BY device";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![after, name])?;
        let mut devices = Vec::new();
        while let Some(row) = rows.next()? {
            let mac = text::<DeviceKey>(row, 0)?.mac();
            devices.push(Device { mac, address: text(row, 1)?, name: None });
        }
        for device in &devices {
            let kind = ChangeKind::SnoozeEnded { after };
            record_event(connection, &NewEvent { at: self.at, scan: None, device, kind, alert: false })?;
        }
        Ok(true)
    }
}

/// A device in the table.
fn name(device: Option<&DeviceKey>) -> String {
    device.map(ToString::to_string).unwrap_or_default()
}

fn snoozes(connection: &Connection) -> Result<Vec<Snooze>> {
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?));
    let mut statement =
        connection.prepare_cached("SELECT device, until, length FROM alert_snoozes ORDER BY device")?;
    let rows = statement.query_map([], read)?;
    rows.map(|row| {
        let (device, until, length) = row?;
        let device = if device.is_empty() { None } else { Some(parse(device)?) };
        Ok(Snooze { device, until: timestamp(until)?, length: duration(length) })
    })
    .collect()
}

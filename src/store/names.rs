//! The names that devices and name servers report when queried; the names that feeds and the owner give are in the rows
//! of the devices.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    change::DatabaseChange,
    error::Result,
    handle::Store,
    row::{text, timestamp},
};
use crate::model::{DeviceKey, Name, NameSource};

/// The answer of one source to a query for a device's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameLookup {
    /// The device.
    pub device: DeviceKey,
    /// The source.
    pub source: NameSource,
    /// The name; `None` if the source has none.
    pub name: Option<String>,
}

impl Store {
    /// Records the names that these sources reported.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn record_names(&self, lookups: Vec<NameLookup>) -> Result<()> {
        self.write(move |context| RecordNames { lookups, at: context.wall() }).await
    }

    /// Returns the names of all devices that have any, by the rows of [`DeviceRecord`](super::DeviceRecord), which are
    /// the `device_row`s of [`HostState`](super::HostState).
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn names(&self) -> Result<HashMap<i64, Vec<Name>>> {
        self.read(|connection| between(connection, i64::MIN, i64::MAX)).await
    }
}

struct RecordNames {
    lookups: Vec<NameLookup>,
    at: Timestamp,
}

impl DatabaseChange for RecordNames {
    type Answer = ();

    fn apply(&self, connection: &Connection) -> Result<()> {
        let keep = "INSERT INTO names (device, source, name, heard) VALUES (?1, ?2, ?3, ?4)
                    ON CONFLICT (device, source) DO UPDATE SET name = excluded.name, heard = excluded.heard";
        let drop = "DELETE FROM names WHERE device = ?1 AND source = ?2";
        for NameLookup { device, source, name } in &self.lookups {
            let (device, source) = (device.to_string(), source.as_str());
            match name {
                Some(name) => {
                    let row = params![device, source, name, self.at.as_millisecond()];
                    connection.prepare_cached(keep)?.execute(row)?
                }
                None => connection.prepare_cached(drop)?.execute([device.as_str(), source])?,
            };
        }
        Ok(())
    }
}

/// The names of the devices with rows from `first` to `last`.
pub(super) fn between(connection: &Connection, first: i64, last: i64) -> Result<HashMap<i64, Vec<Name>>> {
    let sql = "SELECT id, 'owner', own_name, NULL FROM devices
               WHERE id BETWEEN ?1 AND ?2 AND own_name IS NOT NULL
               UNION ALL
               SELECT id, 'feed', name, name_at FROM devices WHERE id BETWEEN ?1 AND ?2 AND name IS NOT NULL
               UNION ALL
               SELECT i.device, n.source, n.name, n.heard
               FROM identities i JOIN names n ON n.device = i.key WHERE i.device BETWEEN ?1 AND ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([first, last])?;
    let mut names: HashMap<_, Vec<_>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let at = row.get::<_, Option<i64>>(3)?.map(timestamp).transpose()?;
        let name = Name { text: row.get(2)?, source: text(row, 1)?, at };
        names.entry(row.get(0)?).or_default().push(name);
    }
    Ok(names)
}

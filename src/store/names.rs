//! What devices are called by themselves and by name servers; what feeds and the owner call them stands with the
//! devices.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    Store,
    error::Result,
    row::{text, timestamp},
    writer::Request,
};
use crate::model::{DeviceKey, Name, NameSource};

/// What somebody who was asked for a device's name has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// Whose name.
    pub device: DeviceKey,
    /// Who was asked.
    pub source: NameSource,
    /// The name; `None`: that there is none.
    pub name: Option<String>,
}

impl Store {
    /// Keeps the names that devices have by those who were asked.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn hear(&self, heard: Vec<Hearing>) -> Result<()> {
        self.write(|done| Request::Hear(heard, done)).await
    }

    /// The names of all devices that have any, by the rows of [`Host`](super::Host), which are the `device_row`s of
    /// [`HostState`](super::HostState).
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn names(&self) -> Result<HashMap<i64, Vec<Name>>> {
        self.read(|connection| between(connection, i64::MIN, i64::MAX)).await
    }
}

pub(super) fn hear(connection: &Connection, heard: &[Hearing], at: Timestamp) -> Result<()> {
    let keep = "INSERT INTO names (device, source, name, heard) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (device, source) DO UPDATE SET name = excluded.name, heard = excluded.heard";
    let drop = "DELETE FROM names WHERE device = ?1 AND source = ?2";
    for Hearing { device, source, name } in heard {
        let (device, source) = (device.to_string(), source.as_str());
        match name {
            Some(name) => connection.prepare_cached(keep)?.execute(params![
                device,
                source,
                name,
                at.as_millisecond()
            ])?,
            None => connection.prepare_cached(drop)?.execute([device.as_str(), source])?,
        };
    }
    Ok(())
}

/// Those of the devices with rows from `first` to `last`.
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

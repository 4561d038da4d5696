//! Which devices a site knows by their MACs, and where each is: what a hub compares across its copies. One statement for
//! all devices, and one for each that is asked for, without their ports.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::{
    error::Result,
    handle::Store,
    hosts::Presence,
    row::{text, timestamp},
};
use crate::model::{Address, Mac};

/// Where a device is at a site, and since when; as `GET /v1/hosts` says it of the same device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePresence {
    /// Its main address.
    pub address: Address,
    /// Whether it is present, as far as is known.
    pub presence: Presence,
    /// When it was seen for the first time, by the wall clock of then.
    pub first_seen: Timestamp,
    /// When it was last seen, at most an hour behind.
    pub last_seen: Timestamp,
}

impl Store {
    /// Returns the MACs of the devices, at most this many, in their order.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn known_macs(&self, most: u32) -> Result<Vec<Mac>> {
        self.read(move |connection| known_macs(connection, most)).await
    }

    /// Returns where the devices with these MACs are, without those that are not known.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn device_presences(&self, macs: Arc<[Mac]>) -> Result<Vec<(Mac, DevicePresence)>> {
        let read = move |connection: &Connection| {
            let known = |&mac: &Mac| {
                presence(connection, mac).map(|known| known.map(|known| (mac, known))).transpose()
            };
            macs.iter().filter_map(known).collect()
        };
        self.read(read).await
    }
}

/// The index of the column has all that is read.
fn known_macs(connection: &Connection, most: u32) -> Result<Vec<Mac>> {
    let sql = "SELECT mac FROM devices WHERE mac IS NOT NULL ORDER BY mac LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([most])?;
    let mut macs = Vec::new();
    while let Some(row) = rows.next()? {
        macs.push(text(row, 0)?);
    }
    Ok(macs)
}

/// A device is present if the last look found it up at one of its addresses, unless it was not seen for long.
fn presence(connection: &Connection, mac: Mac) -> Result<Option<DevicePresence>> {
    let sql = "SELECT i.address, d.first_seen, i.last_seen, iif(d.presence = 'gone', 0, (
                   SELECT max(e.up) FROM endpoints e WHERE e.device = d.id AND e.held = 'now'))
               FROM devices d JOIN identities i ON i.device = d.id WHERE d.mac = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| {
        let up: Option<bool> = row.get(3)?;
        Ok(text(row, 0).and_then(|address| {
            Ok(DevicePresence {
                address,
                presence: match up {
                    Some(true) => Presence::Online,
                    Some(false) => Presence::Offline,
                    None => Presence::Unknown,
                },
                first_seen: timestamp(row.get(1)?)?,
                last_seen: timestamp(row.get(2)?)?,
            })
        }))
    };
    statement.query_row([mac.to_string()], read).optional()?.transpose()
}

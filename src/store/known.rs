//! Tells which devices have a row: those that have answered, and those that their owner has annotated.

use std::collections::HashSet;

use rusqlite::Connection;

use super::{error::Result, handle::Store, identity, merge};
use crate::model::{Device, DeviceKey, Endpoint};

/// What the store knows about some devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownDevices {
    /// The devices that have a row at any address, or of which something is expected.
    pub devices: HashSet<DeviceKey>,
    /// The devices that are stored at the reported address, or of which something is expected.
    pub endpoints: HashSet<Endpoint>,
    /// How many endpoints the store has in total.
    pub total: usize,
}

impl Store {
    /// Returns which of these devices the store has, and how many endpoints it has in total.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn known_among(&self, devices: Vec<Device>) -> Result<KnownDevices> {
        self.read(move |connection| known_among(connection, &devices)).await
    }
}

fn known_among(connection: &Connection, devices: &[Device]) -> Result<KnownDevices> {
    let total: i64 = connection
        .prepare_cached("SELECT count(*) FROM endpoints WHERE held = 'now'")?
        .query_row([], |row| row.get(0))?;
    let mut known = KnownDevices { total: usize::try_from(total).unwrap_or(0), ..KnownDevices::default() };
    for device in devices {
        let is_expected = is_expected(connection, device)?;
        if is_expected || identity::is_known(connection, device)? {
            known.devices.insert(device.key());
        }
        if is_expected || has_endpoint(connection, device)? {
            known.endpoints.insert(device.endpoint());
        }
    }
    Ok(known)
}

fn is_expected(connection: &Connection, device: &Device) -> Result<bool> {
    let sql = "SELECT 1 FROM expectations WHERE device IN (?1, ?2)";
    let keys = [device.key().to_string(), device.address.to_string()];
    Ok(connection.prepare_cached(sql)?.exists(keys)?)
}

fn has_endpoint(connection: &Connection, device: &Device) -> Result<bool> {
    let address = device.address.to_string();
    let Some(mac) = device.mac else {
        let sql = "SELECT 1 FROM endpoints WHERE address = ?1 AND held = 'now'";
        return Ok(connection.prepare_cached(sql)?.exists([address])?);
    };
    let sql = "SELECT 1 FROM endpoints e JOIN devices d ON d.id = e.device
               WHERE d.mac = ?1 AND e.address = ?2 AND e.held = 'now'";
    let has = connection.prepare_cached(sql)?.exists([mac.to_string(), address])?;
    Ok(has || merge::nameless_at(connection, &device.address)?.is_some())
}

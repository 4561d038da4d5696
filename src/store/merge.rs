//! Merges two rows that turn out to be one device: the data known by an address alone belongs to the MAC that is found
//! there.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    contributors::{contributors_of, join_contributors},
    endpoints,
    error::Result,
    identified,
    row::text,
};
use crate::model::{Address, Mac};

/// The row of the device that is known only by this address.
pub(super) fn nameless_at(connection: &Connection, address: &Address) -> Result<Option<i64>> {
    let sql = "SELECT d.id FROM endpoints e JOIN devices d ON d.id = e.device
               WHERE e.address = ?1 AND e.held = 'now' AND d.mac IS NULL";
    Ok(connection.prepare_cached(sql)?.query_row([address.to_string()], |row| row.get(0)).optional()?)
}

/// Gives a MAC to the row that is known only by this address, and renames it in the tables that used the address as the
/// name of the device. Expectations of the address stay: they apply to the device that has it.
pub(super) fn learn_mac(connection: &Connection, device: i64, mac: Mac, address: &Address) -> Result<()> {
    let mac = mac.to_string();
    connection.prepare_cached("UPDATE devices SET mac = ?2 WHERE id = ?1")?.execute(params![device, mac])?;
    rename(connection, &address.to_string(), &mac)
}

/// Merges the row that is known only by this address, if there is one, into the row of the device with a MAC (row, MAC)
/// that was seen there.
pub(super) fn absorb_at(
    connection: &Connection,
    (kept, mac): (i64, Option<Mac>),
    address: &Address,
) -> Result<()> {
    let (Some(mac), Some(old)) = (mac, nameless_at(connection, address)?) else { return Ok(()) };
    let (of_old, of_kept) =
        (endpoints::of(connection, old, address)?, endpoints::of(connection, kept, address)?);
    merge_endpoints(connection, of_old, of_kept)?;
    merge_rows(connection, old, kept)?;
    rename(connection, &address.to_string(), &mac.to_string())
}

/// Combines the state of two endpoints from the observations of both.
fn merge_endpoints(connection: &Connection, old: i64, kept: i64) -> Result<()> {
    let before = contributors_of(connection, kept)?;
    let others = contributors_of(connection, old)?;
    identified::merge_endpoints(connection, old, kept)?;
    endpoints::leave(connection, old)?;
    if others.is_empty() {
        return Ok(());
    }
    join_contributors(connection, kept, before, others)
}

/// Moves the data of the old row to the kept one; the values of that take precedence.
fn merge_rows(connection: &Connection, old: i64, kept: i64) -> Result<()> {
    let sql = "UPDATE devices SET
                   name_at = iif(devices.name IS NULL, o.name_at, devices.name_at),
                   name = coalesce(devices.name, o.name),
                   own_name = coalesce(devices.own_name, o.own_name),
                   note = iif(devices.note <> o.note, substr(devices.note || char(10) || o.note, 1, 1000),
                              coalesce(devices.note, o.note)),
                   own_type = coalesce(devices.own_type, o.own_type),
                   tags = coalesce(devices.tags, o.tags),
                   silenced = coalesce(devices.silenced, o.silenced),
                   first_seen = min(devices.first_seen, o.first_seen)
               FROM (SELECT * FROM devices WHERE id = ?1) o WHERE devices.id = ?2";
    connection.prepare_cached(sql)?.execute([old, kept])?;
    let sql = "SELECT id, address, first_seen, last_seen FROM endpoints WHERE device = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([old])?;
    while let Some(row) = rows.next()? {
        let (endpoint, address): (i64, Address) = (row.get(0)?, text(row, 1)?);
        let seen = (row.get(2)?, row.get(3)?);
        let same = endpoints::note_past(connection, kept, &address, seen, endpoints::LEFT)?;
        // This is rare, and reads all observations: an index would cost every observation that is written.
        let sql = "UPDATE observations SET endpoint = ?2 WHERE endpoint = ?1";
        connection.prepare_cached(sql)?.execute([endpoint, same])?;
    }
    identified::merge_devices(connection, old, kept)?;
    connection.prepare_cached("DELETE FROM endpoints WHERE device = ?1")?.execute([old])?;
    connection.prepare_cached("DELETE FROM devices WHERE id = ?1")?.execute([old])?;
    Ok(())
}

/// Renames a device in the other tables. If both have a name from the same source, the new device's stays.
fn rename(connection: &Connection, old: &str, new: &str) -> Result<()> {
    connection
        .prepare_cached("UPDATE OR IGNORE names SET device = ?2 WHERE device = ?1")?
        .execute([old, new])?;
    connection.prepare_cached("DELETE FROM names WHERE device = ?1")?.execute([old])?;
    connection.prepare_cached("UPDATE changes SET device = ?2 WHERE device = ?1")?.execute([old, new])?;
    connection
        .prepare_cached("UPDATE OR IGNORE told_findings SET device = ?2 WHERE device = ?1")?
        .execute([old, new])?;
    connection.prepare_cached("DELETE FROM told_findings WHERE device = ?1")?.execute([old])?;
    connection
        .prepare_cached("UPDATE OR IGNORE alert_snoozes SET device = ?2 WHERE device = ?1")?
        .execute([old, new])?;
    connection.prepare_cached("DELETE FROM alert_snoozes WHERE device = ?1")?.execute([old])?;
    Ok(())
}

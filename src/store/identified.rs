//! What ports and devices were identified as: the rows of `identified_ports`, `identified_devices` and
//! `identifications`.
//!
//! A finding belongs to an endpoint and goes where its state goes (`endpoints`); what a device was identified as
//! belongs to the device. The content is stored once, however many ports and days say the same.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    error::Result,
    identification_body::{decode_device, decode_port},
    row::{key, text, timestamp},
    verdicts::digest,
};
use crate::model::{
    Address, DeviceIdentification, DeviceKey, Evidence, IdentifyMethod, PortIdentification, PortSet, Protocol,
};

/// The least time by which a repeated finding moves its date, in milliseconds: each write of one wears an SD card.
const DATE_STEP: i64 = 24 * 3600 * 1000;

/// The most findings that are kept of an endpoint: one that answers at every port would fill the disk with 65,535.
const MOST_OF_ENDPOINT: i64 = 512;

/// The bytes of all findings about one port. The bodies of the methods that can apply to one protocol fit; after a port
/// has changed its protocol, what earlier methods found may have to go.
const PORT_BYTES: i64 = 2048;

/// Limit of what is read for one page, beyond its first device, in bytes.
const PAGE_BYTES: usize = 64 * 1024;

/// A port of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortPlace {
    pub(super) endpoint: i64,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

/// What one port of a device was identified as by one method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifiedPort {
    /// The device.
    pub device: DeviceKey,
    /// The address of the device at which the port is.
    pub address: Address,
    /// The transport.
    pub protocol: Protocol,
    /// 0 to 65535.
    pub port: u16,
    /// What was found; the method is that of its evidence.
    pub found: PortIdentification,
}

/// The findings about the ports of devices, by device.
#[derive(Clone, Debug, Default)]
pub struct IdentifiedPage {
    /// By the device's row. Ports that have closed since may be among them.
    pub ports: HashMap<i64, Vec<IdentifiedPort>>,
    /// The last device of which all findings are on this page; `None` if the page is complete.
    pub cut_after: Option<i64>,
}

/// What the same method found at a port before.
pub(super) fn port(
    connection: &Connection,
    row: PortPlace,
    method: IdentifyMethod,
) -> Result<Option<PortIdentification>> {
    let sql =
        "SELECT i.body, p.time FROM identified_ports p JOIN identifications i ON i.id = p.identification
               WHERE p.endpoint = ?1 AND p.protocol = ?2 AND p.port = ?3 AND p.method = ?4";
    let key = params![row.endpoint, row.protocol.as_str(), row.port, method.as_str()];
    let found = connection
        .prepare_cached(sql)?
        .query_row(key, |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    found.map(|(body, time)| decode_port(&body, method, timestamp(time)?)).transpose()
}

/// Replaces what this method found at a port; the same finding again moves its date, at most once a day.
pub(super) fn keep_port(
    connection: &Connection,
    row: PortPlace,
    (method, body, time): (IdentifyMethod, &str, Timestamp),
) -> Result<()> {
    let PortPlace { endpoint, protocol, port } = row;
    let (protocol, method) = (protocol.as_str(), method.as_str());
    let content = content(connection, body)?;
    let sql = "INSERT INTO identified_ports (endpoint, protocol, port, method, identification, time)
               SELECT ?1, ?2, ?3, ?4, ?5, ?6
               WHERE (SELECT count(*) FROM identified_ports WHERE endpoint = ?1) < ?7
                   OR EXISTS (SELECT 1 FROM identified_ports
                              WHERE endpoint = ?1 AND protocol = ?2 AND port = ?3 AND method = ?4)
               ON CONFLICT DO UPDATE SET identification = excluded.identification, time = excluded.time
               WHERE identification <> excluded.identification OR abs(excluded.time - time) >= ?8";
    connection.prepare_cached(sql)?.execute(params![
        endpoint,
        protocol,
        port,
        method,
        content,
        time.as_millisecond(),
        MOST_OF_ENDPOINT,
        DATE_STEP
    ])?;
    let sql =
        "DELETE FROM identified_ports WHERE endpoint = ?1 AND protocol = ?2 AND port = ?3 AND method IN (
                   SELECT method FROM (
                       SELECT p.method, sum(length(CAST(i.body AS BLOB))) OVER (
                           ORDER BY p.method <> ?4, p.time DESC, p.method) AS total
                       FROM identified_ports p JOIN identifications i ON i.id = p.identification
                       WHERE p.endpoint = ?1 AND p.protocol = ?2 AND p.port = ?3)
                   WHERE total > ?5)";
    connection.prepare_cached(sql)?.execute(params![endpoint, protocol, port, method, PORT_BYTES])?;
    Ok(())
}

/// Replaces what this method found about a device; the same finding again moves its date, at most once a day.
pub(super) fn keep_device(
    connection: &Connection,
    device: i64,
    (method, body, time): (IdentifyMethod, &str, Timestamp),
) -> Result<()> {
    let content = content(connection, body)?;
    let sql = "INSERT INTO identified_devices (device, method, identification, time) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET identification = excluded.identification, time = excluded.time
               WHERE identification <> excluded.identification OR abs(excluded.time - time) >= ?5";
    let row = params![device, method.as_str(), content, time.as_millisecond(), DATE_STEP];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Returns the row of this content, which is written only if no other finding has the same.
fn content(connection: &Connection, body: &str) -> Result<i64> {
    let digest = digest(body.as_bytes());
    let sql = "SELECT id FROM identifications WHERE digest = ?1";
    if let Some(id) = connection.prepare_cached(sql)?.query_row([digest], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    let sql = "INSERT INTO identifications (digest, body) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![digest, body])?;
    Ok(connection.last_insert_rowid())
}

/// The findings about the ports of the devices with rows from `first` to `last`, at their present addresses, for as
/// many of these devices as fit a page.
pub(super) fn ports_of_page(connection: &Connection, first: i64, last: i64) -> Result<IdentifiedPage> {
    let sql = "SELECT e.device, d.mac, e.address, p.protocol, p.port, p.method, i.body, p.time
               FROM endpoints e JOIN devices d ON d.id = e.device
               JOIN identified_ports p ON p.endpoint = e.id
               JOIN identifications i ON i.id = p.identification
               WHERE e.device BETWEEN ?1 AND ?2 AND e.held = 'now'
               ORDER BY e.device, instr(e.address, ':') > 0, p.endpoint, p.protocol, p.port";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([first, last])?;
    let mut page = IdentifiedPage::default();
    let (mut bytes, mut device) = (0, None);
    while let Some(row) = rows.next()? {
        let next = Some(row.get::<_, i64>(0)?);
        if bytes > PAGE_BYTES && device != next {
            page.cut_after = device;
            break;
        }
        device = next;
        let body = row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?;
        bytes += body.len();
        page.ports.entry(row.get(0)?).or_default().push(IdentifiedPort {
            device: key(row, 1)?,
            address: text(row, 2)?,
            protocol: text(row, 3)?,
            port: row.get(4)?,
            found: decode_port(body, text(row, 5)?, timestamp(row.get(7)?)?)?,
        });
    }
    Ok(page)
}

/// What devices were identified as, by the device's row.
pub(super) type FoundDevices = HashMap<i64, Vec<(DeviceIdentification, Evidence)>>;

/// What the devices with rows from `first` to `last` were identified as.
pub(super) fn devices_between(connection: &Connection, first: i64, last: i64) -> Result<FoundDevices> {
    let sql = "SELECT d.device, d.method, i.body, d.time
               FROM identified_devices d JOIN identifications i ON i.id = d.identification
               WHERE d.device BETWEEN ?1 AND ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([first, last])?;
    let mut devices = FoundDevices::new();
    while let Some(row) = rows.next()? {
        let body = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        let found = decode_device(body, text(row, 1)?, timestamp(row.get(3)?)?)?;
        devices.entry(row.get(0)?).or_default().push(found);
    }
    Ok(devices)
}

/// Deletes what ports were identified as that are closed for certain.
pub(super) fn drop_closed(
    connection: &Connection,
    endpoint: i64,
    protocol: Protocol,
    closed: &PortSet,
) -> Result<()> {
    let sql = "DELETE FROM identified_ports WHERE endpoint = ?1 AND protocol = ?2 AND port BETWEEN ?3 AND ?4";
    let mut statement = connection.prepare_cached(sql)?;
    for &(first, last) in closed.ranges() {
        statement.execute(params![endpoint, protocol.as_str(), first, last])?;
    }
    Ok(())
}

/// Moves the findings of an endpoint to another, which turned out to be the same; its own take precedence.
pub(super) fn merge_endpoints(connection: &Connection, old: i64, kept: i64) -> Result<()> {
    let sql = "UPDATE OR IGNORE identified_ports SET endpoint = ?2 WHERE endpoint = ?1";
    connection.prepare_cached(sql)?.execute([old, kept])?;
    Ok(())
}

/// Moves what a device was identified as to another row, which turned out to be the same device; its own take
/// precedence.
pub(super) fn merge_devices(connection: &Connection, old: i64, kept: i64) -> Result<()> {
    let sql = "UPDATE OR IGNORE identified_devices SET device = ?2 WHERE device = ?1";
    connection.prepare_cached(sql)?.execute([old, kept])?;
    connection.prepare_cached("DELETE FROM identified_devices WHERE device = ?1")?.execute([old])?;
    Ok(())
}

/// Deletes the contents that no finding has any more.
pub(super) fn drop_unused(connection: &Connection) -> Result<()> {
    let sql = "DELETE FROM identifications WHERE id NOT IN (
                   SELECT identification FROM identified_ports
                   UNION SELECT identification FROM identified_devices)";
    connection.execute(sql, [])?;
    Ok(())
}

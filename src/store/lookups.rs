//! Short lookups: the current ports of one device, how old the state of each endpoint is, which runs are open.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    CachedHost, OpenScan, Schedule, Totals,
    current::{self, Look},
    error::Result,
    row::{device, duration, text, timestamp},
};
use crate::model::{Device, DeviceKey, Mac, PortSet, Protocol, ScanId};

/// The observations that supply the present state of TCP ports, with their devices.
const TCP: &str = "current c JOIN endpoints e ON e.id = c.endpoint JOIN devices d ON d.id = e.device
                   JOIN observations o ON o.scan = c.scan AND o.seq = c.seq AND o.protocol = 'tcp'";

/// The MACs after this one of the devices that have a complete result, ascending, at most so many.
pub(super) fn macs(connection: &Connection, after: Option<Mac>, most: u32) -> Result<Vec<Mac>> {
    // The order of the joins is fixed: the view is read for each endpoint, and never as a whole.
    let sql = "SELECT d.mac FROM devices d WHERE d.mac > ?1 AND EXISTS (
                   SELECT 1 FROM endpoints e CROSS JOIN current c ON c.endpoint = e.id
                   CROSS JOIN observations o ON o.scan = c.scan AND o.seq = c.seq AND o.protocol = 'tcp'
                   WHERE e.device = d.id)
               ORDER BY d.mac LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let after = after.map(|mac| mac.to_string()).unwrap_or_default();
    let mut rows = statement.query(params![after, most])?;
    let mut macs = Vec::new();
    while let Some(row) = rows.next()? {
        macs.push(text(row, 0)?);
    }
    Ok(macs)
}

/// A device's present state at all of its addresses, with the times of its newest complete observation.
pub(super) fn latest(connection: &Connection, key: &DeviceKey) -> Result<Option<CachedHost>> {
    let sql = "SELECT mac, address, name, device FROM identities WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([key.to_string()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let device = device(row, 0)?;
    let id = row.get(3)?;
    let looks: Vec<Vec<Look>> = current::looks_between(connection, id, id)?.into_values().collect();
    let tcp = looks.iter().flatten().filter(|look| look.protocol == Protocol::Tcp);
    let Some(newest) = tcp.max_by_key(|look| look.place) else { return Ok(None) };
    let sql = "SELECT preparation, scanning FROM observations WHERE scan = ?1 AND seq = ?2";
    let (preparation, scanning) = connection
        .prepare_cached(sql)?
        .query_row([newest.scan.0, newest.seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let open = looks.iter().fold(PortSet::default(), |open, looks| {
        open.union(&current::standings(looks).remove(&Protocol::Tcp).unwrap_or_default().open())
    });
    Ok(Some(CachedHost {
        device,
        scan: newest.scan,
        started: newest.started,
        preparation: duration(preparation),
        scanning: duration(scanning),
        open: open.iter().collect(),
    }))
}

/// When the oldest observation that each endpoint's present state rests on was started.
pub(super) fn ages(connection: &Connection) -> Result<Vec<(Device, Timestamp)>> {
    // Beside min(), SQLite takes the other columns from the row that has the minimum.
    let sql = format!("SELECT d.mac, e.address, d.name, o.started, min(o.seq) FROM {TCP} GROUP BY e.id");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut ages = Vec::new();
    while let Some(row) = rows.next()? {
        ages.push((device(row, 0)?, timestamp(row.get(3)?)?));
    }
    Ok(ages)
}

/// Another number whenever another connection, the writer's, has committed.
pub(super) fn version(connection: &Connection) -> Result<i64> {
    Ok(connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
}

/// How much there is, and how new.
pub(super) fn totals(connection: &Connection) -> Result<Totals> {
    let sql = "SELECT (SELECT count(DISTINCT device) FROM endpoints WHERE latest_seq IS NOT NULL),
                      (SELECT finished FROM scans WHERE status = 'complete' ORDER BY id DESC LIMIT 1)";
    let (devices, ended) = connection
        .prepare_cached(sql)?
        .query_row([], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?)))?;
    Ok(Totals { devices, last_scan: ended.map(timestamp).transpose()? })
}

/// The scheduled runs that have no end, oldest first.
pub(super) fn open_scans(connection: &Connection) -> Result<Vec<OpenScan>> {
    let sql = "SELECT id, scanner, started FROM scans WHERE kind = 'run' AND status = 'running' ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut scans = Vec::new();
    while let Some(row) = rows.next()? {
        let id = ScanId(row.get(0)?);
        let started = timestamp(row.get(2)?)?;
        scans.push(OpenScan { id, scanner: row.get(1)?, started, done: done(connection, id)? });
    }
    Ok(scans)
}

/// The endpoints that a scan is done with, up or down, each at the address that the device has now; and the addresses
/// at which nothing answered. One that was cut short is to be looked at again.
fn done(connection: &Connection, scan: ScanId) -> Result<Vec<Device>> {
    let sql = "SELECT d.mac, coalesce(n.address, e.address), d.name
               FROM observations o JOIN endpoints e ON e.id = o.endpoint JOIN devices d ON d.id = e.device
               LEFT JOIN endpoints n ON n.held = 'now' AND n.latest_scan = o.scan AND n.latest_seq = o.seq
                   AND n.device = e.device
               WHERE o.scan = ?1 AND o.status <> 'partial'
               UNION SELECT NULL, address, NULL FROM unanswered WHERE scan = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([scan.0])?;
    let mut done = Vec::new();
    while let Some(row) = rows.next()? {
        done.push(device(row, 0)?);
    }
    Ok(done)
}

/// A scanner's schedule, if it ever ran.
pub(super) fn schedule(connection: &Connection, scanner: &str) -> Result<Option<Schedule>> {
    let sql = "SELECT since_start, started FROM schedules WHERE scanner = ?1";
    let found = connection
        .prepare_cached(sql)?
        .query_row([scanner], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found
        .map(|(since_start, started)| {
            Ok(Schedule { since_start: duration(since_start), started: timestamp(started)? })
        })
        .transpose()
}

//! Short queries: the current ports of one device, the age of each endpoint's state, and totals.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    contributors::{Contributor, contributors_between, standings},
    error::Result,
    handle::Store,
    row::{device, duration, text, timestamp},
    verdicts::Verdicts,
};
use crate::model::{Device, DeviceKey, Mac, PortSet, PortStates, Protocol, ScanId, StateAge};

/// The current state of a device's TCP ports at all of its addresses: for each port, that of the newest complete
/// observation there which covered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedHost {
    /// The device at its main address, which is the new one if it has moved since the scan.
    pub device: Device,
    /// The scan of the newest complete observation, whatever it covered.
    pub scan: ScanId,
    /// When that observation began, by the wall clock of then.
    pub started: Timestamp,
    /// Its time to the first answer; resolution 1 ms.
    pub preparation: Duration,
    /// Time from then to the last verdict; resolution 1 ms.
    pub scanning: Duration,
    /// The ports that have a state, at each of its addresses.
    pub coverage: PortSet,
    /// The open ports by all observations that still count, ascending.
    pub open: Vec<u16>,
}

/// How many ports of a device that were open once are scanned again with the commonest ones. A host with more answers
/// everywhere, and would make a quick scan a long one.
const RECALLED: u32 = 1000;

/// The number of known devices, and how new their results are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Devices that have a row, scanned or not.
    pub rows: u32,
    /// Devices that have a result.
    pub devices: u32,
    /// When the newest complete scan ended, by the wall clock of then.
    pub last_scan: Option<Timestamp>,
}

impl Store {
    /// The MACs of the devices that have a complete result, ascending.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn macs(&self) -> Result<Vec<Mac>> {
        self.macs_after(None, u32::MAX).await
    }

    /// Returns the MACs after this one, at most `most`.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn macs_after(&self, after: Option<Mac>, most: u32) -> Result<Vec<Mac>> {
        self.read(move |connection| macs(connection, after, most)).await
    }

    /// Returns the current state of a device's ports; `None` if there is no complete observation of it.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn latest(&self, device: &DeviceKey) -> Result<Option<CachedHost>> {
        let device = device.clone();
        self.read(move |connection| latest(connection, &device)).await
    }

    /// Returns the age and the coverage of each endpoint's current state. An endpoint that is not listed has no
    /// complete observation.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn ages(&self) -> Result<Vec<StateAge>> {
        self.read(ages).await
    }

    /// Adds to the TCP ports of a device that are open by its [state](Self::latest) those that were open earlier, by
    /// the newest change events; at most a thousand in all. If more are open, these are left out.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn once_open(&self, device: &DeviceKey, open: PortSet) -> Result<PortSet> {
        let device = device.clone();
        self.read(move |connection| once_open(connection, &device, open)).await
    }

    /// The number of known devices, and how new their results are.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn totals(&self) -> Result<Totals> {
        self.read(totals).await
    }

    /// Returns a number that differs after every change of the database.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn version(&self) -> Result<i64> {
        self.read(version).await
    }
}

/// The observations that supply the current state of TCP ports, with their devices.
const TCP: &str = "current c JOIN endpoints e ON e.id = c.endpoint JOIN devices d ON d.id = e.device
                   JOIN observations o ON o.scan = c.scan AND o.seq = c.seq AND o.protocol = 'tcp'";

/// The MACs after this one of the devices that have a complete result, ascending, at most `most`.
fn macs(connection: &Connection, after: Option<Mac>, most: u32) -> Result<Vec<Mac>> {
    // The order of the joins is fixed, so that the view is evaluated per endpoint and never as a whole.
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

/// A device's current state at all of its addresses, with the times of its newest complete observation.
pub(super) fn latest(connection: &Connection, key: &DeviceKey) -> Result<Option<CachedHost>> {
    let sql = "SELECT mac, address, name, device FROM identities WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([key.to_string()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let device = device(row, 0)?;
    let id = row.get(3)?;
    let endpoints: Vec<Vec<Contributor>> = contributors_between(connection, id, id)?.into_values().collect();
    let tcp = endpoints.iter().flatten().filter(|known| known.protocol == Protocol::Tcp);
    let Some(newest) = tcp.max_by_key(|known| known.order) else { return Ok(None) };
    let sql = "SELECT preparation, scanning FROM observations WHERE scan = ?1 AND seq = ?2";
    let (preparation, scanning) = connection
        .prepare_cached(sql)?
        .query_row([newest.scan.0, newest.seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let states: Vec<PortStates> =
        endpoints.iter().filter_map(|newest_first| standings(newest_first).remove(&Protocol::Tcp)).collect();
    let open = states.iter().fold(PortSet::default(), |open, states| open.union(&states.open()));
    let covered = states.iter().map(PortStates::covered);
    let coverage = covered.reduce(|all, one| all.intersection(&one)).unwrap_or_default();
    Ok(Some(CachedHost {
        device,
        scan: newest.scan,
        started: newest.started,
        preparation: duration(preparation),
        scanning: duration(scanning),
        coverage,
        open: open.iter().collect(),
    }))
}

fn ages(connection: &Connection) -> Result<Vec<StateAge>> {
    let sql = format!(
        "SELECT d.mac, e.address, d.name, o.started, r.body, e.id FROM {TCP}
         JOIN results r ON r.id = o.result ORDER BY e.id, o.seq"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut ages: Vec<StateAge> = Vec::new();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
        // A damaged result supplies nothing.
        let coverage =
            Verdicts::decode(body).map_or_else(|_| PortSet::default(), |found| found.coverage().clone());
        let endpoint = Some(row.get::<_, i64>(5)?);
        match ages.last_mut().filter(|_| endpoint == last) {
            Some(age) => {
                age.coverage = age.coverage.union(&coverage);
            }
            None => {
                ages.push(StateAge { device: device(row, 0)?, oldest: timestamp(row.get(3)?)?, coverage });
            }
        }
        last = endpoint;
    }
    Ok(ages)
}

/// The open ports of a device, and those that change events name.
fn once_open(connection: &Connection, key: &DeviceKey, open: PortSet) -> Result<PortSet> {
    /// Events that are read: the newest.
    const EVENTS: u32 = 256;
    let mut found = if open.len() > RECALLED { PortSet::default() } else { open };
    let sql =
        "SELECT ports FROM changes WHERE device = ?1 AND kind IN ('opened', 'closed') AND protocol = 'tcp'
               ORDER BY id DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![key.to_string(), EVENTS])?;
    while let Some(row) = rows.next()? {
        let more = found.union(&text(row, 0)?);
        if more.len() <= RECALLED {
            found = more;
        }
    }
    Ok(found)
}

/// Returns a number that differs after each commit of another connection, which is the writer's.
fn version(connection: &Connection) -> Result<i64> {
    Ok(connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
}

/// How much there is, and how new.
fn totals(connection: &Connection) -> Result<Totals> {
    let sql = "SELECT (SELECT count(*) FROM devices),
                      (SELECT count(DISTINCT device) FROM endpoints WHERE latest_seq IS NOT NULL),
                      (SELECT finished FROM scans WHERE status = 'complete' ORDER BY id DESC LIMIT 1)";
    let (rows, devices, ended) = connection
        .prepare_cached(sql)?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?)))?;
    Ok(Totals { rows, devices, last_scan: ended.map(timestamp).transpose()? })
}

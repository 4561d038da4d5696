//! Reads what single scans found on each device, for comparisons.

use std::ops::RangeInclusive;

use rusqlite::Connection;

use super::{
    error::{Result, StoreError},
    expected,
    handle::Store,
    host_states::HostState,
    row::{mac, text},
    verdicts::Verdicts,
};
use crate::model::{Address, Device, Mac, PortStatesByProtocol, Protocol, ScanId};

/// A device at an address, as one scan found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanDevice {
    /// As [`HostState::row`].
    pub row: i64,
    /// As [`HostState::device_row`].
    pub device_row: i64,
    /// The device's MAC.
    pub mac: Option<Mac>,
    /// Its address at that time.
    pub address: Address,
    /// Newest first. Equal ids are equal results; empty for a host that was down.
    results: Vec<(Protocol, i64)>,
}

impl ScanDevice {
    /// Whether the host was down or its scan is incomplete, so that its ports are unknown.
    pub const fn is_unknown(&self) -> bool {
        self.results.is_empty()
    }

    /// Whether another scan had the same results.
    pub fn is_same(&self, other: &Self) -> bool {
        self.results == other.results
    }
}

impl Store {
    /// Checks that the scan exists.
    ///
    /// # Errors
    /// The scan does not exist, the database fails, or the store is closed.
    pub async fn check_scan(&self, scan: ScanId) -> Result<()> {
        self.read(move |connection| check_scan(connection, scan)).await
    }

    /// Returns the devices that a scan covered: the first `most` of those with these rows.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn scan_devices(
        &self,
        scan: ScanId,
        rows: RangeInclusive<i64>,
        most: u32,
    ) -> Result<Vec<ScanDevice>> {
        self.read(move |connection| scan_devices(connection, scan, &rows, most)).await
    }

    /// Returns what a scan found on these devices, and what is expected of them and of their addresses at that time.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn scan_states(&self, scan: ScanId, devices: Vec<ScanDevice>) -> Result<Vec<HostState>> {
        let states = move |connection: &Connection| {
            devices.into_iter().map(|device| scan_state(connection, scan, device)).collect()
        };
        self.read(states).await
    }
}

fn check_scan(connection: &Connection, scan: ScanId) -> Result<()> {
    let is_known = connection.prepare_cached("SELECT 1 FROM scans WHERE id = ?1")?.exists([scan.0])?;
    is_known.then_some(()).ok_or(StoreError::UnknownScan(scan))
}

fn scan_devices(
    connection: &Connection,
    scan: ScanId,
    wanted: &RangeInclusive<i64>,
    most: u32,
) -> Result<Vec<ScanDevice>> {
    let sql = "SELECT o.endpoint, d.mac, o.address, o.protocol, o.result, d.id
               FROM observations o JOIN endpoints e ON e.id = o.endpoint JOIN devices d ON d.id = e.device
               WHERE o.scan = ?1 AND d.id BETWEEN ?2 AND ?3 ORDER BY d.id, o.endpoint, o.seq DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([scan.0, *wanted.start(), *wanted.end()])?;
    let mut devices: Vec<ScanDevice> = Vec::new();
    let mut left = most;
    while let Some(row) = rows.next()? {
        let device_row = row.get(5)?;
        if devices.last().is_none_or(|last| last.device_row != device_row) {
            if left == 0 {
                break;
            }
            left -= 1;
        }
        let id = row.get(0)?;
        let protocol = text(row, 3)?;
        let result = row.get::<_, Option<i64>>(4)?.map(|result| (protocol, result));
        match devices.last_mut().filter(|last| last.row == id) {
            Some(last) => last.results.extend(result),
            None => devices.push(ScanDevice {
                row: id,
                device_row,
                mac: mac(row, 1)?,
                address: text(row, 2)?,
                results: result.into_iter().collect(),
            }),
        }
    }
    Ok(devices)
}

fn scan_state(connection: &Connection, scan: ScanId, device: ScanDevice) -> Result<HostState> {
    let ScanDevice { row, device_row, mac, address, results } = device;
    let mut statement = connection.prepare_cached("SELECT body FROM results WHERE id = ?1")?;
    let mut standings = PortStatesByProtocol::new();
    for (protocol, result) in results {
        let body: Vec<u8> = statement.query_row([result], |row| row.get(0))?;
        let ranges = Verdicts::decode(&body)?.port_ranges(scan).collect::<Vec<_>>();
        standings.entry(protocol).or_default().add_older(ranges);
    }
    let expected = expected::of(connection, mac, &address)?;
    Ok(HostState {
        row,
        device_row,
        device: Device { address, mac, name: None },
        up: None,
        is_holder: true,
        standings,
        expected,
    })
}

//! The endpoints of all devices, with what is known and expected of each.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    contributors::{ContributorPage, contributors_of_page, standings},
    error::Result,
    expected,
    handle::Store,
    page::Page,
    row::device,
};
use crate::model::{
    Device, DeviceKey, Expectation, Expected, PortSet, PortStates, PortStatesByProtocol, Protocol,
};

/// What is known and expected of a device at one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostState {
    /// The endpoint's row.
    pub row: i64,
    /// Identifies the device as long as it is remembered; ascending from page to page. All endpoints of a device are on
    /// one page, the main one first.
    pub device_row: i64,
    /// The device at this address.
    pub device: Device,
    /// Whether it was up in our newest scan there; `None`: it has not been scanned yet.
    pub up: Option<bool>,
    /// Whether no other device has been seen at that address since.
    pub is_holder: bool,
    /// Its ports.
    pub standings: PortStatesByProtocol,
    /// What they should be.
    pub expected: Expected,
}

impl HostState {
    /// Returns the TCP ports that have a state.
    pub fn coverage(&self) -> PortSet {
        self.standings.get(&Protocol::Tcp).map(PortStates::covered).unwrap_or_default()
    }
}

impl Store {
    /// Returns what is known and expected of the endpoints of the devices after this one, by device: at most `most`
    /// devices, and fewer if their results are large.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn host_states(&self, after: i64, most: u32) -> Result<Page<HostState>> {
        self.read(move |connection| host_states(connection, after, most)).await
    }
}

/// The holder of an address is the device that came last; a device with a MAC precedes one without.
const HOSTS: &str = "
    SELECT e.id, d.mac, e.address, d.name, e.up, NOT EXISTS (
        SELECT 1 FROM endpoints o JOIN devices h ON h.id = o.device
        WHERE o.address = e.address AND o.held = 'now' AND o.id <> e.id
            AND (h.mac IS NOT NULL, o.last_seen, o.id) > (d.mac IS NOT NULL, e.last_seen, e.id)), d.id
    FROM devices d JOIN endpoints e ON e.device = d.id AND e.held = 'now'
    WHERE d.id BETWEEN ?1 AND ?2 ORDER BY d.id, instr(e.address, ':') > 0, e.id";

/// Four statements for a page, however many devices are on it.
fn host_states(connection: &Connection, after: i64, most: u32) -> Result<Page<HostState>> {
    let (first, next) = (after.saturating_add(1), page_after(connection, after, most)?);
    let ContributorPage { mut contributors, cut_after } =
        contributors_of_page(connection, first, next.unwrap_or(i64::MAX))?;
    let next = cut_after.or(next);
    let last = next.unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(HOSTS)?;
    let mut rows = statement.query([first, last])?;
    let mut hosts = Vec::new();
    while let Some(row) = rows.next()? {
        hosts.push(bare(row)?);
    }
    let mut expected = expected::between(connection, first, last)?;
    for host in &mut hosts {
        host.standings = standings(&contributors.remove(&host.row).unwrap_or_default());
        let expected = expected.remove(&host.row).unwrap_or_default().into_iter();
        // Expectations of an address apply to the device that has it now.
        let holds = |it: &Expectation| host.is_holder || matches!(it.device, DeviceKey::Mac(_));
        host.expected = expected.filter(holds).collect();
    }
    Ok(Page { rows: hosts, next })
}

/// The last device of the page that begins after this row; `None` if there are no more pages.
fn page_after(connection: &Connection, after: i64, most: u32) -> Result<Option<i64>> {
    let sql = "SELECT id FROM devices WHERE id > ?1 ORDER BY id LIMIT 1 OFFSET ?2";
    let skipped = i64::from(most) - 1;
    Ok(connection.prepare_cached(sql)?.query_row([after, skipped], |row| row.get(0)).optional()?)
}

/// An endpoint without the data from other tables.
fn bare(row: &Row<'_>) -> Result<HostState> {
    Ok(HostState {
        row: row.get(0)?,
        device_row: row.get(6)?,
        device: device(row, 1)?,
        up: row.get(4)?,
        is_holder: row.get(5)?,
        standings: PortStatesByProtocol::new(),
        expected: Expected::default(),
    })
}

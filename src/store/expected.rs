//! The expected state: which ports should be open or closed, and whether there is a baseline.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{
    change::{DatabaseChange, Urgency},
    error::Result,
    handle::Store,
    page::Page,
    row::text,
};
use crate::model::{Address, DeviceKey, Expectation, Expected, Mac, PortState, Protocol};

/// Expectations of a page: some 10 KB, and 250 KB at most.
const PAGE: u32 = 64;

/// A change of what is expected of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectationUpdate {
    /// A device at any address, or the address of whichever device has it.
    pub device: DeviceKey,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// The expected state and a comment; `None` removes the expectation.
    pub state: Option<(PortState, String)>,
}

impl Store {
    /// Records these expectations in this order, all or none, replacing what was expected of the same ports. The first
    /// call that expects anything, or that has an empty list, sets the baseline: from then on a difference raises an
    /// alert. A call that only removes expectations sets no baseline.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn expect(&self, updates: Vec<ExpectationUpdate>) -> Result<()> {
        self.write(move |context| UpdateExpectations { updates, at: context.wall() }).await
    }

    /// Whether anything was ever accepted; before that, nothing raises an alert.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn has_baseline(&self) -> Result<bool> {
        self.read(has_baseline).await
    }

    /// Returns all expectations, a page at a time, in the order in which they were written.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn expectations(&self, after: i64) -> Result<Page<Expectation>> {
        self.read(move |connection| page(connection, ALL, after)).await
    }

    /// Returns the expectations that apply to no known device, a page at a time: those of a MAC that was never seen, or
    /// of an address that no device has.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn expectations_of_unknown_devices(&self, after: i64) -> Result<Page<Expectation>> {
        self.read(move |connection| page(connection, UNMATCHED, after)).await
    }
}

const ALL: &str = "SELECT written, device, protocol, port, state, comment FROM expectations
                   WHERE written > ?1 ORDER BY written LIMIT ?2";

const UNMATCHED: &str = "SELECT written, device, protocol, port, state, comment FROM expectations e
                         WHERE written > ?1
                             AND NOT EXISTS (SELECT 1 FROM devices d WHERE d.mac = e.device)
                             AND NOT EXISTS (SELECT 1 FROM endpoints h WHERE h.address = e.device AND h.held = 'now')
                         ORDER BY written LIMIT ?2";

/// All of these updates, or none.
struct UpdateExpectations {
    updates: Vec<ExpectationUpdate>,
    at: Timestamp,
}

impl DatabaseChange for UpdateExpectations {
    type Answer = ();

    /// A client waits for it.
    fn urgency(&self) -> Urgency {
        Urgency::Immediate
    }

    fn apply(&self, connection: &Connection) -> Result<()> {
        let mut delete = connection
            .prepare_cached("DELETE FROM expectations WHERE device = ?1 AND protocol = ?2 AND port = ?3")?;
        // A replaced row gets the next number: it is the last written again.
        let mut insert = connection.prepare_cached(
            "INSERT OR REPLACE INTO expectations (device, protocol, port, state, comment)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for ExpectationUpdate { device, protocol, port, state } in &self.updates {
            let device = device.to_string();
            match state {
                None => delete.execute(params![device, protocol.as_str(), port])?,
                Some((state, comment)) => {
                    insert.execute(params![device, protocol.as_str(), port, state.as_str(), comment])?
                }
            };
        }
        let accepts = self.updates.is_empty() || self.updates.iter().any(|update| update.state.is_some());
        if accepts {
            let sql = "INSERT OR IGNORE INTO marks (name, at) VALUES ('baseline', ?1)";
            connection.prepare_cached(sql)?.execute([self.at.as_millisecond()])?;
        }
        Ok(())
    }
}

/// Whether anything was accepted yet; before that, nothing raises an alert.
pub(super) fn has_baseline(connection: &Connection) -> Result<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM marks WHERE name = 'baseline'")?.exists([])?)
}

/// What is expected of a device with this MAC, and of this address.
pub(super) fn of(connection: &Connection, mac: Option<Mac>, address: &Address) -> Result<Expected> {
    let sql = "SELECT written, device, protocol, port, state, comment FROM expectations WHERE device = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let keys = mac.map(|mac| mac.to_string()).into_iter().chain([address.to_string()]);
    let mut found = Vec::new();
    for key in keys {
        let mut rows = statement.query([key])?;
        while let Some(row) = rows.next()? {
            found.push(one(row)?);
        }
    }
    Ok(found.into_iter().collect())
}

/// What is expected of the endpoints of the devices with these rows, by endpoint: expectations of the device, and of
/// the address that the device has now.
pub(super) fn between(
    connection: &Connection,
    first: i64,
    last: i64,
) -> Result<HashMap<i64, Vec<Expectation>>> {
    // One table for each of the two indexes: an OR would use neither.
    let sql = "SELECT e.written, e.device, e.protocol, e.port, e.state, e.comment, h.id
               FROM devices d JOIN expectations e ON e.device = d.mac
               JOIN endpoints h ON h.device = d.id AND h.held = 'now' WHERE d.id BETWEEN ?1 AND ?2
               UNION ALL
               SELECT e.written, e.device, e.protocol, e.port, e.state, e.comment, h.id
               FROM endpoints h JOIN expectations e ON e.device = h.address
               WHERE h.held = 'now' AND h.device BETWEEN ?1 AND ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([first, last])?;
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    while let Some(row) = rows.next()? {
        found.entry(row.get(6)?).or_default().push(one(row)?);
    }
    Ok(found)
}

fn page(connection: &Connection, sql: &str, after: i64) -> Result<Page<Expectation>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![after, PAGE])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let expectation = one(row)?;
        page.push((expectation.written, expectation));
    }
    Ok(Page::of(page, PAGE))
}

fn one(row: &Row<'_>) -> Result<Expectation> {
    Ok(Expectation {
        written: row.get(0)?,
        device: text(row, 1)?,
        protocol: text(row, 2)?,
        port: row.get(3)?,
        state: text(row, 4)?,
        comment: row.get(5)?,
    })
}

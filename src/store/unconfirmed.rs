//! Port changes that wait for a second observation: stores them, and reports those that an observation confirms.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params};

use super::{
    error::Result,
    events::{NewEvent, record_event},
    expected::{self, has_baseline},
    handle::Store,
    identified,
    row::{device, text, timestamp},
};
use crate::model::{
    ChangeKind, Device, PortSet, PortState, Protocol, ScanId,
    unconfirmed::{Observed, Unconfirmed, UnconfirmedEndpoint},
};

/// The most simultaneous changes of a device that are reported port by port. More become one event: a device that opens
/// a thousand ports at once must not fill the disk with events.
const ONE_BY_ONE: u32 = 64;

impl Store {
    /// Returns the endpoints with port changes that wait for a second observation.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn unconfirmed_endpoints(&self) -> Result<Vec<UnconfirmedEndpoint>> {
        self.read(unconfirmed_endpoints).await
    }
}

/// Reports the changes that an observation confirms, and stores those that remain unconfirmed. `open` are the ports
/// that were open before.
pub(super) fn settle(
    connection: &Connection,
    (id, device, scan): (i64, &Device, ScanId),
    protocol: Protocol,
    open: &PortSet,
    new: &Observed,
) -> Result<()> {
    let before = unconfirmed_at(connection, id, protocol)?;
    let settled = before.settle(open, new);
    if settled.unconfirmed != before {
        keep(connection, id, protocol, &settled.unconfirmed)?;
    }
    identified::drop_closed(connection, id, protocol, &settled.closed)?;
    let opened = portions(&settled.opened).map(|ports| ChangeKind::Opened(protocol, ports));
    let closed = portions(&settled.closed).map(|ports| ChangeKind::Closed(protocol, ports));
    let mut changes = opened.chain(closed).peekable();
    if changes.peek().is_none() {
        return Ok(());
    }
    let has_baseline = has_baseline(connection)?;
    let expected = expected::of(connection, device.mac, &device.address)?;
    for kind in changes {
        let is_unexpected = kind.ports().is_some_and(|(_, ports)| {
            ports.iter().any(|port| {
                expected.is(protocol, port, PortState::Open) != matches!(kind, ChangeKind::Opened(..))
            })
        });
        let alert = has_baseline && is_unexpected;
        record_event(connection, &NewEvent { at: new.at, scan: Some(scan), device, kind, alert })?;
    }
    Ok(())
}

/// Splits ports into the sets that are reported: one by one, or all at once.
fn portions(ports: &PortSet) -> impl Iterator<Item = PortSet> {
    let many = (ports.len() > ONE_BY_ONE).then(|| ports.clone());
    let few = if many.is_some() { PortSet::default() } else { ports.clone() };
    let few: Vec<_> = few.iter().map(|port| PortSet::from_ranges([(port, port)])).collect();
    many.into_iter().chain(few)
}

fn unconfirmed_at(connection: &Connection, endpoint: i64, protocol: Protocol) -> Result<Unconfirmed> {
    let sql =
        "SELECT opening, since, ports FROM unconfirmed WHERE endpoint = ?1 AND protocol = ?2 ORDER BY since";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![endpoint, protocol.as_str()])?;
    let mut found = Unconfirmed::default();
    while let Some(row) = rows.next()? {
        add(&mut found, row, 0)?;
    }
    Ok(found)
}

/// Adds the ports of a row of `unconfirmed`: its columns `opening`, `since` and `ports`, beginning with this one.
fn add(found: &mut Unconfirmed, row: &Row<'_>, first: usize) -> Result<()> {
    let list = if row.get(first)? { &mut found.openings } else { &mut found.closings };
    list.push((timestamp(row.get(first + 1)?)?, text(row, first + 2)?));
    Ok(())
}

fn keep(connection: &Connection, endpoint: i64, protocol: Protocol, unconfirmed: &Unconfirmed) -> Result<()> {
    let sql = "DELETE FROM unconfirmed WHERE endpoint = ?1 AND protocol = ?2";
    connection.prepare_cached(sql)?.execute(params![endpoint, protocol.as_str()])?;
    let openings = unconfirmed.openings.iter().map(|waiting| (true, waiting));
    let closings = unconfirmed.closings.iter().map(|waiting| (false, waiting));
    // If a clock was set back, two entries may have the same time and become one.
    let sql =
        "INSERT INTO unconfirmed (endpoint, protocol, opening, since, ports) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET ports = ports || ',' || excluded.ports";
    let mut statement = connection.prepare_cached(sql)?;
    for (opening, (since, ports)) in openings.chain(closings) {
        let (protocol, since) = (protocol.as_str(), since.as_millisecond());
        statement.execute(params![endpoint, protocol, opening, since, ports.to_string()])?;
    }
    Ok(())
}

/// One statement, because this is read after every result: a further one per endpoint took more than half of the time.
fn unconfirmed_endpoints(connection: &Connection) -> Result<Vec<UnconfirmedEndpoint>> {
    let sql = "SELECT u.endpoint, d.mac, e.address, d.name, u.opening, u.since, u.ports
               FROM unconfirmed u JOIN endpoints e ON e.id = u.endpoint JOIN devices d ON d.id = e.device
               WHERE u.protocol = 'tcp' ORDER BY u.endpoint, u.since";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut endpoints: Vec<UnconfirmedEndpoint> = Vec::new();
    let mut last: Option<i64> = None;
    while let Some(row) = rows.next()? {
        let endpoint = row.get(0)?;
        if last != Some(endpoint) {
            endpoints
                .push(UnconfirmedEndpoint { device: device(row, 1)?, unconfirmed: Unconfirmed::default() });
            last = Some(endpoint);
        }
        if let Some(UnconfirmedEndpoint { unconfirmed, .. }) = endpoints.last_mut() {
            add(unconfirmed, row, 4)?;
        }
    }
    Ok(endpoints)
}

/// The TCP ports of the devices with rows from `first` to `last` that one observation has found open, and no second one
/// yet, by device.
pub(super) fn openings(connection: &Connection, first: i64, last: i64) -> Result<HashMap<i64, PortSet>> {
    let sql = "SELECT e.device, u.ports FROM endpoints e JOIN unconfirmed u ON u.endpoint = e.id
               WHERE e.device BETWEEN ?1 AND ?2 AND u.protocol = 'tcp' AND u.opening";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([first, last])?;
    let mut openings: HashMap<i64, PortSet> = HashMap::new();
    while let Some(row) = rows.next()? {
        let of_device = openings.entry(row.get(0)?).or_default();
        *of_device = of_device.union(&text(row, 1)?);
    }
    Ok(openings)
}

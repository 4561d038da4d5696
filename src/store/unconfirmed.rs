//! Port changes that wait for a second observation: stores them, and reports those that an observation confirms.

use rusqlite::{Connection, params};

use super::{
    error::Result,
    events::{NewEvent, record_event},
    expected::{self, has_baseline},
    handle::Store,
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
        let list = if row.get(0)? { &mut found.openings } else { &mut found.closings };
        list.push((timestamp(row.get(1)?)?, text(row, 2)?));
    }
    Ok(found)
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

fn unconfirmed_endpoints(connection: &Connection) -> Result<Vec<UnconfirmedEndpoint>> {
    let sql = "SELECT DISTINCT e.id, d.mac, e.address, d.name
               FROM unconfirmed u JOIN endpoints e ON e.id = u.endpoint JOIN devices d ON d.id = e.device
               WHERE u.protocol = 'tcp'";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut endpoints = Vec::new();
    while let Some(row) = rows.next()? {
        let (device, unconfirmed) =
            (device(row, 1)?, unconfirmed_at(connection, row.get(0)?, Protocol::Tcp)?);
        endpoints.push(UnconfirmedEndpoint { device, unconfirmed });
    }
    Ok(endpoints)
}

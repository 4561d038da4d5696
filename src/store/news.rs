//! What has changed, for good, and what waits for a second look to have changed.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use tokio::sync::watch;

use super::{
    Page, Store,
    error::{Result, StoreError},
    expected,
    row::{device, text, timestamp},
    writer,
};
use crate::model::{
    ChangeEvent, ChangeFilter, ChangeKind, Device, PortSet, PortState, Protocol, ScanId,
    unconfirmed::{Told, Unconfirmed, UnconfirmedEndpoint},
};

/// Ports of one device that are told one by one, if they change at once. More are one line: whoever opens a
/// thousand does so in one go, and must not fill the disk with it.
const ONE_BY_ONE: u32 = 64;

/// News of a page.
const PAGE: u32 = 64;

/// How much of the lists of ports is read for one page, beyond its first row, in bytes: where every other port has
/// changed, one list is 200 KB.
const PAGE_BYTES: usize = 16 * 1024;

/// News on their way to the disk.
pub(super) struct Draft<'a> {
    pub(super) at: Timestamp,
    pub(super) scan: Option<ScanId>,
    pub(super) device: &'a Device,
    pub(super) what: ChangeKind,
    pub(super) alert: bool,
}

impl Store {
    /// What has changed, a page at a time, oldest first.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn news(&self, asked: ChangeFilter) -> Result<Page<ChangeEvent>> {
        self.read(move |connection| read(connection, &asked)).await
    }

    /// The id of the latest [`ChangeEvent`], and every change of that.
    pub fn newest(&self) -> watch::Receiver<i64> {
        self.newest.clone()
    }

    /// Tells of every device that was not seen since then that it is gone, once.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn miss(&self, since: Timestamp) -> Result<()> {
        self.write(|done| writer::Request::Miss(since, done)).await
    }

    /// Whose ports wait for a second look.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn doubts(&self) -> Result<Vec<UnconfirmedEndpoint>> {
        self.read(doubts).await
    }
}

/// Whether anything was accepted yet: before, all is as it is, and nothing is alarming.
pub(super) fn is_baseline(connection: &Connection) -> Result<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM marks WHERE name = 'baseline'")?.exists([])?)
}

pub(super) fn tell(connection: &Connection, draft: &Draft<'_>) -> Result<()> {
    let Draft { at, scan, device, what, alert } = draft;
    let ports = what.ports();
    let from = if let ChangeKind::Moved { from } = what { Some(from.to_string()) } else { None };
    let sql = "INSERT INTO changes (at, scan, device, address, kind, protocol, ports, was, alert)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    connection.prepare_cached(sql)?.execute(params![
        at.as_millisecond(),
        scan.map(|scan| scan.0),
        device.key().to_string(),
        device.address.to_string(),
        what.as_str(),
        ports.map(|(protocol, _)| protocol.as_str()),
        ports.map(|(_, ports)| ports.to_string()),
        from,
        alert,
    ])?;
    Ok(())
}

/// Tells what a look has settled, and keeps what it has put in doubt. `open` are the ports that were open before.
pub(super) fn settle(
    connection: &Connection,
    (id, device, scan): (i64, &Device, ScanId),
    protocol: Protocol,
    open: &PortSet,
    look: &Told,
) -> Result<()> {
    let before = unconfirmed(connection, id, protocol)?;
    let settled = before.settle(open, look);
    if settled.unconfirmed != before {
        keep(connection, id, protocol, &settled.unconfirmed)?;
    }
    let opened = portions(&settled.opened).map(|ports| ChangeKind::Opened(protocol, ports));
    let closed = portions(&settled.closed).map(|ports| ChangeKind::Closed(protocol, ports));
    let mut told = opened.chain(closed).peekable();
    if told.peek().is_none() {
        return Ok(());
    }
    let is_baseline = is_baseline(connection)?;
    let expected = expected::of(connection, device.mac, Some(&device.address))?;
    for what in told {
        let is_odd = what.ports().is_some_and(|(_, ports)| {
            ports.iter().any(|port| {
                expected.is(protocol, port, PortState::Open) != matches!(what, ChangeKind::Opened(..))
            })
        });
        let alert = is_baseline && is_odd;
        tell(connection, &Draft { at: look.at, scan: Some(scan), device, what, alert })?;
    }
    Ok(())
}

/// Ports as they are told: one by one, or all at once.
fn portions(ports: &PortSet) -> impl Iterator<Item = PortSet> {
    let many = (ports.len() > ONE_BY_ONE).then(|| ports.clone());
    let few = if many.is_some() { PortSet::default() } else { ports.clone() };
    let few: Vec<_> = few.iter().map(|port| PortSet::from_ranges([(port, port)])).collect();
    many.into_iter().chain(few)
}

fn unconfirmed(connection: &Connection, endpoint: i64, protocol: Protocol) -> Result<Unconfirmed> {
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

fn keep(connection: &Connection, endpoint: i64, protocol: Protocol, doubts: &Unconfirmed) -> Result<()> {
    let sql = "DELETE FROM unconfirmed WHERE endpoint = ?1 AND protocol = ?2";
    connection.prepare_cached(sql)?.execute(params![endpoint, protocol.as_str()])?;
    let openings = doubts.openings.iter().map(|waiting| (true, waiting));
    let closings = doubts.closings.iter().map(|waiting| (false, waiting));
    // Two that wait since the same time have become one when a clock was set back.
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

fn doubts(connection: &Connection) -> Result<Vec<UnconfirmedEndpoint>> {
    let sql = "SELECT DISTINCT e.id, d.mac, e.address, d.name
               FROM unconfirmed u JOIN endpoints e ON e.id = u.endpoint JOIN devices d ON d.id = e.device
               WHERE u.protocol = 'tcp'";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut doubts = Vec::new();
    while let Some(row) = rows.next()? {
        let device = device(row, 1)?;
        doubts.push(UnconfirmedEndpoint {
            device,
            unconfirmed: unconfirmed(connection, row.get(0)?, Protocol::Tcp)?,
        });
    }
    Ok(doubts)
}

fn read(connection: &Connection, asked: &ChangeFilter) -> Result<Page<ChangeEvent>> {
    let sql = "SELECT id, at, scan, device, address, kind, protocol, ports, was, alert FROM changes
               WHERE id > ?1 AND (?2 IS NULL OR at >= ?2) AND (?3 IS NULL OR device = ?3) ORDER BY id LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let since = asked.since.map(Timestamp::as_millisecond);
    let device = asked.device.as_ref().map(ToString::to_string);
    let mut rows = statement.query(params![asked.after, since, device, PAGE])?;
    let (mut news, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let told = one(row)?;
        bytes += row.get_ref(7)?.as_str_or_null().map_err(rusqlite::Error::from)?.map_or(0, str::len);
        news.push((told.id, told));
        if bytes > PAGE_BYTES {
            return Ok(Page::cut(news));
        }
    }
    Ok(Page::of(news, PAGE))
}

fn one(row: &Row<'_>) -> Result<ChangeEvent> {
    let ports = || -> Result<(Protocol, PortSet)> { Ok((text(row, 6)?, text(row, 7)?)) };
    let what = match row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)? {
        "new" => ChangeKind::New,
        "opened" => ports().map(|(protocol, ports)| ChangeKind::Opened(protocol, ports))?,
        "closed" => ports().map(|(protocol, ports)| ChangeKind::Closed(protocol, ports))?,
        "gone" => ChangeKind::Gone,
        "back" => ChangeKind::Back,
        "moved" => ChangeKind::Moved { from: text(row, 8)? },
        other => return Err(StoreError::Damaged(format!("\"{other}\" is no kind of change"))),
    };
    Ok(ChangeEvent {
        id: row.get(0)?,
        at: timestamp(row.get(1)?)?,
        scan: row.get::<_, Option<i64>>(2)?.map(ScanId),
        device: text(row, 3)?,
        address: text(row, 4)?,
        what,
        alert: row.get(9)?,
    })
}

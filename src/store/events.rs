//! Change events: confirmed changes, in the order in which they were found.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use tokio::sync::watch;

use super::{
    error::{Result, StoreError},
    handle::Store,
    page::Page,
    row::{text, timestamp},
};
use crate::model::{
    ChangeEvent, ChangeFilter, ChangeKind, Device, IdentityPart, PortFindingKind, PortSet, Protocol, ScanId,
};

/// Events of a page.
const PAGE: u32 = 64;

/// Limit of the port lists that are read for one page, beyond its first row, in bytes: if every other port has changed,
/// one list is 200 KB.
const PAGE_BYTES: usize = 16 * 1024;

/// An event to be written.
pub(super) struct NewEvent<'a> {
    pub(super) at: Timestamp,
    pub(super) scan: Option<ScanId>,
    pub(super) device: &'a Device,
    pub(super) kind: ChangeKind,
    pub(super) alert: bool,
}

impl Store {
    /// Returns the change events that match a filter, a page at a time, oldest first.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn change_events(&self, filter: ChangeFilter) -> Result<Page<ChangeEvent>> {
        self.read(move |connection| read(connection, &filter)).await
    }

    /// The id of the latest [`ChangeEvent`] and every change of it.
    pub fn latest_event(&self) -> watch::Receiver<i64> {
        self.latest_event.clone()
    }
}

pub(super) fn record_event(connection: &Connection, event: &NewEvent<'_>) -> Result<()> {
    let NewEvent { at, scan, device, kind, alert } = event;
    let ports = kind.ports();
    let sql = "INSERT INTO changes (at, scan, device, address, kind, protocol, ports, was, becomes, alert)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    connection.prepare_cached(sql)?.execute(params![
        at.as_millisecond(),
        scan.map(|scan| scan.0),
        device.key().to_string(),
        device.address.to_string(),
        kind.as_str(),
        ports.map(|(protocol, _)| protocol.as_str()),
        ports.map(|(_, ports)| ports.to_string()),
        kind.previous_address()
            .map(ToString::to_string)
            .or_else(|| kind.replaced().map(|(from, _)| from.to_owned()))
            .or_else(|| match kind {
                ChangeKind::SnoozeEnded { after } => Some(after.to_string()),
                _ => None,
            }),
        kind.replaced().map(|(_, to)| to).or_else(|| kind.found()),
        alert,
    ])?;
    Ok(())
}

/// What [`event`] reads.
const EVENTS: &str =
    "SELECT id, at, scan, device, address, kind, protocol, ports, was, alert, becomes FROM changes";

/// Reads the event with this id, if there is one: whether a row can be read depends on several of its columns.
pub(super) fn check(connection: &Connection, id: i64) -> Result<()> {
    let mut statement = connection.prepare_cached(&format!("{EVENTS} WHERE id = ?1"))?;
    let mut rows = statement.query([id])?;
    rows.next()?.map_or(Ok(()), |row| event(row).map(drop))
}

fn read(connection: &Connection, filter: &ChangeFilter) -> Result<Page<ChangeEvent>> {
    let sql = format!(
        "{EVENTS} WHERE id > ?1 AND (?2 IS NULL OR at >= ?2) AND (?3 IS NULL OR device = ?3) ORDER BY id LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let since = filter.since.map(Timestamp::as_millisecond);
    let device = filter.device.as_ref().map(ToString::to_string);
    let mut rows = statement.query(params![filter.after, since, device, PAGE])?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let event = event(row)?;
        bytes += row.get_ref(7)?.as_str_or_null().map_err(rusqlite::Error::from)?.map_or(0, str::len);
        events.push((event.id, event));
        if bytes > PAGE_BYTES {
            return Ok(Page::cut(events));
        }
    }
    Ok(Page::of(events, PAGE))
}

fn event(row: &Row<'_>) -> Result<ChangeEvent> {
    let ports = || -> Result<(Protocol, PortSet)> { Ok((text(row, 6)?, text(row, 7)?)) };
    let kind = match row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)? {
        "opened" => ports().map(|(protocol, ports)| ChangeKind::Opened(protocol, ports))?,
        "closed" => ports().map(|(protocol, ports)| ChangeKind::Closed(protocol, ports))?,
        "moved" => ChangeKind::Moved { from: text(row, 8)? },
        "snooze-ended" => ChangeKind::SnoozeEnded { after: text(row, 8)? },
        name => {
            if let Ok(part) = name.parse::<IdentityPart>() {
                let (protocol, ports) = ports()?;
                ChangeKind::Replaced { part, protocol, ports, from: row.get(8)?, to: row.get(10)? }
            } else if let Ok(finding) = name.parse::<PortFindingKind>() {
                let (protocol, ports) = ports()?;
                ChangeKind::Found { finding, protocol, ports, text: row.get(10)? }
            } else {
                let unknown = || StoreError::Damaged(format!("\"{name}\" is no kind of change"));
                ChangeKind::plain(name).ok_or_else(unknown)?
            }
        }
    };
    Ok(ChangeEvent {
        id: row.get(0)?,
        at: timestamp(row.get(1)?)?,
        scan: row.get::<_, Option<i64>>(2)?.map(ScanId),
        device: text(row, 3)?,
        address: text(row, 4)?,
        kind,
        alert: row.get(9)?,
    })
}

//! Lists scans, and the hosts of one scan, a page at a time.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{
    error::Result,
    handle::Store,
    page::Page,
    row::{parse, text, timestamp},
    verdicts::Verdicts,
};
use crate::model::{Address, PortSet, PortState, Protocol, ScanId};

/// Rows of a page of scans: some 10 KB of JSON.
const SCANS: u32 = 500;

/// Hosts of a page of one scan.
pub(super) const HOSTS: u32 = 16;

/// Limit of the results that are decoded for one page, beyond its first host, in bytes as stored.
pub(super) const HOSTS_BYTES: usize = 16 * 1024;

/// What one scan found on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanHost {
    /// Its sequence number in the scan; ascending from page to page.
    pub place: i64,
    /// Its address at that time.
    pub address: Address,
    /// The protocol of the ports.
    pub protocol: Protocol,
    /// First and last port of each range in one state other than the host's default; ascending.
    pub listed: Vec<(u16, u16, PortState)>,
}

/// A scan as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanSummary {
    /// Its id.
    pub id: ScanId,
    /// The scanner's name.
    pub scanner: String,
    /// Why it was made: a [`ScanKind`](crate::model::ScanKind) as text.
    pub kind: String,
    /// Its status: a [`ScanStatus`](crate::model::ScanStatus) as text.
    pub status: String,
    /// The TCP ports that were requested.
    pub ports: PortSet,
    /// When it began, by the wall clock of then.
    pub started: Timestamp,
    /// When it ended; `None` before.
    pub finished: Option<Timestamp>,
    /// Hosts with a final result: up or down.
    pub hosts: u32,
}

impl Store {
    /// Returns the summary of a scan; `None` if the scan does not exist.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn scan_summary(&self, scan: ScanId) -> Result<Option<ScanSummary>> {
        self.read(move |connection| scan_summary(connection, scan)).await
    }

    /// Returns the latest scans before this one (`None`: of all), at most `most`, latest first.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn latest_scans(&self, before: Option<ScanId>, most: u32) -> Result<Vec<ScanSummary>> {
        let before = before.map_or(i64::MAX, |scan| scan.0);
        self.read(move |connection| latest_scans(connection, before, most)).await
    }

    /// Returns the scans after this one, by id. The first page is the one after [`i64::MIN`].
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn scan_ids(&self, after: i64) -> Result<Page<ScanId>> {
        self.read(move |connection| scan_ids(connection, after)).await
    }

    /// Returns the hosts that were up in a scan, in the order in which they were finished; none if the scan does not
    /// exist. The first page is the one after [`i64::MIN`].
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn scan_hosts(&self, scan: ScanId, after: i64) -> Result<Page<ScanHost>> {
        self.read(move |connection| scan_hosts(connection, scan, after)).await
    }
}

/// What [`summary`] reads.
const SUMMARY: &str = "
    SELECT scanner, kind, status, started, finished,
           (SELECT count(*) FROM observations o WHERE o.scan = s.id AND o.status <> 'partial')
               + (SELECT count(*) FROM unanswered u WHERE u.scan = s.id), ports, id
    FROM scans s";

/// An import is not listed before its last host is stored.
const IS_LISTED: &str = "NOT (kind = 'import' AND status = 'running')";

fn scan_summary(connection: &Connection, scan: ScanId) -> Result<Option<ScanSummary>> {
    let mut statement = connection.prepare_cached(&format!("{SUMMARY} WHERE id = ?1"))?;
    let mut rows = statement.query([scan.0])?;
    rows.next()?.map(summary).transpose()
}

fn latest_scans(connection: &Connection, before: i64, most: u32) -> Result<Vec<ScanSummary>> {
    let sql = format!("{SUMMARY} WHERE id < ?1 AND {IS_LISTED} ORDER BY id DESC LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![before, most])?;
    let mut scans = Vec::new();
    while let Some(row) = rows.next()? {
        scans.push(summary(row)?);
    }
    Ok(scans)
}

fn summary(row: &Row<'_>) -> Result<ScanSummary> {
    // An import may have no ports.
    let ports = Some(row.get::<_, String>(6)?).filter(|ports| !ports.is_empty());
    Ok(ScanSummary {
        id: ScanId(row.get(7)?),
        scanner: row.get(0)?,
        kind: row.get(1)?,
        status: row.get(2)?,
        started: timestamp(row.get(3)?)?,
        finished: row.get::<_, Option<i64>>(4)?.map(timestamp).transpose()?,
        hosts: row.get(5)?,
        ports: ports.map(parse).transpose()?.unwrap_or_default(),
    })
}

fn scan_ids(connection: &Connection, after: i64) -> Result<Page<ScanId>> {
    let sql = format!("SELECT id FROM scans WHERE id > ?1 AND {IS_LISTED} ORDER BY id LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, SCANS], |row| row.get(0))?;
    let rows = rows.map(|id| id.map(|id| (id, ScanId(id)))).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, SCANS))
}

fn scan_hosts(connection: &Connection, scan: ScanId, after: i64) -> Result<Page<ScanHost>> {
    let sql = "SELECT o.seq, o.address, o.protocol, r.body
               FROM observations o JOIN results r ON r.id = o.result
               WHERE o.scan = ?1 AND o.seq > ?2 ORDER BY o.seq LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![scan.0, after, HOSTS])?;
    let (mut hosts, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (place, body) = (row.get(0)?, row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?);
        bytes += body.len();
        let verdicts = Verdicts::decode(body)?;
        let host = ScanHost {
            place,
            address: text(row, 1)?,
            protocol: text(row, 2)?,
            listed: verdicts.into_exceptions(),
        };
        hosts.push((place, host));
        if bytes > HOSTS_BYTES {
            return Ok(Page::cut(hosts));
        }
    }
    Ok(Page::of(hosts, HOSTS))
}

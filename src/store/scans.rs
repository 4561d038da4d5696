//! The life cycle of a scan: it begins, and it ends or is cut short.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    change::{DatabaseChange, Urgency},
    commit::{Pending, pending},
    error::{Result, StoreError},
    handle::Store,
    row::{device, timestamp},
};
use crate::model::{Device, PortSet, ScanId, ScanKind, ScanStatus};

/// A scheduled run that has begun but not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenScan {
    /// Its id, under which recording continues.
    pub id: ScanId,
    /// The scanner's name.
    pub scanner: String,
    /// When it began, by the wall clock of then.
    pub started: Timestamp,
    /// The hosts with a result (up or down): devices at their present addresses, and addresses at which nothing
    /// answered.
    pub done: Vec<Device>,
}

impl Store {
    /// Begins a scan; returns its id, which is committed at once.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn begin_scan(&self, scanner: &str, kind: ScanKind, ports: &PortSet) -> Result<ScanId> {
        let (scanner, ports) = (scanner.to_owned(), ports.to_string());
        self.write(move |context| {
            let started = context.wall();
            BeginScan { id: context.next_scan(started), scanner, kind, ports, started }
        })
        .await
    }

    /// Ends a scan. After a restart, a scan that never ended is resumed (runs) or partial (others).
    ///
    /// # Errors
    /// The scan does not exist, or the store is closed.
    pub async fn end_scan(&self, scan: ScanId, status: ScanStatus) -> Result<()> {
        self.write(move |context| EndScan { id: scan, status, finished: context.wall() }).await
    }

    /// Returns the scheduled runs that have no end, oldest first; right after opening, those that a crash interrupted.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn open_scans(&self) -> Result<Vec<OpenScan>> {
        self.read(open_scans).await
    }
}

pub(super) struct BeginScan {
    pub(super) id: ScanId,
    pub(super) scanner: String,
    pub(super) kind: ScanKind,
    pub(super) ports: String,
    pub(super) started: Timestamp,
}

impl DatabaseChange for BeginScan {
    type Answer = ScanId;

    /// The id is given to others.
    fn urgency(&self) -> Urgency {
        Urgency::Immediate
    }

    fn apply(&self, connection: &Connection) -> Result<ScanId> {
        let sql = "INSERT INTO scans (id, scanner, kind, ports, status, started)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        connection.prepare_cached(sql)?.execute(params![
            self.id.0,
            self.scanner,
            self.kind.as_str(),
            self.ports,
            ScanStatus::Running.as_str(),
            self.started.as_millisecond()
        ])?;
        Ok(self.id)
    }
}

struct EndScan {
    id: ScanId,
    status: ScanStatus,
    finished: Timestamp,
}

impl DatabaseChange for EndScan {
    type Answer = ();

    fn apply(&self, connection: &Connection) -> Result<()> {
        end(connection, self.id, self.status, Some(self.finished))
    }
}

/// Ends a scan; without a time it was cut short.
pub(super) fn end(
    connection: &Connection,
    scan: ScanId,
    status: ScanStatus,
    finished: Option<Timestamp>,
) -> Result<()> {
    let sql = "UPDATE scans SET status = ?2, finished = ?3 WHERE id = ?1";
    let finished = finished.map(Timestamp::as_millisecond);
    match connection.prepare_cached(sql)?.execute(params![scan.0, status.as_str(), finished])? {
        0 => Err(StoreError::UnknownScan(scan)),
        _ => Ok(()),
    }
}

/// Closes the scans that a crash left running, except runs, which the service resumes.
struct CloseAbandoned;

impl DatabaseChange for CloseAbandoned {
    type Answer = ();

    fn apply(&self, connection: &Connection) -> Result<()> {
        let sql = "UPDATE scans SET status = 'partial' WHERE status = 'running' AND kind <> 'run'";
        connection.execute(sql, [])?;
        Ok(())
    }
}

/// The change that closes the scans that a crash left running, if there are any. It is queued first, not made when the
/// store is opened: the disk may be full, which is no reason not to start and serve.
pub(super) fn close_abandoned(reader: &Connection) -> Result<Option<Box<dyn Pending>>> {
    let sql = "SELECT EXISTS (SELECT 1 FROM scans WHERE status = 'running' AND kind <> 'run')";
    let is_any: bool = reader.query_row(sql, [], |row| row.get(0))?;
    let (unused, _) = tokio::sync::oneshot::channel();
    Ok(is_any.then(|| pending(CloseAbandoned, unused)))
}

fn open_scans(connection: &Connection) -> Result<Vec<OpenScan>> {
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

/// The endpoints for which a scan has a result, up or down, each at the device's present address; and the addresses at
/// which nothing answered. A host that was cut short must be scanned again.
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

//! Scans that others made, in one transaction each.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{
    Observation, ScanId, ScanKind, Store,
    apply::Change,
    error::{Result, StoreError},
    writer,
};
use crate::model::{Device, HostReport, PortSet, ScanStatus};

/// A scan that somebody else made, but for its hosts.
#[derive(Clone, Debug)]
pub struct Import {
    /// What made it, in place of a scanner's name.
    pub scanner: String,
    /// By what it is known again: SHA-256 of the file.
    pub digest: [u8; 32],
    /// The TCP ports that were looked at.
    pub ports: PortSet,
    /// How it ended.
    pub status: ScanStatus,
    /// When it began: its id, in Unix seconds.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// A host of it.
#[derive(Clone, Debug)]
pub struct ImportedHost {
    /// Whose result it is; without a MAC it is that of whoever had the address then.
    pub device: Device,
    /// What was found, a report for each protocol.
    pub reports: Vec<HostReport>,
    /// When the look began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// What became of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is stored under this id.
    New(ScanId),
    /// It was there already, under this id; nothing was stored.
    Known(ScanId),
}

/// The hosts, one at a time; a fault undoes the whole import.
pub type Hosts = Box<dyn Iterator<Item = std::result::Result<ImportedHost, String>> + Send>;

impl Store {
    /// Stores a scan that somebody else made, all of it or nothing; resolves when it is committed. Its looks
    /// take their places among ours by their time. While the disk takes nothing it fails at once, for whoever
    /// brings it still has it.
    ///
    /// # Errors
    /// The hosts cannot be read to their end, the database fails, or the store is closed.
    pub async fn import(&self, import: Import, hosts: Hosts) -> Result<Imported> {
        self.write(|done| writer::Request::Import(Box::new(import), hosts, done)).await
    }
}

/// Makes the import; `last_seq` is that of the newest observation so far.
pub(super) fn write(
    connection: &mut Connection,
    import: &Import,
    hosts: Hosts,
    last_seq: &mut i64,
) -> Result<Imported> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "SELECT id FROM scans WHERE digest = ?1";
    let known = transaction.prepare_cached(sql)?.query_row([import.digest], |row| row.get(0)).optional()?;
    if let Some(id) = known {
        return Ok(Imported::Known(ScanId(id)));
    }
    let scan = begin(&transaction, import)?;
    let mut seq = *last_seq;
    for host in hosts {
        let ImportedHost { device, reports, started, finished } = host.map_err(StoreError::Import)?;
        for report in reports {
            seq += 1;
            let observation = Observation { scan, device: device.clone(), report, started, finished };
            Change::Record { seq, observation: Box::new(observation) }.apply(&transaction)?;
        }
    }
    transaction.commit()?;
    *last_seq = seq;
    Ok(Imported::New(scan))
}

/// The row of the scan, under the second of its start, or the next one that no other scan has: two reports of one
/// second are two scans, and one of ours is nobody else's.
fn begin(connection: &Connection, import: &Import) -> Result<ScanId> {
    let id = free(connection, import.started.as_second())?;
    let sql = "INSERT INTO scans (id, scanner, kind, ports, status, started, finished, digest)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(sql)?.execute(params![
        id,
        import.scanner,
        ScanKind::Import.as_str(),
        import.ports.to_string(),
        import.status.as_str(),
        import.started.as_millisecond(),
        import.finished.as_millisecond(),
        import.digest,
    ])?;
    Ok(ScanId(id))
}

/// The first id from this one on that no scan has.
pub(super) fn free(connection: &Connection, wanted: i64) -> Result<i64> {
    let mut taken = connection.prepare_cached("SELECT 1 FROM scans WHERE id = ?1")?;
    let mut id = wanted;
    while taken.exists([id])? {
        id += 1;
    }
    Ok(id)
}

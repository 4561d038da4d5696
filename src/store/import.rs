//! Scans of other scanners, stored in short steps.
//!
//! A report may have 65,536 hosts, which take a Pi minutes, and there is one writer. So an import is made in steps of
//! one transaction each, and whatever else is asked is done between them: a step holds the writer for [`HOLD`] and
//! one host. A host is stored in one step, whole; it is there from then on, as those of a running scan of our own are.
//!
//! The scan has no end until the last step: until then `/v1/scans` does not list it. An import that a crash or a full
//! disk has cut short stays without one, and the same report again completes it: what it has stored is not stored
//! twice, so that no change is reported twice. To take it back instead is impossible: its changes have been reported.

use std::{collections::HashSet, io, time::Duration};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{
    change::{Change, WriterState},
    error::{Result, StoreError},
    handle::Store,
    identity, numbers,
    record::{Observation, RecordObservation},
    row::text,
    scans,
    writer::Turn,
};
use crate::model::{Address, Device, HostReport, PortSet, ScanId, ScanKind, ScanStatus};

/// After this time a step takes no other host. A commit takes an SD card some 50 ms; both are to be less than 100 ms.
const HOLD: Duration = Duration::from_millis(25);

/// Hosts that are on their way to the writer at once: more than it takes in one step.
const HOSTS: usize = 256;

/// A scan of another scanner, but for its hosts.
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
    /// Which device was found; without a MAC it is the one that had the address then.
    pub device: Device,
    /// What was found, a report for each protocol; none of a device that was only seen.
    pub reports: Vec<HostReport>,
    /// When the host's scan began.
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

impl Imported {
    /// The id under which it is stored.
    pub const fn scan(self) -> ScanId {
        match self {
            Self::New(scan) | Self::Known(scan) => scan,
        }
    }
}

/// A host on its way to the writer.
pub(super) struct Arrival {
    pub(super) host: ImportedHost,
    /// Whether the report has its device at another address, too: it had both at the same time.
    pub(super) is_alias: bool,
}

/// How an import begins.
#[derive(Clone, Copy)]
pub(super) enum Begun {
    New(ScanId),
    /// It was begun before, and cut short.
    Again(ScanId),
    Known(ScanId),
}

impl Store {
    /// Stores a scan of another scanner; returns when it is committed. Its observations are ordered among ours by
    /// their time. While the disk takes nothing it fails at once, for the client still has the report. Two imports of
    /// one report at the same time would store it twice.
    ///
    /// Blocks: for a thread of its own, which also makes the hosts.
    ///
    /// # Errors
    /// The hosts cannot be read to their end, the database fails, or the store is closed. The same import again stores
    /// what is missing then.
    pub fn import(
        &self,
        import: Import,
        hosts: impl Iterator<Item = io::Result<ImportedHost>>,
    ) -> Result<Imported> {
        let (status, finished) = (import.status, import.finished);
        let begun =
            self.run_step_blocking(Turn::FirstStep, move |connection, _| begin(connection, &import))?;
        let (scan, stored) = match begun {
            Begun::Known(scan) => return Ok(Imported::Known(scan)),
            Begun::New(scan) => (scan, HashSet::new()),
            Begun::Again(scan) => (scan, self.read_blocking(move |connection| addresses(connection, scan))?),
        };
        let end = |status, finished| {
            self.run_step_blocking(Turn::NextStep, move |connection, _| {
                scans::end(connection, scan, status, finished)
            })
        };
        match self.import_hosts(scan, &stored, hosts) {
            Ok(()) => {
                end(status, Some(finished))?;
                Ok(Imported::New(scan))
            }
            Err(error) => {
                // Should this fail, too, the next start does it.
                let _ = end(ScanStatus::Partial, None);
                Err(error)
            }
        }
    }

    fn import_hosts(
        &self,
        scan: ScanId,
        stored: &HashSet<Address>,
        hosts: impl Iterator<Item = io::Result<ImportedHost>>,
    ) -> Result<()> {
        let mut macs = HashSet::new();
        let arrivals = hosts.map(|host| {
            let host = host?;
            let is_alias = host.device.mac.is_some_and(|mac| !macs.insert(mac));
            Ok(Arrival { host, is_alias })
        });
        let is_missing = |arrival: &Arrival| !stored.contains(&arrival.host.device.address);
        let mut missing =
            arrivals.filter(|arrival: &io::Result<_>| arrival.as_ref().map_or(true, is_missing));
        let mut waiting = Vec::new();
        loop {
            for host in missing.by_ref().take(HOSTS - waiting.len()) {
                waiting.push(host.map_err(StoreError::Import)?);
            }
            if waiting.is_empty() {
                return Ok(());
            }
            waiting = self.run_step_blocking(Turn::NextStep, move |connection, state| {
                store(connection, state, scan, waiting)
            })?;
        }
    }
}

pub(super) fn begin(connection: &mut Connection, import: &Import) -> Result<Begun> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "SELECT id, finished IS NOT NULL FROM scans WHERE digest = ?1";
    let known: Option<(i64, bool)> = transaction
        .prepare_cached(sql)?
        .query_row([import.digest], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let begun = match known {
        Some((id, true)) => Begun::Known(ScanId(id)),
        Some((id, false)) => {
            let sql = "UPDATE scans SET status = ?2 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute(params![id, ScanStatus::Running.as_str()])?;
            Begun::Again(ScanId(id))
        }
        None => Begun::New(insert(&transaction, import)?),
    };
    transaction.commit()?;
    Ok(begun)
}

/// The row of the scan, under the second of its start, or the next one that no other scan has: two reports of one
/// second are two scans, and none has the id of one of ours.
fn insert(connection: &Connection, import: &Import) -> Result<ScanId> {
    let id = numbers::free_scan_id(connection, import.started.as_second())?;
    let sql = "INSERT INTO scans (id, scanner, kind, ports, status, started, digest, is_newest)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NOT EXISTS (SELECT 1 FROM scans WHERE id > ?1))";
    connection.prepare_cached(sql)?.execute(params![
        id,
        import.scanner,
        ScanKind::Import.as_str(),
        import.ports.to_string(),
        ScanStatus::Running.as_str(),
        import.started.as_millisecond(),
        import.digest,
    ])?;
    Ok(ScanId(id))
}

/// Stores hosts until [`HOLD`] is over; returns those that are left.
pub(super) fn store(
    connection: &mut Connection,
    state: &mut WriterState,
    scan: ScanId,
    hosts: Vec<Arrival>,
) -> Result<Vec<Arrival>> {
    let end = state.now() + HOLD;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut seq = state.last_seq;
    let mut left = hosts.into_iter();
    for Arrival { host, is_alias } in left.by_ref() {
        let ImportedHost { device, reports, started, finished } = host;
        if is_alias {
            identity::record_alias(&transaction, &device, started)?;
        }
        if reports.is_empty() {
            identity::credit_import(&transaction, &device, started, scan)?;
        }
        for report in reports {
            seq += 1;
            let observation = Observation { scan, device: device.clone(), report, started, finished };
            RecordObservation { seq, observation }.apply(&transaction)?;
        }
        if state.now() >= end {
            break;
        }
    }
    transaction.commit()?;
    state.last_seq = seq;
    Ok(left.collect())
}

/// Where the hosts were that an import has stored.
fn addresses(connection: &Connection, scan: ScanId) -> Result<HashSet<Address>> {
    let mut statement =
        connection.prepare_cached("SELECT DISTINCT address FROM observations WHERE scan = ?1")?;
    let mut rows = statement.query([scan.0])?;
    let mut addresses = HashSet::new();
    while let Some(row) = rows.next()? {
        addresses.insert(text(row, 0)?);
    }
    Ok(addresses)
}

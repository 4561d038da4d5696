//! Stores scans of other scanners in short steps.
//!
//! A report may have 65,536 hosts, which take a Pi minutes, and there is only one writer. So an import is made in steps
//! of one transaction each, and other requests are served between them: a step holds the writer for [`HOLD`] and one
//! host. Each host is stored in one step; it is visible from then on, as the hosts of our own running scans are.
//!
//! The scan has no end until the last step; until then `/v1/scans` does not list it. An import that was cut short by a
//! crash or a full disk stays without an end, and importing the same report again completes it: hosts that are already
//! stored are not stored twice, so no change is reported twice. Rolling it back instead is impossible, because its
//! changes have been reported.

use std::{collections::HashSet, io, time::Duration};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{
    change::{DatabaseChange, WriterState},
    error::{Result, StoreError},
    handle::Store,
    identity, numbers,
    record::{Observation, RecordObservation},
    row::text,
    scans,
    writer::Turn,
};
use crate::model::{Address, Device, HostReport, PortSet, ScanId, ScanKind, ScanStatus};

/// After this time a step takes no further host. A commit takes an SD card some 50 ms; together they shall stay below
/// 100 ms.
const HOLD: Duration = Duration::from_millis(25);

/// Hosts sent to the writer at once: more than it takes in one step.
const HOSTS: usize = 256;

/// A scan of another scanner, without its hosts.
#[derive(Clone, Debug)]
pub struct Import {
    /// The program that made it, in place of a scanner's name.
    pub scanner: String,
    /// Identifies the report: SHA-256 of the file.
    pub digest: [u8; 32],
    /// The TCP ports that were scanned.
    pub ports: PortSet,
    /// How it ended.
    pub status: ScanStatus,
    /// When it began; in Unix seconds, this is its id.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// A host of an import.
#[derive(Clone, Debug)]
pub struct ImportedHost {
    /// The device; without a MAC it is the one that had the address then.
    pub device: Device,
    /// One report for each protocol; none for a device that was only seen.
    pub reports: Vec<HostReport>,
    /// When the host's scan began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// The result of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is stored under this id.
    New(ScanId),
    /// It was stored before under this id; nothing was stored now.
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

/// A host to be stored.
pub(super) struct Arrival {
    pub(super) host: ImportedHost,
    /// Whether the report also has its device at another address: the device had both at the same time.
    pub(super) is_alias: bool,
}

/// How an import begins.
#[derive(Clone, Copy)]
pub(super) enum Begun {
    New(ScanId),
    /// It was begun before and cut short.
    Again(ScanId),
    Known(ScanId),
}

impl Store {
    /// Stores a scan of another scanner; returns when it is committed. Its observations are ordered among ours by their
    /// time. Fails at once if the disk accepts no writes, because the client still has the report. Two simultaneous
    /// imports of one report would store it twice.
    ///
    /// Blocks, so it needs a thread of its own, which also produces the hosts.
    ///
    /// # Errors
    /// The hosts cannot be read completely, the database fails, or the store is closed. Importing the same report again
    /// then stores the missing hosts.
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
                // If this fails, too, the next start does it.
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

/// Inserts the scan under the second of its start, or under the next free id: two reports of one second are two scans,
/// and neither takes the id of one of ours.
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

/// Stores hosts until [`HOLD`] is over; returns the remaining hosts.
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

/// The addresses of the hosts that an import has stored.
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

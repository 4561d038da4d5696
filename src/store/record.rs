//! Stores an observation, the result of one host, once the host is finished.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    change::{DatabaseChange, Urgency},
    contributors::{Contributor, ObservationOrder, contributors_of},
    endpoints::Credit,
    error::{Result, StoreError},
    handle::Store,
    identity,
    insertion::insert_observation,
    row::milliseconds,
    verdicts::{Verdicts, digest},
};
use crate::model::{Device, HostReport, HostStatus, Protocol, ScanId, ScanKind};

/// The result of one host in one scan, to be stored.
///
/// Only the ports of an `Up` report are kept. Of a host that is down or partial only the status is kept, and the
/// previous result remains the newest. Ports that the report did not cover keep the state of an earlier observation.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The scan that it is part of.
    pub scan: ScanId,
    /// The device; its `name` and address become the device's current ones.
    pub device: Device,
    /// What was found.
    pub report: HostReport,
    /// When the host's scan began, by the wall clock.
    pub started: Timestamp,
    /// When it ended, by the wall clock.
    pub finished: Timestamp,
}

impl Store {
    /// Stores a finished host; completes when it is committed, at most [`DiskPace::commit`](super::DiskPace::commit)
    /// later.
    ///
    /// # Errors
    /// There is no such scan, or the store is closed.
    pub async fn record(&self, observation: Observation) -> Result<()> {
        self.write(move |context| {
            if observation.report.status != HostStatus::Down {
                let now = context.now();
                context.state.sightings.note(&observation.device, now);
            }
            RecordObservation { seq: context.next_seq(), observation }
        })
        .await
    }
}

/// Stores an observation under this sequence number.
pub(super) struct RecordObservation {
    pub(super) seq: i64,
    pub(super) observation: Observation,
}

impl DatabaseChange for RecordObservation {
    type Answer = ();

    fn urgency(&self) -> Urgency {
        Urgency::Paced
    }

    fn apply(&self, connection: &Connection) -> Result<()> {
        let Observation { scan, device, report, started, finished } = &self.observation;
        let kind = scan_kind(connection, *scan)?;
        let is_import = kind == ScanKind::Import.as_str();
        let Some(credit) = self.credit(connection, is_import)? else {
            // If a feed invents devices, most of these scans find nothing, and none of them is resumed.
            let is_kept = kind != ScanKind::Seen.as_str();
            return if is_kept { self.record_unanswered(connection) } else { Ok(()) };
        };
        if !is_import {
            let sql = "UPDATE endpoints SET up = ?2 WHERE id = ?1 AND up IS NOT ?2";
            let is_up = report.status != HostStatus::Down;
            connection.prepare_cached(sql)?.execute(params![credit.endpoint, is_up])?;
        }
        let is_complete = report.status == HostStatus::Up;
        let before = if is_complete { contributors_of(connection, credit.endpoint)? } else { Vec::new() };
        let verdicts = is_complete
            .then(|| Verdicts::of(report))
            .map(|verdicts| settled(verdicts, report.protocol, &before, is_import));
        let order = if is_import {
            ObservationOrder::of_import(*started, self.seq, &before)
        } else {
            ObservationOrder::own(self.seq)
        };
        self.insert_row(connection, credit.endpoint, verdicts.as_ref(), order)?;
        if verdicts.is_some() {
            let (scan, seq, started, protocol) = (*scan, self.seq, *started, report.protocol);
            let new = Contributor { scan, seq, protocol, started, verdicts, order };
            // The import may lack the MAC.
            let device = Device { mac: credit.mac, ..device.clone() };
            insert_observation(connection, (credit, &device), before, new, *finished)?;
        }
        Ok(())
    }
}

impl RecordObservation {
    /// Returns the device and endpoint of the observation. A host that is down was not seen: it keeps its address and
    /// the date of the last sighting. `None`: nothing is known at the address.
    fn credit(&self, connection: &Connection, is_import: bool) -> Result<Option<Credit>> {
        let Observation { scan, device, report, started, finished } = &self.observation;
        match report.status {
            HostStatus::Down => identity::credit_absence(connection, device, *finished, *scan),
            _ if is_import => identity::credit_import(connection, device, *started, *scan).map(Some),
            _ => identity::record_sighting(connection, device, *finished, Some(*scan)).map(Some),
        }
    }

    fn record_unanswered(&self, connection: &Connection) -> Result<()> {
        let Observation { scan, report, .. } = &self.observation;
        let sql = "INSERT OR IGNORE INTO unanswered (scan, address) VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute(params![scan.0, report.address.to_string()])?;
        Ok(())
    }

    fn insert_row(
        &self,
        connection: &Connection,
        endpoint: i64,
        verdicts: Option<&Verdicts>,
        order: ObservationOrder,
    ) -> Result<()> {
        let Observation { scan, report, started, finished, .. } = &self.observation;
        let result = verdicts.map(|verdicts| result(connection, &verdicts.encode())).transpose()?;
        let detail: Option<String> =
            verdicts.is_none().then(|| report.detail.chars().take(DETAIL_MAX).collect());
        let sql =
            "INSERT INTO observations (scan, seq, endpoint, address, protocol, status, result, reason, probes,
                                       started, finished, preparation, scanning, detail, place)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
        connection.prepare_cached(sql)?.execute(params![
            scan.0,
            self.seq,
            endpoint,
            report.address.to_string(),
            report.protocol.as_str(),
            report.status.as_str(),
            result,
            verdicts.map(|_| report.default_reason.as_str()),
            i64::try_from(report.probes).unwrap_or(i64::MAX),
            started.as_millisecond(),
            finished.as_millisecond(),
            milliseconds(report.preparation),
            milliseconds(report.scanning),
            detail,
            order.stored(),
        ])?;
        Ok(())
    }
}

/// The [`ScanKind`] of a scan, as stored.
fn scan_kind(connection: &Connection, scan: ScanId) -> Result<String> {
    let sql = "SELECT kind FROM scans WHERE id = ?1";
    let kind = connection.prepare_cached(sql)?.query_row([scan.0], |row| row.get(0)).optional()?;
    kind.ok_or(StoreError::UnknownScan(scan))
}

/// The longest failure reason that is kept, in characters.
const DETAIL_MAX: usize = 200;

/// The verdicts that are stored in place of these.
fn settled(verdicts: Verdicts, protocol: Protocol, before: &[Contributor], is_import: bool) -> Verdicts {
    let same = before_chance(before, protocol, &verdicts).filter(|_| !is_import).cloned();
    same.unwrap_or(verdicts)
}

/// No real host opens this many ports and closes this many between two observations.
const BY_CHANCE: u32 = 128;

/// The earlier verdicts on the same ports if so many have opened *and* closed since that the host answers at random: a
/// honeypot with other ports for each scan. Each of its results is as good as the last and takes a hundred kilobytes,
/// so the first one is kept and nothing counts as changed.
fn before_chance<'a>(before: &'a [Contributor], protocol: Protocol, now: &Verdicts) -> Option<&'a Verdicts> {
    let same_ports = before.iter().filter(|known| known.protocol == protocol);
    let mut same_ports = same_ports.filter_map(|known| known.verdicts.as_ref());
    let then = same_ports.find(|verdicts| verdicts.coverage() == now.coverage())?;
    let (open_then, open_now) = (then.open(), now.open());
    let flips = [open_now.minus(&open_then).len(), open_then.minus(&open_now).len()];
    flips.iter().all(|&flips| flips >= BY_CHANCE).then_some(then)
}

/// Returns the row of these verdicts, which is written only if no other observation has the same.
fn result(connection: &Connection, body: &[u8]) -> Result<i64> {
    let digest = digest(body);
    let sql = "SELECT id FROM results WHERE digest = ?1";
    let known = connection.prepare_cached(sql)?.query_row([digest], |row| row.get(0)).optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let sql = "INSERT INTO results (digest, body) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![digest, body])?;
    Ok(connection.last_insert_rowid())
}

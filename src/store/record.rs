//! Observations: the result of a host is stored, once it is finished.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    change::{Change, Urgency},
    contributors::{Contributor, ObservationOrder, contributors_of},
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
/// Only an `Up` report's ports are kept: of one that is down or partial the status is, and what was known
/// before stays the newest. Ports that it did not cover stay what an earlier observation found them to be.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The scan that it is part of.
    pub scan: ScanId,
    /// The device; its `name` and address become the device's present ones.
    pub device: Device,
    /// What was found.
    pub report: HostReport,
    /// When the host's scan began, by the wall clock.
    pub started: Timestamp,
    /// When it ended, by the wall clock.
    pub finished: Timestamp,
}

impl Store {
    /// Stores a finished host; resolves when it is committed, at most [`Pace::commit`](super::Pace::commit) later.
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

impl Change for RecordObservation {
    type Answer = ();

    fn urgency(&self) -> Urgency {
        Urgency::Paced
    }

    fn apply(&self, connection: &Connection) -> Result<()> {
        record(connection, self.seq, &self.observation)
    }
}

/// The longest reason for a failure that is kept, in characters.
const DETAIL_MAX: usize = 200;

fn record(connection: &Connection, seq: i64, observation: &Observation) -> Result<()> {
    let Observation { scan, device, report, started, finished } = observation;
    let sql = "SELECT kind FROM scans WHERE id = ?1";
    let kind: Option<String> =
        connection.prepare_cached(sql)?.query_row([scan.0], |row| row.get(0)).optional()?;
    let kind = kind.ok_or(StoreError::UnknownScan(*scan))?;
    let is_import = kind == ScanKind::Import.as_str();
    // A host that is down was not seen: it keeps the address and the date of when it was.
    let credit = match report.status {
        HostStatus::Down => identity::credit_absence(connection, device, *finished, *scan)?,
        _ if is_import => Some(identity::credit_import(connection, device, *started, *scan)?),
        _ => Some(identity::record_sighting(connection, device, *finished, Some(*scan))?),
    };
    let Some(credit) = credit else {
        // Where devices are made up, most of these scans find nothing, and none of them is resumed.
        if kind == ScanKind::Seen.as_str() {
            return Ok(());
        }
        let sql = "INSERT OR IGNORE INTO unanswered (scan, address) VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute(params![scan.0, report.address.to_string()])?;
        return Ok(());
    };
    let endpoint = credit.endpoint;
    if !is_import {
        let sql = "UPDATE endpoints SET up = ?2 WHERE id = ?1 AND up IS NOT ?2";
        connection.prepare_cached(sql)?.execute(params![endpoint, report.status != HostStatus::Down])?;
    }
    let up = report.status == HostStatus::Up;
    let before = if up { contributors_of(connection, endpoint)? } else { Vec::new() };
    let verdicts = up
        .then(|| Verdicts::of(report))
        .map(|verdicts| settled(verdicts, report.protocol, &before, is_import));
    let result = verdicts.as_ref().map(|verdicts| result(connection, &verdicts.encode())).transpose()?;
    let detail: Option<String> = (!up).then(|| report.detail.chars().take(DETAIL_MAX).collect());
    let order = if is_import {
        ObservationOrder::of_import(*started, seq, &before)
    } else {
        ObservationOrder::own(seq)
    };
    let sql =
        "INSERT INTO observations (scan, seq, endpoint, address, protocol, status, result, reason, probes,
                                   started, finished, preparation, scanning, detail, place)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    connection.prepare_cached(sql)?.execute(params![
        scan.0,
        seq,
        endpoint,
        report.address.to_string(),
        report.protocol.as_str(),
        report.status.as_str(),
        result,
        up.then(|| report.default_reason.as_str()),
        i64::try_from(report.probes).unwrap_or(i64::MAX),
        started.as_millisecond(),
        finished.as_millisecond(),
        milliseconds(report.preparation),
        milliseconds(report.scanning),
        detail,
        order.stored(),
    ])?;
    if verdicts.is_some() {
        let (scan, started, protocol) = (*scan, *started, report.protocol);
        let new = Contributor { scan, seq, protocol, started, verdicts, order };
        // An import may not know its MAC.
        let device = Device { mac: credit.mac, ..device.clone() };
        insert_observation(connection, (credit, &device), before, new, *finished)?;
    }
    Ok(())
}

/// What is stored of these verdicts.
fn settled(verdicts: Verdicts, protocol: Protocol, before: &[Contributor], is_import: bool) -> Verdicts {
    let same = before_chance(before, protocol, &verdicts).filter(|_| !is_import).cloned();
    same.unwrap_or(verdicts)
}

/// No host that has services opens as many ports as this and closes as many between two observations.
const BY_CHANCE: u32 = 128;

/// The earlier verdicts on the same ports, where so much has opened *and* closed since that what answers does so at
/// random: a honeypot with other ports for each scan. Each of its answers is as good as the last, and takes a
/// hundred kilobytes; so the first of them is kept, and nothing has changed.
fn before_chance<'a>(before: &'a [Contributor], protocol: Protocol, now: &Verdicts) -> Option<&'a Verdicts> {
    let same_ports = before.iter().filter(|known| known.protocol == protocol);
    let mut same_ports = same_ports.filter_map(|known| known.verdicts.as_ref());
    let then = same_ports.find(|verdicts| verdicts.coverage() == now.coverage())?;
    let (open_then, open_now) = (then.open(), now.open());
    let flips = [open_now.minus(&open_then).len(), open_then.minus(&open_now).len()];
    flips.iter().all(|&flips| flips >= BY_CHANCE).then_some(then)
}

/// The row of these verdicts, written only if no other observation had them before.
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

//! The writer's changes as SQL.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::model::{Device, HostStatus, Protocol, ScanId, ScanKind, ScanStatus};

use super::{
    Hearing, Observation, Schedule, Wish,
    current::{self, Look, Place},
    error::{Result, StoreError},
    expected, identity, names, presence,
    row::milliseconds,
    verdicts::{Verdicts, digest},
};

/// One change, complete: applying it again after a rollback gives the same rows.
#[derive(Debug)]
pub(super) enum Change {
    /// What a crash left running is closed, but for the runs, which the service resumes.
    Abandon,
    /// A scan starts.
    Begin { id: ScanId, scanner: String, kind: ScanKind, ports: String, started: Timestamp },
    /// A host is finished.
    Record { seq: i64, observation: Box<Observation> },
    /// A scan ends.
    End { id: ScanId, status: ScanStatus, finished: Timestamp },
    /// Devices were seen, each at all of its addresses.
    See { devices: Vec<Vec<Device>>, at: Timestamp },
    /// Names were heard.
    Hear { heard: Vec<Hearing>, at: Timestamp },
    /// Who was not seen since then is gone.
    Miss { since: Timestamp, at: Timestamp },
    /// A scanner's schedule moved.
    Schedule { scanner: String, schedule: Schedule },
    /// Something is expected, or no longer: all of it or nothing.
    Expect { wishes: Vec<Wish>, at: Timestamp },
}

impl Change {
    /// Makes the change, inside the caller's transaction.
    pub(super) fn apply(&self, connection: &Connection) -> Result<()> {
        match self {
            Self::Abandon => {
                connection.execute(
                    "UPDATE scans SET status = 'partial' WHERE status = 'running' AND kind <> 'run'",
                    [],
                )?;
            }
            Self::Begin { id, scanner, kind, ports, started } => {
                let sql = "INSERT INTO scans (id, scanner, kind, ports, status, started)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                let status = ScanStatus::Running.as_str();
                connection.prepare_cached(sql)?.execute(params![
                    id.0,
                    scanner,
                    kind.as_str(),
                    ports,
                    status,
                    started.as_millisecond()
                ])?;
            }
            Self::Record { seq, observation } => record(connection, *seq, observation)?,
            Self::End { id, status, finished } => {
                let sql = "UPDATE scans SET status = ?2, finished = ?3 WHERE id = ?1";
                let changed = connection.prepare_cached(sql)?.execute(params![
                    id.0,
                    status.as_str(),
                    finished.as_millisecond()
                ])?;
                if changed == 0 {
                    return Err(StoreError::UnknownScan(*id));
                }
            }
            Self::See { devices, at } => {
                for device in devices {
                    identity::record_all_addresses(connection, device, *at)?;
                }
            }
            Self::Hear { heard, at } => names::hear(connection, heard, *at)?,
            Self::Miss { since, at } => presence::mark_absent_since(connection, *since, *at)?,
            Self::Expect { wishes, at } => expected::write(connection, wishes, *at)?,
            Self::Schedule { scanner, schedule } => {
                let sql = "INSERT INTO schedules (scanner, since_start, started) VALUES (?1, ?2, ?3)
                           ON CONFLICT (scanner) DO UPDATE
                           SET since_start = excluded.since_start, started = excluded.started";
                let since_start = milliseconds(schedule.since_start);
                connection.prepare_cached(sql)?.execute(params![
                    scanner,
                    since_start,
                    schedule.started.as_millisecond()
                ])?;
            }
        }
        Ok(())
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
        // Where somebody makes devices up, most of these scans find nothing, and none of them is resumed.
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
    let before = if up { current::looks(connection, endpoint)? } else { Vec::new() };
    let verdicts = up
        .then(|| Verdicts::of(report))
        .map(|verdicts| settled(verdicts, report.protocol, &before, is_import));
    let result = verdicts.as_ref().map(|verdicts| result(connection, &verdicts.encode())).transpose()?;
    let detail: Option<String> = (!up).then(|| report.detail.chars().take(DETAIL_MAX).collect());
    let place = if is_import { Place::of_import(*started, seq, &before) } else { Place::own(seq) };
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
        place.stored(),
    ])?;
    if verdicts.is_some() {
        let (scan, started, protocol) = (*scan, *started, report.protocol);
        let look = Look { scan, seq, protocol, started, verdicts, place };
        // An import may not know its MAC.
        let device = Device { mac: credit.mac, ..device.clone() };
        current::take_in(connection, (credit, &device), before, look, *finished)?;
    }
    Ok(())
}

/// What is stored of these verdicts.
fn settled(verdicts: Verdicts, protocol: Protocol, before: &[Look], is_import: bool) -> Verdicts {
    let same = before_chance(before, protocol, &verdicts).filter(|_| !is_import).cloned();
    same.unwrap_or(verdicts)
}

/// As many ports as this open and as many close between two looks on no host that has services.
const BY_CHANCE: u32 = 128;

/// What an earlier look at the same ports has found, where so much has opened *and* closed since that what answers
/// does so at random: a honeypot with other ports for each look. Each of its answers is as good as the last, and takes a
/// hundred kilobytes; so the first of them is kept, and nothing has changed.
fn before_chance<'a>(before: &'a [Look], protocol: Protocol, now: &Verdicts) -> Option<&'a Verdicts> {
    let same_ports = before.iter().filter(|look| look.protocol == protocol);
    let mut same_ports = same_ports.filter_map(|look| look.verdicts.as_ref());
    let then = same_ports.find(|verdicts| verdicts.coverage() == now.coverage())?;
    let (open_then, open_now) = (then.open(), now.open());
    let flips = [open_now.minus(&open_then).len(), open_then.minus(&open_now).len()];
    flips.iter().all(|&flips| flips >= BY_CHANCE).then_some(then)
}

/// The row of these verdicts, written only if nobody had them before.
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

//! The writer's changes as SQL.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::model::{Device, HostStatus, PortSet, Protocol, ScanStatus};

use super::{
    Observation, ScanId, ScanKind, Schedule,
    error::{Result, StoreError},
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
    /// Devices were seen.
    See { devices: Vec<Device>, at: Timestamp },
    /// A scanner's schedule moved.
    Schedule { scanner: String, schedule: Schedule },
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
                    sight(connection, device, *at)?;
                }
            }
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

fn milliseconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The longest reason for a failure that is kept, in characters.
const DETAIL_MAX: usize = 200;

fn record(connection: &Connection, seq: i64, observation: &Observation) -> Result<()> {
    let Observation { scan, device, report, started, finished } = observation;
    if !connection.prepare_cached("SELECT 1 FROM scans WHERE id = ?1")?.exists([scan.0])? {
        return Err(StoreError::UnknownScan(*scan));
    }
    // Nobody has seen a host that is down: it keeps the address and the date of when somebody did.
    let device_id = match (find(connection, device)?, report.status) {
        (Some(known), HostStatus::Down) => known.id,
        _ => sight(connection, device, *finished)?,
    };
    let up = report.status == HostStatus::Up;
    let verdicts = up.then(|| Verdicts::of(report));
    let result = verdicts.as_ref().map(|verdicts| result(connection, &verdicts.encode())).transpose()?;
    let detail: Option<String> = (!up).then(|| report.detail.chars().take(DETAIL_MAX).collect());
    let sql =
        "INSERT INTO observations (scan, seq, device, address, protocol, status, result, reason, probes,
                                         started, finished, preparation, scanning, detail)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    connection.prepare_cached(sql)?.execute(params![
        scan.0,
        seq,
        device_id,
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
    ])?;
    if let Some(verdicts) = verdicts {
        supersede(connection, device_id, report.protocol, verdicts.coverage())?;
        let sql = "UPDATE devices SET latest_scan = ?2, latest_seq = ?3 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![device_id, scan.0, seq])?;
    }
    Ok(())
}

/// Makes way for a device's next latest observation: the one that it takes the place of, and those before,
/// count for as long as they cover a port that nothing newer does. Writes nothing where there is nothing to
/// change, as after two looks at the same ports.
fn supersede(connection: &Connection, device: i64, protocol: Protocol, coverage: &PortSet) -> Result<()> {
    let sql = "SELECT o.scan, o.seq, o.protocol, r.body, o.seq = d.latest_seq
               FROM current c
               JOIN observations o ON o.scan = c.scan AND o.seq = c.seq
               JOIN results r ON r.id = o.result
               JOIN devices d ON d.id = c.device
               WHERE c.device = ?1 ORDER BY o.seq DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([device])?;
    let mut covered = coverage.clone();
    let (mut demoted, mut spent) = (None, Vec::new());
    while let Some(row) = rows.next()? {
        let (scan, seq, is_latest): (i64, i64, bool) = (row.get(0)?, row.get(1)?, row.get(4)?);
        let counts = if row.get::<_, String>(2)? != protocol.as_str() {
            true
        } else if let Ok(older) = Verdicts::decode(row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?)
        {
            let counts = !older.coverage().is_subset(&covered);
            covered = covered.union(older.coverage());
            counts
        } else {
            // Damaged: it says nothing, and must not keep every later look from being stored.
            false
        };
        match (is_latest, counts) {
            (true, true) => demoted = Some((scan, seq)),
            (false, false) => spent.push(seq),
            (true, false) | (false, true) => {}
        }
    }
    drop(rows);
    if let Some((scan, seq)) = demoted {
        let sql = "INSERT INTO earlier (device, scan, seq) VALUES (?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute([device, scan, seq])?;
    }
    for seq in spent {
        let sql = "DELETE FROM earlier WHERE device = ?1 AND seq = ?2";
        connection.prepare_cached(sql)?.execute([device, seq])?;
    }
    Ok(())
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

/// A device's row as it is.
struct Known {
    id: i64,
    address: String,
    name: Option<String>,
    last_seen: i64,
}

fn find(connection: &Connection, device: &Device) -> Result<Option<Known>> {
    let by_mac = "SELECT id, address, name, last_seen FROM devices WHERE mac = ?1";
    let by_address = "SELECT id, address, name, last_seen FROM devices WHERE mac IS NULL AND address = ?1";
    let (sql, key) = match device.mac {
        Some(mac) => (by_mac, mac.to_string()),
        None => (by_address, device.address.to_string()),
    };
    let known = |row: &rusqlite::Row<'_>| {
        Ok(Known { id: row.get(0)?, address: row.get(1)?, name: row.get(2)?, last_seen: row.get(3)? })
    };
    Ok(connection.prepare_cached(sql)?.query_row([key], known).optional()?)
}

/// Notes that a device was seen, where, and what it is called; returns its row.
fn sight(connection: &Connection, device: &Device, at: Timestamp) -> Result<i64> {
    let (address, at) = (device.address.to_string(), at.as_millisecond());
    let Some(known) = find(connection, device)? else {
        let sql =
            "INSERT INTO devices (mac, address, name, first_seen, last_seen) VALUES (?1, ?2, ?3, ?4, ?4)";
        let mac = device.mac.map(|mac| mac.to_string());
        connection.prepare_cached(sql)?.execute(params![mac, address, device.name, at])?;
        let id = connection.last_insert_rowid();
        reside(connection, id, &address, at)?;
        return Ok(id);
    };
    if known.address != address {
        let sql = "UPDATE addresses SET last_seen = ?3 WHERE device = ?1 AND address = ?2";
        connection.prepare_cached(sql)?.execute(params![known.id, known.address, known.last_seen])?;
        reside(connection, known.id, &address, at)?;
    }
    // A feed that does not know the name does not take it away.
    let name = device.name.as_ref().or(known.name.as_ref());
    let sql = "UPDATE devices SET address = ?2, name = ?3, last_seen = ?4 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![known.id, address, name, at])?;
    Ok(known.id)
}

fn reside(connection: &Connection, device: i64, address: &str, at: i64) -> Result<()> {
    let sql = "INSERT INTO addresses (device, address, first_seen, last_seen) VALUES (?1, ?2, ?3, ?3)
               ON CONFLICT (device, address) DO UPDATE SET last_seen = excluded.last_seen";
    connection.prepare_cached(sql)?.execute(params![device, address, at])?;
    Ok(())
}

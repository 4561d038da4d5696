//! Complete results of scans, for export.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{
    error::Result,
    handle::Store,
    page::Page,
    row::{device, duration, parse, text, timestamp},
    scan_pages::{HOSTS, HOSTS_BYTES},
    verdicts::Verdicts,
};
use crate::model::{Device, HostReport, HostStatus, PortFinding, PortSet, PortState, Reason, ScanId};

/// The result of one host in one scan, as it was stored: without round-trip times, and with the usual reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRecord {
    /// Its sequence number in the scan; ascending from page to page.
    pub place: i64,
    /// The device with its present name, at its address of that time.
    pub device: Device,
    /// What was found.
    pub report: HostReport,
    /// When the host's scan began, by the wall clock of then.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

impl Store {
    /// Returns every observation of a scan, including hosts that were down, in the order in which they were finished.
    /// The first page is the one after [`i64::MIN`].
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn host_records(&self, scan: ScanId, after: i64) -> Result<Page<HostRecord>> {
        self.read(move |connection| host_records(connection, scan, after)).await
    }
}

fn host_records(connection: &Connection, scan: ScanId, after: i64) -> Result<Page<HostRecord>> {
    let sql = "SELECT o.seq, d.mac, o.address, d.name, o.protocol, o.status, o.reason, o.probes, o.started,
                      o.finished, o.preparation, o.scanning, o.detail, r.body
               FROM observations o JOIN endpoints e ON e.id = o.endpoint JOIN devices d ON d.id = e.device
               LEFT JOIN results r ON r.id = o.result
               WHERE o.scan = ?1 AND o.seq > ?2 ORDER BY o.seq LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![scan.0, after, HOSTS])?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let record = host_record(row)?;
        bytes += row.get_ref(13)?.as_blob_or_null().map_err(rusqlite::Error::from)?.map_or(0, <[u8]>::len);
        records.push((record.place, record));
        if bytes > HOSTS_BYTES {
            return Ok(Page::cut(records));
        }
    }
    Ok(Page::of(records, HOSTS))
}

fn host_record(row: &Row<'_>) -> Result<HostRecord> {
    let device = device(row, 1)?;
    let protocol = text(row, 4)?;
    let body = row.get_ref(13)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
    let (coverage, default_state, findings) = match body.map(Verdicts::decode).transpose()? {
        Some(verdicts) => {
            let (coverage, default_state, ports) = verdicts.into_parts();
            let found = |(port, state): (u16, PortState)| PortFinding {
                port,
                state,
                reason: state.usual_reason(protocol),
                rtt: None,
            };
            (coverage, default_state, ports.map(found).collect())
        }
        None => (PortSet::default(), PortState::Closed, Vec::new()),
    };
    let reason: Option<Reason> = row.get::<_, Option<String>>(6)?.map(parse).transpose()?;
    let report = HostReport {
        address: device.address.clone(),
        status: text::<HostStatus>(row, 5)?,
        coverage,
        default_state,
        default_reason: reason.unwrap_or(default_state.usual_reason(protocol)),
        findings,
        protocol,
        probes: u64::try_from(row.get::<_, i64>(7)?).unwrap_or(0),
        preparation: duration(row.get(10)?),
        scanning: duration(row.get(11)?),
        detail: row.get::<_, Option<String>>(12)?.unwrap_or_default(),
    };
    Ok(HostRecord {
        place: row.get(0)?,
        device,
        report,
        started: timestamp(row.get(8)?)?,
        finished: timestamp(row.get(9)?)?,
    })
}

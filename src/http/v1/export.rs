//! Scans in other tools' formats: nmap's XML, and CSV.

use std::{collections::BTreeMap, io, mem, time::Duration};

use axum::response::Response;
use futures_util::{Stream, StreamExt};
use hyper::StatusCode;
use jiff::{Timestamp, tz::TimeZone};

use super::{
    Api,
    ports::{PortRow, port_rows},
};
use crate::{
    http::{
        answer::Refusal,
        rows::{self, ResponseQueue, Source},
    },
    model::{Device, HostReport, HostStatus, PortSet, Protocol, ScanId, ScanStatus},
    nmap::{self, Format, ReportInfo, ScannedHost},
    services,
    store::{HostRecord, Page, ScanSummary, Store, StoreError},
};

/// Responds with the scan's listed ports, a line each; with only the header line if there is no such scan.
pub(super) async fn csv(queue: &ResponseQueue, api: &Api, id: ScanId) -> Result<Response, Refusal> {
    let rows = Box::pin(port_rows(api.store.clone(), id));
    rows::streamed(queue, "text/csv; charset=utf-8", CsvExport { rows, begun: false }).await
}

/// Streams ports as lines of CSV.
struct CsvExport<S> {
    rows: S,
    /// Whether the header line is written.
    begun: bool,
}

impl<S> Source for CsvExport<S>
where
    S: Stream<Item = Result<Vec<PortRow>, StoreError>> + Send + Unpin + 'static,
{
    async fn write(&mut self, text: &mut Vec<u8>) -> Result<bool, StoreError> {
        if !mem::replace(&mut self.begun, true) {
            text.extend_from_slice(b"address,port,protocol,state,scan_id\n");
        }
        let Some(rows) = self.rows.next().await else { return Ok(false) };
        rows?.iter().for_each(|row| text.extend_from_slice(row.csv().as_bytes()));
        Ok(true)
    }
}

/// Responds with the whole scan in nmap's format.
pub(super) async fn xml(queue: &ResponseQueue, api: &Api, id: ScanId) -> Result<Response, Refusal> {
    let scan = api.store.scan_summary(id).await?.ok_or_else(|| {
        Refusal::new(StatusCode::NOT_FOUND, "there is no such scan; /v1/scans lists all scans")
    })?;
    let report = XmlExport::new(api.store.clone(), scan);
    rows::streamed(queue, "application/xml", report).await
}

/// Ports of a host that are written at a time: some 16 KB.
const PORTS: usize = 128;

/// An XML report and how much of it is written.
struct XmlExport {
    store: Store,
    scan: ScanSummary,
    args: String,
    requested: BTreeMap<Protocol, PortSet>,
    has_begun: bool,
    /// All records up to this one are written.
    after: i64,
    /// The number of ports of the next host that are written, too.
    written: usize,
    hosts: usize,
    up: usize,
}

/// A host's records: one for each protocol.
#[derive(Default)]
struct HostRecords {
    device: Option<Device>,
    reports: Vec<HostReport>,
    times: Option<(Timestamp, Timestamp)>,
    /// The position of the last one.
    last: i64,
}

impl HostRecords {
    /// Adds a record if it belongs to the same host; returns whether it does. The records of a host's protocols are
    /// stored in a row.
    fn take(&mut self, record: HostRecord) -> bool {
        let is_first = self.device.is_none();
        let same = self.device.as_ref() == Some(&record.device);
        let is_other_protocol = self.reports.iter().all(|other| other.protocol != record.report.protocol);
        let belongs = is_first || same && is_other_protocol;
        if !belongs {
            return false;
        }
        self.times.get_or_insert((record.started, record.finished));
        self.device = Some(record.device);
        self.reports.push(record.report);
        self.last = record.place;
        true
    }
}

impl Source for XmlExport {
    async fn write(&mut self, text: &mut Vec<u8>) -> Result<bool, StoreError> {
        if !mem::replace(&mut self.has_begun, true) {
            self.with_run(|run| nmap::begin(text, Format::Xml, run)).map_err(|error| unwritten(&error))?;
        }
        let Some(host) = self.next_host().await? else {
            self.with_run(|run| nmap::end(text, Format::Xml, run, self.up))
                .map_err(|error| unwritten(&error))?;
            return Ok(false);
        };
        self.write_host(text, &host).map_err(|error| unwritten(&error))?;
        Ok(true)
    }
}

impl XmlExport {
    fn new(store: Store, scan: ScanSummary) -> Self {
        let requested =
            [(Protocol::Tcp, scan.ports.clone())].into_iter().filter(|(_, ports)| !ports.is_empty());
        Self {
            store,
            args: format!("portscan: {}", scan.scanner),
            requested: requested.collect(),
            scan,
            has_begun: false,
            after: i64::MIN,
            written: 0,
            hosts: 0,
            up: 0,
        }
    }

    /// Calls `write` with the report's data.
    fn with_run<T>(&self, write: impl FnOnce(&ReportInfo<'_>) -> io::Result<T>) -> io::Result<T> {
        let ended = self.scan.finished.unwrap_or(self.scan.started);
        write(&ReportInfo {
            args: &self.args,
            started: self.scan.started,
            elapsed: Duration::try_from(ended.duration_since(self.scan.started)).unwrap_or_default(),
            requested: &self.requested,
            targets: self.hosts,
            unfinished: match self.scan.status.parse() {
                Ok(ScanStatus::Complete) => None,
                Ok(ScanStatus::Running) => Some("still running: what is known so far"),
                _ => Some("not every host has a result"),
            },
            service: services::usual,
            zone: TimeZone::system(),
            verbose: 1,
            open_only: false,
            reasons: true,
            versions: false,
        })
    }

    /// Returns the next host to write.
    async fn next_host(&self) -> Result<Option<HostRecords>, StoreError> {
        let mut host = HostRecords::default();
        let mut after = self.after;
        loop {
            let Page { rows, next } = self.store.host_records(self.scan.id, after).await?;
            for record in rows {
                if !host.take(record) {
                    return Ok(Some(host));
                }
            }
            let Some(next) = next else { return Ok(host.device.is_some().then_some(host)) };
            after = next;
        }
    }

    fn write_host(&mut self, text: &mut Vec<u8>, host: &HostRecords) -> io::Result<()> {
        let (Some(device), Some((started, finished))) = (&host.device, host.times) else { return Ok(()) };
        let name = device.name.as_deref();
        let identified = &BTreeMap::new();
        let scanned =
            ScannedHost { reports: &host.reports, mac: device.mac, name, identified, started, finished };
        let ports = self.written..self.written + PORTS;
        if self.with_run(|run| nmap::write_xml_part(text, run, &scanned, ports))? {
            self.written += PORTS;
            return Ok(());
        }
        (self.after, self.written) = (host.last, 0);
        self.hosts += 1;
        self.up += usize::from(host.reports.first().is_some_and(|report| report.status != HostStatus::Down));
        Ok(())
    }
}

/// Writing to memory does not fail.
fn unwritten(error: &io::Error) -> StoreError {
    StoreError::Damaged(error.to_string())
}

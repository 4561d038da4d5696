//! Scans in other tools' formats: nmap's XML, and CSV.

use std::{collections::BTreeMap, io, mem, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use jiff::{Timestamp, tz::TimeZone};

use super::Api;
use crate::{
    http::answer::Refusal,
    model::{Device, HostReport, HostStatus, PortSet, Protocol, ScanStatus},
    nmap::{self, Format, Run, Scanned},
    services,
    store::{HostRecord, ScanId, ScanSummary},
};

/// The scan's listed ports, a line each; only the headline if there is no such scan.
pub(super) fn csv(api: &Api, id: ScanId) -> Response {
    let pages = api.queries.scan(id).map(move |page| {
        let rows = page?.into_iter().flat_map(|host| super::scans::port_rows(host, id));
        let lines: String = rows.map(|row| row.csv()).collect();
        Ok::<_, crate::store::StoreError>(Bytes::from(lines))
    });
    let head = stream::once(async { Ok(Bytes::from_static(b"address,port,protocol,state,scan_id\n")) });
    streamed("text/csv; charset=utf-8", Body::from_stream(head.chain(pages)))
}

/// The whole scan as nmap would have told it.
pub(super) async fn xml(api: &Api, id: ScanId) -> Result<Response, Refusal> {
    let scan = api.queries.scan_summary(id).await?.ok_or_else(|| {
        Refusal::new(StatusCode::NOT_FOUND, "there is no such scan; /v1/scans lists those there are")
    })?;
    let mut report = Report::new(scan);
    let pages = api.queries.records(id).map(Some).chain(stream::once(async { None }));
    let pieces = pages.map(move |page| {
        let written = match page {
            Some(page) => report.hosts(page.map_err(io::Error::other)?),
            None => report.end(),
        };
        written.map(|()| Bytes::from(mem::take(&mut report.text)))
    });
    Ok(streamed("application/xml", Body::from_stream(pieces)))
}

fn streamed(kind: &'static str, body: Body) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
}

/// A report that is being written.
struct Report {
    scan: ScanSummary,
    args: String,
    asked: BTreeMap<Protocol, PortSet>,
    /// A host of which more protocols may follow.
    pending: Option<(Device, Vec<HostReport>, (Timestamp, Timestamp))>,
    has_begun: bool,
    hosts: usize,
    up: usize,
    /// What was written and not yet sent.
    text: Vec<u8>,
}

impl Report {
    fn new(scan: ScanSummary) -> Self {
        let asked = [(Protocol::Tcp, scan.ports.clone())].into_iter().filter(|(_, ports)| !ports.is_empty());
        Self {
            args: format!("portscan: {}", scan.scanner),
            asked: asked.collect(),
            scan,
            pending: None,
            has_begun: false,
            hosts: 0,
            up: 0,
            text: Vec::new(),
        }
    }

    /// Writes with what is known of the scan.
    fn with_run(&mut self, write: impl FnOnce(&mut Vec<u8>, &Run<'_>) -> io::Result<()>) -> io::Result<()> {
        let ended = self.scan.finished.unwrap_or(self.scan.started);
        let run = Run {
            args: &self.args,
            started: self.scan.started,
            elapsed: Duration::try_from(ended.duration_since(self.scan.started)).unwrap_or_default(),
            asked: &self.asked,
            targets: self.hosts,
            unfinished: match self.scan.status.parse() {
                Ok(ScanStatus::Complete) => None,
                Ok(ScanStatus::Running) => Some("still running: what is known so far"),
                _ => Some("not every host has a result"),
            },
            service: services::name,
            zone: TimeZone::system(),
            verbose: 1,
            open_only: false,
            reasons: true,
        };
        write(&mut self.text, &run)
    }

    /// A host's protocols follow each other, for they were stored so.
    fn hosts(&mut self, records: Vec<HostRecord>) -> io::Result<()> {
        self.begin()?;
        for HostRecord { device, report, started, finished } in records {
            match &mut self.pending {
                Some((same, reports, _))
                    if *same == device && reports.iter().all(|other| other.protocol != report.protocol) =>
                {
                    reports.push(report);
                }
                _ => {
                    self.host()?;
                    self.pending = Some((device, vec![report], (started, finished)));
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        if mem::replace(&mut self.has_begun, true) {
            return Ok(());
        }
        self.with_run(|out, run| nmap::begin(out, Format::Xml, run))
    }

    fn host(&mut self) -> io::Result<()> {
        let Some((device, reports, (started, finished))) = self.pending.take() else { return Ok(()) };
        self.hosts += 1;
        self.up += usize::from(reports[0].status != HostStatus::Down);
        let name = device.name.as_deref();
        let host = Scanned { reports: &reports, mac: device.mac, name, started, finished };
        self.with_run(|out, run| nmap::write_host(out, Format::Xml, run, &host))
    }

    fn end(&mut self) -> io::Result<()> {
        self.begin()?;
        self.host()?;
        let up = self.up;
        self.with_run(|out, run| nmap::end(out, Format::Xml, run, up))
    }
}

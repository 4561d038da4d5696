//! Streams changes as they happen, and the progress of scans: server-sent events (WHATWG HTML, 9.2).

use std::{collections::HashMap, convert::Infallible, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use tokio::{select, sync::watch, time::timeout};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, changes::ChangeRow};
use crate::{
    http::{
        admission::{Client, RefusalReason},
        answer::{ErrorBody, Refusal},
        conversation::ExtendedTimeout,
        listeners::{ListenerSlot, Listeners},
    },
    model::{Address, ChangeEvent, ChangeFilter, Device, Mac, PortSet, Protocol},
    service::{
        differences::Differences,
        runner::{RunView, Runs},
    },
    store::Store,
};

/// The longest time without data. Proxies and home routers drop connections that are idle for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the scans in progress are read, so that an open port is told within a second.
const FINDINGS: Duration = Duration::from_millis(500);

/// After how many readings the progress of scans is sent, if it has changed: 5 s.
const PROGRESS: u32 = 10;

/// After how many milliseconds a browser is to reconnect.
const RETRY: u64 = 5000;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(events)).layer(Extension(Listeners::default()))
}

/// One listening client.
struct Listener {
    store: Store,
    differences: Differences,
    newest: watch::Receiver<i64>,
    /// The last change that was sent.
    sent: i64,
    runs: Runs,
    /// The progress of the scans when it was last sent.
    scans: Vec<ScanRow>,
    /// The open ports at the last reading, by scan and address.
    found: HashMap<(i64, Address), PortSet>,
    /// For how many readings no progress was sent.
    waited: u32,
    /// For how many readings nothing was sent.
    quiet: u32,
    begun: bool,
}

/// The progress of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct ScanRow {
    scan_id: i64,
    running: bool,
    hosts_done: usize,
    hosts: usize,
    ports_done: u64,
    ports: u64,
}

/// A port that a scan in progress has found open, and no earlier one.
#[derive(Serialize)]
struct OpenRow {
    mac: Option<Mac>,
    address: Address,
    protocol: Protocol,
    port: u16,
    scan_id: i64,
}

/// Streams changes as they happen, each as an event `change` with the change's id and its row of /v1/changes as data;
/// within a second each port that a scan in progress has found open and that was not known to be open, unconfirmed yet,
/// as an event `port` without an id; and every few seconds the progress of each scan that has advanced, as an event
/// `scan` without an id.
///
/// Starts after the change in `Last-Event-ID`; without that header, with the next change.
#[utoipa::path(
    get, path = "/v1/events", tag = "changes",
    params(("Last-Event-ID" = Option<i64>, Header, description = "The last change that the client has received")),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 400, body = ErrorBody),
        (status = 503, body = ErrorBody, description = "Too many clients are listening already")),
)]
async fn events(
    State(api): State<Api>,
    Extension(listeners): Extension<Listeners>,
    Extension(client): Extension<Client>,
    Extension(extended): Extension<ExtendedTimeout>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let newest = api.store.latest_event();
    let sent = match headers.get("last-event-id") {
        None => *newest.borrow(),
        Some(id) => id.to_str().ok().and_then(|id| id.trim().parse().ok()).ok_or_else(|| {
            Refusal::bad_request("Last-Event-ID is malformed; it is the number of the last event")
        })?,
    };
    let place = listeners.admit(api.clock.now(), client).map_err(refusal)?;
    extended.enable();
    let listener = Listener {
        store: api.store.clone(),
        differences: api.differences.clone(),
        newest,
        sent,
        runs: api.runs.clone(),
        scans: Vec::new(),
        found: HashMap::new(),
        waited: 0,
        quiet: 0,
        begun: false,
    };
    let text =
        stream::unfold((listener, place), async |(mut listener, mut place): (Listener, ListenerSlot)| {
            let text = select! {
                text = listener.next() => text,
                () = place.ended() => None,
            }?;
            Some((Ok::<_, Infallible>(text), (listener, place)))
        });
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // nginx would buffer it until it fills a packet.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((head, Body::from_stream(text)).into_response())
}

fn refusal(reason: RefusalReason) -> Refusal {
    let why = match reason {
        RefusalReason::Quota(_) => {
            "too many listeners of this client already; close some of them (pages that are open) and try again"
        }
        RefusalReason::Full => "too many are listening already; try again later",
    };
    Refusal::again_in(RETRY.div_ceil(1000), why)
}

impl Listener {
    /// The next text to send; `None`: the store or the runner has ended.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            self.begun = true;
            return Some(format!("retry: {RETRY}\n\n").into());
        }
        loop {
            // Marked as seen before the changes are read, so that one in between wakes this again.
            self.newest.borrow_and_update();
            let asked = ChangeFilter { after: self.sent, ..ChangeFilter::default() };
            let page = self.differences.change_events(asked).await.ok()?;
            if let Some(last) = page.rows.last() {
                self.sent = last.id;
                return Some(page.rows.into_iter().map(change).collect::<String>().into());
            }
            match timeout(FINDINGS, self.newest.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_closed)) => return None,
                Err(_quiet) => {
                    let text = self.read_runs().await;
                    self.quiet = if text.is_empty() { self.quiet + 1 } else { 0 };
                    if !text.is_empty() {
                        return Some(text.into());
                    }
                    if FINDINGS * self.quiet >= HEARTBEAT {
                        self.quiet = 0;
                        return Some(Bytes::from_static(b":\n\n"));
                    }
                }
            }
        }
    }

    /// What is to be sent of the scans in progress: the ports that they have found, and now and then how far they are.
    async fn read_runs(&mut self) -> String {
        // A runner that has ended has no runs.
        let views = self.runs.under_way().await.unwrap_or_default();
        let mut text = self.findings(&views).await;
        self.waited += 1;
        if self.waited >= PROGRESS {
            self.waited = 0;
            text.push_str(&self.progress(&views));
        }
        text
    }

    /// The open ports that are news. Those of a device's stored state are none: the scan finds them again.
    async fn findings(&mut self, views: &[RunView]) -> String {
        let mut text = String::new();
        for (scan_id, device, ports) in self.take_found(views) {
            // A state that cannot be read now is told by the health of the store.
            let stored = self.store.latest(&device.key()).await.ok().flatten();
            let open: PortSet = stored.into_iter().flat_map(|host| host.open).collect();
            for port in ports.minus(&open).iter() {
                let (mac, address) = (device.mac, device.address.clone());
                let row = OpenRow { mac, address, protocol: Protocol::Tcp, port, scan_id };
                text.push_str(&event_text("port", None, &row));
            }
        }
        text
    }

    /// The open ports that were found since the last reading, by scan and device.
    fn take_found(&mut self, views: &[RunView]) -> Vec<(i64, Device, PortSet)> {
        let mut before = std::mem::take(&mut self.found);
        let mut found = Vec::new();
        for run in views {
            for look in &run.looks {
                let ports: PortSet = look.open_ports.iter().copied().collect();
                let key = (run.id.0, look.device.address.clone());
                let new = ports.minus(&before.remove(&key).unwrap_or_default());
                if !new.is_empty() {
                    found.push((run.id.0, look.device.clone(), new));
                }
                self.found.insert(key, ports);
            }
        }
        found
    }

    /// The progress of the scans, as far as it has changed.
    fn progress(&mut self, views: &[RunView]) -> String {
        let now: Vec<ScanRow> = views.iter().map(ScanRow::of).collect();
        let moved = moved(&self.scans, &now);
        self.scans = now;
        moved.iter().map(|row| event_text("scan", None, row)).collect()
    }
}

impl ScanRow {
    fn of(view: &RunView) -> Self {
        Self {
            scan_id: view.id.0,
            running: true,
            hosts_done: view.hosts_done,
            hosts: view.hosts,
            ports_done: view.ports_done,
            ports: view.ports,
        }
    }
}

/// Returns the scans with changed progress, including those that have ended.
fn moved(before: &[ScanRow], now: &[ScanRow]) -> Vec<ScanRow> {
    let is_over = |row: &&ScanRow| now.iter().all(|other| other.scan_id != row.scan_id);
    let over = before.iter().filter(is_over).map(|row| ScanRow { running: false, ..*row });
    over.chain(now.iter().filter(|row| !before.contains(row)).copied()).collect()
}

fn change(event: ChangeEvent) -> String {
    let row = ChangeRow::of(event);
    event_text("change", Some(row.id()), &row)
}

/// JSON has no line breaks of its own, so that it is one line of data.
fn event_text(event: &str, id: Option<i64>, row: &impl Serialize) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    let data = serde_json::to_string(row).unwrap_or_default();
    format!("{id}event: {event}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scans_that_progressed_or_ended_are_sent() {
        let row = |scan_id, ports_done| ScanRow {
            scan_id,
            running: true,
            hosts_done: 1,
            hosts: 2,
            ports_done,
            ports: 9,
        };
        let (before, now) = ([row(1, 3), row(2, 3), row(3, 3)], [row(2, 3), row(3, 4), row(4, 0)]);
        let over = ScanRow { running: false, ..row(1, 3) };
        assert_eq!(moved(&before, &now), [over, row(3, 4), row(4, 0)]);
        assert_eq!(moved(&now, &now), []);
        let text = event_text("scan", None, &row(4, 0));
        assert!(text.starts_with("event: scan\ndata: {\"scan_id\":4,\"running\":true,"), "{text}");
    }
}

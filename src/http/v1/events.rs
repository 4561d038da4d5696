//! Streams changes as they happen, and the progress of scans: server-sent events (WHATWG HTML, 9.2).

use std::{collections::HashMap, convert::Infallible, pin::pin, time::Duration};

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
use tokio::{select, sync::watch, time::sleep};

use super::{Api, changes::ChangeRow};
use crate::{
    http::{
        admission::{Client, RefusalReason},
        answer::{ErrorBody, Refusal},
        conversation::ExtendedTimeout,
        listeners::{ListenerSlot, Listeners},
        routes::{Routes, route},
    },
    model::{Address, ChangeEvent, ChangeFilter, Mac, PortSet, Protocol, ScanId},
    service::{
        differences::Differences,
        runner::{Live, RunCounts},
    },
};

/// The longest time without data. Proxies and home routers drop connections that are idle for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// After how many milliseconds a browser is to reconnect.
const RETRY: u64 = 5000;

pub(super) fn routes() -> Routes<Api> {
    Routes::new().with(route!(events).map(|handlers| handlers.layer(Extension(Listeners::default()))))
}

/// One listening client. It waits for changes that wake all listeners, and reads nothing before there is one.
struct Listener {
    differences: Differences,
    newest: watch::Receiver<i64>,
    /// Whether unread changes may exist.
    has_unread: bool,
    /// The last change that was sent.
    sent: i64,
    live: Live,
    findings: watch::Receiver<()>,
    runs: watch::Receiver<Vec<RunCounts>>,
    /// The progress of the scans when it was last sent.
    scans: Vec<ScanRow>,
    /// The open ports that were news at the last reading, by scan and address.
    found: HashMap<(ScanId, Address), PortSet>,
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
/// within a second each port that a scan in progress has found open and that was not known to be open when the scan of
/// its device began, unconfirmed yet, as an event `port` without an id; and every few seconds the progress of each scan
/// that has advanced, as an event `scan` without an id.
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
    let listener = Listener::new(api.differences.clone(), api.runs.live().clone(), newest, sent);
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
    fn new(differences: Differences, live: Live, newest: watch::Receiver<i64>, sent: i64) -> Self {
        let (mut findings, mut runs) = (live.found(), live.runs());
        // What there is already is news for this client.
        findings.mark_changed();
        runs.mark_changed();
        Self {
            differences,
            newest,
            has_unread: true,
            sent,
            live,
            findings,
            runs,
            scans: Vec::new(),
            found: HashMap::new(),
            begun: false,
        }
    }

    /// The next text to send; `None`: the store has ended.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            self.begun = true;
            return Some(format!("retry: {RETRY}\n\n").into());
        }
        let mut quiet = pin!(sleep(HEARTBEAT));
        loop {
            if self.has_unread {
                // Marked as seen before the changes are read, so that one in between wakes this again.
                self.newest.borrow_and_update();
                let asked = ChangeFilter { after: self.sent, ..ChangeFilter::default() };
                let page = self.differences.change_events(asked).await.ok()?;
                if let Some(last) = page.rows.last() {
                    self.sent = last.id;
                    return Some(page.rows.into_iter().map(change).collect::<String>().into());
                }
                self.has_unread = false;
            }
            // The store may close; the other two have their senders in `live`.
            let text = select! {
                changed = self.newest.changed() => {
                    changed.ok()?;
                    self.has_unread = true;
                    continue;
                }
                Ok(()) = self.findings.changed() => self.new_findings(),
                Ok(()) = self.runs.changed() => self.progress(),
                () = &mut quiet => return Some(Bytes::from_static(b":\n\n")),
            };
            if !text.is_empty() {
                return Some(text.into());
            }
        }
    }

    /// The open ports that are news. Those of a device's stored state are none: the scan finds them again.
    fn new_findings(&mut self) -> String {
        let mut text = String::new();
        let mut before = std::mem::take(&mut self.found);
        for look in self.live.recent_looks() {
            let key = (look.scan, look.device.address.clone());
            let new = look.new_ports.minus(&before.remove(&key).unwrap_or_default());
            for port in new.iter() {
                let (mac, address) = (look.device.mac, look.device.address.clone());
                let row = OpenRow { mac, address, protocol: Protocol::Tcp, port, scan_id: look.scan.0 };
                text.push_str(&event_text("port", None, &row));
            }
            self.found.insert(key, look.new_ports);
        }
        text
    }

    /// The progress of the scans, as far as it has changed.
    fn progress(&mut self) -> String {
        let now: Vec<ScanRow> = self.runs.borrow_and_update().iter().map(ScanRow::of).collect();
        let moved = moved(&self.scans, &now);
        self.scans = now;
        moved.iter().map(|row| event_text("scan", None, row)).collect()
    }
}

impl ScanRow {
    fn of(counts: &RunCounts) -> Self {
        let RunCounts { id, hosts_done, hosts, ports_done, ports } = *counts;
        Self { scan_id: id.0, running: true, hosts_done, hosts, ports_done, ports }
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
    use std::{
        future::poll_fn,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::{clock::SystemClock, config::Config, store::Store};

    #[tokio::test(start_paused = true)]
    async fn a_listener_wakes_for_nothing_but_heartbeats_while_nothing_happens() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("portscan.db");
        let (store, _threads) = Store::open(&file, Arc::new(SystemClock::start())).unwrap();
        let (_config, config) = watch::channel(Arc::new(Config::default()));
        let newest = store.latest_event();
        let mut listener = Listener::new(Differences::new(store, config), Live::default(), newest, 0);
        assert!(listener.next().await.unwrap().starts_with(b"retry: "));
        let polls = Mutex::new(0);
        for _ in 0..4 {
            let mut next = pin!(listener.next());
            let text = poll_fn(|context| {
                *polls.lock().unwrap() += 1;
                next.as_mut().poll(context)
            });
            assert_eq!(text.await.unwrap(), ":\n\n");
        }
        // Once to wait and once for the heartbeat; and at first once for the answer of the store.
        assert_eq!(*polls.lock().unwrap(), 9);
    }

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

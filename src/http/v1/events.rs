//! The same changes as they happen: server-sent events (WHATWG HTML, 9.2).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use hyper::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, changes::ChangeRow};
use crate::{
    http::{
        answer::{ErrorBody, Refusal},
        conversation::Leisure,
    },
    service::queries::Queries,
    store::Asked,
};

/// Listeners at once, an eighth of all connections: each holds one for as long as it likes.
const LISTENERS: usize = 32;

/// The longest silence. Proxies and home routers forget connections that say nothing for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a browser is told to wait before it asks again, in milliseconds.
const RETRY: u32 = 5000;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(events)).layer(Extension(Arc::new(Semaphore::new(LISTENERS))))
}

/// Somebody who listens.
struct Listener {
    queries: Arc<Queries>,
    newest: watch::Receiver<i64>,
    /// The last change that was told.
    told: i64,
    begun: bool,
    _place: OwnedSemaphorePermit,
}

/// Changes as they happen, each an event `change` with the id to go on from and the row of /v1/changes as data.
///
/// With `Last-Event-ID` begins after that change, else with the next one.
#[utoipa::path(
    get, path = "/v1/events", tag = "changes",
    params(("Last-Event-ID" = Option<i64>, Header, description = "The last change that was heard of")),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 400, body = ErrorBody)),
)]
async fn events(
    State(api): State<Api>,
    Extension(places): Extension<Arc<Semaphore>>,
    Extension(leisure): Extension<Leisure>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let place = places.try_acquire_owned().map_err(|_| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many are listening already; try again later")
    })?;
    let newest = api.queries.newest();
    let told = match headers.get("last-event-id") {
        None => *newest.borrow(),
        Some(id) => id.to_str().ok().and_then(|id| id.trim().parse().ok()).ok_or_else(|| {
            Refusal::bad_request("Last-Event-ID is malformed; it is the number of the last event")
        })?,
    };
    leisure.take();
    let listener = Listener { queries: api.queries, newest, told, begun: false, _place: place };
    let text = stream::unfold(listener, async |mut listener| {
        let text = listener.next().await?;
        Some((Ok::<_, Infallible>(text), listener))
    });
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // nginx would keep it until it is worth a packet.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((head, Body::from_stream(text)).into_response())
}

impl Listener {
    /// What to say next; `None`: there is nobody left to hear it from.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            self.begun = true;
            return Some(format!("retry: {RETRY}\n\n").into());
        }
        loop {
            // Seen before it is read: what comes in between wakes us again.
            self.newest.borrow_and_update();
            let asked = Asked { after: self.told, ..Asked::default() };
            let page = self.queries.news(asked).await.ok()?;
            if let Some(last) = page.rows.last() {
                self.told = last.id;
                return Some(
                    page.rows.into_iter().map(|news| event(&ChangeRow::of(news))).collect::<String>().into(),
                );
            }
            match timeout(HEARTBEAT, self.newest.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_closed)) => return None,
                Err(_quiet) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }
}

/// JSON has no line breaks of its own, so that it is one line of data.
fn event(row: &ChangeRow) -> String {
    let data = serde_json::to_string(row).unwrap_or_default();
    format!("id: {}\nevent: change\ndata: {data}\n\n", row.id())
}

//! The page that Prometheus scrapes. The part about the devices, by far the larger one, is encoded once for all clients
//! and again only after a change; all readers share the same bytes.

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use hyper::{StatusCode, header};
use tokio::sync::Mutex;

use super::answer::Refusal;
use crate::{
    metrics::{self, MetricsError},
    model::Snapshot,
    service::snapshot::{HostsVersion, SnapshotReader},
};

/// The most replaced parts that slow clients may still be reading. If there are more, no new part is encoded until one
/// of the clients is done or disconnected, which takes at most half a minute.
const REPLACED: usize = 1;

/// `/metrics`. It needs no token, like every read: Prometheus scrapes without one by default.
pub(super) fn routes(snapshots: SnapshotReader) -> Router {
    Router::new()
        .route("/metrics", get(page))
        .with_state(Arc::new(Pages { snapshots, hosts: Mutex::default() }))
}

/// The parts of the page.
struct Pages {
    snapshots: SnapshotReader,
    /// Locked while it is encoded, so that it is encoded only once.
    hosts: Mutex<HostParts>,
}

/// The part about the devices.
#[derive(Default)]
struct HostParts {
    newest: Option<(HostsVersion, Arc<String>)>,
    replaced: Vec<Weak<String>>,
}

/// One reader's reference to it.
struct Shared(Arc<String>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

async fn page(State(pages): State<Arc<Pages>>) -> Result<Response, Refusal> {
    // The clients that wait for the devices' part hold nothing meanwhile.
    let hosts = pages.hosts().await.map_err(|error| failed(&error))?;
    let own = metrics::encode_own(&pages.snapshots.own_facts().await).map_err(|error| failed(&error))?;
    let length = own.len() + hosts.len();
    let parts = [Bytes::from(own), Bytes::from_owner(Shared(hosts))];
    let parts = parts.into_iter().filter(|part| !part.is_empty()).map(Ok::<_, Infallible>);
    let kind = (header::CONTENT_TYPE, metrics::CONTENT_TYPE);
    let mut response = ([kind], Body::from_stream(stream::iter(parts))).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    Ok(response)
}

pub(super) fn failed(error: &MetricsError) -> Refusal {
    tracing::error!(%error, "failed to encode metrics; answering 500");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

impl Pages {
    /// The part about the devices as they are now; empty if the database cannot be read.
    async fn hosts(&self) -> Result<Arc<String>, MetricsError> {
        let mut parts = self.hosts.lock().await;
        // Read before the data: what changes while the data are read is encoded the next time.
        let version = self.snapshots.hosts_version().await;
        if let Some(known) = version.as_ref().ok().and_then(|version| parts.still_good(version)) {
            return Ok(known);
        }
        let snapshot = self.snapshots.host_snapshot().await;
        match (version, snapshot) {
            (Ok(version), Ok(snapshot)) => {
                let mut written = metrics::encode_hosts(&snapshot)?;
                written.shrink_to_fit();
                let written = Arc::new(written);
                parts.replace(version, Arc::clone(&written));
                Ok(written)
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "failed to read the database; metrics lack the devices");
                Ok(metrics::encode_hosts(&Snapshot::default())?.into())
            }
        }
    }
}

impl HostParts {
    /// The newest part, if it is of this version, or if too many older ones are still being read.
    fn still_good(&mut self, version: &HostsVersion) -> Option<Arc<String>> {
        self.replaced.retain(|part| part.strong_count() > 0);
        let (of, part) = self.newest.as_ref()?;
        let is_read = Arc::strong_count(part) > 1;
        let is_too_many = is_read && self.replaced.len() >= REPLACED;
        (of == version || is_too_many).then(|| Arc::clone(part))
    }

    fn replace(&mut self, version: HostsVersion, part: Arc<String>) {
        if let Some((_, before)) = self.newest.replace((version, part)) {
            self.replaced.push(Arc::downgrade(&before));
        }
    }
}

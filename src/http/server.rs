//! The accept loops.
//!
//! They use hyper directly rather than `axum::serve`, which sets no time limit for a request's head, and does not bound
//! the number of connections.

use std::{io, net::TcpListener, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use futures_util::FutureExt;
use tokio::{
    select,
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    auth::Gate,
    connections::{Acceptance, Connections},
    conversation::Handler,
    limits::ServerLimits,
    sender::ConnectionEnds,
};
use crate::clock::Clock;

/// The pause after the kernel could not accept a connection (no descriptors, no memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Least time between two log lines about that.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// What is served, and its bounds.
pub struct Server {
    /// Answers the requests.
    pub router: Router,
    /// Decides which requests are the owner's.
    pub gate: Gate,
    /// The clock for the log.
    pub clock: Arc<dyn Clock>,
    /// The bounds for clients.
    pub limits: ServerLimits,
}

/// Serves on these listeners (see [`bind`](super::bind)) until `stop` is cancelled, and for at most
/// [`ServerLimits::stop`] longer.
///
/// # Errors
///
/// Fails at the start if a listener cannot be registered with the runtime.
pub async fn serve(listeners: Vec<TcpListener>, server: Server, stop: CancellationToken) -> io::Result<()> {
    let Server { router, gate, clock, limits } = server;
    let connections = Connections::new(limits.connections, clock);
    let handler = Arc::new(Handler::new(router, gate, limits));
    let mut loops = JoinSet::new();
    // One loop each, so that a flood on one address does not delay the others.
    for listener in listeners {
        let acceptor = Acceptor {
            listener: tokio::net::TcpListener::from_std(listener)?,
            connections: Arc::clone(&connections),
            handler: Arc::clone(&handler),
            patience: limits.stop,
        };
        loops.spawn(acceptor.run(stop.clone()));
    }
    while loops.join_next().await.is_some() {}
    Ok(())
}

/// One listener with what its connections need.
struct Acceptor {
    listener: tokio::net::TcpListener,
    connections: Arc<Connections>,
    handler: Arc<Handler>,
    patience: Duration,
}

impl Acceptor {
    async fn run(self, stop: CancellationToken) {
        // Not `tokio_util`'s `TaskTracker`: dropping this set ends those that are not over in time.
        let mut open = JoinSet::new();
        let mut quiet = pin!(sleep(Duration::ZERO));
        loop {
            let accepted = select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = open.join_next() => continue,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Ok(ends) = ConnectionEnds::of(&stream, peer) else { continue };
                    if self.connections.is_full() {
                        // Complete heads that the kernel has buffered are read before any connection is closed.
                        yield_now().await;
                    }
                    let acceptance = select! {
                        acceptance = self.connections.accept(ends.peer, ends.are_here()) => acceptance,
                        () = stop.cancelled() => break,
                    };
                    if let Acceptance::Accepted(slot, eviction) = acceptance {
                        let handler = Arc::clone(&self.handler);
                        open.spawn(handler.serve_connection((stream, ends), (slot, eviction), stop.clone()));
                    }
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    if (&mut quiet).now_or_never().is_some() {
                        tracing::warn!(%error, "failed to accept a connection; retrying");
                        quiet.set(sleep(LOG_PAUSE));
                    }
                    if self.connections.close_one() {
                        yield_now().await; // so that the connection closes
                    } else {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        // New connections are refused from here on; requests in progress may end.
        drop(self.listener);
        let _ = timeout(self.patience, async { while open.join_next().await.is_some() {} }).await;
    }
}

/// Whether accept(2) reported that the new connection is already over, which is no reason to pause.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

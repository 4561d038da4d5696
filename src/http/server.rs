//! The accept loops.
//!
//! hyper on our own sockets rather than `axum::serve`, which sets no timer, so that a client may take for
//! ever over its request's head, and bounds no number of connections.

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
    limits::Limits,
    sender::Ends,
};
use crate::clock::Clock;

/// How long to leave the kernel alone after it could not give us a connection (no descriptors, no memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Least time between two log lines about that.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// What is served, within which bounds.
pub struct Server {
    /// Answers the requests.
    pub router: Router,
    /// Tells the owner's requests from others.
    pub gate: Gate,
    /// Dates what is logged.
    pub clock: Arc<dyn Clock>,
    /// How much of it a client may have.
    pub limits: Limits,
}

/// Serves on these listeners (see [`bind`](super::bind)) until `stop` is cancelled, and for at most
/// [`Limits::stop`] longer.
///
/// # Errors
///
/// If a listener cannot be registered with the runtime, at the start only.
pub async fn serve(listeners: Vec<TcpListener>, server: Server, stop: CancellationToken) -> io::Result<()> {
    let Server { router, gate, clock, limits } = server;
    let connections = Connections::new(limits.connections, clock);
    let handler = Arc::new(Handler::new(router, gate, limits));
    let mut loops = JoinSet::new();
    // One loop each, so that a flood on one address leaves the others their turn.
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
                    let Ok(ends) = Ends::of(&stream, peer) else { continue };
                    if self.connections.is_full() {
                        // Heads that lie complete in the kernel are read before any connection is closed.
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
                        tracing::warn!(%error, "cannot accept connections for now; trying on");
                        quiet.set(sleep(LOG_PAUSE));
                    }
                    if self.connections.close_one() {
                        yield_now().await; // to the one that closes
                    } else {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        // Newcomers are refused from here on; those at the tail of a request are waited for.
        drop(self.listener);
        let _ = timeout(self.patience, async { while open.join_next().await.is_some() {} }).await;
    }
}

/// Whether accept(2) reported that the new connection is already over: no reason to pause.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

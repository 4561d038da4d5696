//! One connection, from its first byte to its last, under its time limits.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    extract::FromRequestParts,
    response::{IntoResponse, Response as Answer},
};
use bytes::Bytes;
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{self, HeaderValue},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::TcpStream,
    select,
    sync::watch,
    time::{sleep, timeout},
};
use tower::ServiceExt;

use super::{
    admission::{Client, Reason},
    answer::Refusal,
    auth::Gate,
    connections::{Begun, Eviction, Seat, Turn},
    limits::Limits,
    sender::Sender,
};

/// Buffer for a connection's requests and answers each, in bytes: bounds a head (then 431), and the memory
/// of all connections together to some MB.
const BUFFER: usize = 16 * 1024;

/// How much a client may still send after our last word: a little more than is in flight on a LAN. Who sends on
/// regardless of the answer would not have read it.
const LINGER_BYTES: u64 = 256 * 1024;

/// When a client that is refused may come back, in seconds.
const RETRY: u16 = 5;

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The address of this machine at which a request arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArrivedAt(pub(super) SocketAddr);

/// A request's leave to take longer than others: what is large, or goes on for as long as its client listens.
/// Found among the request's extensions. Once taken, time is counted anew from every piece that moves.
#[derive(Clone, Debug, Default)]
pub(super) struct Leisure(Arc<Moves>);

#[derive(Debug, Default)]
struct Moves {
    taken: AtomicBool,
    moved: AtomicBool,
}

impl Leisure {
    /// From now on; each frame of the answer's body is a move.
    pub(super) fn take(&self) {
        self.0.taken.store(true, Ordering::Relaxed);
        self.moved();
    }

    /// A piece of the request's body has come.
    pub(super) fn moved(&self) {
        self.0.moved.store(true, Ordering::Relaxed);
    }

    fn is_taken(&self) -> bool {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// Whether something moved since this was last asked.
    fn has_moved(&self) -> bool {
        self.is_taken() && self.0.moved.swap(false, Ordering::Relaxed)
    }
}

impl<S: Sync> FromRequestParts<S> for Leisure {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // A request that came by no connection has all the time there is.
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// What all connections have in common.
pub(super) struct Host {
    router: Router,
    gate: Gate,
    limits: Limits,
    http: http1::Builder,
}

/// What happened next on a connection.
enum Event {
    Ended,
    /// A request begins or ends.
    Turn,
    TooLong,
    Evicted,
    Stop,
}

impl Host {
    pub(super) fn new(router: Router, gate: Gate, limits: Limits) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.header).max_buf_size(BUFFER);
        Self { router, gate, limits, http }
    }

    /// Serves a connection to its end.
    pub(super) async fn converse(
        self: Arc<Self>,
        (stream, peer): (TcpStream, SocketAddr),
        (seat, mut eviction): (Seat, Eviction),
        mut stop: watch::Receiver<bool>,
    ) {
        // An answer is written whole; waiting for more would only delay it (by 40 ms).
        let _ = stream.set_nodelay(true);
        let Ok(mut local) = stream.local_addr() else { return };
        local.set_ip(local.ip().to_canonical());
        let seat = Arc::new(seat);
        let mut busy = seat.busy();
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(ArrivedAt(local));
            let answer = Arc::clone(&self).answer(Arc::clone(&seat), peer, request);
            Box::pin(answer) as Pin<Box<dyn Future<Output = _> + Send>>
        });
        let mut connection = self.http.serve_connection(TokioIo::new(stream), service);
        // Runs on when an answer has been handed over, for it may still lie in buffers that the client does
        // not empty; hyper's own limit for the next head starts only after that.
        let mut deadline = pin!(sleep(self.limits.request));
        let mut stopping = false;
        loop {
            let answering = *busy.borrow_and_update();
            // In this order: a machine that stalls may find an answer and the end of its time both due.
            let event = select! {
                biased;
                _ = &mut connection => Event::Ended,
                _ = busy.changed() => Event::Turn,
                () = &mut deadline => Event::TooLong,
                () = eviction.called() => Event::Evicted,
                () = stopped(&mut stop), if !stopping => Event::Stop,
            };
            match event {
                Event::Turn if *busy.borrow() => deadline.set(sleep(self.limits.request)),
                Event::Turn => {}
                Event::Stop if answering => {
                    Pin::new(&mut connection).graceful_shutdown();
                    stopping = true;
                }
                Event::Stop | Event::TooLong | Event::Evicted => return,
                Event::Ended => break,
            }
        }
        // hyper has flushed; it does not wait for the other side, nor does it always say that it has ended: a client
        // that does not know sends its next request to nobody. A connection that is gone cannot be told.
        let mut stream = connection.into_parts().io.into_inner();
        let _ = stream.shutdown().await;
        select! {
            _ = timeout(self.limits.linger, hear_out(stream)) => {}
            () = eviction.called() => {}
            () = stopped(&mut stop) => {}
        }
    }

    async fn answer(
        self: Arc<Self>,
        seat: Arc<Seat>,
        peer: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Result<Response<TurnBody>, Evicted> {
        request.extensions_mut().insert(Peer(peer));
        let sender = Sender::of(request.uri(), request.headers(), request.extensions());
        let is_owner = self.gate.is_owner(sender, request.headers());
        let client = Client { is_owner, ..seat.client() };
        let turn = match seat.begin(client) {
            Begun::Turn(turn) => turn,
            Begun::Refused(reason) => return Ok(busy(reason).map(TurnBody::of_no_turn)),
            Begun::Closed => return Err(Evicted),
        };
        let leisure = Leisure::default();
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(leisure.clone());
        // The last tenth of the request's time is for writing the answer.
        let patience = self.limits.request * 9 / 10;
        let mut answer = pin!(self.router.clone().oneshot(request));
        let response = loop {
            match timeout(patience, &mut answer).await {
                Ok(response) => break response.unwrap_or_else(|never: Infallible| match never {}),
                Err(_) if leisure.has_moved() => turn.renew(),
                Err(_) => {
                    let why = format!("no answer within {} s; try again later", patience.as_secs());
                    break Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why).closing().into_response();
                }
            }
        };
        Ok(response.map(|body| TurnBody { body, turn: Some(turn), leisure }))
    }
}

/// The answer to a request that gets no turn. It is small enough for the kernel to take it at once.
fn busy(reason: Reason) -> Answer {
    let why = match reason {
        Reason::Quota(_) => {
            "as many requests of this client are being answered as one client may have; read those answers, or close \
             their connections, and try again"
        }
        Reason::Full => "too many requests are being answered; try again later",
    };
    let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why);
    refusal.with(header::RETRY_AFTER, HeaderValue::from(RETRY)).closing().into_response()
}

/// Resolves when the server is to stop; so it does when nobody is left who could say so. Cancel-safe.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Throws away what the client still sends, until it ends or has sent too much.
async fn hear_out(stream: TcpStream) -> io::Result<u64> {
    copy(&mut stream.take(LINGER_BYTES), &mut sink()).await
}

/// The connection had to make room while its request's head was on its way.
#[derive(Debug, thiserror::Error)]
#[error("closed to make room for a newer connection")]
struct Evicted;

/// An answer's body; its end is the end of the request's turn, if it has one.
struct TurnBody {
    body: axum::body::Body,
    turn: Option<Turn>,
    leisure: Leisure,
}

impl TurnBody {
    fn of_no_turn(body: axum::body::Body) -> Self {
        Self { body, turn: None, leisure: Leisure::default() }
    }
}

impl Body for TurnBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // It is asked for only when there is room for it: the client has taken what came before.
        if let Some(turn) = self.turn.as_ref().filter(|_| self.leisure.is_taken()) {
            turn.renew();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Serves one connection, from its first byte to its last, within its time limits.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
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
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::TcpStream,
    select,
    time::{Instant, Sleep, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    admission::{Client, RefusalReason},
    answer::Refusal,
    auth::Gate,
    budget::{Budget, Flow, no_room},
    connections::{ActiveRequest, ConnectionSlot, Eviction, RequestStart},
    limits::ServerLimits,
    metered::{Meter, Metered},
    reading::{LeastRate, ReaderState, Reading},
    sender::{ConnectionEnds, Sender},
};

/// The size of a connection's read and write buffer, in bytes: bounds a head (beyond: 431), and the memory of all
/// connections together to some MB.
const BUFFER: usize = 16 * 1024;

/// How many bytes a client may still send after the last response: a little more than is in flight on a LAN. A client
/// that sends more regardless of the response would not have read it.
const LINGER_BYTES: u64 = 256 * 1024;

/// After how many seconds a refused client may retry.
const RETRY: u64 = 5;

/// What the kernel buffers of a response for a client that does not read, in bytes (it doubles this, for its own
/// needs). By default it would buffer up to 4 MB, which count as the service's memory. At a round trip of 1 ms this
/// size allows 64 MB a second.
const SEND_BUFFER: usize = 64 * 1024;

/// Allows a request to take longer than others, because it is large, or lasts for as long as its client listens. It is
/// one of the request's extensions. Once enabled, the time limit restarts as long as the client keeps up: with every
/// piece of the response, and as long as [`ServerLimits::sending`] bytes of the request arrive in time.
#[derive(Clone, Debug, Default)]
pub(super) struct ExtendedTimeout(Arc<RequestProgress>);

#[derive(Debug, Default)]
struct RequestProgress {
    is_enabled: AtomicBool,
    /// The server itself is working on the request.
    is_working: AtomicBool,
    /// Bytes of the request's body.
    received: AtomicU64,
}

impl ExtendedTimeout {
    /// From now on each frame of the response body restarts the time limit.
    pub(super) fn enable(&self) {
        self.0.is_enabled.store(true, Ordering::Relaxed);
        self.note_own_work();
    }

    /// Records that the server is working and the client can only wait.
    pub(super) fn note_own_work(&self) {
        self.0.is_working.store(true, Ordering::Relaxed);
    }

    /// Adds bytes of the request's body that have arrived.
    pub(super) fn note_received(&self, bytes: usize) {
        self.0.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn is_enabled(&self) -> bool {
        self.0.is_enabled.load(Ordering::Relaxed)
    }

    /// Whether enough bytes have arrived since the last call, or the server was working.
    fn has_progressed(&self, least: u64) -> bool {
        let came = self.0.received.swap(0, Ordering::Relaxed) >= least;
        (self.0.is_working.swap(false, Ordering::Relaxed) || came) && self.is_enabled()
    }
}

impl<S: Sync> FromRequestParts<S> for ExtendedTimeout {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // A request without a connection has no time limit.
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// The data that all connections share.
pub(super) struct Handler {
    router: Router,
    gate: Gate,
    limits: ServerLimits,
    budget: Budget,
    http: http1::Builder,
}

/// An event on a connection.
enum ConnectionEvent {
    Ended,
    /// A request begins or ends.
    RequestChanged,
    TooLong,
    /// The client reads its response too slowly.
    TooSlow,
    Evicted,
    Stop,
}

impl Handler {
    pub(super) fn new(router: Router, gate: Gate, limits: ServerLimits) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.header).max_buf_size(BUFFER);
        Self { router, gate, limits, budget: Budget::new(limits.in_flight), http }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve_connection(
        self: Arc<Self>,
        (stream, ends): (TcpStream, ConnectionEnds),
        (slot, mut eviction): (ConnectionSlot, Eviction),
        stop: CancellationToken,
    ) {
        // A response is written at once; Nagle's algorithm would only delay it (by 40 ms).
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        let slot = Arc::new(slot);
        let mut busy = slot.busy();
        let service = service_fn(|request: Request<Incoming>| {
            let answer = Arc::clone(&self).answer(Arc::clone(&slot), ends, request);
            Box::pin(answer) as Pin<Box<dyn Future<Output = _> + Send>>
        });
        let stream = Metered::new(stream);
        let mut watch = Watch::new(self.limits.reading, stream.meter());
        let mut connection = self.http.serve_connection(TokioIo::new(stream), service);
        // Continues after a response has been handed over, which may still lie in buffers that the client does not
        // empty; hyper's own limit for the next head starts only after that.
        let mut deadline = pin!(sleep(self.limits.request));
        let mut stopping = false;
        loop {
            let answering = *busy.borrow_and_update();
            // In this order: on a machine that stalls, a response and the end of its time limit may be due at once.
            let event = select! {
                biased;
                event = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
                    Poll::Ready(_) => Poll::Ready(ConnectionEvent::Ended),
                    Poll::Pending => watch.poll(cx).map(|()| ConnectionEvent::TooSlow),
                }) => event,
                _ = busy.changed() => ConnectionEvent::RequestChanged,
                () = &mut deadline => ConnectionEvent::TooLong,
                () = eviction.called() => ConnectionEvent::Evicted,
                () = stop.cancelled(), if !stopping => ConnectionEvent::Stop,
            };
            match event {
                ConnectionEvent::RequestChanged if *busy.borrow() => deadline.set(sleep(self.limits.request)),
                ConnectionEvent::RequestChanged => {}
                ConnectionEvent::Stop if answering => {
                    Pin::new(&mut connection).graceful_shutdown();
                    stopping = true;
                }
                ConnectionEvent::TooSlow => {
                    tracing::debug!(peer = %ends.peer, "the client reads its response too slowly; disconnected");
                    return;
                }
                ConnectionEvent::Stop | ConnectionEvent::TooLong | ConnectionEvent::Evicted => return,
                ConnectionEvent::Ended => break,
            }
        }
        // hyper has flushed, but does not wait for the client to close, and does not always announce the end: a
        // client without this shutdown would send its next request in vain. A shutdown fails only if the connection
        // is gone.
        let mut stream = connection.into_parts().io.into_inner().into_inner();
        let _ = stream.shutdown().await;
        select! {
            _ = timeout(self.limits.linger, drain(stream)) => {}
            () = eviction.called() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn answer(
        self: Arc<Self>,
        slot: Arc<ConnectionSlot>,
        ends: ConnectionEnds,
        mut request: Request<Incoming>,
    ) -> Result<Response<TrackedBody>, Evicted> {
        let sender = Sender::of(ends, request.uri(), request.headers());
        let is_owner = self.gate.is_owner(sender, request.headers());
        let client = Client { is_owner, ..slot.client() };
        let active = match slot.begin(client) {
            RequestStart::Active(active) => active,
            RequestStart::Refused(reason) => return Ok(busy(reason).map(TrackedBody::untracked)),
            RequestStart::Closed => return Err(Evicted),
        };
        let extended = ExtendedTimeout::default();
        request.extensions_mut().insert(sender);
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(extended.clone());
        let Ok(flow) = timeout(self.limits.queue, Flow::begin(self.budget.clone())).await else {
            let refused = no_room(self.limits.queue).into_response();
            return Ok(refused.map(|body| TrackedBody {
                body,
                active: Some(active),
                extended,
                flow: Flow::free(),
            }));
        };
        // The last tenth of the request's time is for writing the response.
        let patience = self.limits.request * 9 / 10;
        let mut answer = pin!(self.router.clone().oneshot(request));
        let response = loop {
            match timeout(patience, &mut answer).await {
                Ok(response) => break response.unwrap_or_else(|never: Infallible| match never {}),
                Err(_) if extended.has_progressed(self.limits.sending) => active.renew(),
                Err(_) => {
                    let why = format!("no answer within {} s; try again later", patience.as_secs());
                    break Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why).closing().into_response();
                }
            }
        };
        Ok(response.map(|body| TrackedBody { body, active: Some(active), extended, flow }))
    }
}

/// Watches how fast a client reads its responses.
struct Watch {
    reading: Reading,
    meter: Arc<Meter>,
    began: Instant,
    /// When to judge again, while something waits for the client.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    fn new(least: LeastRate, meter: Arc<Meter>) -> Self {
        Self { reading: Reading::new(least), meter, began: Instant::now(), timer: None }
    }

    /// Ready if the client is too slow. Must be polled whenever something may have been written.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let (taken, is_waiting) = (self.meter.taken(), self.meter.is_waiting());
            match self.reading.judge(self.began.elapsed(), taken, is_waiting) {
                ReaderState::TooSlow => return Poll::Ready(()),
                ReaderState::Idle => {
                    self.timer = None;
                    return Poll::Pending;
                }
                ReaderState::WaitsUntil(time) => {
                    let until = self.began + time;
                    if self.timer.as_ref().is_none_or(|timer| timer.deadline() != until) {
                        self.timer = Some(Box::pin(sleep_until(until)));
                    }
                    if let Some(timer) = &mut self.timer {
                        ready!(timer.as_mut().poll(cx));
                    }
                    self.timer = None;
                }
            }
        }
    }
}

/// The response to a refused request. It is small enough for the kernel to take it at once.
fn busy(reason: RefusalReason) -> Answer {
    let why = match reason {
        RefusalReason::Quota(_) => {
            "this client has as many requests in progress as one client may have; read their answers or close their \
             connections, then try again"
        }
        RefusalReason::Full => "too many requests are being answered; try again later",
    };
    Refusal::again_in(RETRY, why).closing().into_response()
}

/// Discards what the client still sends, until it closes or has sent too much.
async fn drain(stream: TcpStream) -> io::Result<u64> {
    copy(&mut stream.take(LINGER_BYTES), &mut sink()).await
}

/// The connection was closed for another while its request's head was arriving.
#[derive(Debug, thiserror::Error)]
#[error("closed to make room for a newer connection")]
struct Evicted;

/// A response body; its end is the end of the active request, if there is one.
struct TrackedBody {
    body: axum::body::Body,
    active: Option<ActiveRequest>,
    extended: ExtendedTimeout,
    flow: Flow,
}

impl TrackedBody {
    fn untracked(body: axum::body::Body) -> Self {
        Self { body, active: None, extended: ExtendedTimeout::default(), flow: Flow::free() }
    }
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        ready!(self.flow.poll_ready(cx));
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let frame = frame.map(|frame| frame.map(|frame| frame.map_data(|text| self.flow.send(text))));
        // It is polled only if it fits into the budget: the client has read what came before.
        if let Some(active) = self.active.as_ref().filter(|_| self.extended.is_enabled()) {
            active.renew();
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

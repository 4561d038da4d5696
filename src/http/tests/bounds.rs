//! The server's bounds and time limits.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{
    body::Body,
    routing::{get, post},
};
use futures_util::{FutureExt, future::join_all, stream};
use tokio::{sync::Notify, time::sleep};

use super::*;

/// Short limits, so that a test of one does not wait for the others.
fn short() -> ServerLimits {
    ServerLimits {
        header: Duration::from_millis(300),
        request: Duration::from_millis(500),
        ..ServerLimits::default()
    }
}

#[tokio::test]
async fn five_hundred_slow_heads_do_not_delay_other_clients() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let mut dribbling = join_all((0..500).map(|_| served.connect())).await;
    for stream in &mut dribbling {
        // A connection that is closed already may report it here.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: pi\r\nX-Slow: ").await;
    }
    for _ in 0..20 {
        assert_eq!(served.get("/healthz").await.status, 200);
        for stream in &mut dribbling {
            let _ = stream.write_all(b"a").await;
        }
    }
    // The oldest were closed first.
    assert!(is_closed(&mut dribbling[0]).await);
}

#[tokio::test]
async fn a_slow_head_is_cut_off_at_its_time_limit() {
    let served = serve_routes(short(), Router::new());
    let mut stream = served.connect().await;
    let dribble = async {
        while stream.write_all(b"G").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(AT_MOST, dribble).await.expect("closed in the middle of its head");

    let mut silent = served.connect().await;
    assert!(is_closed(&mut silent).await);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_while() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let mut stream = served.connect().await;
    for _ in 0..3 {
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    // If the client noticed the close only later, its next request would fail.
    let served = serve_routes(ServerLimits { linger: AT_MOST * 2, ..short() }, Router::new());
    let mut stream = served.connect().await;
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert_eq!(timeout(AT_MOST, stream.read(&mut [0])).await.expect("the close arrives at once").unwrap(), 0);
}

/// Sends a HEAD request, on a connection that is kept.
async fn head(stream: &mut TcpStream) -> String {
    stream.write_all(b"HEAD /healthz HTTP/1.1\r\nHost: pi\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(AT_MOST, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let served = serve_routes(ServerLimits::default(), Router::new());
    let mut stream = served.connect().await;
    let filler = format!("GET / HTTP/1.1\r\nHost: pi\r\nX: {}", "x".repeat(100_000));
    let _ = stream.write_all(filler.as_bytes()).await;
    assert_eq!(read_to_end(&mut stream).await.status, 431);
}

/// A route that takes a body.
fn uploads() -> Router {
    Router::new().route("/upload", post(async |body: bytes::Bytes| body.len().to_string()))
}

#[tokio::test]
async fn a_body_is_accepted_up_to_the_limit() {
    let served = serve_routes(ServerLimits { body: 10, ..ServerLimits::default() }, uploads());
    let head = "POST /upload HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n";
    let answer = served.ask(&format!("{head}Content-Length: 10\r\n\r\n0123456789")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "10"));
    let answer = served.ask(&format!("{head}Content-Length: 11\r\n\r\n0123456789a")).await;
    assert_eq!(answer.status, 413);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n");
    let answer = served.ask(&chunked).await;
    assert_eq!(answer.status, 413);
    assert!(answer.error().contains("send less"), "{answer:?}");
}

#[tokio::test]
async fn a_gigabyte_is_refused_before_it_is_sent() {
    let served = serve_routes(ServerLimits::default(), uploads());
    for path in ["/upload", "/healthz", "/missing"] {
        let mut stream = served.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: pi\r\nContent-Length: 1000000000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert_eq!(answer.status, 413, "{path}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(answer.error().contains("larger"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let served = serve_routes(ServerLimits::default(), uploads());
    for (path, status) in [("/upload", 413), ("/healthz", 405), ("/missing", 404)] {
        let stream = served.connect().await;
        let (mut reading, mut writing) = stream.into_split();
        let head = format!("POST {path} HTTP/1.1\r\nHost: pi\r\nTransfer-Encoding: chunked\r\n\r\n");
        writing.write_all(head.as_bytes()).await.unwrap();
        let endless = tokio::spawn(async move {
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            while writing.write_all(chunk.as_bytes()).await.is_ok() {}
        });
        let mut answer = [0; 12];
        timeout(AT_MOST, reading.read_exact(&mut answer)).await.expect("answered while sending").unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"), "{path}");
        timeout(AT_MOST, endless).await.expect("closed").unwrap();
    }
}

#[tokio::test]
async fn a_busy_connection_is_not_closed_and_a_new_one_waits() {
    let (arrived, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let handler = {
        let (arrived, go) = (Arc::clone(&arrived), Arc::clone(&go));
        async move || {
            arrived.fetch_add(1, Ordering::SeqCst);
            go.notified().await;
            "done"
        }
    };
    let limits = ServerLimits { connections: 3, ..ServerLimits::default() };
    let served = serve_routes(limits, Router::new().route("/wait", get(handler)));
    let request = b"GET /wait HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n";
    let mut busy = Vec::new();
    for count in 1..=3 {
        let mut stream = served.connect().await;
        stream.write_all(request).await.unwrap();
        timeout(AT_MOST, async {
            while arrived.load(Ordering::SeqCst) < count {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap();
        busy.push(stream);
    }
    let mut newcomer = served.connect().await;
    newcomer.write_all(request).await.unwrap();
    let mut byte = [0];
    let early = timeout(Duration::from_millis(200), newcomer.read(&mut byte)).await;
    assert!(early.is_err(), "neither answered nor closed: {early:?}");
    assert_eq!(arrived.load(Ordering::SeqCst), 3);

    for stream in &mut busy {
        go.notify_one();
        assert_eq!(read_to_end(stream).await.body, "done");
    }
    go.notify_one();
    assert_eq!(read_to_end(&mut newcomer).await.body, "done");
}

#[tokio::test]
async fn a_request_has_a_time_limit() {
    let stuck = Router::new().route("/stuck", get(std::future::pending::<()>));
    let served = serve_routes(short(), stuck);
    let answer = served.ask("GET /stuck HTTP/1.1\r\nHost: pi\r\n\r\n").await;
    assert_eq!(answer.status, 503);
    assert!(answer.error().contains("try again"), "{answer:?}");
}

#[tokio::test]
async fn a_large_last_response_arrives_complete() {
    const SIZE: usize = 16 << 20;
    let large = Router::new().route("/large", get(async || "x".repeat(SIZE)));
    let served = serve_routes(ServerLimits::default(), large);
    let mut stream = served.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'H');
    // The server still holds more than the kernel buffers; the pause lets it take the response for complete.
    sleep(Duration::from_millis(50)).await;
    let mut rest = Vec::new();
    timeout(AT_MOST, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.len() > SIZE, "{} of {SIZE} bytes", rest.len());
}

#[tokio::test]
async fn a_response_that_no_client_reads_is_dropped() {
    let (routes, dropped) = endless();
    let served = serve_routes(short(), routes);
    let mut stream = served.connect().await;
    stream.write_all(ENDLESS).await.unwrap();
    timeout(AT_MOST, dropped.notified()).await.expect("given up");
}

/// A route with an endless response, and a signal when the server has dropped it.
fn endless() -> (Router, Arc<Notify>) {
    struct Held(Arc<Notify>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let dropped = Arc::new(Notify::new());
    let signal = Arc::clone(&dropped);
    let handler = async move || {
        let held = Held(signal);
        let chunks = stream::repeat_with(move || {
            let _ = &held;
            Ok::<_, Infallible>(vec![0; 8192])
        });
        Body::from_stream(chunks)
    };
    (Router::new().route("/endless", get(handler)), dropped)
}

const ENDLESS: &[u8] = b"GET /endless HTTP/1.1\r\nHost: pi\r\n\r\n";

#[tokio::test]
async fn a_slow_reader_is_disconnected_long_before_its_request_times_out() {
    let reading = LeastRate { bytes: 16 << 10, within: Duration::from_millis(300) };
    let limits = ServerLimits { reading, request: AT_MOST * 2, ..ServerLimits::default() };
    for trickles in [false, true] {
        let (routes, dropped) = endless();
        let served = serve_routes(limits, routes);
        let mut stream = served.connect().await;
        stream.write_all(ENDLESS).await.unwrap();
        let trickle = async {
            if !trickles {
                std::future::pending::<()>().await;
            }
            loop {
                let _ = stream.read(&mut [0; 16]).await;
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            done = timeout(AT_MOST, dropped.notified()) => done.expect("disconnected"),
            () = trickle => unreachable!("the trickle never ends"),
        }
    }
}

#[tokio::test]
async fn a_reader_that_keeps_up_is_never_too_slow() {
    let reading = LeastRate { bytes: 1, within: Duration::from_millis(200) };
    let (routes, dropped) = endless();
    let served = serve_routes(ServerLimits { reading, ..ServerLimits::default() }, routes);
    let mut stream = served.connect().await;
    stream.write_all(ENDLESS).await.unwrap();
    let mut taken = 0;
    while taken < 64 << 20 {
        taken += timeout(AT_MOST, stream.read(&mut [0; 65_536])).await.unwrap().unwrap();
    }
    assert!(dropped.notified().now_or_never().is_none());
}

#[tokio::test]
async fn other_requests_are_refused_while_too_much_is_in_flight() {
    let limits = ServerLimits { in_flight: 1, queue: Duration::from_millis(100), ..ServerLimits::default() };
    let (routes, dropped) = endless();
    let served = serve_routes(limits, routes);
    let mut stuck = served.connect().await;
    stuck.write_all(ENDLESS).await.unwrap();
    // Once more is written than the kernel buffers, a piece stays in flight.
    let refused = loop {
        let answer = served.get("/healthz").await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    assert!(refused.error().contains("try again"), "{refused:?}");
    drop(stuck);
    timeout(AT_MOST, dropped.notified()).await.unwrap();
    assert_eq!(served.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn bodies_wait_for_memory_and_are_refused_after_a_while() {
    let limits = ServerLimits {
        body: 40_000,
        bodies: 40_000,
        queue: Duration::from_millis(100),
        ..ServerLimits::default()
    };
    let served = serve_routes(limits, uploads());
    let head = "POST /upload HTTP/1.1\r\nHost: pi\r\nConnection: close\r\nContent-Length: 40000\r\n\r\n";
    let mut slow = served.connect().await;
    slow.write_all(head.as_bytes()).await.unwrap();
    let refused = loop {
        let answer = served.ask(&format!("{head}{}", "x".repeat(40_000))).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    slow.write_all("x".repeat(40_000).as_bytes()).await.unwrap();
    assert_eq!(read_to_end(&mut slow).await.body, "40000");
    assert_eq!(served.ask(&format!("{head}{}", "x".repeat(40_000))).await.status, 200);
}

/// A route that waits; with a signal that a request has arrived, and one that lets it continue.
fn waiting() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (beginning, going) = (Arc::clone(&begun), Arc::clone(&go));
    let handler = async move || {
        beginning.notify_one();
        going.notified().await;
        "done"
    };
    (Router::new().route("/wait", get(handler)), begun, go)
}

#[tokio::test]
async fn a_request_in_progress_is_answered_when_the_server_stops() {
    let (routes, begun, go) = waiting();
    let served = serve_routes(ServerLimits { stop: AT_MOST, ..ServerLimits::default() }, routes);
    let mut idle = served.connect().await;
    head(&mut idle).await;
    let mut dribbling = served.connect().await;
    dribbling.write_all(b"GET /healthz HT").await.unwrap();
    let mut soon_done = served.connect().await;
    soon_done.write_all(b"GET /wait HTTP/1.1\r\nHost: pi\r\n\r\n").await.unwrap();
    begun.notified().await;

    let Served { address, stop, task, .. } = served;
    stop.cancel();
    assert!(is_closed(&mut idle).await && is_closed(&mut dribbling).await, "they are not waited for");
    assert!(!task.is_finished(), "but the request in progress is waited for");
    go.notify_one();
    assert_eq!(read_to_end(&mut soon_done).await.body, "done");
    timeout(AT_MOST, task).await.expect("then it ends").unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn stuck_requests_do_not_delay_the_stop() {
    let (routes, begun, _never) = waiting();
    let limits = ServerLimits::default();
    assert!(limits.stop < Duration::from_secs(1));
    let served = serve_routes(limits, routes);
    let mut stuck = served.connect().await;
    stuck.write_all(b"GET /wait HTTP/1.1\r\nHost: pi\r\n\r\n").await.unwrap();
    begun.notified().await;
    served.stop.cancel();
    timeout(AT_MOST / 3, served.task)
        .await
        .expect("the server ends before the request would")
        .unwrap()
        .unwrap();
    assert!(is_closed(&mut stuck).await);
}

//! The server stays small and quick whatever its clients do.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use portscan::model::Moment;

use crate::{
    harness::{Portscan, Running, static_feed},
    lab::Lab,
};

fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.base().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// What the server says before it hangs up.
fn last_words(mut stream: &TcpStream) -> String {
    let mut said = Vec::new();
    // A reset is a way of hanging up as well.
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// The middle of 21 answers' times: one late answer on a busy machine is not the server's doing.
fn health_takes(lab: &Lab, running: &Running) -> Duration {
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            let asked: Moment = lab.now();
            assert_eq!(running.get("/healthz").status, 200);
            lab.now().since(asked)
        })
        .collect();
    times.sort_unstable();
    times[10]
}

#[test]
fn five_hundred_slow_clients_keep_nobody_waiting() {
    let lab = Lab::enter("near");
    let running = Portscan::new(&lab, &static_feed(&lab)).start();
    let before = running.rss();
    let mut slow: Vec<TcpStream> = (0..500).map(|_| connect(&running)).collect();
    for stream in &mut slow {
        // Those that were closed to make room for others refuse it.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: local");
    }
    let took = health_takes(&lab, &running);
    assert!(took < Duration::from_millis(100), "{took:?}");
    let megabytes = running.peak_rss().saturating_sub(before) >> 20;
    assert!(megabytes < 24, "{megabytes} MB for clients that have said nothing");
    drop(slow);
    running.stop();
}

#[test]
fn a_gigabyte_is_refused_before_it_is_sent() {
    let lab = Lab::enter("near");
    let running = Portscan::new(&lab, &static_feed(&lab)).start();
    let announced = connect(&running);
    let head = b"POST /portscan/json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n";
    (&announced).write_all(head).unwrap();
    let said = last_words(&announced);
    assert!(said.starts_with("HTTP/1.1 413") || said.starts_with("HTTP/1.1 405"), "{said}");

    let mut endless = connect(&running);
    let head = b"POST /portscan/json HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    endless.write_all(head).unwrap();
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(7 + 65_536, b' ');
    chunk.extend(b"\r\n");
    let sent = (0..16_384).take_while(|_| endless.write_all(&chunk).is_ok()).count();
    assert!(sent < 1024, "it took {sent} chunks of 64 kB");
    let took = health_takes(&lab, &running);
    assert!(took < Duration::from_millis(100), "{took:?}");
    let megabytes = running.peak_rss() >> 20;
    assert!(megabytes < 48, "{megabytes} MB");
    running.stop();
}

#[test]
fn stops_in_time_with_idle_connections_open() {
    let lab = Lab::enter("near");
    let running = Portscan::new(&lab, &static_feed(&lab)).start();
    let mut idle = connect(&running);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let dripping = connect(&running);
    (&dripping).write_all(b"GET / HT").unwrap();
    running.stop();
}

//! The most memory that clients can make the appliance use: readers that stop reading the longest responses, and
//! clients that never finish their requests.

use std::{
    io::{ErrorKind, Write},
    net::{SocketAddr, TcpStream},
    sync::OnceLock,
    time::Duration,
};

use portscan::model::ScanId;
use rstest::rstest;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::{
    harness::{Portscan, Running},
    history::{self, Found},
    lab::Lab,
};

/// As many connections as are served at once.
const READERS: usize = 250;

/// Devices with ten open ports each; two more have every port, or every other port, open.
const DEVICES: u32 = 4000;

/// The limit of memory besides the program's pages; without optimisation the states of connections are larger.
const MEMORY: u64 = if cfg!(debug_assertions) { 30 << 20 } else { 24 << 20 };

const ALL_OPEN: &str = "02:01:00:00:00:01";
const EVERY_OTHER_OPEN: &str = "02:01:00:00:00:02";

/// An appliance with the database of the longest responses, which is written once, and the id of its only scan.
fn filled(lab: &Lab) -> (Portscan, ScanId) {
    static MADE: OnceLock<(TempDir, ScanId)> = OnceLock::new();
    let (made, scan) = MADE.get_or_init(|| {
        let directory = TempDir::new().unwrap();
        let devices = [
            Found {
                mac: ALL_OPEN.parse().unwrap(),
                address: history::numbered(1 << 16),
                open: (1..=u16::MAX).collect(),
            },
            Found {
                mac: EVERY_OTHER_OPEN.parse().unwrap(),
                address: history::numbered(2 << 16),
                open: (1..=u16::MAX).step_by(2).collect(),
            },
        ];
        let devices: Vec<Found> = devices.into_iter().chain(history::devices(DEVICES)).collect();
        let scan = history::write(&directory.path().join("portscan.db"), 1, &devices);
        (directory, scan)
    });
    let portscan = Portscan::new(lab, "[feed]\nurl = []\n");
    std::fs::create_dir_all(portscan.database().parent().unwrap()).unwrap();
    std::fs::copy(made.path().join("portscan.db"), portscan.database()).unwrap();
    (portscan, *scan)
}

/// Opens a connection with the smallest buffers that the kernel allows and sends this text.
fn hostile(running: &Running, text: &str) -> TcpStream {
    let address: SocketAddr = running.base().trim_start_matches("http://").parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    // The server may have closed it already to make room.
    let _ = stream.write_all(text.as_bytes());
    stream
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Waits until the server has begun to respond or closed the connection, without reading anything.
fn is_begun(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(bytes) => bytes > 0,
        Err(error) => {
            assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "never answered");
            false
        }
    }
}

#[rstest]
#[case::device("/v1/hosts/02:01:00:00:00:01")]
#[case::fragmented_device("/v1/hosts/02:01:00:00:00:02")]
#[case::devices("/v1/hosts")]
#[case::differences("/v1/diff")]
#[case::scan("/v1/scan/SCAN")]
#[case::csv("/v1/scan/SCAN?format=csv")]
#[case::xml("/v1/scan/SCAN?format=xml")]
#[case::original_device("/portscan/02:01:00:00:00:01/json")]
#[case::original_devices("/portscan/json")]
#[case::metrics("/metrics")]
fn readers_that_stop_reading_cost_little_memory(#[case] path: &str) {
    let lab = Lab::alone("near");
    let (portscan, ScanId(scan)) = filled(&lab);
    let running = portscan.start();
    let path = path.replace("SCAN", &scan.to_string());
    let idle = running.rss() >> 10;
    let readers: Vec<TcpStream> = (0..READERS).map(|_| hostile(&running, &get(&path))).collect();
    let begun = readers.iter().filter(|stream| is_begun(stream)).count();
    let peak = running.peak_own_memory();
    eprintln!("{path}: idle {idle} KB, peak {} KB, {begun} of {READERS} begun", peak >> 10);
    assert!(peak < MEMORY, "{} KB for {READERS} readers of {path}", peak >> 10);
    drop(readers);
    running.stop();
}

/// The hostile requests, used in turn.
const MISDEEDS: [&str; 8] = [
    // Readers that stop.
    "GET /v1/hosts/02:01:00:00:00:01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /v1/diff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    // A head and a body that never end.
    "GET /healthz HTTP/1.1\r\nHost: local",
    "PATCH /v1/expected HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1048576\r\n\r\n[",
    // Idle connections: kept alive, without a request, and an event stream.
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "",
    "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
];

#[test]
fn a_thousand_hostile_connections_cost_little_memory() {
    let lab = Lab::alone("near");
    let (portscan, _) = filled(&lab);
    let running = portscan.start();
    let mut hostile: Vec<TcpStream> = Vec::new();
    let pipelined = get("/v1/hosts").repeat(200);
    let body = "{},".repeat(340_000);
    for number in 0..1000 {
        let misdeed = MISDEEDS[number % MISDEEDS.len()];
        let text = if number % 50 == 0 { &pipelined } else { misdeed };
        let mut stream = self::hostile(&running, text);
        if misdeed.starts_with("PATCH") {
            stream.set_nonblocking(true).unwrap();
            // As much as the server reads.
            let _ = stream.write(body.as_bytes());
        }
        hostile.push(stream);
    }
    // The first of them occupy the server; it answers others once slow ones are disconnected.
    let answered = running.get("/healthz").status;
    let peak = running.peak_own_memory();
    eprintln!("1000 hostile connections: peak {} KB", peak >> 10);
    assert_eq!(answered, 200);
    assert!(peak < MEMORY, "{} KB", peak >> 10);
    drop(hostile);
    running.stop();
}

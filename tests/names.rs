//! Device names: from the device itself, the resolver and a feed, honest and hostile.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use portscan::model::one_line;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        Portscan, Running, eventually,
        feed::{FeedServer, Says},
        scanner,
    },
    lab::{KernelHost, namespace},
};

const LONG: Duration = Duration::from_secs(120);
/// The port of multicast DNS.
const MDNS: u16 = 5353;
const MAC: &str = "02:00:00:00:00:05";

/// The question for the name of 10.77.0.5, without the message's id, its first two octets.
const QUESTION: &[u8] = b"\0\0\0\x01\0\0\0\0\0\0\x015\x010\x0277\x0210\x07in-addr\x04arpa\0\0\x0c\0\x01";

/// A configuration that lists the host and scans few of its ports. The only questions are those for names.
fn config(more: &str) -> String {
    let hosts = format!("[feed]\nurl = []\nhosts = [{{ address = \"10.77.0.5\", mac = \"{MAC}\" }}]\n");
    let identify = "[identify]\nlevel = \"off\"\n";
    format!("{more}\n{hosts}{identify}{}", scanner("lan", "1d", "20-30"))
}

/// The next question, and the address it came from.
fn question(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 512];
    socket.set_read_timeout(Some(LONG)).unwrap();
    let (length, client) = socket.recv_from(&mut buffer).expect("a question");
    (buffer[..length].to_vec(), client)
}

/// Discards the questions of an earlier run.
fn forget_questions(socket: &UdpSocket) {
    socket.set_nonblocking(true).unwrap();
    while socket.recv_from(&mut [0; 512]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
}

/// Makes this machine's resolver know the device, for as long as the returned directory lives.
fn resolver() -> TempDir {
    let folder = TempDir::new().unwrap();
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n10.77.0.5 by-resolver.lan\n").unwrap();
    namespace::replace("/etc/hosts", &hosts);
    folder
}

/// An answer to the question with one record of this data.
fn answer(question: &[u8], data: &[u8]) -> Vec<u8> {
    let mut message = question.to_vec();
    (message[2], message[7]) = (0x84, 1);
    message.extend(b"\xc0\x0c\0\x0c\0\x01\0\0\0\x0a");
    message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    message.extend(data);
    message
}

/// A name in the wire format.
fn labels(labels: &[&str]) -> Vec<u8> {
    let label = |label: &&str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    [labels.iter().map(label).collect::<Vec<_>>().concat(), vec![0]].concat()
}

fn host(running: &Running) -> Value {
    running.get(&format!("/v1/hosts/{MAC}")).json()
}

/// Waits until the host has so many names and returns it.
fn named(running: &Running, count: usize) -> Value {
    eventually(LONG, "the device has {count} names", || {
        let host = host(running);
        (host["names"].as_array()?.len() >= count).then_some(host)
    })
}

#[test]
fn names_come_from_the_device_and_the_resolver() {
    let (lab, socket) = KernelHost::enter_speaking(&"22".parse().unwrap(), MDNS);
    let _hosts = resolver();

    let portscan = Portscan::beside_kernel(&lab, &config(""));
    let running = portscan.start();
    let (query, client) = question(&socket);
    assert_eq!(&query[2..], QUESTION);
    assert_eq!(client.ip().to_string(), "10.77.0.1");
    assert_ne!(client.port(), MDNS, "the answer goes to this socket alone");
    // A forged answer with another id, then the device's own.
    let mut foreign = answer(&query, &labels(&["forged"]));
    foreign[0] ^= 1;
    socket.send_to(&foreign, client).unwrap();
    socket.send_to(&answer(&query, &labels(&["nas", "local"])), client).unwrap();
    let device = named(&running, 2);
    let names = device["names"].as_array().unwrap();
    let by_source: Vec<(&Value, &Value)> =
        names.iter().map(|name| (&name["source"], &name["name"])).collect();
    let (mdns, dns) = (json!("mdns"), json!("dns"));
    assert_eq!(by_source, [(&mdns, &json!("nas.local")), (&dns, &json!("by-resolver.lan"))]);
    assert!(names.iter().all(|name| name["time"].is_string()), "{names:?}");
    assert_eq!((&device["name"], &device["name_source"]), (&json!("nas.local"), &mdns));
    assert_eq!((&device["vendor"], &device["locally_administered"]), (&Value::Null, &json!(true)));
    running.wait_for_devices(1, LONG);
    let metrics = running.get("/metrics").body;
    let info = format!("portscan_host_info{{mac=\"{MAC}\",host=\"10.77.0.5\",name=\"nas.local\"}} 1");
    assert!(metrics.contains(&info), "{metrics}");
    let table = portscan.run(&["hosts", "--url", running.base()], LONG).stdout;
    assert!(table.contains("nas.local") && table.contains("random MAC"), "{table}");
    running.stop();
}

#[test]
fn excluded_devices_get_no_name_request() {
    let (lab, socket) = KernelHost::enter_speaking(&"22".parse().unwrap(), MDNS);
    let _hosts = resolver();
    let left_alone = format!("[[device]]\nmatch = \"{MAC}\"\nscan = false\n");
    for (above, below) in [
        ("exclude = [\"10.77.0.5\"]", ""),
        ("exclude = [\"02:00:00:*\"]", ""),
        ("", left_alone.as_str()),
        ("", "[names]\nmdns = false\n"),
    ] {
        let running = Portscan::beside_kernel(&lab, &(config(above) + below)).start();
        // The resolver is asked last.
        let device = named(&running, 1);
        assert_eq!(device["name"], "by-resolver.lan");
        running.stop();
        socket.set_nonblocking(true).unwrap();
        let silence = socket.recv_from(&mut [0; 512]).unwrap_err();
        assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock, "{above} {below}");
    }
}

/// Asserts that the text has no control characters that a terminal or a log reader would act on.
fn assert_harmless(text: &str, what: &str) {
    for line in text.lines() {
        assert_eq!(one_line(line, usize::MAX), line, "{what}");
    }
}

/// Asserts that everything that shows the device's name is well formed.
fn assert_well(portscan: &Portscan, running: &Running) {
    let device = host(running);
    for name in device["names"].as_array().unwrap() {
        let name = name["name"].as_str().unwrap();
        assert_harmless(name, "/v1/hosts");
        assert!((1..=255).contains(&name.chars().count()) && !name.contains('\n'), "{name:?}");
    }
    let metrics = running.get("/metrics").body;
    assert_harmless(&metrics, "/metrics");
    let is_metric =
        |line: &str| ["portscan_", "portmantool_", "process_"].iter().any(|prefix| line.starts_with(prefix));
    assert!(metrics.lines().all(|line| line.starts_with('#') || is_metric(line)), "{metrics}");
    assert_harmless(&portscan.run(&["hosts", "--url", running.base()], LONG).stdout, "the terminal");
    assert_harmless(&running.log(), "the log");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(portscan.database(), flags).unwrap();
    let sql = "SELECT name FROM names UNION SELECT name FROM devices WHERE name IS NOT NULL";
    let mut stored = database.prepare(sql).unwrap();
    for name in stored.query_map([], |row| row.get::<_, String>(0)).unwrap() {
        assert_harmless(&name.unwrap(), "the database");
    }
}

/// Names that would do harm if they were shown unescaped.
const HOSTILE: [&str; 6] = [
    "n\u{1b}[2Jas\u{7}",
    "nas\u{202e}gpj",
    "<script>alert(1)</script>",
    "\"} 1\nevil{a=\"",
    "back\\slash\\\"",
    "a\0b\u{200b}\u{feff}",
];

#[test]
fn hostile_names_of_a_device_are_sanitized() {
    let (lab, socket) = KernelHost::enter_speaking(&"22".parse().unwrap(), MDNS);
    let config = config("log = \"debug\"") + "[names]\ndns = false\n";
    for name in HOSTILE {
        let portscan = Portscan::beside_kernel(&lab, &config);
        forget_questions(&socket);
        let running = portscan.start();
        let (query, client) = question(&socket);
        socket.send_to(&answer(&query, &labels(&[name, "local"])), client).unwrap();
        let device = named(&running, 1);
        assert_eq!(device["name"], format!("{}.local", one_line(name, 255)));
        running.wait_for_devices(1, LONG);
        assert_well(&portscan, &running);
        running.stop();
    }
}

/// The question is repeated, and each answer is useless again.
#[test]
fn malformed_name_answers_are_ignored() {
    let (lab, socket) = KernelHost::enter_speaking(&"22".parse().unwrap(), MDNS);
    let _hosts = resolver();
    let at = u8::try_from(answer(QUESTION, b"").len() + 2).unwrap();
    let long = [&[63][..], &[b'x'; 63]].concat().repeat(160);
    let loops = [vec![0xc0, at], vec![1, b'x', 0xc0, at], vec![0xc0, at + 2, 0xc0, at]];
    let bombs: Vec<Vec<u8>> = loops
        .into_iter()
        .chain([long, b"\x3fnas".to_vec(), b"\x80nas\0".to_vec(), labels(&["a.b"])])
        .collect();
    let portscan = Portscan::beside_kernel(&lab, &config("log = \"debug\""));
    let running = portscan.start();
    socket.set_nonblocking(true).unwrap();
    let mut questions = 0;
    // The resolver is asked last: once its name is there, no more questions come.
    let names = eventually(LONG, "the resolver's name is stored", || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            questions += 1;
            let query = &query[..length];
            let others = [&b""[..], b"\0", &[0xff; 9000], query].map(<[u8]>::to_vec);
            for said in bombs.iter().map(|bomb| answer(query, bomb)).chain(others) {
                // Sending fails if the socket that asked is closed already.
                let _ = socket.send_to(&said, client);
            }
        }
        let names = host(&running)["names"].as_array()?.clone();
        (!names.is_empty()).then_some(names)
    });
    assert_eq!((names.len(), &names[0]["source"]), (1, &json!("dns")), "{names:?}");
    assert!(questions > 0, "the device got a question");
    running.wait_for_devices(1, LONG);
    assert_well(&portscan, &running);
    running.stop();
}

#[test]
fn hostile_names_in_a_feed_are_sanitized() {
    let (lab, _socket) = KernelHost::enter_speaking(&"22".parse().unwrap(), MDNS);
    let long = "x".repeat(10_000);
    for name in HOSTILE.into_iter().chain([long.as_str()]) {
        let entry = json!({ "ipv4": "10.77.0.5", "mac": MAC, "name": name });
        let bad = json!({ "ipv4": name, "mac": name, "name": name });
        let feed = FeedServer::start(Says::Body(json!({ "scan": [entry, bad] }).to_string()));
        let config =
            format!("log = \"debug\"\n[feed]\nurl = [{:?}]\n{}", feed.url(), scanner("lan", "1d", "20-30"));
        let portscan = Portscan::beside_kernel(&lab, &(config + "[names]\ndns = false\nmdns = false\n"));
        let running = portscan.start();
        running.wait_for_devices(1, LONG);
        let device = host(&running);
        assert_eq!(device["name"], one_line(name, 255));
        assert_eq!(device["name_source"], "feed");
        assert_well(&portscan, &running);
        running.stop();
    }
}

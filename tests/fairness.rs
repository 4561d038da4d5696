//! No client delays the answers to the owner or to another client, whatever it holds on to.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use portscan::clock::{Clock, SystemClock};
use socket2::{Domain, Socket, Type};

use crate::{
    harness::{LONG, Portscan, Running, Site, eventually},
    history,
    lab::{Node, Switch},
};

/// The limit for each of the owner's answers.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Few enough for the store to return all at once: a response in progress then needs the store no more, however slow
/// the build.
const DEVICES: u32 = 120;

/// An answer of hundreds of kilobytes, which no kernel buffers for a client that does not read.
const LONG_ANSWER: &str = "GET /v1/hosts HTTP/1.1\r\nHost: 10.78.0.2\r\n\r\n";
const EVENTS: &str = "GET /v1/events HTTP/1.1\r\nHost: 10.78.0.2\r\n\r\n";

/// An appliance with a long response to send, and the machines around it.
struct Lan {
    here: Node,
    greedy: Node,
    other: Node,
    running: Running,
    portscan: Portscan,
    _switch: Switch,
}

impl Lan {
    fn start(listen: &str) -> Self {
        let switch = Switch::enter("10.78.0.254/24");
        let [here, greedy, other] =
            ["10.78.0.2/24", "10.78.0.3/24", "10.78.0.4/24"].map(|address| switch.plug(address));
        for (node, address) in [(&here, "fd00:78::2/64"), (&greedy, "fd00:78::3/64")] {
            node.ip(&["addr", "add", address, "dev", "eth0", "nodad"]);
        }
        let portscan = Portscan::on(&here, listen, "[feed]\nurl = []\n[mdns]\nenabled = false\n");
        history::write(&portscan.database(), 1, &history::devices(DEVICES));
        let running = here.within(|| portscan.start()).reached_at(here.address());
        Self { here, greedy, other, running, portscan, _switch: switch }
    }

    /// Asserts twenty answers each, to a program on the appliance's machine and to another client, all within a second.
    fn assert_that_others_are_answered(&self) {
        self.assert_answers("the owner", &self.here, "127.0.0.1");
        self.assert_answers("another client", &self.other, "10.78.0.2");
    }

    fn assert_answers(&self, client: &str, node: &Node, host: &str) {
        let times = node.within(|| {
            let (site, clock) = (Site::new(format!("http://{host}"), LONG), SystemClock::start());
            let answer = |path: &str| {
                let sent = clock.now();
                assert_eq!(site.get(path).status, 200, "{client}: {path}");
                clock.now().since(sent)
            };
            let mut times: Vec<_> = (0..20).flat_map(|_| ["/healthz", "/v1/scans"].map(answer)).collect();
            times.sort_unstable();
            times
        });
        eprintln!("{client}: {:?} in the middle, {:?} at most", times[20], times[39]);
        assert!(times[39] < AT_ONCE, "{client} waited: {times:?}");
    }

    /// Asserts that the token opens the API for a client that has used up its quota.
    fn assert_that_the_token_is_served(&self) {
        let token = std::fs::read_to_string(self.portscan.database().with_file_name("token")).unwrap();
        let head = format!(
            "GET /v1/info HTTP/1.1\r\nHost: 10.78.0.2\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
            token.trim()
        );
        let said = self.greedy.within(|| ask(&connect(IpAddr::V4(self.here.address())), &head));
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    }

    fn refusals(&self) -> Vec<String> {
        let lines = self.running.lines();
        lines.into_iter().filter(|line| line.contains("refusing")).collect()
    }
}

/// Opens a connection that buffers next to nothing of a response.
fn connect(to: IpAddr) -> TcpStream {
    let address = SocketAddr::new(to, 80);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Opens so many connections that send this request and read nothing of the response.
fn hold(from: &Node, to: IpAddr, count: usize, request: &str) -> Vec<TcpStream> {
    from.within(|| {
        let ask = |_| {
            let mut stream = connect(to);
            // A connection that is refused at once may fail to write.
            let _ = stream.write_all(request.as_bytes());
            stream
        };
        (0..count).map(ask).collect()
    })
}

/// The whole response to a request that ends the connection.
fn ask(mut stream: &TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

/// The status of a response, once it has arrived; `None` if the connection was closed without one.
fn status(mut stream: &TcpStream) -> Option<u16> {
    let mut line = [0; 12];
    match stream.read_exact(&mut line) {
        Ok(()) => Some(std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()),
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The statuses of these responses, once all have begun.
fn statuses(streams: &[TcpStream]) -> Vec<Option<u16>> {
    streams.iter().map(status).collect()
}

fn count(statuses: &[Option<u16>], wanted: u16) -> usize {
    statuses.iter().filter(|status| **status == Some(wanted)).count()
}

#[test]
fn slow_readers_of_one_client_do_not_delay_other_clients() {
    let lan = Lan::start("0.0.0.0");
    let to = IpAddr::V4(lan.here.address());
    let slow = hold(&lan.greedy, to, 280, LONG_ANSWER);
    let mut seen = statuses(&slow[..28]);
    lan.assert_that_others_are_answered();
    let refused = lan.greedy.within(|| ask(&connect(to), LONG_ANSWER));
    assert!(
        refused.starts_with("HTTP/1.1 503 ") && refused.to_lowercase().contains("retry-after: 5\r\n"),
        "{refused}"
    );
    lan.assert_that_the_token_is_served();
    seen.extend(statuses(&slow[28..]));
    assert_eq!((count(&seen, 200), count(&seen, 503)), (28, 252));
    let refusals = lan.refusals();
    assert!(refusals.len() == 1 && refusals[0].contains("client=10.78.0.3"), "{refusals:?}");
    drop(slow);
    eventually(LONG, "the client is answered again", || {
        let healthy = "GET /healthz HTTP/1.1\r\nHost: 10.78.0.2\r\nConnection: close\r\n\r\n";
        lan.greedy.within(|| ask(&connect(to), healthy)).starts_with("HTTP/1.1 200 ").then_some(())
    });
    lan.running.stop();
}

#[test]
fn event_streams_of_one_client_leave_room_for_those_of_others() {
    let lan = Lan::start("0.0.0.0");
    let to = IpAddr::V4(lan.here.address());
    let listening = hold(&lan.greedy, to, 64, EVENTS);
    let answers = statuses(&listening);
    lan.assert_that_others_are_answered();
    for (node, address) in [(&lan.other, to), (&lan.here, "127.0.0.1".parse().unwrap())] {
        let events = EVENTS.replace("10.78.0.2", &address.to_string());
        assert_eq!(statuses(&hold(node, address, 1, &events)), [Some(200)]);
    }
    lan.assert_that_the_token_is_served();
    assert_eq!((count(&answers, 200), count(&answers, 503)), (8, 56));
    lan.running.stop();
}

#[test]
fn idle_connections_of_one_client_close_none_of_another_client() {
    let lan = Lan::start("0.0.0.0");
    let to = IpAddr::V4(lan.here.address());
    let kept = "HEAD /healthz HTTP/1.1\r\nHost: 10.78.0.2\r\n\r\n";
    let first = hold(&lan.other, to, 1, kept);
    assert_eq!(status(&first[0]), Some(200));
    let idle = hold(&lan.greedy, to, 400, kept);
    let silent = hold(&lan.greedy, to, 400, "GET / HT");
    // Once all are accepted, the first of them have lost their places.
    statuses(&idle);
    assert_eq!(status(&silent[0]), None);
    // Well within the five seconds that an idle connection has.
    (&first[0]).write_all(kept.as_bytes()).unwrap();
    let mut rest = Vec::new();
    let mut byte = [0];
    while rest.windows(4).filter(|end| end == b"\r\n\r\n").count() < 2 {
        assert_eq!((&first[0]).read(&mut byte).unwrap(), 1, "closed in favour of another client");
        rest.extend(byte);
    }
    lan.assert_that_others_are_answered();
    lan.assert_that_the_token_is_served();
    drop((idle, silent));
    lan.running.stop();
}

#[test]
fn slow_readers_at_many_addresses_leave_places_for_the_owner_and_the_token() {
    let lan = Lan::start("0.0.0.0");
    let to = IpAddr::V4(lan.here.address());
    let mut slow = Vec::new();
    for last in 100..150 {
        lan.greedy.ip(&["addr", "flush", "dev", "eth0", "scope", "global"]);
        lan.greedy.ip(&["addr", "add", &format!("10.78.0.{last}/24"), "dev", "eth0"]);
        let more = hold(&lan.greedy, to, 6, LONG_ANSWER);
        // A server without quotas keeps those beyond 256 waiting.
        if last < 142 {
            statuses(&more);
        }
        slow.extend(more);
    }
    lan.assert_answers("the owner", &lan.here, "127.0.0.1");
    lan.assert_answers("the owner by its address", &lan.here, "10.78.0.2");
    lan.assert_that_the_token_is_served();
    let refused = lan.refusals();
    assert!(refused.len() <= 18, "{refused:?}");
    lan.running.stop();
}

#[test]
fn the_addresses_of_an_ipv6_network_count_as_one_client() {
    let lan = Lan::start("::");
    let to: IpAddr = "fd00:78::2".parse().unwrap();
    let mut slow = Vec::new();
    for last in 0x100..0x120 {
        let address = format!("fd00:78::{last:x}/64");
        lan.greedy.ip(&["addr", "add", &address, "dev", "eth0", "nodad"]);
        // The kernel picks the newest of several equal source addresses.
        slow.extend(hold(&lan.greedy, to, 1, LONG_ANSWER));
        lan.greedy.ip(&["addr", "del", &address, "dev", "eth0"]);
    }
    lan.assert_that_others_are_answered();
    let refusals = lan.refusals();
    assert!(refusals.len() == 1 && refusals[0].contains("client=fd00:78::/64"), "{refusals:?}");
    drop(slow);
    lan.running.stop();
}

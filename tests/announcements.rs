//! What devices announce: real ones (avahi, miniupnpd), hostile ones, and what the appliance sends to learn it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use portscan::model::one_line;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::{
    harness::{
        LONG, Portscan, Running, avahi::Avahi, eventually, liar, miniupnpd::Miniupnpd, scanner, static_feed,
    },
    lab::{KernelHost, Lab, Node, PORT, Switch},
};

const MDNS: u16 = 5353;
const SSDP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);
const DESCRIPTION: &str = "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device>\
    <deviceType>urn:schemas-upnp-org:device:MediaServer:1</deviceType><friendlyName>Shed</friendlyName>\
    <manufacturer>Acme</manufacturer><modelName>Hi-Fi 3</modelName></device></root>";

/// Findings in the store: of ports, and of devices as port 0, each by address and method.
type Stored = BTreeMap<(String, u16, String), Value>;

fn stored(portscan: &Portscan) -> Stored {
    let database =
        Connection::open_with_flags(portscan.database(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let sql = "SELECT e.address, p.port, p.method, i.body FROM identified_ports p \
        JOIN endpoints e ON e.id = p.endpoint JOIN identifications i ON i.id = p.identification \
        UNION ALL SELECT e.address, 0, d.method, i.body FROM identified_devices d \
        JOIN endpoints e ON e.device = d.device JOIN identifications i ON i.id = d.identification";
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement
        .query_map([], |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get::<_, String>(3)?)));
    rows.unwrap()
        .map(|row| row.unwrap())
        .map(|(key, body)| (key, serde_json::from_str(&body).unwrap()))
        .collect()
}

/// The stored ports of an address, with 0 for the device itself.
fn ports(stored: &Stored, of: &str) -> Vec<u16> {
    stored.keys().filter(|(address, ..)| address == of).map(|(_, port, _)| *port).collect()
}

/// The MAC of a machine of the LAN, by the last octet of its address.
fn mac(of: &Node) -> String {
    format!("02:00:00:00:00:{:02x}", of.address().octets()[3])
}

/// Plugs a machine in with that MAC.
fn plug(lan: &Switch, address: &str) -> Node {
    let node = lan.plug(address);
    node.ip(&["link", "set", PORT, "address", &mac(&node)]);
    node
}

/// A configuration that lists these machines, and scans few of their ports.
fn config(above: &str, devices: &[&Node], level: &str) -> String {
    let entry = |node: &&Node| format!("{{ address = \"{}\", mac = \"{}\" }}", node.address(), mac(node));
    let hosts: Vec<String> = devices.iter().map(entry).collect();
    let (hosts, scanner) = (hosts.join(", "), scanner("lan", "1d", "20-21"));
    format!(
        "log = \"debug\"\n{above}[feed]\nurl = []\nhosts = [{hosts}]\n[identify]\nlevel = \"{level}\"\n{scanner}"
    )
}

#[test]
fn services_that_a_device_announces_explain_its_ports() {
    let lan = Switch::enter("10.78.0.254/24");
    let [here, tv, other] =
        ["10.78.0.2/24", "10.78.0.3/24", "10.78.0.4/24"].map(|address| plug(&lan, address));
    let avahi = Avahi::start(&tv, "tv");
    let _published = [
        avahi.publish(&["Living Room", "_googlecast._tcp", "8009", "md=Chromecast Ultra", "fn=Living Room"]),
        avahi.publish(&["Living Room", "_airplay._tcp", "7000", "model=AppleTV6,2"]),
        // An announcement for another device: a proxy's, or a forged one.
        avahi.publish_address("other.local", "10.78.0.4"),
        avahi.publish(&["-H", "other.local", "Forged", "_ipp._tcp", "631", "ty=Forged"]),
    ];
    for kind in ["_googlecast._tcp", "_airplay._tcp", "_ipp._tcp"] {
        eventually(LONG, kind, || (!avahi.browse(kind).is_empty()).then_some(()));
    }
    let portscan = Portscan::on(&here, "0.0.0.0", &config("", &[&tv, &other], "announced"));
    let running = here.within(|| portscan.start()).reached_at(here.address());
    let found = eventually(LONG, "the ports are explained", || {
        let found = stored(&portscan);
        (ports(&found, "10.78.0.3") == [7000, 8009]).then_some(found)
    });
    let finding = |port| &found[&("10.78.0.3".to_owned(), port, "dns-sd".to_owned())];
    assert_eq!(finding(8009)["service"], "googlecast", "{found:?}");
    assert_eq!(finding(8009)["model"], "Chromecast Ultra");
    assert_eq!(finding(7000)["model"], "Apple TV 4K");
    assert_eq!(found.len(), 2, "nothing of another device: {found:?}");
    running.stop();
}

/// Makes a datagram that answers a query with these records.
fn answer(query: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
    let mut answer = liar::answer(records);
    answer[..2].copy_from_slice(&query[..2]);
    answer
}

fn srv(owner: &str, host: &str, port: u16) -> Vec<u8> {
    liar::record(&liar::name(owner), 33, &[&[0; 4][..], &port.to_be_bytes(), &liar::name(host)].concat())
}

fn txt(owner: &str, strings: &[&[u8]]) -> Vec<u8> {
    let length = |string: &[u8]| u8::try_from(string.len()).unwrap();
    let data: Vec<u8> = strings.iter().flat_map(|string| [&[length(string)][..], string].concat()).collect();
    liar::record(&liar::name(owner), 16, &data)
}

/// What a hostile device answers to any question: far too much, malformed, about others; and one true service.
fn hostile(query: &[u8]) -> Vec<Vec<u8>> {
    let ptr = |owner: &str, target: &str| liar::record(&liar::name(owner), 12, &liar::name(target));
    let types = "_services._dns-sd._udp.local";
    let own = [
        ptr(types, "_http._tcp.local"),
        ptr("_http._tcp.local", "a\u{1b}[2J\u{202e}<b>._http._tcp.local"),
        srv("a\u{1b}[2J\u{202e}<b>._http._tcp.local", "own.local", 8080),
        txt(
            "a\u{1b}[2J\u{202e}<b>._http._tcp.local",
            &[b"md=\x1b[2J\x07\n\xff<script>", b"=", b"no\nkey=1", &[b'x'; 255]],
        ),
        liar::address("own.local", [10, 77, 0, 5]),
    ];
    let others = [
        ptr("_http._tcp.local", "Router._http._tcp.local"),
        srv("Router._http._tcp.local", "router.local", 81),
        liar::address("router.local", [10, 77, 0, 1]),
        ptr("_http._tcp.local", "Metadata._http._tcp.local"),
        srv("Metadata._http._tcp.local", "metadata.local", 82),
        liar::address("metadata.local", [169, 254, 169, 254]),
    ];
    let mut said = vec![answer(query, &own), answer(query, &others)];
    // A text of 64 KB in pieces, and more services than fit anywhere.
    said.extend((0..64).map(|_| answer(query, &[txt("Big._http._tcp.local", &[&[b'k'; 250][..]; 4])])));
    said.extend((0..100_u16).map(|block| {
        let names: Vec<String> =
            (0..20).map(|number| format!("s{number}-{block}._t{block}._tcp.local")).collect();
        let kind = format!("_t{block}._tcp.local");
        let records =
            names.iter().flat_map(|name| [ptr(&kind, name), srv(name, "own.local", block + 10_000)]);
        answer(query, &records.chain([ptr(types, &kind)]).collect::<Vec<_>>())
    }));
    said.extend([vec![], vec![0xff; 1400], query.to_vec(), query[..2].to_vec()]);
    said
}

fn assert_harmless(text: &str, what: &str) {
    for line in text.lines() {
        assert_eq!(one_line(line, usize::MAX), line, "{what}");
    }
}

#[test]
fn a_hostile_announcer_costs_little_and_says_nothing_of_others() {
    let (lab, socket) = KernelHost::enter_speaking(&"22".parse().unwrap(), MDNS);
    let hosts = "[feed]\nurl = []\nhosts = [{ address = \"10.77.0.5\", mac = \"02:00:00:00:00:05\" }]\n";
    let rest = "[names]\ndns = false\nmdns = false\n[identify]\nlevel = \"announced\"\n";
    let portscan = Portscan::beside_kernel(
        &lab,
        &format!("log = \"debug\"\n{hosts}{rest}{}", scanner("lan", "1d", "20-30")),
    );
    let running = portscan.start();
    running.wait_for_devices(1, LONG);
    let before = running.rss();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut questions = 0;
    let found = eventually(LONG, "the true service is stored", || {
        let mut query = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            questions += 1;
            for said in hostile(&query[..length]) {
                // Sending fails if the socket that asked is closed already.
                let _ = socket.send_to(&said, client);
            }
        }
        let found = stored(&portscan);
        (!found.is_empty()).then_some(found)
    });
    assert!(questions <= 96, "{questions} questions to one device");
    // Its own port is explained by what it says; it may say that of every port that it has, but of no other device.
    assert!(found.contains_key(&("10.77.0.5".to_owned(), 8080, "dns-sd".to_owned())), "{found:?}");
    assert!(
        found.keys().all(|(address, port, _)| address == "10.77.0.5" && ![81, 82].contains(port)),
        "{found:?}"
    );
    assert!(found.len() <= 64, "{}", found.len());
    for body in found.values() {
        assert_harmless(&body.to_string(), "the database");
        assert!(body.to_string().len() < 1000, "{body}");
    }
    assert_harmless(&running.log(), "the log");
    let grown = running.peak_rss().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes for one device");
    running.stop();
}

#[test]
fn no_question_goes_to_excluded_devices_or_with_the_level_off() {
    let (lab, socket) = KernelHost::enter_speaking(&"22".parse().unwrap(), MDNS);
    let hosts = "[feed]\nurl = []\nhosts = [{ address = \"10.77.0.5\", mac = \"02:00:00:00:00:05\" }]\n";
    let left_alone = "[[device]]\nmatch = \"02:00:00:00:00:05\"\n";
    for (above, below) in [
        ("exclude = [\"10.77.0.5\"]\n", String::new()),
        ("exclude = [\"02:00:00:*\"]\n", String::new()),
        ("", format!("{left_alone}scan = false\n")),
        ("", format!("{left_alone}identify = \"off\"\n")),
        ("", "[identify]\nlevel = \"off\"\n".to_owned()),
    ] {
        let names = "[names]\ndns = false\nmdns = false\n";
        let scanner = scanner("lan", "1d", "20-30");
        let config = format!("log = \"debug\"\n{above}{hosts}{names}{below}{scanner}");
        let running = Portscan::beside_kernel(&lab, &config).start();
        // By then a question would have been sent: the plan asks as soon as a device is there.
        let wanted = eventually(LONG, "the device is known", || {
            let hosts = running.get("/v1/hosts").json();
            Some(hosts.as_array()?.len()).filter(|count| *count == 1)
        });
        assert_eq!(wanted, 1);
        thread::sleep(Duration::from_secs(3));
        running.stop();
        socket.set_nonblocking(true).unwrap();
        let silence = socket.recv_from(&mut [0; 2048]).unwrap_err();
        assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock, "{above} {below}");
    }
}

/// A device that answers searches with these URLs, and its listeners, which count connections.
struct UpnpDevice {
    searches: Arc<Mutex<Vec<SocketAddr>>>,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl UpnpDevice {
    /// Starts it. Its listener at 8200 describes it, and goes on without end.
    fn start(machine: &Node, urls: &[&str]) -> Self {
        let address = machine.address();
        let (socket, listener) = machine.within(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SSDP.port())).unwrap();
            socket.join_multicast_v4(SSDP.ip(), &address).unwrap();
            (socket, TcpListener::bind((address, 8200)).unwrap())
        });
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (searches, connections, stop) = (Arc::default(), Arc::new(AtomicUsize::new(0)), Arc::default());
        let mut device = Self { searches, connections, stop, threads: Vec::new() };
        let answers: Vec<String> = urls
            .iter()
            .map(|url| {
                format!("HTTP/1.1 200 OK\r\nLOCATION: {url}\r\nST: upnp:rootdevice\r\nUSN: uuid:1\r\n\r\n")
            })
            .collect();
        let (searches, stop) = (Arc::clone(&device.searches), Arc::clone(&device.stop));
        device.threads.push(thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
                if buffer[..length].starts_with(b"M-SEARCH * HTTP/1.1\r\n") {
                    searches.lock().unwrap().push(client);
                    for answer in &answers {
                        socket.send_to(answer.as_bytes(), client).unwrap();
                    }
                }
            }
        }));
        let (connections, stop) = (Arc::clone(&device.connections), Arc::clone(&device.stop));
        device.threads.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                };
                connections.fetch_add(1, Ordering::Relaxed);
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(LONG)).unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n";
                let mut sent =
                    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(DESCRIPTION.as_bytes()));
                // Until the client has had enough.
                while sent.is_ok() {
                    sent = stream.write_all(&[b' '; 4096]);
                }
            }
        }));
        device
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn searches(&self) -> Vec<SocketAddr> {
        self.searches.lock().unwrap().clone()
    }
}

impl Drop for UpnpDevice {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || thread::panicking(), "a thread of the device panicked");
        }
    }
}

/// Waits for a device's model in the store.
fn wait_for_model(running: &Running, portscan: &Portscan, address: &str) -> Stored {
    eventually(LONG, &format!("{address} has described itself\n{}", running.log()), || {
        let found = stored(portscan);
        found.contains_key(&(address.to_owned(), 0, "upnp".to_owned())).then_some(found)
    })
}

#[test]
fn a_description_is_taken_from_the_device_itself_alone() {
    let lan = Switch::enter("10.78.0.254/24");
    let [here, tv, liar, excluded, stranger] =
        ["10.78.0.2/24", "10.78.0.3/24", "10.78.0.4/24", "10.78.0.5/24", "10.78.0.6/24"]
            .map(|address| plug(&lan, address));
    let honest = UpnpDevice::start(&tv, &["http://10.78.0.3:8200/rootDesc.xml"]);
    let lying = [
        "http://10.78.0.3:8200/rootDesc.xml",
        "http://10.78.0.5:8200/rootDesc.xml",
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:80/",
        "http://10.78.0.4:9100/rootDesc.xml",
        "http://other.local/rootDesc.xml",
    ];
    let lying = UpnpDevice::start(&liar, &lying);
    let left_alone = UpnpDevice::start(&excluded, &["http://10.78.0.5:8200/rootDesc.xml"]);
    let unknown = UpnpDevice::start(&stranger, &["http://10.78.0.6:8200/rootDesc.xml"]);
    let config = config("exclude = [\"10.78.0.5\"]\n", &[&tv, &liar, &excluded], "announced");
    let portscan = Portscan::on(&here, "0.0.0.0", &config);
    let running = here.within(|| portscan.start()).reached_at(here.address());
    let found = wait_for_model(&running, &portscan, "10.78.0.3");
    let body = &found[&("10.78.0.3".to_owned(), 0, "upnp".to_owned())];
    assert_eq!((&body["maker"], &body["model"]), (&"Acme".into(), &"Hi-Fi 3".into()));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(honest.connections(), 1);
    for device in [&lying, &left_alone, &unknown] {
        assert_eq!(device.connections(), 0);
    }
    // One search, sent twice, by one socket of the appliance.
    let searches = honest.searches();
    assert_eq!(searches.len(), 2, "{searches:?}");
    let senders: BTreeSet<SocketAddr> = searches.into_iter().collect();
    assert_eq!(senders.len(), 1);
    assert!(senders.iter().all(|sender| sender.ip() == here.address()), "{senders:?}");
    running.stop();
}

#[test]
fn one_search_serves_all_devices_of_a_network() {
    let lab = Lab::enter("forty");
    let scanner = scanner("lan", "1d", "20-21");
    let config = format!("{}[identify]\nlevel = \"announced\"\n{scanner}", static_feed(&lab));
    let running = Portscan::new(&lab, &config).start();
    eventually(LONG, "the network is searched", || (lab.multicasts() == 2).then_some(()));
    // By then each device has been asked, and none has answered: every one of them was due.
    thread::sleep(Duration::from_secs(30));
    assert_eq!(lab.multicasts(), 2, "to all devices together");
    assert_eq!(lab.outside(), Default::default(), "no packet went to other addresses");
    running.stop();
}

#[test]
fn a_router_describes_itself() {
    let lan = Switch::enter("10.78.0.254/24");
    let [here, router] = ["10.78.0.2/24", "10.78.0.1/24"].map(|address| plug(&lan, address));
    let _miniupnpd = Miniupnpd::start(&router, "Miniature");
    let portscan = Portscan::on(&here, "0.0.0.0", &config("", &[&router], "announced"));
    let running = here.within(|| portscan.start()).reached_at(here.address());
    let found = wait_for_model(&running, &portscan, "10.78.0.1");
    let body = &found[&("10.78.0.1".to_owned(), 0, "upnp".to_owned())];
    assert_eq!((&body["model"], &body["device_type"]), (&"Miniature".into(), &"router".into()), "{body}");
    running.stop();
}

#[test]
fn no_network_is_searched_without_a_known_device_in_it() {
    let lan = Switch::enter("10.78.0.254/24");
    let [here, excluded] = ["10.78.0.2/24", "10.78.0.5/24"].map(|address| plug(&lan, address));
    let device = UpnpDevice::start(&excluded, &["http://10.78.0.5:8200/rootDesc.xml"]);
    for (above, devices, level) in [
        ("exclude = [\"10.78.0.5\"]\n", &[&excluded][..], "announced"),
        ("", &[], "announced"),
        ("", &[&excluded], "off"),
    ] {
        let portscan = Portscan::on(&here, "0.0.0.0", &config(above, devices, level));
        let running = here.within(|| portscan.start()).reached_at(here.address());
        eventually(LONG, "the appliance serves", || (running.get("/v1/hello").status == 200).then_some(()));
        // A search would be sent as soon as the device is known.
        thread::sleep(Duration::from_secs(4));
        running.stop();
        assert_eq!(device.searches(), [], "{above} {level}");
        assert_eq!(device.connections(), 0);
    }
}

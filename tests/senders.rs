//! The trust that the appliance gives a client by its origin: a program on its own machine, another machine, a
//! forwarder between them, a web page.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    harness::{LONG, Portscan, Running, eventually},
    lab::{Node, Switch},
};

const ANY: &str = "0.0.0.0";
const NO_FEED: &str = "[feed]\nurl = []\n";

/// No response of a healthy server takes this long, however busy the machine that tests it.
const AT_MOST: Duration = Duration::from_secs(60);

/// An appliance on a machine of a LAN with another machine.
struct Lan {
    here: Node,
    there: Node,
    portscan: Portscan,
    running: Running,
    _switch: Switch,
}

impl Lan {
    fn enter(config: &str) -> Self {
        let switch = Switch::enter("10.78.0.254/24");
        let [here, there] = ["10.78.0.2/24", "10.78.0.3/24"].map(|address| switch.plug(address));
        // The loopback of a new network namespace is down at first.
        here.ip(&["link", "set", "lo", "up"]);
        let portscan = Portscan::on(&here, ANY, &format!("{NO_FEED}{config}"));
        let running = here.within(|| portscan.start()).reached_at(here.address());
        Self { here, there, portscan, running, _switch: switch }
    }
}

/// Sends a GET from a machine to an address, with this host name and these headers; returns status and body.
fn ask(machine: &Node, at: &str, host: &str, path: &str, headers: &[&str]) -> (u16, String) {
    machine.within(|| {
        let address: SocketAddr = at.parse().unwrap();
        let mut stream = TcpStream::connect_timeout(&address, AT_MOST).unwrap();
        stream.set_read_timeout(Some(AT_MOST)).unwrap();
        let headers: String = headers.iter().flat_map(|line| [*line, "\r\n"]).collect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    })
}

/// Forwards connections to another address and adds no header, as `socat TCP-LISTEN:8080,fork TCP:127.0.0.1:80` does.
fn forward(machine: &Node, at: &str, to: &'static str) {
    machine.within(|| {
        let listener = TcpListener::bind(at).unwrap();
        // A thread inherits the network namespace of the thread that starts it.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || pass(&client, to));
            }
        });
    });
}

fn pass(client: &TcpStream, to: &str) -> io::Result<()> {
    let server = TcpStream::connect(to)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Write)
    });
    io::copy(&mut &server, &mut &*client)?;
    client.shutdown(Shutdown::Write)
}

#[test]
fn clients_behind_a_headerless_forwarder_are_not_trusted() {
    let lan = Lan::enter("");
    forward(&lan.here, "10.78.0.2:8080", "127.0.0.1:80");
    forward(&lan.here, "10.78.0.2:8081", "10.78.0.2:80");
    let backup = |machine, at, host| ask(machine, at, host, "/v1/backup", &[]).0;
    // Other machines: directly, and by either forwarder.
    assert_eq!(backup(&lan.there, "10.78.0.2:80", "10.78.0.2"), 401);
    assert_eq!(backup(&lan.there, "10.78.0.2:80", "localhost"), 401);
    assert_eq!(backup(&lan.there, "10.78.0.2:8080", "10.78.0.2:8080"), 401);
    assert_eq!(backup(&lan.there, "10.78.0.2:8080", "portscan.local:8080"), 401);
    assert_eq!(backup(&lan.there, "10.78.0.2:8081", "10.78.0.2:8081"), 401);
    // Requests that need no token work through the forwarder.
    assert_eq!(ask(&lan.there, "10.78.0.2:8080", "10.78.0.2:8080", "/healthz", &[]).0, 200);
    // This machine, by its loopback and by its own address.
    assert_eq!(backup(&lan.here, "127.0.0.1:80", "localhost"), 200);
    assert_eq!(backup(&lan.here, "127.0.0.1:80", "127.0.0.1"), 200);
    assert_eq!(backup(&lan.here, "10.78.0.2:80", "10.78.0.2"), 200);
    lan.running.stop();
}

/// Whether a probe was refused with status 403 for this reason.
fn refused((status, body): (u16, String), why: &str) -> bool {
    status == 403 && body.contains(why)
}

#[test]
fn ports_of_the_appliances_machine_are_probed_for_its_own_programs_alone() {
    let lan = Lan::enter("");
    let listen = |at: &str| lan.here.within(|| TcpListener::bind(at).unwrap());
    let _private = [listen("127.0.0.1:3306"), listen("10.78.0.2:3306")];
    // The kernel answers at this address, too, on every interface.
    lan.here.ip(&["link", "add", "down0", "type", "bridge"]);
    lan.here.ip(&["addr", "add", "10.79.0.1/32", "dev", "down0"]);
    for host in [
        "127.0.0.1",
        "127.1.2.3",
        "localhost",
        "::ffff:127.0.0.1",
        "::1",
        "10.78.0.2",
        "[::ffff:10.78.0.2]",
        "10.79.0.1",
    ] {
        let path = format!("/portscan/{host}/3306/json");
        let answer = ask(&lan.there, "10.78.0.2:80", "10.78.0.2", &path, &[]);
        assert!(refused(answer.clone(), "the appliance's own address"), "{host}: {answer:?}");
        assert_eq!(ask(&lan.here, "127.0.0.1:80", "localhost", &path, &[]).0, 200, "{host}");
    }
    let unspecified = "/portscan/0.0.0.0/3306/json";
    assert_eq!(ask(&lan.there, "10.78.0.2:80", "10.78.0.2", unspecified, &[]).0, 400);
    lan.running.stop();
}

#[test]
fn clients_behind_a_forwarder_may_probe_no_more_than_other_machines() {
    let lan = Lan::enter("");
    forward(&lan.here, "10.78.0.2:8080", "127.0.0.1:80");
    let probed = |host: &str| {
        let path = format!("/portscan/{host}/9/json");
        ask(&lan.there, "10.78.0.2:8080", "10.78.0.2:8080", &path, &[])
    };
    for host in ["127.0.0.1", "localhost", "10.78.0.2"] {
        assert!(refused(probed(host), "the appliance's own address"), "{host}");
    }
    assert!(refused(probed("169.254.169.254"), "metadata"));
    assert_eq!(probed("10.78.0.3").0, 200);
    lan.running.stop();
}

#[test]
fn other_hosts_are_probed_for_any_client_except_another_sites_page() {
    let lan = Lan::enter("");
    let probed = |headers: &[&str]| {
        ask(&lan.there, "10.78.0.2:80", "10.78.0.2", "/portscan/10.78.0.3/9/json", headers)
    };
    let (status, body) = probed(&[]);
    assert!(status == 200 && body.contains("\"state\":\"closed\""), "{status} {body}");
    assert_eq!(probed(&["Sec-Fetch-Site: none"]).0, 200);
    assert_eq!(probed(&["Referer: http://10.78.0.2/"]).0, 200);
    for evil in ["Sec-Fetch-Site: cross-site", "Origin: http://evil.example", "Referer: http://evil.example/"]
    {
        assert!(refused(probed(&[evil]), "another site's page"), "{evil}");
    }
    let metadata = "/portscan/169.254.169.254/80/json";
    assert!(refused(ask(&lan.here, "127.0.0.1:80", "localhost", metadata, &[]), "metadata"));
    lan.running.stop();
}

#[test]
fn the_owners_probes_are_answered_while_another_client_floods() {
    let lan = Lan::enter("");
    let token = fs::read_to_string(lan.portscan.database().with_file_name("token")).unwrap();
    let (is_over, answered) =
        (Arc::new(AtomicBool::new(false)), Arc::new([const { AtomicUsize::new(0) }; 2]));
    let path = "/portscan/10.78.0.3/9/json";
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let (status, _) = ask(&lan.there, "10.78.0.2:80", "10.78.0.2", path, &[]);
                    answered[usize::from(status == 503)].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually(LONG, "the flood is throttled", || {
            (answered[1].load(Ordering::Relaxed) > 50).then_some(())
        });
        let owners: Vec<u16> = (0..20)
            .map(|number| match number % 2 {
                0 => ask(&lan.here, "127.0.0.1:80", "localhost", path, &[]).0,
                _ => {
                    let shown = format!("Authorization: Bearer {}", token.trim());
                    ask(&lan.there, "10.78.0.2:80", "10.78.0.2", path, &[&shown]).0
                }
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(owners, [200; 20]);
    });
    assert!(answered[0].load(Ordering::Relaxed) > 0, "the flooding client gets its share");
    lan.running.stop();
}

#[test]
fn a_wrong_token_is_logged_by_its_sender_and_without_its_value() {
    let lan = Lan::enter("");
    for guess in 0..3 {
        let shown = format!("Authorization: Bearer guessed-guessed-guessed-{guess}");
        assert_eq!(ask(&lan.there, "10.78.0.2:80", "10.78.0.2", "/v1/backup", &[&shown]).0, 401);
    }
    let line = lan.running.wait_for_line(LONG, |line| line.contains("wrong token"));
    assert!(line.contains("sender=10.78.0.3"), "{line}");
    let log = lan.running.log();
    assert!(!log.contains("guessed-guessed") && log.matches("wrong token").count() == 1, "{log}");
    lan.running.stop();
}

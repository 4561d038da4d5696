//! `scan -sU`: real servers are found, silence is never open, and no host gets more than a datagram a second.

use std::{
    collections::BTreeMap,
    net::UdpSocket,
    os::fd::AsRawFd,
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use nix::{
    cmsg_space,
    sys::{
        socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt},
        time::TimeSpec,
    },
};
use serde_json::{Value, json};
use testkit::{Ports, clock::Stopwatch};

use crate::{
    harness::{Finished, LONG, Portscan, avahi::Avahi, eventually, server::Server},
    lab::{KernelHost, Node, Switch},
    nmap::assert_valid,
};

const WITHIN: Duration = Duration::from_secs(240);
const NO_FEED: &str = "[feed]\nurl = []\nhosts = []\n";

fn run(portscan: &Portscan, arguments: &[&str]) -> Finished {
    portscan.run(&[&["scan", "-sU", "-n"], arguments].concat(), WITHIN)
}

/// The states and reasons of a host's ports in the document of a scan, the ports in the default state by `covered`.
fn states(document: &Value, address: &str, covered: &str) -> BTreeMap<u16, String> {
    let hosts = document["hosts"].as_array().unwrap();
    let host = hosts.iter().find(|host| host["address"] == address).unwrap_or_else(|| panic!("{document}"));
    let covered: Ports = covered.parse().unwrap();
    let default = host["default_state"].as_str().unwrap();
    let mut states: BTreeMap<u16, String> = covered.iter().map(|port| (port, default.to_owned())).collect();
    for port in host["ports"].as_array().unwrap() {
        assert_eq!(port["protocol"], "udp");
        let number = u16::try_from(port["port"].as_u64().unwrap()).unwrap();
        states.insert(number, port["state"].as_str().unwrap().to_owned());
    }
    states
}

fn expected(ports: &[(u16, &str)]) -> BTreeMap<u16, String> {
    ports.iter().map(|&(port, state)| (port, state.to_owned())).collect()
}

fn iptables(arguments: &[&str]) {
    let status = Command::new("iptables").args(arguments).status().expect("iptables is installed");
    assert!(status.success(), "iptables {arguments:?}");
}

/// When a machine has taken a datagram, at whatever UDP port, without an answer; by its kernel, so that a busy test is not
/// late.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<Duration>>>);

impl Taken {
    /// Has the machine take all datagrams, whatever their port.
    fn at(node: &Node) -> Self {
        let taken = Self::default();
        let socket = node.within(|| {
            iptables(&["-t", "nat", "-A", "PREROUTING", "-p", "udp", "-j", "REDIRECT", "--to-ports", "9"]);
            UdpSocket::bind("0.0.0.0:9").unwrap()
        });
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).unwrap();
        let list = taken.clone();
        thread::spawn(move || {
            let mut space = cmsg_space!(TimeSpec);
            loop {
                let message =
                    recvmsg::<()>(socket.as_raw_fd(), &mut [], Some(&mut space), MsgFlags::empty()).unwrap();
                let at = message.cmsgs().unwrap().find_map(|message| match message {
                    ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
                    _ => None,
                });
                list.0.lock().unwrap().push(at.expect("it was asked for"));
            }
        });
        taken
    }

    fn all(&self) -> Vec<Duration> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn debians_servers_are_found_open() {
    let lan = Switch::enter("10.78.0.254/24");
    let node = lan.plug("10.78.0.5/24");
    let _servers = [Server::dnsmasq(&node), Server::chronyd(&node), Server::snmpd(&node, "secret")];
    let avahi = Avahi::start(&node, "udp");
    let _published = avahi.publish(&["udp", "_http._tcp", "80"]);
    eventually(LONG, "avahi has a service", || (!avahi.browse("_http._tcp").is_empty()).then_some(()));
    let portscan = Portscan::on(&node, "127.0.0.1", "");
    // SNMP is found without its community, TFTP though it answers from another port.
    let ended = run(&portscan, &["--json", "-p", "U:53,69,123,161,5353,4500,5060", "10.78.0.5"]);
    let found = states(&ended.json(), "10.78.0.5", "53,69,123,161,4500,5060,5353");
    let open = [53, 69, 123, 161, 5353].map(|port| (port, "open"));
    let closed = [4500, 5060].map(|port| (port, "closed"));
    assert_eq!(found, expected(&[open.as_slice(), &closed].concat()), "{}", ended.stderr);
    assert_eq!(ended.json()["hosts"][0]["ports"][0]["service"], "domain");
}

/// An old agent, which knows nothing of version 3.
#[test]
fn an_agent_of_snmp_version_1_is_asked_again_by_its_community() {
    let lan = Switch::enter("10.78.0.254/24");
    let node = lan.plug("10.78.0.5/24");
    let socket = node.within(|| UdpSocket::bind("0.0.0.0:161").unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&asked);
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, asker)) = socket.recv_from(&mut buffer) {
            // SEQUENCE, its length, INTEGER, 1, the version.
            list.lock().unwrap().push(buffer[4]);
            if buffer[4] == 0 {
                socket.send_to(&buffer[..length], asker).unwrap();
            }
        }
    });
    let ended = run(&Portscan::on(&node, "127.0.0.1", ""), &["--json", "-p", "161", "10.78.0.5"]);
    assert_eq!(states(&ended.json(), "10.78.0.5", "161"), expected(&[(161, "open")]));
    assert_eq!(*asked.lock().unwrap(), [3, 0]);
}

/// The receiver counts and times all that arrives, of the whole list.
#[test]
fn silence_is_never_open_and_a_host_gets_one_datagram_a_second() {
    let lan = Switch::enter("10.78.0.254/24");
    let nodes = ["10.78.0.5", "10.78.0.6"].map(|address| lan.plug(&format!("{address}/24")));
    let taken = [&nodes[0], &nodes[1]].map(Taken::at);
    let watch = Stopwatch::start();
    let ended = run(&Portscan::on(&nodes[0], "127.0.0.1", ""), &["--json", "-T5", "10.78.0.5-6"]);
    let took = watch.elapsed();
    let document = ended.json();
    for (index, host) in document["hosts"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            (&host["default_state"], &host["ports"]),
            (&json!("open|filtered"), &json!([])),
            "{index}"
        );
        let arrived = taken[index].all();
        assert_eq!(arrived.len(), 80, "40 ports, two tries");
        let closest = arrived.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).min().unwrap();
        // A wall clock that is being adjusted may run slower, by 0.05 % (adjtimex(2)).
        assert!(closest >= Duration::from_millis(999), "{closest:?}");
    }
    // Both hosts at once.
    assert!((Duration::from_secs(79)..Duration::from_secs(150)).contains(&took), "{took:?}");
    assert_eq!(document["scan"]["status"], "complete");
}

/// A real kernel's rate of ICMP errors.
#[test]
fn every_closed_port_of_a_kernel_is_closed() {
    let host = KernelHost::enter(&Ports::default());
    let address = host.address().to_string();
    let ended = run(&Portscan::beside_kernel(&host, ""), &["--json", "-p", "1-20", &address]);
    let closed: Vec<_> = (1..=20).map(|port| (port, "closed")).collect();
    assert_eq!(states(&ended.json(), &address, "1-20"), expected(&closed), "{}", ended.stdout);
}

#[test]
fn a_firewall_on_the_host_filters() {
    let lan = Switch::enter("10.78.0.254/24");
    let node = lan.plug("10.78.0.5/24");
    node.within(|| {
        let rule = |port, target: &[&str]| {
            iptables(&[&["-A", "INPUT", "-p", "udp", "--dport", port, "-j"], target].concat());
        };
        rule("53", &["DROP"]);
        rule("123", &["REJECT", "--reject-with", "icmp-admin-prohibited"]);
        rule("161", &["REJECT", "--reject-with", "icmp-host-unreachable"]);
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("udp.xml");
    let portscan = Portscan::on(&node, "127.0.0.1", "");
    let options = ["-p", "53,67,123,161", "-oX", file.to_str().unwrap(), "10.78.0.5"];
    let ended = run(&portscan, &[&["--json"], options.as_slice()].concat());
    let found = states(&ended.json(), "10.78.0.5", "53,67,123,161");
    assert_eq!(
        found,
        expected(&[(53, "open|filtered"), (67, "closed"), (123, "filtered"), (161, "filtered")])
    );
    assert_valid(&file);
    let xml = std::fs::read_to_string(&file).unwrap();
    for state in [
        "<port protocol=\"udp\" portid=\"53\"><state state=\"open|filtered\" reason=\"no-response\"",
        "<port protocol=\"udp\" portid=\"67\"><state state=\"closed\" reason=\"port-unreach\"",
        "<port protocol=\"udp\" portid=\"123\"><state state=\"filtered\" reason=\"admin-prohibited\"",
    ] {
        assert!(xml.contains(state), "{state}: {xml}");
    }
}

/// By EPERM, and by an ICMP error of this machine's own that looks like a closed port.
#[test]
fn what_this_machines_firewall_forbids_has_no_verdict() {
    let lan = Switch::enter("10.78.0.254/24");
    let node = lan.plug("10.78.0.5/24");
    iptables(&["-A", "OUTPUT", "-p", "udp", "--dport", "53", "-j", "DROP"]);
    iptables(&["-A", "OUTPUT", "-p", "udp", "--dport", "123", "-j", "REJECT"]);
    let ended = run(&Portscan::on(&node, "127.0.0.1", ""), &["-p", "53,123,161", "10.78.0.5"]);
    assert!(ended.stdout.contains("161/udp  closed"), "{}", ended.stdout);
    for port in ["53/udp", "123/udp"] {
        assert!(!ended.stdout.contains(port), "{}", ended.stdout);
    }
    assert!(ended.stdout.contains("could not ask 2 of its ports"), "{}", ended.stdout);
    assert!(ended.stderr.contains("this machine's own firewall"), "{}", ended.stderr);
}

#[test]
fn excluded_devices_and_whole_networks_get_no_datagram() {
    let lan = Switch::enter("10.78.0.254/24");
    let nodes = ["10.78.0.5", "10.78.0.6", "10.78.0.7"].map(|address| lan.plug(&format!("{address}/24")));
    nodes[2].ip(&["link", "set", "eth0", "address", "02:00:00:00:00:07"]);
    let taken = [&nodes[0], &nodes[1], &nodes[2]].map(Taken::at);
    let config = "exclude = [\"10.78.0.6\", \"02:00:00:00:00:07\"]\n".to_owned() + NO_FEED;
    let portscan = Portscan::on(&nodes[0], "127.0.0.1", &config);
    let file = portscan.write_config().display().to_string();
    let options = ["--config", &file, "--json", "--max-retries", "0", "-p", "53,123"];
    let ended = run(&portscan, &[&options[..], &["10.78.0.0/28", "10.78.0.255"]].concat());
    assert!(ended.stderr.contains("10.78.0.255 stands for the whole network"), "{}", ended.stderr);
    assert!(ended.stderr.contains("10.78.0.7 is left out"), "{}", ended.stderr);
    assert_eq!(taken.map(|taken| taken.all().len()), [2, 0, 0]);
    let hosts = ended.json()["hosts"].as_array().unwrap().clone();
    let down = hosts.iter().filter(|host| host["status"] == "down").count();
    assert_eq!((hosts.len(), down), (13, 12), "{hosts:?}");
}

/// It is imported as what it is: open ports are open, and silence is no finding, no difference and no alert.
#[test]
fn an_imported_scan_makes_no_finding_of_silence() {
    let lan = Switch::enter("10.78.0.254/24");
    let node = lan.plug("10.78.0.5/24");
    let _server = Server::dnsmasq(&node);
    node.within(|| iptables(&["-A", "INPUT", "-p", "udp", "--dport", "123", "-j", "DROP"]));
    let folder = tempfile::tempdir().unwrap();
    let scanned = |name: &str| {
        let file = folder.path().join(name).display().to_string();
        let options = ["--max-retries", "0", "-p", "53,123,161", "-oX", &file, "10.78.0.5"];
        let ended = run(&Portscan::on(&node, "127.0.0.1", NO_FEED), &options);
        assert!(ended.status.success(), "{}", ended.stderr);
        file
    };
    let before = scanned("before.xml");
    node.within(|| iptables(&["-I", "INPUT", "-p", "udp", "--dport", "53", "-j", "DROP"]));
    let after = scanned("after.xml");

    let appliance = Portscan::on(&node, "127.0.0.1", NO_FEED);
    let running = appliance.start();
    let config = appliance.write_config().display().to_string();
    let import = |file: &str| {
        let ended = appliance.run(&["import", file, "--config", &config], LONG);
        assert!(ended.status.success(), "{}", ended.stderr);
    };
    import(&before);
    let [host] = running.get("/v1/hosts").json().as_array().unwrap().clone().try_into().unwrap();
    let open: Vec<_> =
        host["ports"].as_array().unwrap().iter().map(|port| (&port["port"], &port["protocol"])).collect();
    assert_eq!(open, [(&json!(53), &json!("udp"))]);
    // Nothing is expected but what is open.
    let ended = appliance.run(&["expected", "accept", "--all", "--config", &config], LONG);
    assert!(ended.status.success(), "{}", ended.stderr);
    let count = |what: &str| running.get("/v1/info").json()[what].as_u64().unwrap();
    assert_eq!((count("open"), count("rogue"), count("missing")), (1, 0, 0));

    let events = || running.get("/v1/changes").json().as_array().unwrap().len();
    let earlier = events();
    import(&after);
    assert_eq!((count("open"), count("rogue")), (0, 0));
    assert_eq!(events(), earlier, "silence closes nothing: {}", running.get("/v1/changes").json());
    running.stop();
}

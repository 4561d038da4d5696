//! Multicast DNS in both roles, publishing and resolving: with Debian's avahi, with each other, and with liars.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
};

use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
};
use serde_json::json;

use crate::{
    harness::{
        LONG, Portscan, Running,
        avahi::{Avahi, Found},
        eventually,
        feed::{FeedServer, Says},
        liar::{self, Liar, Question},
        scanner,
    },
    lab::{Node, PORT, Switch},
};

pub const ANY: &str = "0.0.0.0";
pub const NO_FEED: &str = "[feed]\nurl = []\n";
pub const KINDS: [&str; 2] = ["_http._tcp", "_portscan._tcp"];

fn lan() -> Switch {
    Switch::enter("10.78.0.254/24")
}

/// Starts an appliance on that machine and waits until it answers.
pub fn start(machine: &Node, portscan: &Portscan) -> Running {
    machine.within(|| portscan.start()).reached_at(machine.address())
}

/// Waits until the appliance has exactly these names.
pub fn wait_for_names(running: &Running, names: &[&str]) {
    eventually(LONG, &format!("it has the names {names:?}\n{}", running.log()), || {
        (running.get("/v1/info").json()["names"] == json!(names)).then_some(())
    });
}

fn found(label: &str, address: Ipv4Addr) -> Found {
    Found {
        instance: label.to_owned(),
        host: format!("{label}.local"),
        address: address.to_string(),
        port: "80".to_owned(),
        txt: "\"path=/\"".to_owned(),
    }
}

/// Waits until avahi finds exactly these services of the kind.
fn wait_for(avahi: &Avahi<'_>, kind: &str, services: &[Found]) {
    eventually(LONG, &format!("{kind} is {services:?}"), || (avahi.browse(kind) == services).then_some(()));
}

/// Whether a process on the machine takes part in multicast DNS: UDP port 5353, in either family.
fn takes_part(machine: &Node) -> bool {
    machine.within(|| {
        ["udp", "udp6"].iter().any(|family| {
            let sockets = fs::read_to_string(format!("/proc/thread-self/net/{family}")).unwrap_or_default();
            sockets.lines().any(|line| line.contains(":14E9 "))
        })
    })
}

#[test]
fn the_appliance_is_found_by_name_until_it_stops() {
    let lan = lan();
    let [here, desk] = ["10.78.0.2/24", "10.78.0.3/24"].map(|address| lan.plug(address));
    let avahi = Avahi::start(&desk, "desk");
    let mut portscan = Portscan::on(&here, ANY, NO_FEED);
    let running = start(&here, &portscan);
    wait_for_names(&running, &["portscan.local"]);
    assert_eq!(avahi.resolve("portscan.local"), Some(here.address().to_string()));
    for kind in KINDS {
        wait_for(&avahi, kind, &[found("portscan", here.address())]);
    }
    for name in ["portscan.local", "lanscan.local"] {
        let mut curl = Command::new("curl");
        curl.args(["-sf", "--resolve", &format!("{name}:80:{}", here.address())]);
        let output = curl.arg(format!("http://{name}/portscan/json")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "{\"macs\":[]}", "{name}: {output:?}");
    }

    let mut reload = |mdns: &str| {
        portscan.set_config(&format!("{NO_FEED}[mdns]\n{mdns}\n"));
        portscan.write_config();
        running.signal(Signal::SIGHUP);
    };
    reload("name = \"scanner\"");
    wait_for_names(&running, &["scanner.local"]);
    for kind in KINDS {
        wait_for(&avahi, kind, &[found("scanner", here.address())]);
    }
    reload("enabled = false");
    wait_for_names(&running, &[]);
    wait_for(&avahi, KINDS[0], &[]);
    eventually(LONG, "its socket is closed", || (!takes_part(&here)).then_some(()));
    reload("name = \"portscan\"");
    wait_for(&avahi, KINDS[0], &[found("portscan", here.address())]);
    running.stop();
    for kind in KINDS {
        wait_for(&avahi, kind, &[]);
    }
    assert_eq!(avahi.host_name(), "desk.local");
}

#[test]
fn a_feed_is_found_by_name_and_keeps_its_name() {
    let lan = lan();
    let [here, there] = ["10.78.0.2/24", "10.78.0.3/24"].map(|address| lan.plug(address));
    let mac = "02:00:00:00:00:03";
    there.ip(&["link", "set", PORT, "address", mac]);
    let avahi = Avahi::start(&there, "lanscan");
    let listener = there.within(|| TcpListener::bind("10.78.0.3:80").unwrap());
    let feed = FeedServer::listening(Says::Devices(vec![("10.78.0.3".to_owned(), mac.to_owned())]), listener);
    // Without [feed] the URL is the default, lanscan.local.
    let portscan = Portscan::on(&here, ANY, &scanner("lan", "1d", "20-90"));
    let running = start(&here, &portscan);
    running.wait_for_devices(1, LONG);
    assert_eq!(running.open_ports(mac), Some("80".parse().unwrap()));
    assert_eq!(running.get("/portscan/LANSCAN.local/80/json").json()["ipv4"], "LANSCAN.local");
    let probed = here.within(|| portscan.run(&["probe", "lanscan.local", "80"], LONG));
    assert!(probed.status.success() && probed.stdout.contains("10.78.0.3:80 open"), "{probed:?}");
    running.stop();
    drop(feed);

    let as_lanscan = "[feed]\nurl = []\ndiscover = [\"eth0\"]\n[mdns]\nname = \"scanner\"\n";
    let running = start(&here, &Portscan::on(&here, ANY, as_lanscan).env("RUST_LOG", "debug"));
    running.wait_for_line(LONG, |line| line.contains("lanscan.local exists already"));
    wait_for_names(&running, &["scanner.local"]);
    running.stop();
    drop(avahi);

    let desk = Avahi::start(&there, "desk");
    let running = start(&here, &Portscan::on(&here, ANY, as_lanscan));
    wait_for_names(&running, &["scanner.local", "lanscan.local"]);
    assert_eq!(desk.resolve("lanscan.local"), Some(here.address().to_string()));
    running.stop();
}

/// The appliance and avahi, which announces its IPv6 addresses as well, share a machine, in either order of starting.
fn both_keep_the_name(host_name: &str, avahi_first: bool) {
    let lan = lan();
    let [here, desk] = ["10.78.0.2/24", "10.78.0.3/24"].map(|address| lan.plug(address));
    here.ip(&["addr", "add", "fd00:78::2/64", "dev", PORT, "nodad"]);
    let early = avahi_first.then(|| Avahi::start(&here, host_name));
    let running = start(&here, &Portscan::on(&here, ANY, NO_FEED));
    wait_for_names(&running, &["portscan.local"]);
    let avahi = early.unwrap_or_else(|| Avahi::start(&here, host_name));
    let peer = Avahi::start(&desk, "desk");
    for name in ["portscan.local", &format!("{host_name}.local")] {
        assert_eq!(peer.resolve(name), Some(here.address().to_string()), "{name}");
    }
    wait_for(&peer, KINDS[0], &[found("portscan", here.address())]);
    running.stop();
    // The machine's own name outlives the appliance, which has withdrawn its own records of that name.
    let own = format!("{host_name}.local");
    eventually(LONG, "the machine's name resolves", || {
        peer.resolve(&own).filter(|ip| *ip == here.address().to_string())
    });
    let again = start(&here, &Portscan::on(&here, ANY, NO_FEED));
    wait_for_names(&again, &["portscan.local"]);
    let log = avahi.log();
    assert_eq!(avahi.host_name(), format!("{host_name}.local"), "{log}");
    assert!(!log.contains("conflict"), "{log}");
    assert!(again.get("/healthz").json()["notices"].as_array().unwrap().is_empty());
    again.stop();
}

#[test]
fn avahi_with_another_name_on_the_same_machine_keeps_it() {
    both_keep_the_name("pi", true);
}

#[test]
fn avahi_with_the_same_name_keeps_it_if_started_first() {
    both_keep_the_name("portscan", true);
}

#[test]
fn avahi_with_the_same_name_keeps_it_if_started_second() {
    both_keep_the_name("portscan", false);
}

#[test]
fn a_second_appliance_takes_another_name_and_reports_it() {
    let lan = lan();
    let [first, second, desk] =
        ["10.78.0.2/24", "10.78.0.4/24", "10.78.0.3/24"].map(|address| lan.plug(address));
    let avahi = Avahi::start(&desk, "desk");
    let one = start(&first, &Portscan::on(&first, "10.78.0.2", NO_FEED));
    wait_for_names(&one, &["portscan.local"]);
    let other = start(&second, &Portscan::on(&second, "10.78.0.4", NO_FEED));
    wait_for_names(&other, &["portscan-2.local"]);
    for kind in KINDS {
        let both = [found("portscan", first.address()), found("portscan-2", second.address())];
        wait_for(&avahi, kind, &both);
    }
    let notices = other.get("/healthz").json()["notices"].to_string();
    assert!(
        notices.contains("portscan.local is another machine's, so this appliance is portscan-2.local"),
        "{notices}"
    );
    assert_eq!(one.get("/v1/info").json()["names"], json!(["portscan.local"]));
    assert_eq!(one.get("/healthz").json()["notices"], json!([]));
    one.stop();
    other.stop();
}

#[test]
fn a_changed_address_is_announced_and_the_old_one_withdrawn() {
    let lan = lan();
    let [here, desk] = ["10.78.0.2/24", "10.78.0.3/24"].map(|address| lan.plug(address));
    let avahi = Avahi::start(&desk, "desk");
    let running = start(&here, &Portscan::on(&here, ANY, NO_FEED));
    wait_for_names(&running, &["portscan.local"]);
    assert_eq!(avahi.resolve("portscan.local").as_deref(), Some("10.78.0.2"));
    here.ip(&["addr", "del", "10.78.0.2/24", "dev", PORT]);
    here.ip(&["addr", "add", "10.78.0.9/24", "dev", PORT]);
    eventually(LONG, "only the new address is announced", || {
        (avahi.browse(KINDS[0]) == [found("portscan", Ipv4Addr::new(10, 78, 0, 9))]).then_some(())
    });
    running.reached_at(Ipv4Addr::new(10, 78, 0, 9)).stop();
    wait_for(&avahi, KINDS[0], &[]);
}

#[test]
fn only_listening_addresses_are_announced_and_never_the_loopback() {
    let lan = lan();
    let [here, desk] = ["10.78.0.2/24", "10.78.0.3/24"].map(|address| lan.plug(address));
    here.ip(&["addr", "add", "10.78.0.8/24", "dev", PORT]);
    let loopback = start(&here, &Portscan::on(&here, "127.0.0.1", NO_FEED).env("MY_REST_API_PORT", "8080"));
    assert!(!takes_part(&here));
    let running =
        start(&here, &Portscan::on(&here, "10.78.0.8", NO_FEED)).reached_at(Ipv4Addr::new(10, 78, 0, 8));
    wait_for_names(&running, &["portscan.local"]);
    let avahi = Avahi::start(&desk, "desk");
    wait_for(&avahi, KINDS[0], &[found("portscan", Ipv4Addr::new(10, 78, 0, 8))]);
    running.stop();
    loopback.stop();
}

#[test]
fn an_unshared_mdns_port_is_reported_and_the_appliance_runs() {
    let lan = lan();
    let here = lan.plug("10.78.0.2/24");
    let greedy = here.within(|| std::net::UdpSocket::bind("0.0.0.0:5353").unwrap());
    let running = start(&here, &Portscan::on(&here, ANY, NO_FEED));
    running.wait_for_line(LONG, |line| {
        line.contains("WARN") && line.contains("port 5353 (UDP) cannot be shared")
    });
    let health = running.get("/healthz");
    assert!(health.status == 200 && health.body.contains("is not found by name"), "{health:?}");
    assert_eq!(running.get("/v1/info").json()["names"], json!([]));
    drop(greedy);
    running.stop();
}

#[test]
fn etc_hosts_overrides_mdns_and_works_without_it() {
    let lan = lan();
    let [here, there] = ["10.78.0.2/24", "10.78.0.3/24"].map(|address| lan.plug(address));
    let liar = Liar::start(&there, |question| {
        let lie =
            question.is_for("nas.local").then(|| liar::answer(&[liar::address("nas.local", [10, 78, 0, 3])]));
        lie.into_iter().collect()
    });
    let hosts = tempfile::NamedTempFile::new().unwrap();
    fs::write(hosts.path(), "10.78.0.254 nas.local\n").unwrap();
    let list =
        || mount(Some(hosts.path()), Path::new("/etc/hosts"), None::<&str>, MsFlags::MS_BIND, None::<&str>);
    for (mdns, listed, address) in [
        ("", false, "10.78.0.3"),
        ("", true, "10.78.0.254"),
        ("[mdns]\nenabled = false\n", true, "10.78.0.254"),
    ] {
        if listed {
            here.within(list).unwrap();
        }
        let running = start(&here, &Portscan::on(&here, ANY, &format!("{NO_FEED}{mdns}")));
        let answer = running.get("/portscan/nas.local/80/json").json();
        assert_eq!(answer["address"], address, "{mdns} {listed}: {answer}");
        running.stop();
    }
    assert!(liar.answered() > 0);
}

/// Malformed packets, in answer to a question for that name.
fn malformed(of: &str) -> Vec<Vec<u8>> {
    let name = liar::name(of);
    let with_name = |name: &[u8]| liar::answer(&[liar::record(name, 1, &[10, 78, 0, 66])]);
    let strange = |label: &[u8]| {
        let mut name = vec![u8::try_from(label.len()).unwrap()];
        name.extend(label);
        name.extend(liar::name("local"));
        with_name(&name)
    };
    let mut packets = vec![
        // A name that points at itself, two that point at each other, one that points ahead, one without end.
        with_name(&[0xc0, 12]),
        with_name(&[1, b'a', 0xc0, 12]),
        with_name(&[0xc0, 14, 0xc0, 12]),
        with_name(&[0xc0, 0xff]),
        with_name(&[63, b'a']),
        with_name(&[0x80, 1]),
        // Names that attack terminals and pages.
        strange(b"\x1b[31mred\r\n\0"),
        strange(b"<script>alert(1)</script>"),
        strange(&[0xff, 0xfe, 0xc0, 0x80]),
        // Ten thousand octets of name, in labels of 63.
        with_name(&[b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(160)),
        // Records that promise more data than there is, or whose data does not fit their type.
        liar::answer(&[liar::record(&name, 1, &[10, 78])]),
        liar::answer(&[liar::record(&name, 1, &[])]),
        liar::answer(&[liar::record(&name, 28, &[0; 4])]),
        liar::answer(&[liar::record(&name, 12, &[0xc0, 12])]),
        liar::answer(&[liar::record(&name, 33, &[0; 3])]),
        liar::answer(&[liar::record(&name, 47, &[0xc0; 40])]),
        liar::answer(&[liar::record(&name, 16, &[255, b'a'])]),
        [&[0, 0, 0x84, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &name].concat(),
        vec![0, 0, 0x84],
        vec![],
    ];
    // Addresses that no name may lead to: public ones, special ones, and this machine's loopback.
    for address in [[8, 8, 8, 8], [127, 0, 0, 1], [224, 0, 0, 251], [0, 0, 0, 0], [255, 255, 255, 255]] {
        packets.push(liar::answer(&[liar::address(of, address)]));
    }
    packets
}

#[test]
fn malformed_and_forged_mdns_answers_are_ignored() {
    let lan = lan();
    let [here, there] = ["10.78.0.2/24", "10.78.0.3/24"].map(|address| lan.plug(address));
    // Fewer names than the limit at which the cache is dropped.
    let flood: Vec<Vec<u8>> = (0..8_u8)
        .map(|block| {
            let host =
                |number: u8| liar::address(&format!("h{number}-{block}.local"), [10, 78, block, number]);
            liar::answer(&(0..200).map(host).collect::<Vec<_>>())
        })
        .collect();
    let liar = Liar::start(&there, move |question: &Question| {
        if question.is_for("evil.local") {
            malformed("evil.local")
        } else if question.is_for("crowd.local") {
            let host = |number: u16| {
                let [high, low] = number.to_be_bytes();
                liar::address("crowd.local", [10, 79, high, low])
            };
            vec![liar::answer(&(256..456).map(host).collect::<Vec<_>>())]
        } else if question.is_for("honest.local") {
            vec![liar::answer(&[liar::address("honest.local", [10, 78, 0, 3])])]
        } else {
            vec![]
        }
    });
    let running = start(&here, &Portscan::on(&here, ANY, NO_FEED).env("RUST_LOG", "trace"));
    wait_for_names(&running, &["portscan.local"]);
    for _ in 0..3 {
        let answer = running.get("/portscan/evil.local/80/json").json();
        assert_eq!(answer["error"], "Unable to resolve host \"evil.local\".", "{answer}");
    }
    assert!(liar.answered() >= malformed("evil.local").len(), "{}", liar.answered());
    // One of many addresses, which all belong to that machine.
    here.ip(&["route", "add", "10.79.0.0/16", "via", "10.78.0.3"]);
    there.ip(&["route", "add", "local", "10.79.0.0/16", "dev", "lo"]);
    let crowd = running.get("/portscan/crowd.local/80/json").json();
    assert!(crowd["address"].as_str().unwrap().starts_with("10.79."), "{crowd}");
    for packet in flood.iter().chain(&malformed("unasked.local")) {
        liar.say(packet);
    }
    // While packets arrive faster than they are read, answers are lost for seconds.
    eventually(LONG, "an honest name resolves", || {
        let answer = running.get("/portscan/honest.local/9/json").json();
        (answer["address"] == "10.78.0.3").then_some(())
    });
    wait_for_names(&running, &["portscan.local"]);
    let clean = |line: &String| !line.chars().any(|c| c.is_control()) && !line.contains("<script");
    assert!(running.lines().iter().all(clean), "{}", running.log());
    running.stop();
}

#[test]
fn the_mdns_cache_is_dropped_if_a_network_announces_too_many_names() {
    let lan = lan();
    let [here, there] = ["10.78.0.2/24", "10.78.0.3/24"].map(|address| lan.plug(address));
    let liar = Liar::start(&there, |_| vec![]);
    let running = start(&here, &Portscan::on(&here, ANY, NO_FEED));
    wait_for_names(&running, &["portscan.local"]);
    let before = running.rss();
    let mut blocks = 0..1000_u16;
    eventually(LONG, "the cache is dropped", || {
        let block = blocks.next().expect("the cache was never dropped");
        let [high, low] = block.to_be_bytes();
        let host = |number: u8| liar::address(&format!("h{number}-{block}.local"), [10, high, low, number]);
        liar.say(&liar::answer(&(0..=250).map(host).collect::<Vec<_>>()));
        running.log().contains("announces more names than a real one has").then_some(())
    });
    wait_for_names(&running, &["portscan.local"]);
    let grown = running.peak_rss().saturating_sub(before) >> 20;
    assert!(grown < 64, "{grown} MB for names that were never requested");
    running.stop();
}

#[test]
fn a_machine_that_claims_every_name_denies_the_name_and_nothing_else() {
    let lan = lan();
    let [here, there] = ["10.78.0.2/24", "10.78.0.3/24"].map(|address| lan.plug(address));
    let liar = Liar::start(&there, |question| {
        let claim = || liar::answer(&[liar::record(&question.name, 1, &[10, 78, 0, 66])]);
        question.is_probe.then(claim).into_iter().collect()
    });
    let running = start(&here, &Portscan::on(&here, ANY, NO_FEED));
    eventually(LONG, "ten names were refused", || (liar.answered() >= 10).then_some(()));
    assert_eq!(running.get("/v1/info").json()["names"], json!([]));
    assert_eq!(running.get("/healthz").status, 200);
    // The liar stops.
    drop(liar);
    eventually(LONG, "the appliance gets a name", || {
        let names = running.get("/v1/info").json()["names"].clone();
        names[0].as_str().is_some_and(|name| name.starts_with("portscan-")).then_some(())
    });
    running.stop();
}

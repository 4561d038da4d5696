//! The findings of a look are shown while it runs and until its result is stored: soon, to every client, and without
//! a gap.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use portscan::{
    clock::{Clock, SystemClock},
    model::Moment,
};
use serde_json::{Value, json};

use crate::{
    harness::{Portscan, Running, eventually, scanner, static_feed},
    lab::Lab,
};

const LONG: Duration = Duration::from_secs(180);

/// A second is promised from a verdict to its view; a busy machine gets the double.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// Five ports in two seconds, so that a look takes as long as a page needs to open.
pub(crate) fn slow_scanner() -> String {
    scanner("lan", "1d", "22,80,443,8080-8092") + "timing = \"T2\"\n"
}

/// The open TCP ports of each device, and whether they are unconfirmed.
type OpenPorts = BTreeMap<(String, u64), bool>;

fn open_ports(devices: &[Value]) -> OpenPorts {
    let ports = devices.iter().flat_map(|device| {
        let address = device["address"].as_str().expect("an address").to_owned();
        let ports = device["ports"].as_array().expect("ports").iter();
        ports.map(move |open| {
            let key = (address.clone(), open["port"].as_u64().expect("a number"));
            (key, open["unconfirmed"] == json!(true))
        })
    });
    ports.collect()
}

/// Whether each of these ports is open on every device, and confirmed.
pub(crate) fn is_confirmed_everywhere(devices: &[Value], port: u64) -> bool {
    let open = open_ports(devices);
    let is_confirmed = |device: &Value| {
        let address = device["address"].as_str().expect("an address").to_owned();
        open.get(&(address, port)) == Some(&false)
    };
    devices.iter().all(is_confirmed)
}

/// Reads /v1/hosts every 20 ms until the condition holds. In the meantime no device and no open port may disappear,
/// no confirmed port may become unconfirmed, and a device's first scan must be shown until its result is there.
pub(crate) fn watch_devices(running: &Running, is_over: impl Fn(&[Value]) -> bool) {
    let (mut shown, mut begun) = (OpenPorts::new(), BTreeMap::new());
    let mut samples = 0;
    eventually(LONG, "what is watched is over", || {
        let devices = running.get("/v1/hosts").json();
        let devices = devices.as_array().expect("a list");
        samples += 1;
        let open = open_ports(devices);
        for (port, was_unconfirmed) in &shown {
            let is_unconfirmed =
                open.get(port).unwrap_or_else(|| panic!("{port:?} disappeared: {devices:?}"));
            assert!(*was_unconfirmed || !is_unconfirmed, "{port:?} is unconfirmed again: {devices:?}");
        }
        for device in devices {
            let is_known = !device["scanned"].is_null() || !device["scanning"].is_null();
            let was_known =
                begun.entry(device["address"].as_str().expect("an address").to_owned()).or_insert(false);
            assert!(is_known || !*was_known, "neither scanned nor being scanned: {device}");
            *was_known = is_known;
        }
        for address in begun.keys() {
            let is_there = devices.iter().any(|device| device["address"] == **address);
            assert!(is_there, "{address} is missing: {devices:?}");
        }
        shown = open;
        is_over(devices).then_some(())
    });
    eprintln!("{samples} lists of devices");
}

#[test]
fn no_open_port_disappears_from_its_verdict_to_its_confirmation() {
    let lab = Lab::enter("near");
    let running = Portscan::new(&lab, &(static_feed(&lab) + &slow_scanner())).start();
    let count = lab.hosts().count();
    watch_devices(&running, |devices| {
        devices.len() == count && devices.iter().all(|device| !device["scanned"].is_null())
    });
    // On all of them, so that some results wait for the next commit.
    lab.hosts().for_each(|host| host.open(8090));
    assert_eq!(running.post("/v1/run/lan").status, 202);
    watch_devices(&running, |devices| is_confirmed_everywhere(devices, 8090));
    running.stop();
}

/// Listens to the appliance's events. Returns when one comes with this text.
fn listen(base: &str, clock: SystemClock, text: &str) -> Moment {
    let address = base.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(address).expect("connecting");
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("an event"));
    assert!(lines.next().is_some_and(|line| line.contains("200")), "another listener is refused");
    lines.find(|line| line.contains(text)).expect("the stream goes on");
    clock.now()
}

#[test]
fn every_listener_hears_of_an_open_port_within_a_second() {
    const LISTENERS: usize = 32;
    let lab = Lab::enter("near");
    let running = Portscan::new(&lab, &(static_feed(&lab) + &slow_scanner())).start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    let host = lab.host("10.77.0.5");
    // Closed until now, so that the first SYN-ACK from there is this run's.
    host.open(8090);
    let clock = SystemClock::start();
    let base = running.base().to_owned();
    thread::scope(|scope| {
        let listeners: Vec<_> =
            (0..LISTENERS).map(|_| scope.spawn(|| listen(&base, clock, "\"port\":8090"))).collect();
        assert_eq!(running.post("/v1/run?host=10.77.0.5").status, 202);
        let verdict = eventually(LONG, "the opened port answers", || {
            host.stats().accepted.contains(8090).then(|| clock.now())
        });
        let heard = listeners.into_iter().map(|listener| listener.join().unwrap().since(verdict));
        let last = heard.max().expect("a listener");
        eprintln!("the last of {LISTENERS} listeners hears of an open port after {last:?}");
        assert!(last < SOON, "{last:?}");
    });
    running.stop();
}

/// The longest wait is for the next run and its look at the port: a look just missed it.
#[test]
fn a_port_that_opens_on_a_known_device_is_shown_within_a_cycle_of_the_scanner_of_common_ports() {
    const INTERVAL: Duration = Duration::from_secs(20);
    let lab =
        Lab::describe("[[host]]\naddress = \"10.77.0.5\"\nmac = \"02:00:00:00:00:05\"\nopen = \"22\"\n");
    let common = scanner("common", &format!("{}s", INTERVAL.as_secs()), "common");
    let running = Portscan::new(&lab, &(static_feed(&lab) + &common)).start();
    running.wait_for_devices(1, LONG);
    let host = lab.host("10.77.0.5");
    let result = format!("/portscan/{}/json", host.mac());
    let look = || Duration::from_secs_f64(running.get(&result).json()["time"]["total_sec"].as_f64().unwrap());
    // The second opens while the look goes on that has found the first.
    for port in [443, 80] {
        let before = look();
        let clock = SystemClock::start();
        host.open(port);
        let opened = clock.now();
        eventually(LONG, "the port is shown", || {
            let devices = running.get("/v1/hosts").json();
            let port = ("10.77.0.5".to_owned(), u64::from(port));
            open_ports(devices.as_array()?).contains_key(&port).then_some(())
        });
        let shown = clock.now().since(opened);
        eprintln!("{port} is shown {shown:?} after it was opened; a look takes {before:?}");
        assert!(shown < INTERVAL + before + SOON, "{shown:?}, with a look of {before:?}");
    }
    running.stop();
}

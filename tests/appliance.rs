//! The main job from end to end: lanscan's feed in, every open port of every device out.
//!
//! By default on a reduced port space; `make acceptance` scans all 65,535 (`PORTSCAN_TEST_PORTS=1-65535`) and
//! prints the figures.

use std::time::Duration;

use nix::sys::signal::Signal;
use rusqlite::Connection;
use testkit::Ports;

use crate::{
    harness::{
        NO_IDENTIFICATION, Portscan, Running,
        feed::{FeedServer, Says},
        scanner, static_feed,
    },
    lab::Lab,
};

/// All ports of forty devices take 12 minutes at T3's pace; doubled for a busy machine.
const LONG: Duration = Duration::from_secs(25 * 60);

/// The ports to scan: those of the variable or a short range, and every open port of the lab.
fn depth(lab: &Lab) -> Ports {
    let ports = std::env::var("PORTSCAN_TEST_PORTS").unwrap_or_else(|_| "1-1200".to_owned());
    let ports: Ports = ports.parse().expect("PORTSCAN_TEST_PORTS");
    let open: Vec<Ports> = lab.hosts().map(|host| host.open_ports()).collect();
    open.iter().chain([&ports]).flat_map(Ports::iter).collect()
}

/// The lab's devices as an untidy lanscan document: mixed case, one entry twice, one malformed.
fn untidy_list(lab: &Lab) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = lab
        .hosts()
        .enumerate()
        .map(|(index, host)| {
            let mac = host.mac().to_string();
            (host.address().to_string(), if index % 2 == 0 { mac } else { mac.to_lowercase() })
        })
        .collect();
    list.push(list[3].clone());
    list.push(("10.77.0.300".to_owned(), "02:00:00:00:00:zz".to_owned()));
    list
}

/// Asserts that every device's result is the scenario's truth and that the scan harmed no device.
fn assert_truth(lab: &Lab, running: &Running) {
    for host in lab.hosts() {
        let (mac, stats) = (host.mac().to_string(), host.stats());
        assert_eq!(running.open_ports(&mac), Some(host.open_ports()), "{} {mac}", host.address());
        let is_gentle = stats.peak_100ms <= 30 && stats.peak_1s <= 300;
        assert!(is_gentle, "{}: {} in 100 ms, {} in 1 s", host.address(), stats.peak_100ms, stats.peak_1s);
        assert_eq!((stats.payload, stats.left_open, stats.reboots), (0, 0, 0), "{}", host.address());
    }
    assert_eq!(lab.outside(), Default::default(), "no packet went to other addresses");
}

#[test]
fn forty_devices_of_a_feed_are_scanned_and_served_completely() {
    let lab = Lab::enter("forty");
    let feed = FeedServer::start(Says::Devices(untidy_list(&lab)));
    let ports = depth(&lab);
    let lan = scanner("lan", "1d", &ports.to_string());
    let config = format!("[feed]\nurl = [\"{}\"]\n{NO_IDENTIFICATION}{lan}", feed.url());
    let running = Portscan::new(&lab, &config).start();
    let began = lab.now();
    let devices = lab.hosts().count();
    running.wait_for_devices(1, LONG);
    let first = lab.now().since(began);
    running.wait_for_complete(devices, LONG);
    let all = lab.now().since(began);
    eprintln!(
        "forty devices, {} ports: first served after {:.0} s, all after {:.0} s, peak {} in 100 ms and {} in \
         1 s, peak RSS {} KB",
        ports.len(),
        first.as_secs_f32(),
        all.as_secs_f32(),
        lab.hosts().map(|host| host.stats().peak_100ms).max().unwrap(),
        lab.hosts().map(|host| host.stats().peak_1s).max().unwrap(),
        running.peak_rss() / 1024,
    );
    assert_truth(&lab, &running);
    running.stop();
}

/// Each scan finds other ports silent on a host that limits its RSTs; the database must store one result.
#[test]
fn a_host_that_limits_its_rsts_is_stored_as_one_result() {
    let lab = Lab::enter("rst-limited");
    let runs: i64 = std::env::var("PORTSCAN_TEST_RUNS").map_or(2, |text| text.parse().unwrap());
    // At the pace of the command line's scans: the original's 50 in flight would take minutes.
    let lan = scanner("lan", "1d", &depth(&lab).to_string()) + "timing = \"T4\"\n";
    let config = "max_in_flight = 1024\n".to_owned() + &static_feed(&lab) + &lan;
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    running.wait_for_complete(1, LONG);
    for _ in 1..runs {
        let again = portscan.run(&["run", "--wait", "--url", running.base()], LONG);
        assert!(again.status.success(), "{}", again.stderr);
    }
    running.stop();
    let database = Connection::open(portscan.database()).unwrap();
    let count = |what: &str| -> i64 {
        // The quick scan at the start covers other ports.
        let sql = format!(
            "SELECT count({what}) FROM observations o JOIN scans s ON s.id = o.scan
             WHERE o.status = 'up' AND s.kind = 'run'"
        );
        database.query_row(&sql, (), |row| row.get(0)).unwrap()
    };
    assert_eq!((count("*"), count("DISTINCT o.result")), (runs, 1));
    eprintln!("a limited host: one result of {runs} scans");
}

#[test]
fn a_new_device_of_the_feed_is_scanned_at_once() {
    let lab = Lab::enter("near");
    let device = |address: &str| (address.to_owned(), lab.host(address).mac().to_string());
    let config = |hosts: &[&str]| {
        let named = |(address, mac)| format!("{{ address = \"{address}\", mac = \"{mac}\" }}");
        let hosts: Vec<String> = hosts.iter().map(|address| named(device(address))).collect();
        let lan = scanner("lan", "1d", "20-100");
        format!("[feed]\nurl = []\nhosts = [{}]\n{NO_IDENTIFICATION}{lan}", hosts.join(", "))
    };
    let mut portscan = Portscan::new(&lab, &config(&["10.77.0.5"]));
    let running = portscan.start();
    running.wait_for_devices(1, LONG);
    let before = lab.host("10.77.0.5").stats().syns;
    portscan.set_config(&config(&["10.77.0.5", "10.77.0.6"]));
    portscan.write_config();
    running.signal(Signal::SIGHUP);
    running.wait_for_devices(2, LONG);
    assert_eq!(lab.host("10.77.0.5").stats().syns, before, "a device with a result is not scanned again");
    running.stop();
}

//! One scan, shared by workers that are killed and cut off: the truth of every host, no host pressed, nothing done twice
//! unnoticed.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    process::{Child, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{Fleet, PORT, STILL};
use crate::{
    harness::{LONG, Portscan, Running, eventually, relay::Relay},
    lab::Lab,
};

/// The port by which a worker reaches the broker that is to be cut off.
const RELAYED: u16 = 4300;

/// More than the lease of a shard, and the scan besides.
const SCAN: Duration = Duration::from_secs(400);

/// The most SYNs that a host may get within any second, whatever befalls the workers (README).
const MOST_SYNS: usize = 300;

/// Devices here and there in a network of a thousand addresses.
const SPARSE: &str = r#"
    [[host]]
    address = "10.77.1.10-29"
    mac = "02:00:00:00:01:10+"
    open = "22,80,1443"
    spread = 7
    rtt = "1ms"
    [[host]]
    address = "10.77.3.200-215"
    mac = "02:00:00:00:02:10+"
    open = "1-3,999,1500"
    filtered = "100-140"
    rtt = "3ms"
    "#;

/// A worker that runs.
struct FleetWorker {
    running: Running,
    // Its configuration is in there.
    _home: Portscan,
}

/// Starts a worker for the lab's network, with more in its configuration, that reaches the broker by this port.
fn start_worker(fleet: &Fleet<'_>, name: &str, more: &str, port: u16) -> FleetWorker {
    let out = fleet.home.path().join("workers");
    fleet.hub_command(&["enrol", "--worker", name, "--out", out.to_str().unwrap()]);
    let config = format!(
        "{more}\n{STILL}[worker]\nname = \"{name}\"\nhub = \"tls://localhost:{port}\"\ncredentials_dir = {:?}\n",
        out.join(name)
    );
    let home = Portscan::new(fleet.lab, &config);
    let config = home.write_config();
    let running = home.begin(&["worker", "--config", config.to_str().unwrap()]);
    running.wait_for_line(LONG, |line| line.contains("connected to the broker"));
    FleetWorker { running, _home: home }
}

/// Begins a scan; its output is read at its end.
fn begin_scan(fleet: &Fleet<'_>, arguments: &[&str]) -> Child {
    let dir = fleet.home.path().join("hub");
    let config = fleet.hub.write_config();
    let common =
        ["--json", "--fleet", "--fleet-dir", dir.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let mut command = fleet.hub.command();
    command.arg("scan").args(common).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a scan has printed.
struct Scanned {
    document: Value,
    warnings: String,
    code: Option<i32>,
}

fn end_scan(scan: Child) -> Scanned {
    let output = scan.wait_with_output().unwrap();
    let warnings = String::from_utf8(output.stderr).unwrap();
    let document =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {warnings}"));
    Scanned { document, warnings, code: output.status.code() }
}

impl Scanned {
    fn scan(fleet: &Fleet<'_>, arguments: &[&str]) -> Self {
        end_scan(begin_scan(fleet, arguments))
    }

    /// The open ports of each host that is up.
    fn open(&self) -> BTreeMap<Ipv4Addr, Vec<u16>> {
        let hosts = self.document["hosts"].as_array().unwrap().iter();
        let up = hosts.filter(|host| host["status"] != "down");
        let number = |port: &Value| u16::try_from(port["port"].as_u64().unwrap()).unwrap();
        up.map(|host| {
            let ports = host["ports"].as_array().unwrap().iter();
            let open = ports.filter(|port| port["state"] == "open").map(number).collect();
            (host["address"].as_str().unwrap().parse().unwrap(), open)
        })
        .collect()
    }
}

/// What is open in the lab among these ports.
fn truth(lab: &Lab, last: u16) -> BTreeMap<Ipv4Addr, Vec<u16>> {
    let ports = lab.ports_to_scan(last);
    lab.truth_among(&ports).into_iter().map(|(address, open)| (address, open.iter().collect())).collect()
}

fn syns(lab: &Lab) -> usize {
    lab.hosts().map(|host| host.stats().syns).sum()
}

fn assert_kind(lab: &Lab) {
    lab.settle();
    for host in lab.hosts() {
        let peak = host.stats().peak_1s;
        assert!(peak <= MOST_SYNS, "{} had {peak} SYNs within a second", host.address());
    }
}

#[test]
fn the_truth_of_every_host_although_a_worker_dies_and_another_is_cut_off() {
    let lab = Lab::describe(SPARSE);
    let fleet = Fleet::start(&lab, 0);
    let relay = Relay::start(RELAYED, PORT);
    let [dies, lives] = ["w-1", "w-2"].map(|name| start_worker(&fleet, name, "", PORT));
    let cut_off = start_worker(&fleet, "w-3", "", RELAYED);
    let mut scan = begin_scan(&fleet, &["-p1-2000", "10.77.0.0/22", "--exclude", "10.77.0.1"]);
    eventually(LONG, "all workers scan", || {
        let is_over = scan.try_wait().unwrap().is_some();
        (is_over || syns(&lab) > 9000).then_some(())
    });
    dies.running.kill();
    // It reaches the devices all the same, and must stop before another worker scans them.
    relay.cut();
    cut_off.running.wait_for_line(SCAN, |line| line.contains("its lease was not renewed"));
    relay.mend();
    let scanned = end_scan(scan);
    assert_eq!(scanned.code, Some(0), "{}", scanned.warnings);
    assert_eq!(scanned.open(), truth(&lab, 2000));
    assert!(scanned.warnings.contains("began again, because a worker was lost"), "{}", scanned.warnings);
    assert!(!scanned.warnings.contains("scanned twice"), "{}", scanned.warnings);
    assert_kind(&lab);
    cut_off.running.stop();
    lives.running.stop();
}

#[test]
fn a_worker_scans_nothing_that_its_own_configuration_forbids() {
    let lab = Lab::describe(SPARSE);
    let fleet = Fleet::start(&lab, 0);
    let more = "exclude = [\"10.77.1.10\", \"02:00:00:00:01:11\"]";
    let worker = start_worker(&fleet, "w-1", more, PORT);
    let scanned = Scanned::scan(&fleet, &["-p22", "10.77.1.10-12"]);
    assert_eq!(scanned.open().keys().map(Ipv4Addr::to_string).collect::<Vec<_>>(), ["10.77.1.12"]);
    for address in ["10.77.1.10", "10.77.1.11"] {
        assert_eq!(lab.host(address).stats().syns, 0, "{address}");
    }
    let refusal = "10.77.1.10 and 1 more: the worker w-1 refuses: the worker's configuration excludes it";
    assert!(scanned.warnings.contains(refusal), "{}", scanned.warnings);
    // Outside of the networks that it reaches.
    let beyond = fleet.hub.run(
        &["scan", "--fleet", "--fleet-dir", fleet.home.path().join("hub").to_str().unwrap(), "192.0.2.1"],
        SCAN,
    );
    assert_eq!(beyond.status.code(), Some(1));
    assert!(
        beyond.stderr.contains("no worker reaches 192.0.2.1; they reach 10.77.0.0/16"),
        "{}",
        beyond.stderr
    );
    worker.running.stop();
}

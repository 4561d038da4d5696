//! One scan, shared by workers that are killed and cut off: the truth of every host, no host pressed, nothing done twice
//! unnoticed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    net::Ipv4Addr,
    process::Child,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use testkit::{Ports, clock::Stopwatch};

use super::{Fleet, NatsVersion, PORT, STILL};
use crate::{
    harness::{LONG, Portscan, Running, eventually, peak_rss_of, relay::Relay},
    lab::Lab,
};

/// The port by which a worker reaches the broker that is to be cut off.
const RELAYED: u16 = 4300;

/// More than the lease of a shard, and the scan besides.
const SCAN: Duration = Duration::from_secs(400);

/// Of a whole campus.
const LONGEST: Duration = Duration::from_secs(3600);

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

/// A scan in progress.
struct Scanning {
    child: Child,
    home: TempDir,
    /// The most memory of its process that was seen, in bytes.
    peak: u64,
}

/// Begins a scan; its output goes to files, which are read at its end.
fn begin_scan(fleet: &Fleet<'_>, arguments: &[&str]) -> Scanning {
    let dir = fleet.home.path().join("hub");
    let config = fleet.hub.write_config();
    let common =
        ["--json", "--fleet", "--fleet-dir", dir.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let home = tempfile::tempdir().unwrap();
    let file = |name| File::create(home.path().join(name)).unwrap();
    let mut command = fleet.hub.command();
    command.arg("scan").args(common).args(arguments);
    let child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
    Scanning { child, home, peak: 0 }
}

impl Scanning {
    fn is_over(&mut self) -> bool {
        self.peak = peak_rss_of(self.child.id()).unwrap_or(self.peak);
        self.child.try_wait().unwrap().is_some()
    }

    fn end(mut self, within: Duration) -> Scanned {
        eventually(within, "the scan ends", || self.is_over().then_some(()));
        let read = |name| fs::read_to_string(self.home.path().join(name)).unwrap();
        let (out, warnings) = (read("out"), read("err"));
        let document = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {warnings}"));
        let code = self.child.wait().unwrap().code();
        Scanned { document, warnings, code, peak: self.peak }
    }
}

/// What a scan has printed.
struct Scanned {
    document: Value,
    warnings: String,
    code: Option<i32>,
    /// The most memory of its process that was seen, in bytes.
    peak: u64,
}

impl Scanned {
    fn scan(fleet: &Fleet<'_>, arguments: &[&str]) -> Self {
        begin_scan(fleet, arguments).end(SCAN)
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

/// What is open in the lab among the ports from 1 to the last.
fn truth(lab: &Lab, last: u16) -> BTreeMap<Ipv4Addr, Vec<u16>> {
    let of_host = |open: Ports| open.iter().filter(|port| *port <= last).collect();
    lab.truth().into_iter().map(|(address, open)| (address, of_host(open))).collect()
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

/// Cuts a worker off from the broker. It reaches the devices all the same, and must stop before another worker scans them.
fn cut_until_it_stops(relay: &Relay, worker: &FleetWorker) {
    relay.cut();
    worker.running.wait_for_line(SCAN, |line| line.contains("its lease was not renewed"));
    relay.mend();
}

#[test]
fn the_truth_of_every_host_although_a_worker_dies_and_another_is_cut_off() {
    let lab = Lab::describe(SPARSE);
    let fleet = Fleet::start(&lab, 0);
    let relay = Relay::start(RELAYED, PORT);
    let [dies, lives] = ["w-1", "w-2"].map(|name| start_worker(&fleet, name, "", PORT));
    let cut_off = start_worker(&fleet, "w-3", "", RELAYED);
    let mut scan = begin_scan(&fleet, &["-p1-2000", "10.77.0.0/22", "--exclude", "10.77.0.1"]);
    eventually(LONG, "all workers scan", || (scan.is_over() || syns(&lab) > 9000).then_some(()));
    dies.running.kill();
    cut_until_it_stops(&relay, &cut_off);
    let scanned = scan.end(SCAN);
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
    let fleet = Fleet::start_with(&lab, 0, NatsVersion::Debian);
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

/// 2,000 devices among 65,534 addresses.
fn campus() -> String {
    let mut text = String::new();
    for group in 0..20 {
        let (subnet, open) = (group * 12 + 3, 20 + group);
        write!(
            text,
            "[[host]]\naddress = \"10.77.{subnet}.20-119\"\nmac = \"02:00:00:00:{group:02x}:10+\"\n\
             open = \"{open},80,443\"\nspread = 1\nrtt = \"2ms\"\n"
        )
        .unwrap();
    }
    text
}

#[test]
#[ignore = "a quarter of an hour: make fleet-scan"]
fn a_campus_of_which_one_worker_dies_and_another_is_cut_off() {
    let lab = Lab::describe_alone(&campus());
    let fleet = Fleet::start(&lab, 0);
    let relay = Relay::start(RELAYED, PORT);
    let [dies, first, second] = ["w-1", "w-2", "w-3"].map(|name| start_worker(&fleet, name, "", PORT));
    let cut_off = start_worker(&fleet, "w-4", "", RELAYED);
    let began = Stopwatch::start();
    let mut scan = begin_scan(&fleet, &["-p1-100", "10.77.0.0/16", "--exclude", "10.77.0.1"]);
    // More than the search for devices sends.
    eventually(LONGEST, "the workers scan", || (scan.is_over() || syns(&lab) > 60_000).then_some(()));
    dies.running.kill();
    cut_until_it_stops(&relay, &cut_off);
    let scanned = scan.end(LONGEST);
    assert_eq!(scanned.code, Some(0), "{}", scanned.warnings);
    assert_eq!(scanned.open(), truth(&lab, 100));
    assert_eq!(scanned.open().len(), 2000);
    assert!(!scanned.warnings.contains("scanned twice"), "{}", scanned.warnings);
    assert_kind(&lab);
    let most = lab.hosts().map(|host| host.stats().peak_1s).max().unwrap();
    eprintln!(
        "65,534 addresses, 2,000 devices, 100 ports, 4 workers of which one died and one was cut off: {:.0} s; at most \
         {most} SYNs within a second to a host; {} MB in the command, {} MB in a worker, {} MB in the broker; {}",
        began.elapsed().as_secs_f64(),
        scanned.peak >> 20,
        first.running.peak_rss() >> 20,
        fleet.broker.as_ref().unwrap().peak_rss() >> 20,
        scanned.warnings.trim(),
    );
    for worker in [first, second, cut_off] {
        worker.running.stop();
    }
}

/// A host's own pace bounds how long it takes, so the workers' processors matter little.
#[test]
#[ignore = "ten minutes: make fleet-scan"]
fn two_workers_take_half_the_time_of_one() {
    let lab = Lab::describe_alone(
        "[[host]]\naddress = \"10.77.1.1-250\"\nmac = \"02:00:00:00:01:01+\"\nopen = \"22,80\"\nrtt = \"2ms\"\n",
    );
    let fleet = Fleet::start(&lab, 0);
    let measure = || {
        let began = Stopwatch::start();
        let scanned = Scanned::scan(&fleet, &["-p1-2000", "10.77.1.1-250"]);
        assert_eq!(scanned.open(), truth(&lab, 2000));
        began.elapsed().as_secs_f64()
    };
    let median = || {
        let mut seconds = [(); 3].map(|()| measure());
        seconds.sort_by(f64::total_cmp);
        seconds[1]
    };
    let first = start_worker(&fleet, "w-1", "", PORT);
    let one = median();
    let second = start_worker(&fleet, "w-2", "", PORT);
    let two = median();
    eprintln!(
        "250 devices, 2,000 ports, T3, medians of 3: one worker {one:.1} s, two {two:.1} s, {:.2} times",
        one / two
    );
    assert!(one / two >= 1.8, "{one} s, {two} s");
    first.running.stop();
    second.running.stop();
}

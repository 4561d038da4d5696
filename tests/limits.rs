//! A machine with too few resources costs time, never a verdict; and other programs' share of them is left alone.

use std::{
    collections::VecDeque,
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use nix::mount::{MsFlags, mount};
use tempfile::TempDir;
use testkit::Ports;

use crate::{
    harness::{LONG, NO_IDENTIFICATION, Portscan, eventually, found, prometheus::Page, scanner, static_feed},
    lab::{Host, Lab},
};

fn open_of(host: Host<'_>, scanned: &Ports) -> Ports {
    host.open_ports().iter().filter(|&port| scanned.contains(port)).collect()
}

#[test]
fn with_64_descriptors_the_appliance_scans_and_serves() {
    let lab = Lab::enter("near");
    let scanned: Ports = "1-1000,8080".parse().unwrap();
    let config = static_feed(&lab) + &scanner("lan", "1d", &scanned.to_string()) + "timing = \"T4\"\n";
    let running = Portscan::new(&lab, &config).open_files(64).start();
    let connect = || TcpStream::connect(running.base().trim_start_matches("http://")).unwrap();
    // More connections than the server accepts: idle clients must not take the descriptors that a scan needs.
    let mut silent: VecDeque<TcpStream> = (0..32).map(|_| connect()).collect();
    let mut answers = 0;
    eventually(LONG, "all devices are served", || {
        silent.pop_front();
        silent.push_back(connect());
        assert_eq!(running.get("/healthz").status, 200);
        answers += 1;
        (running.macs().len() == lab.hosts().count()).then_some(())
    });
    for host in lab.hosts() {
        assert_eq!(running.open_ports(&host.mac().to_string()), Some(open_of(host, &scanned)));
    }
    let metrics = Page::parse(&running.get("/metrics").body);
    assert_eq!(metrics.value("portscan_descriptors_limit"), 64.0);
    assert_eq!(metrics.value("portscan_sockets_limit"), 16.0);
    assert!(answers >= 5, "{answers} answers while it scanned");
    running.stop();
}

/// Occupies all of the few local ports in this thread's network namespace, for as long as the listeners live.
fn few_local_ports() -> Vec<TcpListener> {
    let range = 40_000..=40_099_u16;
    let setting = format!("{} {}", range.start(), range.end());
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", setting).unwrap();
    range.map(|port| TcpListener::bind(("0.0.0.0", port)).unwrap()).collect()
}

#[test]
fn exhausted_local_ports_cost_time_and_no_verdict() {
    let lab = Lab::enter("near");
    let scanned: Ports = "1-1000,8080".parse().unwrap();
    let taken = few_local_ports();
    // Long enough that even a slow machine has started the scan by then.
    let hold = Duration::from_secs(10);
    let freed = thread::spawn(move || {
        thread::sleep(hold);
        drop(taken);
    });
    let ports = scanned.to_string();
    let mut arguments = vec!["scan", "-n", "-T4", "--json", "-p", &ports];
    let targets: Vec<String> = lab.hosts().map(|host| host.address().to_string()).collect();
    arguments.extend(targets.iter().map(String::as_str));
    let began = lab.now();
    let finished = Portscan::new(&lab, "").run(&arguments, LONG);
    freed.join().unwrap();
    assert!(lab.now().since(began) >= hold);
    let truth = lab.hosts().map(|host| (host.address(), open_of(host, &scanned))).collect();
    assert_eq!(found(&finished.json(), &scanned), truth);
    assert!(finished.stderr.contains("local ports ran out"), "{}", finished.stderr);
}

/// A firewall's connection table in /proc, as the processes that this thread starts see it: files of the test mounted
/// over the kernel's, because only the initial network namespace may change the table's size.
struct Table {
    files: TempDir,
}

impl Table {
    fn new(max: u32, count: u32) -> Self {
        let table = Self { files: TempDir::new().unwrap() };
        fs::write(table.files.path().join("nf_conntrack_max"), max.to_string()).unwrap();
        table.set_count(count);
        fs::write(table.files.path().join("nf_conntrack_tcp_timeout_syn_sent"), "120").unwrap();
        let place = Path::new("/proc/sys/net/netfilter");
        if place.exists() {
            table.cover(place);
        } else {
            // Without a table in this kernel the folder above is replaced, and its other settings are mounted into it.
            let net = TempDir::new().unwrap();
            for folder in ["ipv4", "netfilter"] {
                fs::create_dir(net.path().join(folder)).unwrap();
            }
            bind(Path::new("/proc/sys/net/ipv4"), &net.path().join("ipv4"));
            table.cover(&net.path().join("netfilter"));
            bind(net.path(), Path::new("/proc/sys/net"));
        }
        table
    }

    fn cover(&self, place: &Path) {
        bind(self.files.path(), place);
    }

    fn set_count(&self, count: u32) {
        fs::write(self.files.path().join("nf_conntrack_count"), count.to_string()).unwrap();
    }
}

fn bind(source: &Path, target: &Path) {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .expect("mounting in a namespace of our own");
}

#[test]
fn silent_probes_take_at_most_half_of_the_free_conntrack_entries() {
    let lab = Lab::enter("near");
    let table = Table::new(6000, 1200);
    let scanned: Ports = "1-500,8080".parse().unwrap();
    let lan = scanner("lan", "1d", &scanned.to_string()) + "timing = \"T4\"\n";
    let config = static_feed(&lab) + NO_IDENTIFICATION + &lan;
    let running = Portscan::new(&lab, &config).start();
    running.wait_for_devices(3, LONG);
    for host in lab.hosts() {
        assert_eq!(running.open_ports(&host.mac().to_string()), Some(open_of(host, &scanned)));
    }
    // (6000 - 1200) / 2 entries over 120 s.
    let metrics = Page::parse(&running.get("/metrics").body);
    assert_eq!(metrics.value("portscan_silent_probes_per_second_limit"), 20.0);
    assert_eq!(metrics.value("portscan_conntrack_entries_limit"), 6000.0);
    let (silent, answering) = (lab.host("10.77.0.6").stats(), lab.host("10.77.0.5").stats());
    let span = |stats: &crate::lab::Stats| stats.last_syn.unwrap().since(stats.first_syn.unwrap());
    assert!(silent.peak_1s <= 20 + 6 + 6, "{silent:?}");
    assert!(span(&silent) >= Duration::from_secs(45), "two rounds of 499 ports at 20 a second: {silent:?}");
    assert!(answering.peak_1s > 200 && span(&answering) < span(&silent) / 4, "{answering:?}");
    running.stop();
    drop(table);
}

#[test]
fn a_full_connection_table_pauses_probing() {
    let lab = Lab::enter("near");
    let table = Table::new(6000, 5900);
    let config = static_feed(&lab) + &scanner("lan", "1d", "20-90");
    let running = Portscan::new(&lab, &config).start();
    eventually(LONG, "hosts are in progress", || {
        let metrics = Page::parse(&running.get("/metrics").body);
        (metrics.value("portscan_hosts_in_progress") >= 3.0).then_some(())
    });
    let began = lab.now();
    eventually(LONG, "no probe was sent for a while", || {
        assert_eq!(running.get("/healthz").status, 200);
        let syns: usize = lab.hosts().map(|host| host.stats().syns).sum();
        assert_eq!(syns, 0, "a SYN that the firewall drops would look like a silent port");
        (lab.now().since(began) > Duration::from_secs(5)).then_some(())
    });
    table.set_count(100);
    running.wait_for_devices(3, LONG);
    running.stop();
}

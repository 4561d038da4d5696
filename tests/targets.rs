//! Only hosts are probed: a target that cannot be a host's address is left out or refused, whatever names it.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    harness::{
        LONG, Portscan, eventually,
        feed::{FeedServer, Says},
        scanner,
    },
    lab::{Lab, namespace},
};

/// A network of sixteen addresses with one device.
const SMALL: &str = r#"
    [lan]
    scanner = "10.77.1.1/28"
    [[host]]
    address = "10.77.1.5"
    mac = "02:00:00:00:00:05"
    open = "22"
    rtt = "300us"
"#;

/// Addresses that are no host's in that network, each with the reason.
const NO_HOSTS: [(&str, &str); 7] = [
    ("0.0.0.0", "is not the address of one host"),
    ("::", "is not the address of one host"),
    ("224.0.0.1", "is not the address of one host"),
    ("ff02::1", "is not the address of one host"),
    ("255.255.255.255", "is not the address of one host"),
    ("10.77.1.15", "stands for the whole network 10.77.1.0/28 on lan0"),
    ("fe80::1", "name its interface: fe80::1%lan0"),
];

#[test]
fn a_scan_of_the_own_network_leaves_out_its_first_and_last_address_silently() {
    let lab = Lab::describe(SMALL);
    let finished = Portscan::new(&lab, "").run(&["scan", "-p", "22", "10.77.1.0/28"], LONG);
    assert_eq!(finished.stderr, "");
    assert!(finished.status.success());
    // Hosts are printed as they finish, this one before or after the scanner's own machine.
    let listed = finished.stdout.lines().any(|line| line.starts_with("10.77.1.5  02:00:00:00:00:05  up"));
    assert!(listed, "{}", finished.stdout);
    assert!(finished.stdout.contains("2 hosts up, 12 down; 1 port open"), "{}", finished.stdout);
}

#[test]
fn commands_refuse_addresses_that_are_no_hosts() {
    let lab = Lab::describe(SMALL);
    let portscan = Portscan::new(&lab, "");
    for (target, why) in NO_HOSTS.into_iter().chain([("fe80::1%nosuch", "no interface nosuch is up here")]) {
        for command in [&["probe", target, "22"][..], &["scan", "-p", "22", target]] {
            let finished = portscan.run(command, LONG);
            assert_eq!((finished.status.code(), finished.stdout.as_str()), (Some(1), ""), "{command:?}");
            assert!(finished.stderr.contains(why), "{command:?}: {}", finished.stderr);
        }
    }
    // Sweeping a network that this machine is not in is refused: only neighbours can be found by ARP.
    let elsewhere = portscan.run(&["discover", "lan0", "224.0.0.0/24"], LONG);
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(elsewhere.stderr.contains("is in none of lan0's own subnets"), "{}", elsewhere.stderr);
}

/// The addresses of a name are checked like typed ones; a name in another script is looked up in its registered form
/// and shown as it was typed.
#[test]
fn every_place_that_takes_a_name_resolves_and_checks_it() {
    let lab = Lab::describe(SMALL);
    let folder = TempDir::new().unwrap();
    let hosts = folder.path().join("hosts");
    let names = "127.0.0.1 localhost\n10.77.1.5 xn--mnchen-3ya.example xn--bcher-kva.local\n0.0.0.0 blocked.example\n";
    fs::write(&hosts, names).unwrap();
    namespace::replace("/etc/hosts", &hosts);
    let targets = "targets = [\"Bücher.local\", \"blocked.example\"]\n";
    let portscan =
        Portscan::new(&lab, &format!("[feed]\nurl = []\n{}{targets}", scanner("named", "1d", "22")));
    for name in ["münchen.example", "bücher.local"] {
        let probed = portscan.run(&["probe", "--json", name, "22"], LONG).json();
        assert_eq!((&probed["host"], &probed["address"]), (&name.into(), &"10.77.1.5".into()), "{probed}");
        assert_eq!(probed["state"], "open", "{probed}");
        let scanned = portscan.run(&["scan", "-p", "22", name], LONG);
        assert!(scanned.stdout.starts_with(&format!("10.77.1.5 ({name})")), "{}", scanned.stdout);
    }
    for command in [&["probe", "blocked.example", "22"][..], &["scan", "-p", "22", "blocked.example"]] {
        let refused = portscan.run(command, LONG);
        let why = "\"blocked.example\" leads nowhere: 0.0.0.0 is not the address of one host; name another";
        assert!(refused.stderr.contains(why) && refused.stdout.is_empty(), "{command:?}: {}", refused.stderr);
    }
    let running = portscan.start();
    let known = eventually(LONG, "the named device is known", || {
        let hosts = running.get("/v1/hosts").json();
        (!hosts.as_array().unwrap().is_empty()).then_some(hosts)
    });
    assert_eq!((&known[0]["address"], known.as_array().unwrap().len()), (&"10.77.1.5".into(), 1), "{known}");
    running.wait_for_line(LONG, |line| line.contains("left out: 0.0.0.0 is not the address of one host"));
    let probed = running.get("/portscan/m%C3%BCnchen.example/22/json").json();
    assert_eq!(
        (&probed["ip"], &probed["address"]),
        (&"münchen.example".into(), &"10.77.1.5".into()),
        "{probed}"
    );
    assert_eq!(probed["state"], "open", "{probed}");
    assert_eq!(running.get("/portscan/blocked.example/22/json").status, 400);
    running.stop();
}

/// Targets of a scanner, entries of a feed, the path that probes, and a run by hand.
#[test]
fn an_appliance_refuses_addresses_that_are_no_hosts() {
    let lab = Lab::describe(SMALL);
    let fed = NO_HOSTS.iter().chain([&("10.77.1.5", "")]);
    let entries: Vec<String> =
        fed.map(|(address, _)| format!(r#"{{"ipv4":"{address}","mac":""}}"#)).collect();
    let feed = FeedServer::start(Says::Body(format!(r#"{{"scan":[{}]}}"#, entries.join(","))));
    let own = scanner("own", "1d", "22") + "targets = [\"10.77.1.0/28\", \"fe80::1%nosuch\"]\n";
    let config = format!("[feed]\nurl = \"{}\"\n{own}{}", feed.url(), scanner("fed", "1d", "22"));
    let running = Portscan::new(&lab, &config).start();
    let runs = eventually(LONG, "both runs are over", || {
        let runs = running.get("/v1/runs?last=9").json();
        let over = |name: &str| {
            let of =
                |run: &&Value| run["scanner"] == name && run["kind"] == "run" && run["status"] != "running";
            runs.as_array().unwrap().iter().find(of).cloned()
        };
        Some([over("own")?, over("fed")?])
    });
    assert_eq!(runs[1]["hosts"]["total"], 1, "{}", runs[1]);
    let hosts = running.get("/v1/hosts").json();
    let known: Vec<&str> =
        hosts.as_array().unwrap().iter().filter_map(|host| host["address"].as_str()).collect();
    assert!(known.contains(&"10.77.1.5"), "{known:?}");
    for (address, why) in NO_HOSTS {
        assert!(!known.contains(&address), "{address} is no device: {known:?}");
        let probed = running.get(&format!("/portscan/{address}/22/json"));
        assert_eq!(probed.status, 400, "{address}: {probed:?}");
        assert!(probed.body.contains(why), "{address}: {probed:?}");
        assert_eq!(running.post(&format!("/v1/run?host={address}")).status, 404, "{address}");
    }
    assert!(!known.contains(&"10.77.1.0"), "{known:?}");
    running.stop();
}

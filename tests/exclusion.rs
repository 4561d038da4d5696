//! A device that the owner has excluded by MAC gets no SYN, however the scan is started: the MAC is resolved first.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::{
    harness::{Finished, LONG, Portscan, eventually, scanner},
    lab::{Lab, namespace},
};

/// In the scenario `near`, .5 may be scanned; .6 and .7 must be left alone.
const EXCLUDED: &str = "exclude = [\"02:00:00:00:00:07\"]\n";
const UNWANTED: &str = "[[device]]\nmatch = \"02:00:00:00:00:06\"\nscan = false\n";
const TIMINGS: [&str; 3] = ["T3", "T4", "T5"];

/// A feed that names the devices by address alone.
const BY_ADDRESS: &str = "[feed]\nurl = []\nhosts = [{ address = \"10.77.0.5\" }, { address = \"10.77.0.6\" }, { address = \"10.77.0.7\" }]\n";

fn syns(lab: &Lab, address: &str) -> usize {
    lab.host(address).stats().syns
}

/// Asserts that the two excluded devices got no SYN and that the third did.
fn assert_left_alone(lab: &Lab, what: &str) {
    let syns = ["10.77.0.5", "10.77.0.6", "10.77.0.7"].map(|address| syns(lab, address));
    assert!(syns[0] > 0 && syns[1..] == [0, 0], "{what}: {syns:?} SYNs");
}

/// Allows ordinary users to send echo requests; each network namespace has its own setting.
fn allow_echo() {
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
}

#[test]
fn a_scheduled_run_sends_no_syn_to_an_excluded_mac() {
    for timing in TIMINGS {
        let lab = Lab::enter("near");
        let lan = scanner("lan", "1d", "20-3000") + "targets = [\"10.77.0.5-7\"]\n";
        let config = format!("{EXCLUDED}[feed]\nurl = []\n{lan}timing = \"{timing}\"\n{UNWANTED}");
        let running = Portscan::new(&lab, &config).start();
        for address in ["10.77.0.6", "10.77.0.7"] {
            running.wait_for_line(LONG, |line| line.contains(address) && line.contains("left alone"));
        }
        running.wait_for_devices(1, LONG);
        assert_left_alone(&lab, timing);
        running.stop();
    }
}

#[test]
fn neither_a_scan_on_sight_nor_one_by_hand_sends_a_syn_to_an_excluded_mac() {
    for timing in TIMINGS {
        let lab = Lab::enter("near");
        let lan = scanner("lan", "1d", "20-100") + &format!("timing = \"{timing}\"\n");
        let config = format!("{EXCLUDED}{BY_ADDRESS}{lan}{UNWANTED}");
        let running = Portscan::new(&lab, &config).start();
        running.wait_for_devices(1, LONG);
        for address in ["10.77.0.6", "10.77.0.7"] {
            let left = |line: &str| line.contains(address) && line.contains("left alone");
            running.wait_for_line(LONG, left);
            let before = running.lines().iter().filter(|line| left(line)).count();
            namespace::forget_neighbours();
            let started = running.post(&format!("/v1/run?host={address}"));
            assert_eq!(started.status, 202, "{started:?}");
            eventually(LONG, "the device is left alone again", || {
                (running.lines().iter().filter(|line| left(line)).count() > before).then_some(())
            });
        }
        assert_left_alone(&lab, timing);
        running.stop();
    }
}

#[test]
fn a_second_look_sends_no_syn_to_an_excluded_mac_that_has_taken_the_address() {
    let lab = Lab::enter("near");
    let lan = scanner("lan", "1d", "20-100") + "targets = [\"10.77.0.5-7\"]\n";
    let running = Portscan::new(&lab, &format!("{EXCLUDED}[feed]\nurl = []\n{lan}{UNWANTED}")).start();
    running.wait_for_devices(1, LONG);
    let host = lab.host("10.77.0.5");
    host.close(22);
    assert_eq!(running.post("/v1/run?host=10.77.0.5").status, 202);
    eventually(LONG, "the closed port waits for its second look", || {
        let looks = running.lines().iter().filter(|line| line.contains("finished")).count();
        (looks == 2).then_some(())
    });
    // Another device takes the address; the one at .7 is switched off.
    lab.host("10.77.0.7").vanish();
    host.set_mac("02:00:00:00:00:07");
    namespace::forget_neighbours();
    let before = host.stats().syns;
    running.wait_for_line(LONG, |line| line.contains("10.77.0.5") && line.contains("left alone"));
    assert_eq!(host.stats().syns, before);
    running.stop();
}

#[test]
fn a_scan_ends_when_an_excluded_mac_takes_the_address() {
    let lab = Lab::enter("handover");
    let lan = scanner("lan", "1d", "1-20000") + "targets = [\"10.77.0.5\"]\n";
    let excluded = "exclude = [\"02:00:00:00:01:05\"]\n";
    let running = Portscan::new(&lab, &format!("{excluded}[feed]\nurl = []\n{lan}")).start();
    running.wait_for_line(LONG, |line| line.contains("10.77.0.5") && line.contains("left alone"));
    // The other device takes the address after 300 SYNs; the kernel accepts its second announcement, 2 s later.
    let stats = lab.host("10.77.0.5").stats();
    assert!((300..6_000).contains(&stats.syns), "{stats:?}");
    assert!(running.macs().is_empty());
    running.stop();
}

#[test]
fn a_probe_over_http_sends_no_syn_to_an_excluded_mac() {
    for timing in TIMINGS {
        let lab = Lab::enter("near");
        let gentle = format!("[[device]]\nmatch = \"10.77.0.0/16\"\ntiming = \"{timing}\"\n");
        let config = format!("{EXCLUDED}[feed]\nurl = []\n{UNWANTED}{gentle}");
        let running = Portscan::new(&lab, &config).start();
        for (address, status) in [("10.77.0.5", 200), ("10.77.0.6", 403), ("10.77.0.7", 403)] {
            let answer = running.get(&format!("/portscan/{address}/22/json"));
            assert_eq!(answer.status, status, "{timing}: {answer:?}");
        }
        let absent = running.get("/portscan/10.77.0.99/22/json").json();
        assert!(absent["error"].as_str().unwrap().contains("nothing answers ARP"), "{absent}");
        assert_left_alone(&lab, timing);
        running.stop();
    }
}

fn scan(portscan: &Portscan, arguments: &[&str]) -> Finished {
    portscan.run(&[&["scan", "--json"], arguments].concat(), LONG)
}

fn up(document: &Value) -> Vec<&str> {
    let hosts = document["hosts"].as_array().unwrap().iter();
    hosts.filter(|host| host["status"] == "up").map(|host| host["address"].as_str().unwrap()).collect()
}

#[test]
fn a_scan_by_hand_sends_no_syn_to_a_mac_given_to_exclude() {
    for timing in ["-T3", "-T4", "-T5"] {
        let lab = Lab::enter("near");
        let portscan = Portscan::new(&lab, "");
        let leave_out = ["--exclude", "02:00:00:00:00:07,02:00:00:00:00:06"];
        let targets = [timing, "-p", "20-3000", "10.77.0.5-8"];
        let finished = scan(&portscan, &[&leave_out[..], &targets].concat());
        let document = finished.json();
        assert_eq!((up(&document), &document["scan"]["status"]), (vec!["10.77.0.5"], &"complete".into()));
        for (address, mac) in [("10.77.0.6", "02:00:00:00:00:06"), ("10.77.0.7", "02:00:00:00:00:07")] {
            let warning = format!("{address} is left out: it has the MAC {mac}");
            assert!(finished.stderr.contains(&warning), "{}", finished.stderr);
        }
        assert_left_alone(&lab, timing);
        assert!(lab.outside().sent.is_empty());
    }
}

/// Scans .5 to .7 by hand under a configuration; returns the hosts that are up, and the warnings.
fn scanned(portscan: &Portscan, more: &[&str]) -> (Vec<String>, String) {
    let config = portscan.write_config();
    let config = ["--config", config.to_str().unwrap(), "-p", "20-100", "10.77.0.5-7"];
    let finished = scan(portscan, &[&config[..], more].concat());
    (up(&finished.json()).into_iter().map(str::to_owned).collect(), finished.stderr)
}

/// Probes an address by hand under a configuration.
fn probed(portscan: &Portscan, address: &str, more: &[&str]) -> Finished {
    let config = portscan.write_config();
    let config = ["probe", "--json", "--config", config.to_str().unwrap(), address, "22"];
    portscan.run(&[&config[..], more].concat(), LONG)
}

#[test]
fn commands_by_hand_respect_the_configured_exclusions_unless_ignore_exclude_is_given() {
    let by_mac = format!("{EXCLUDED}{UNWANTED}");
    let by_address =
        "exclude = [\"10.77.0.6\"]\n[[device]]\nmatch = \"10.77.0.7\"\nscan = false\n".to_owned();
    let with_exceptions =
        format!("{EXCLUDED}[[device]]\nmatch = \"02:00:00:00:00:05\"\n[[device]]\nmatch = \"10.77.0.0/24\"\nscan = false\n")
            .replace("00:05\"\n[", "00:05\"\ntiming = \"T4\"\n[");
    for config in [by_mac, by_address, with_exceptions] {
        let lab = Lab::enter("near");
        let portscan = Portscan::new(&lab, &config);
        let (found, warnings) = scanned(&portscan, &[]);
        assert_eq!(found, ["10.77.0.5"], "{config}\n{warnings}");
        assert!(warnings.contains("--ignore-exclude"), "{warnings}");
        for address in ["10.77.0.6", "10.77.0.7"] {
            let refused = probed(&portscan, address, &[]);
            assert_eq!(refused.status.code(), Some(1), "{refused:?}");
            assert!(refused.stderr.contains("--ignore-exclude"), "{refused:?}");
        }
        assert_eq!(probed(&portscan, "10.77.0.5", &[]).json()["state"], "open");
        assert_left_alone(&lab, &config);
        let (found, warnings) = scanned(&portscan, &["--ignore-exclude"]);
        assert_eq!(found, ["10.77.0.5", "10.77.0.6", "10.77.0.7"], "{config}\n{warnings}");
        let probed = probed(&portscan, "10.77.0.6", &["--ignore-exclude"]);
        assert!(probed.stdout.contains("\"state\":"), "{probed:?}");
    }
}

#[test]
fn commands_by_hand_probe_nothing_if_the_configuration_is_unreadable() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, "exclude = [\"02:00:00:00\n");
    let config = portscan.write_config();
    let config = ["--config", config.to_str().unwrap()];
    for command in [&["scan", "-p", "22", "10.77.0.5"][..], &["probe", "10.77.0.5", "22"]] {
        let refused = portscan.run(&[command, &config].concat(), LONG);
        assert!(!refused.status.success() && refused.stderr.contains("--ignore-exclude"), "{refused:?}");
        assert_eq!(syns(&lab, "10.77.0.5"), 0);
    }
    let ignoring = [&["scan", "--json", "-p", "22", "10.77.0.5", "--ignore-exclude"][..], &config].concat();
    assert_eq!(up(&portscan.run(&ignoring, LONG).json()), ["10.77.0.5"]);
}

#[test]
fn a_stale_neighbour_entry_is_verified_before_the_scan() {
    let lab = Lab::enter("near");
    let old = ["neigh", "replace", "10.77.0.7", "lladdr", "02:00:00:00:00:99", "dev", "lan0", "nud", "stale"];
    namespace::ip(&old);
    let finished = scan(
        &Portscan::new(&lab, ""),
        &["-T4", "-p", "20-90", "--exclude", "02:00:00:00:00:07", "10.77.0.5", "10.77.0.7"],
    );
    assert_eq!(up(&finished.json()), ["10.77.0.5"]);
    assert_eq!(syns(&lab, "10.77.0.7"), 0);
}

#[test]
fn the_extra_arp_request_is_sent_only_if_a_mac_is_excluded() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, "");
    let requests = |more: &[&str]| {
        namespace::forget_neighbours();
        let before = lab.arp_requests();
        scan(&portscan, &[&["-p", "22", "10.77.0.5"], more].concat()).json();
        lab.arp_requests() - before
    };
    assert_eq!(requests(&[]), 1, "the kernel's own");
    assert_eq!(requests(&["--exclude", "10.77.0.9"]), 1);
    assert_eq!(requests(&["--exclude", "02:00:00:00:00:07"]), 2);
}

#[test]
fn without_privileges_an_echo_request_makes_the_kernel_resolve_the_mac() {
    let lab = Lab::enter("near");
    allow_echo();
    let lan = scanner("lan", "1d", "20-100") + "timing = \"T4\"\n";
    let config = format!("{EXCLUDED}{BY_ADDRESS}{lan}{UNWANTED}");
    let portscan = Portscan::new(&lab, &config).unprivileged();
    let running = portscan.start();
    running.wait_for_devices(1, LONG);
    for address in ["10.77.0.6", "10.77.0.7"] {
        running.wait_for_line(LONG, |line| line.contains(address) && line.contains("left alone"));
    }
    running.stop();
    // The kernel probes a stale entry by unicast before it broadcasts, which takes its time.
    let old = ["neigh", "replace", "10.77.0.7", "lladdr", "02:00:00:00:00:99", "dev", "lan0", "nud", "stale"];
    namespace::ip(&old);
    let leave_out = ["--exclude", "02:00:00:00:00:07,02:00:00:00:00:06"];
    let finished = scan(&portscan, &[&leave_out[..], &["-T4", "-p", "20-90", "10.77.0.5-8"]].concat());
    assert_eq!(up(&finished.json()), ["10.77.0.5"], "{}", finished.stderr);
    assert_left_alone(&lab, "without privileges");
}

#[test]
fn if_the_mac_cannot_be_resolved_nothing_is_probed_and_the_remedy_is_named() {
    let lab = Lab::enter("near");
    let config = format!("{EXCLUDED}{BY_ADDRESS}{}", scanner("lan", "1d", "20-100"));
    let portscan = Portscan::new(&lab, &config).unprivileged();
    let running = portscan.start();
    for address in ["10.77.0.5", "10.77.0.6", "10.77.0.7"] {
        let line = running.wait_for_line(LONG, |line| line.contains(address) && line.contains("not probed"));
        assert!(line.contains("CAP_NET_RAW") && line.contains("ping_group_range"), "{line}");
    }
    let answer = running.get("/portscan/10.77.0.5/22/json").json();
    assert!(answer["error"].as_str().unwrap().contains("CAP_NET_RAW"), "{answer}");
    running.stop();
    let finished = scan(&portscan, &["-p", "22", "--exclude", "02:00:00:00:00:07", "10.77.0.5"]);
    assert!(!finished.status.success() && finished.stderr.contains("CAP_NET_RAW"), "{finished:?}");
    assert_eq!(lab.hosts().map(|host| host.stats().syns).sum::<usize>(), 0);
    let finished = scan(&portscan, &["-p", "22", "--exclude", "10.77.0.7", "10.77.0.5"]);
    assert_eq!(up(&finished.json()), ["10.77.0.5"], "an excluded address needs no ARP request");
}

#[test]
fn a_neighbour_in_an_aliass_subnet_is_resolved_on_the_aliass_interface() {
    let lab = Lab::describe(
        r#"
        [lan]
        scanner = "10.77.0.1/24"
        [[host]]
        address = "10.78.0.5-6"
        mac = "02:00:00:00:00:05+"
        open = "22"
        "#,
    );
    namespace::ip(&["addr", "add", "10.78.0.1/24", "dev", "lan0", "label", "lan0:1"]);
    let arguments = ["--exclude", "02:00:00:00:00:06", "-p", "22", "10.78.0.5", "10.78.0.6"];
    assert_eq!(up(&scan(&Portscan::new(&lab, ""), &arguments).json()), ["10.78.0.5"]);
    assert_eq!(syns(&lab, "10.78.0.6"), 0);
}

#[test]
fn hosts_behind_an_excluded_router_are_scanned() {
    let lab = Lab::enter("near");
    namespace::ip(&["route", "add", "10.99.0.9", "via", "10.77.0.5"]);
    let router = ["--exclude", "02:00:00:00:00:05"];
    let far = ["--skip-liveness", "-p", "22", "10.99.0.9"];
    let document = scan(&Portscan::new(&lab, ""), &[&router[..], &far].concat()).json();
    assert_eq!(document["hosts"][0]["default_state"], "filtered", "{document}");
    assert!(lab.outside().sent.contains_key(&"10.99.0.9".parse().unwrap()));
}

#[test]
fn excluding_a_router_that_answers_arp_for_others_excludes_them_too() {
    let lab = Lab::enter("proxy-arp");
    let leave_out = ["--exclude", "02:00:00:00:00:fe", "-p", "22,80", "10.77.0.5", "10.77.0.100"];
    let document = scan(&Portscan::new(&lab, ""), &leave_out).json();
    assert_eq!(up(&document), ["10.77.0.5"]);
    assert_eq!(syns(&lab, "10.77.0.100"), 0);
}

#[test]
fn an_address_where_nothing_answers_is_down() {
    let lab = Lab::enter("near");
    let began = lab.now();
    let document =
        scan(&Portscan::new(&lab, ""), &["--exclude", "02:00:00:00:00:07", "-p", "22", "10.77.0.99"]).json();
    assert_eq!(document["hosts"][0]["status"], "down", "{document}");
    assert!(lab.now().since(began) < Duration::from_secs(60));
    assert_eq!(lab.outside().asked.get(&"10.77.0.99".parse().unwrap()), Some(&4));
}

//! Bare SYNs in place of connects: the same findings, and connects where SYNs do not get through.

use super::*;
use crate::model::{HostStatus, PortSet};

fn world(device: Behaviour, seed: u64) -> World {
    World { by_syn: true, ..World::new(vec![device], seed) }
}

fn scan(world: &mut World, ports: &str, timing: Timing) -> HostReport {
    let job = world.job(0, ports);
    let job = world.submit(HostJob { timing, max_in_flight: 500, ..job });
    world.run();
    world.reports.remove(&job).unwrap()
}

fn open(report: &HostReport) -> Vec<u16> {
    report.open_ports().collect()
}

#[test]
fn syns_ask_and_connects_confirm() {
    let mut world = world(neighbour("22,80,1883"), 1);
    let report = scan(&mut world, "1-2000", Timing::T3);
    world.assert_polite();
    assert_eq!((report.status, report.default_state), (HostStatus::Up, PortState::Closed));
    assert_eq!(open(&report), [22, 80, 1883]);
    // The liveness check and what left before the trial was answered; the trial; a connect for each open port.
    assert!((1950..=2000).contains(&world.syns), "{}", world.syns);
    assert!((2001..=2004).contains(&report.probes), "{}", report.probes);
    assert!(world.syns_lost.is_empty());
}

#[test]
fn a_job_that_allows_no_syns_gets_none_beside_one_that_does() {
    let mut world = world(neighbour("22"), 1);
    scan(&mut world, "1-100", Timing::T3);
    world.syns = 0;
    world.by_syn = false;
    scan(&mut world, "1-100", Timing::T3);
    assert_eq!(world.syns, 0);
}

#[test]
fn a_firewall_that_drops_or_denies_syns_costs_nothing_but_three_of_them() {
    let silent = Troubles { drops_syns: Some(Moment::ZERO), ..Troubles::default() };
    let denied = Troubles { denies_syns: true, ..Troubles::default() };
    for (troubles, most) in [(silent, 3), (denied, 1)] {
        for timing in [Timing::T3, Timing::T4] {
            let mut world = world(neighbour("22,80,1883"), 1);
            world.troubles = troubles;
            let report = scan(&mut world, "1-2000", timing);
            assert_eq!((report.status, report.default_state), (HostStatus::Up, PortState::Closed));
            assert_eq!((open(&report), report.coverage.len()), (vec![22, 80, 1883], 2000));
            assert!(world.syns <= most, "{}", world.syns);
            assert!(world.syns_lost.len() <= 1);
        }
    }
}

#[test]
fn a_firewall_that_begins_to_drop_syns_hides_no_port() {
    for timing in [Timing::T3, Timing::T4] {
        let mut world = world(neighbour("22,80,443,1883,2999"), 1);
        world.troubles.drops_syns = Some(START + Duration::from_millis(300));
        let report = scan(&mut world, "1-3000", timing);
        assert_eq!(report.status, HostStatus::Up, "{timing}: {}", report.detail);
        assert_eq!(open(&report), [22, 80, 443, 1883, 2999], "{timing}");
        assert_eq!(report.default_state, PortState::Closed, "{timing}");
    }
}

/// Scans the first 150 ports of all hosts of a scenario, and those beyond that are open.
fn found_by(name: &str, by_syn: bool, timing: Timing, seed: u64) -> Vec<(Vec<u16>, PortState)> {
    let mut world = World { by_syn, ..World::of(&Scenario::load(name), seed) };
    let jobs: Vec<JobId> = (0..world.hosts.len())
        .map(|host| {
            let beyond = world.hosts[host].manners.open_ports();
            let few = beyond.len() < 1000;
            let ports: PortSet = beyond.iter().filter(|_| few).chain(1..=150).collect();
            let job = world.job(host, "1");
            world.submit(HostJob { ports, timing, ..job })
        })
        .collect();
    world.run();
    if timing == Timing::T3 {
        world.assert_polite();
    }
    assert!(!by_syn || world.syns > 0, "{name}");
    jobs.iter().map(|job| (open(&world.reports[job]), world.reports[job].default_state)).collect()
}

#[test]
fn every_kind_of_host_is_seen_as_by_connects() {
    for name in [
        "near",
        "silent",
        "half",
        "rejecting",
        "rst-limited",
        "wake",
        "policer",
        "gadget-45",
        "backlog",
        "everything",
    ] {
        for (timing, seed) in [(Timing::T3, 1), (Timing::T3, 2), (Timing::T4, 3)] {
            let [by_connect, by_syn] = [false, true].map(|by_syn| found_by(name, by_syn, timing, seed));
            assert_eq!(by_syn, by_connect, "{name}, {timing}, seed {seed}");
        }
    }
}

//! Known situations, and what must come of each.

use crate::model::HostStatus;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn world(device: Device) -> World {
    World::new(vec![device], 1)
}

fn neighbour(open: &str) -> Device {
    Device::new("192.0.2.1", open)
}

/// Runs one job and returns its report, after checking that the hard bounds held.
fn scan(world: &mut World, ports: &str) -> HostReport {
    let job = world.submit(world.job(0, ports));
    world.run();
    world.assert_polite();
    world.reports.remove(&job).unwrap()
}

#[test]
fn a_plain_host_is_seen_as_it_is() {
    let mut world = world(neighbour("22,80,1883"));
    let report = scan(&mut world, "1-2000");
    assert_eq!((report.status, report.default_state), (HostStatus::Up, PortState::Closed));
    assert_eq!(report.open_ports().collect::<Vec<_>>(), [22, 80, 1883]);
    assert_eq!(report.coverage.to_string(), "1-2000");
    assert!(report.findings.iter().all(|finding| finding.rtt.is_some()));
    assert_eq!((report.probes, world.up.len()), (2000, 1));
}

#[test]
fn nobody_there_costs_one_probe() {
    let mut world = world(Device { absent: true, ..neighbour("") });
    let report = scan(&mut world, "1-65535");
    assert_eq!((report.status, report.probes), (HostStatus::Down, 1));
    assert!(report.coverage.is_empty() && report.detail.contains("ARP"), "{report:?}");
    assert!(world.up.is_empty());
}

//! Runs that a user requests.

use super::*;
use crate::model::DeviceKey;

const QUIET: &str = "cache_expiry = \"90d\"\n[[scanner]]\nname = \"lan\"\ninterval = \"30d\"\nports = \"1-100\"\n\
    [[device]]\nmatch = \"10.0.0.3\"\nports = \"7\"\n";

fn one(n: u8, ports: Option<&str>) -> Order {
    let ports = ports.map(|ports| ports.parse().unwrap());
    Order::Device { key: device(n).key(), scanner: None, ports }
}

impl World {
    fn order(&mut self, order: &Order) -> Result<Vec<RunId>, OrderError> {
        let (runs, actions) = self.agenda.order(order, &self.times)?;
        actions.into_iter().for_each(|action| self.act(action));
        self.poll();
        Ok(runs)
    }

    /// A world in which every device has a result and no run is due.
    fn at_rest(toml: &str) -> Self {
        let mut world = Self::new(toml, vec![]);
        world.tell((1..=5).map(device).collect());
        world.poll();
        world.finish();
        world
    }
}

#[test]
fn a_run_by_hand_counts_as_the_scanners_run() {
    let mut world = World::at_rest(QUIET);
    world.pass(HOUR);
    let first = world.order(&Order::Scanner(Some("lan".into()))).unwrap();
    assert_eq!(world.order(&Order::Scanner(None)).unwrap(), first, "the running run is returned");
    assert_eq!(world.begun.len(), 2);
    assert_eq!(world.begun[1].2, ScanKind::Run, "this kind is resumed after a crash");
    assert_eq!(world.finish(), 5);
    world.pass(29 * DAY);
    assert!(world.open.is_empty(), "the interval counts from the run by hand");
    let unknown = world.order(&Order::Scanner(Some("iot".into()))).unwrap_err().to_string();
    assert!(unknown.contains("\"iot\"") && unknown.ends_with(": lan"), "{unknown}");
}

#[test]
fn an_ordered_device_is_scanned_at_once_on_its_rules_or_the_given_ports() {
    let mut world = World::at_rest(QUIET);
    world.order(&one(1, None)).unwrap();
    let again = world.order(&one(1, None)).unwrap();
    assert_eq!(world.order(&one(1, None)).unwrap(), again);
    world.order(&one(3, None)).unwrap();
    world.order(&one(3, Some("22,80"))).unwrap();
    let looks: Vec<(Device, String, bool)> = world
        .open
        .iter()
        .map(|look| (look.device.clone(), look.ports.to_string(), look.scope == Scope::Exact))
        .collect();
    assert_eq!(
        looks,
        [
            (device(1), "1-100".into(), false),
            (device(3), "7".into(), false),
            (device(3), "22,80".into(), true)
        ]
    );
    assert!(world.begun[1..].iter().all(|(_, _, kind)| *kind == ScanKind::Manual));
    world.finish();
    assert!(world.ended.iter().all(|(_, status)| *status == ScanStatus::Complete), "{:?}", world.ended);
}

#[test]
fn an_ordered_device_precedes_queued_ones() {
    let mut world = World::new("", vec![]);
    world.tell((1..=40).map(device).collect());
    world.poll();
    world.order(&one(40, Some("22"))).unwrap();
    world.end(|look| look.device == device(1), |device| LookOutcome::Result(device.key()));
    assert_eq!(world.open.last().unwrap().device, device(40));
}

#[test]
fn a_device_that_left_the_feed_is_scanned_at_its_last_address() {
    let mut world = World::at_rest(QUIET);
    world.tell(vec![device(2)]);
    world.order(&one(1, None)).unwrap();
    let look = world.open.pop().unwrap();
    assert_eq!(
        (look.device.address, look.device.mac),
        (device(1).address, None),
        "the look finds out which device is there now"
    );
    let by_address = Order::Device { key: DeviceKey::Address(device(4).address), scanner: None, ports: None };
    world.order(&by_address).unwrap();
    assert_eq!(world.open.pop().unwrap().device.address, device(4).address);
}

#[test]
fn orders_for_unknown_or_excluded_devices_are_refused() {
    let mut world = World::new(&format!("exclude = [\"10.0.0.2\"]\n{QUIET}"), vec![]);
    assert_eq!(world.order(&Order::Scanner(None)), Err(OrderError::NoTargets));
    world.tell(vec![device(1), device(2)]);
    assert_eq!(world.order(&one(9, None)), Err(OrderError::UnknownDevice(device(9).key())));
    assert_eq!(world.order(&one(2, Some("22"))), Err(OrderError::Unwanted(device(2).key())));
    world.agenda.set_paused(true);
    assert_eq!(world.order(&Order::Scanner(None)), Err(OrderError::Paused));
    assert!(world.begun.is_empty());
}

#[test]
fn progress_counts_finished_and_waiting_devices() {
    let mut world = World::new(QUIET, vec![]);
    world.tell((1..=20).map(device).collect());
    world.poll();
    let progress = |world: &World| world.agenda.runs_under_way(world.times.now).remove(0);
    let start = progress(&world);
    assert_eq!((start.hosts_done, start.hosts, world.open.len()), (0, 20, MAX_IN_PROGRESS));
    assert_eq!((start.ports_done, start.ports), (0, 19 * 100 + 1), "one device has its own rule");
    world.pass(MINUTE);
    world.end(|look| look.device == device(1), |_| LookOutcome::Absent);
    world.end(|look| look.device == device(2), |device| LookOutcome::Result(device.key()));
    let later = progress(&world);
    assert_eq!((later.hosts_done, later.hosts), (2, 20));
    assert_eq!((later.ports_done, later.ports), (200, 1901));
    assert_eq!(later.elapsed, MINUTE);

    let scan = later.scan.unwrap();
    let now = world.times.now;
    assert!(world.agenda.stop(scan, now) && !world.agenda.stop(ScanId(99), now));
    world.poll();
    assert_eq!(world.cancelled.len(), MAX_IN_PROGRESS);
    world.end(|_| true, |_| LookOutcome::Partial);
    assert_eq!(world.ended, [(scan, ScanStatus::Partial)]);
    assert!(
        world.agenda.runs_under_way(world.times.now).is_empty(),
        "the stopped devices do not count as new"
    );
    world.pass(5 * HOUR);
    assert_eq!(world.looks(), [device(1)], "the device that was absent is retried");
    world.pass(HOUR);
    assert_eq!(world.open.len(), MAX_IN_PROGRESS, "the stopped devices are scanned later");
}

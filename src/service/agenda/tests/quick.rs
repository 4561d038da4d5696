//! Quick looks, and the scanner of the commonest ports.

use super::{
    super::places::{COMMON, SILENT},
    *,
};
use crate::services::{RANKED, commonest};

/// With nothing configured: `lan` over all ports each day, `common` each hour.
fn defaults(stored: Vec<StateAge>) -> World {
    let mut world = World::of(Arc::new(load("")), stored);
    world.crowd = COMMON;
    world
}

fn age(n: u8, oldest: &str, coverage: PortSet) -> StateAge {
    StateAge { device: device(n), oldest: oldest.parse().unwrap(), coverage }
}

impl World {
    /// The last octets of the devices with an open look of this scope.
    fn open_at(&self, scope: Scope) -> Vec<u8> {
        let of = |look: &&Look| look.scope == scope;
        self.open.iter().filter(of).map(|look| look.device.mac.unwrap().octets()[5]).collect()
    }

    fn answer(&mut self, wanted: impl Fn(&Look) -> bool) -> &mut Self {
        self.end(wanted, |device| LookOutcome::Result(device.key()))
    }
}

#[test]
fn every_device_gets_its_commonest_ports_before_any_gets_all() {
    let mut world = defaults(vec![]);
    world.tell((1..=40).map(device).collect());
    world.poll();
    assert_eq!(world.open_at(Scope::Common).len(), MAX_IN_PROGRESS + COMMON);
    assert_eq!(world.open[0].ports, commonest(RANKED));
    let mut quick = 0;
    while !world.open_at(Scope::Common).is_empty() {
        quick += world.open_at(Scope::Common).len();
        world.answer(|look| look.scope == Scope::Common);
    }
    assert_eq!(quick, 40, "each once: neither a second quick look nor the hourly scanner's");
    assert_eq!(world.open_at(Scope::Usual).len(), MAX_IN_PROGRESS);
    assert_eq!(world.finish(), 40);
    assert!(world.ended.iter().all(|(_, status)| *status == ScanStatus::Complete), "{:?}", world.ended);
    let kinds: Vec<_> = world.begun.iter().map(|(_, scanner, kind)| (scanner.as_str(), *kind)).collect();
    assert_eq!(kinds, [("lan", ScanKind::Seen), ("lan", ScanKind::Run)], "no scan without a look");
}

#[test]
fn looks_at_silent_devices_keep_no_place_from_the_others() {
    let mut world = defaults(vec![]);
    world.crowd = COMMON + SILENT;
    world.tell((1..=100).map(device).collect());
    world.poll();
    let at_once = MAX_IN_PROGRESS + COMMON;
    assert_eq!(world.open.len(), at_once);
    world.pass(Duration::from_secs(4));
    assert_eq!(world.open.len(), at_once, "they may yet answer");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.open.len(), 2 * at_once);
    world.pass(Duration::from_secs(5)).pass(Duration::from_secs(5));
    assert_eq!(world.open.len(), at_once + SILENT, "only so many");
    // A look at all ports gains no place by it.
    world.answer(|look| look.device.mac.unwrap().octets()[5] <= 60);
    assert_eq!((world.open_at(Scope::Common).len(), world.open_at(Scope::Usual).len()), (20, 0));
    assert_eq!(world.finish(), 40 + 100, "the other quick looks, then a full one each");
}

#[test]
fn a_full_look_waits_for_the_quick_one_whose_scan_is_opened_later() {
    let mut world = defaults(vec![]);
    world.opens = false;
    world.tell(vec![device(1)]);
    world.poll();
    let times = world.times.clone();
    for (run, scan) in std::mem::take(&mut world.opening).into_iter().rev().zip(1..) {
        assert!(world.open.is_empty());
        assert_eq!(world.agenda.begun(run, ScanId(scan), Vec::new(), &times), None);
        world.poll();
    }
    assert_eq!(world.open_at(Scope::Common), [1]);
    assert_eq!(world.begun[0].2, ScanKind::Seen);
}

#[test]
fn devices_that_turn_up_join_the_open_quick_run_and_then_get_all_ports() {
    let mut world = defaults(vec![]);
    world.tell(vec![device(1)]);
    world.poll();
    let begun = world.begun.len();
    for n in 2..=40 {
        world.tell((1..=n).map(device).collect());
        world.poll();
    }
    assert_eq!(world.begun.len(), begun, "no further scan");
    for n in 1..=40 {
        let is_it = |look: &Look| look.device == device(n) && look.scope == Scope::Common;
        assert!(world.open.iter().any(is_it), "{n}");
        world.answer(is_it);
    }
    world.finish();
    let full: Vec<_> = world.begun[begun..].iter().map(|(_, _, kind)| *kind).collect();
    assert!(full.iter().all(|kind| *kind == ScanKind::Seen), "{full:?}");
    world.pass(10 * MINUTE);
    assert!(world.open.is_empty(), "nothing is left to be done");
}

#[test]
fn the_hourly_scanner_leaves_out_what_a_full_look_covers() {
    let full = |n| age(n, "2026-05-31T12:00:00Z", PortSet::all());
    let mut world = defaults(vec![full(1), full(2)]);
    let started =
        LastStart::restored(12 * HOUR + MINUTE, "2026-05-31T11:59:00Z".parse().unwrap(), &world.times);
    world.agenda.restore("lan", started);
    world.tell(vec![device(1), device(2)]);
    world.poll();
    assert_eq!(world.open_at(Scope::Common), [1, 2], "none was looked at within the half hour");
    world.answer(|_| true);
    world.pass(HOUR);
    assert_eq!(world.open_at(Scope::Common), [1, 2], "an hour later");
    world.answer(|_| true);
    for _ in 0..10 {
        world.pass(HOUR);
        world.answer(|_| true);
    }
    world.pass(HOUR - MINUTE);
    assert_eq!(world.open_at(Scope::Usual), [1, 2], "the day is over");
    world.pass(MINUTE);
    assert!(world.open_at(Scope::Common).is_empty(), "the look at all ports has them, too");
}

#[test]
fn an_interrupted_start_goes_on_with_the_full_look() {
    let mut world = defaults(vec![age(1, "2026-05-31T23:50:00Z", commonest(RANKED))]);
    let started = LastStart::restored(10 * MINUTE, "2026-05-31T23:50:00Z".parse().unwrap(), &world.times);
    for scanner in ["lan", "common"] {
        world.agenda.restore(scanner, started);
    }
    world.tell(vec![device(1), device(2)]);
    world.poll();
    assert_eq!((world.open_at(Scope::Common), world.open_at(Scope::Usual)), (vec![2], vec![1]));
}

#[test]
fn a_quick_look_that_finds_no_host_is_not_repeated_at_once() {
    let mut world = defaults(vec![]);
    world.tell(vec![device(1)]);
    world.poll();
    let mut looks = 0;
    while !world.open.is_empty() {
        looks += world.open.len();
        world.end(|_| true, |_| LookOutcome::Absent);
    }
    assert!(looks <= 3, "a quick one, and one of each scanner's run: {looks}");
    world.pass(14 * MINUTE);
    assert!(world.open.is_empty());
}

#[test]
fn a_device_with_few_ports_of_its_own_gets_no_quick_look() {
    let own = "[[device]]\nmatch = \"10.0.0.1\"\nports = \"22,9999\"\n";
    let mut world = World::of(Arc::new(load(own)), vec![]);
    world.tell(vec![device(1)]);
    world.poll();
    assert_eq!(world.open_at(Scope::Usual), [1]);
}

#[test]
fn the_hosts_of_a_short_list_get_quick_looks_too() {
    let list = "[[scanner]]\nname = \"servers\"\ntargets = [\"10.0.0.1-3\"]\n";
    let mut world = World::of(Arc::new(load(list)), vec![]);
    world.poll();
    let common = world.open.iter().filter(|look| look.scope == Scope::Common).count();
    assert_eq!((common, world.open.len()), (3, 3));
    world.answer(|_| true);
    assert!(world.open.iter().all(|look| look.scope == Scope::Usual));
    assert_eq!(world.finish(), 3);
}

#[test]
fn a_user_who_names_no_scanner_gets_all_ports_alone() {
    let mut world = defaults(vec![age(1, "2026-05-31T23:52:00Z", PortSet::all())]);
    let started = LastStart::restored(10 * MINUTE, "2026-05-31T23:50:00Z".parse().unwrap(), &world.times);
    for scanner in ["lan", "common"] {
        world.agenda.restore(scanner, started);
    }
    world.tell(vec![device(1)]);
    world.poll();
    assert!(world.open.is_empty());
    let mut order = |name: Option<&str>| {
        let order = Order::Scanner(name.map(str::to_owned));
        let times = world.times.clone();
        let (runs, actions) = world.agenda.order(&order, &times).unwrap();
        actions.into_iter().for_each(|action| world.act(action));
        runs.len()
    };
    assert_eq!(order(None), 1);
    assert_eq!(order(Some("common")), 1);
    world.poll();
    assert_eq!(world.open_at(Scope::Usual), [1]);
    world.answer(|_| true);
    assert_eq!(world.open_at(Scope::Common), [1], "ordered, so not left out");
}

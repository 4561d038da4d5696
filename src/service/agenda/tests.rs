//! The agenda, driven by a clock that the test controls.

mod by_hand;
mod doubts;
mod quick;

use std::net::Ipv4Addr;

use jiff::{Timestamp, tz::TimeZone};

use super::*;
use crate::{
    config::{Overrides, ScannerPorts},
    model::{Mac, Timing},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// An agenda, its clocks, and a caller that opens scans at once.
struct World {
    agenda: Agenda,
    times: Times,
    next_scan: i64,
    open: Vec<Look>,
    ended: Vec<(ScanId, ScanStatus)>,
    begun: Vec<(ScanId, String, ScanKind)>,
    cancelled: Vec<LookId>,
    resolving: Vec<(RunId, Vec<String>)>,
    /// Whether scans are opened at once; otherwise the test opens them.
    opens: bool,
    opening: Vec<RunId>,
    /// Looks beyond the regular places.
    crowd: usize,
}

fn device(n: u8) -> Device {
    Device { address: Ipv4Addr::new(10, 0, 0, n).into(), mac: Some(Mac::new([2, 0, 0, 0, 0, n])), name: None }
}

fn times(now: Duration, wall: &str) -> Times {
    Times { now: Moment::ZERO + now, wall: Some(wall.parse().unwrap()), zone: TimeZone::UTC }
}

fn load(toml: &str) -> Config {
    let file = Some((std::path::Path::new("test.toml"), toml));
    Config::load(&Overrides::default(), &|_| None, file).unwrap()
}

/// A configuration with the file's scanners, or `lan`, where a look at all ports is one at few, which no quick look
/// precedes.
fn config(toml: &str) -> Arc<Config> {
    let mut config = load(toml);
    config.scanners.retain(|scanner| scanner.ports != ScannerPorts::Common);
    for scanner in &mut config.scanners {
        if scanner.ports == ScannerPorts::Listed(PortSet::all()) {
            scanner.ports = ScannerPorts::Listed("1-900,4400-4499".parse().unwrap());
        }
    }
    Arc::new(config)
}

impl World {
    fn new(toml: &str, stored: Vec<(Device, Timestamp)>) -> Self {
        let age = |(device, oldest)| StateAge { device, oldest, coverage: PortSet::all() };
        Self::of(config(toml), stored.into_iter().map(age).collect())
    }

    fn of(config: Arc<Config>, stored: Vec<StateAge>) -> Self {
        let times = times(Duration::ZERO, "2026-06-01T00:00:00Z");
        let agenda = Agenda::new(config, stored, &times);
        Self {
            agenda,
            times,
            next_scan: 0,
            open: Vec::new(),
            ended: Vec::new(),
            begun: Vec::new(),
            cancelled: Vec::new(),
            resolving: Vec::new(),
            opens: true,
            opening: Vec::new(),
            crowd: 0,
        }
    }

    /// Reports these devices, with every source of the feed complete.
    fn tell(&mut self, devices: Vec<Device>) {
        self.agenda.set_devices(devices, true, &self.times);
    }

    fn resume(&mut self, scan: i64, done: &[Device]) -> Option<Action> {
        self.agenda.resume("lan", ScanId(scan), done.to_vec(), &self.times)
    }

    fn reconfigure(&mut self, toml: &str) -> &mut Self {
        self.agenda.reconfigure(config(toml), &self.times);
        self.poll()
    }

    fn looks(&self) -> Vec<Device> {
        self.open.iter().map(|look| look.device.clone()).collect()
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.times.now += time;
        self.times.wall = self.times.wall.map(|wall| wall + time);
        self.poll()
    }

    fn poll(&mut self) -> &mut Self {
        loop {
            let actions = self.agenda.poll(&self.times);
            if actions.is_empty() {
                return self;
            }
            for action in actions {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Begin { run, scanner, kind, .. } => {
                self.next_scan += 1;
                self.begun.push((ScanId(self.next_scan), scanner, kind));
                if self.opens {
                    let opened = self.agenda.begun(run, ScanId(self.next_scan), Vec::new(), &self.times);
                    assert_eq!(opened, None);
                } else {
                    self.opening.push(run);
                }
            }
            Action::Resolve { run, names } => self.resolving.push((run, names)),
            Action::Look(look) => self.open.push(look),
            Action::Cancel(look) => self.cancelled.push(look),
            Action::End { scan, status } => {
                self.ended.push((scan, status));
                self.agenda.closed(scan);
            }
        }
        assert!(self.open.len() <= MAX_IN_PROGRESS + self.crowd);
    }

    /// Ends the open looks of these devices.
    fn end(&mut self, wanted: impl Fn(&Look) -> bool, looked: impl Fn(&Device) -> LookOutcome) -> &mut Self {
        let (ending, open) = std::mem::take(&mut self.open).into_iter().partition(wanted);
        self.open = open;
        let ending: Vec<Look> = ending;
        for look in ending {
            self.agenda.looked(look.id, &looked(&look.device), &self.times);
        }
        self.poll()
    }

    /// Ends every look with a result, until none is open.
    fn finish(&mut self) -> usize {
        let mut count = 0;
        while !self.open.is_empty() {
            count += self.open.len();
            self.end(|_| true, |device| LookOutcome::Result(device.key()));
        }
        count
    }
}

#[test]
fn the_first_run_scans_every_device_once() {
    let mut world = World::new("", vec![]);
    world.poll();
    assert!(world.begun.is_empty(), "no device to scan yet");
    world.tell((1..=40).map(device).collect());
    world.poll();
    assert_eq!(world.open.len(), MAX_IN_PROGRESS);
    assert_eq!(world.finish(), 40);
    assert_eq!(world.ended, [(ScanId(1), ScanStatus::Complete)]);
    world.pass(HOUR);
    assert!(world.open.is_empty());
    world.pass(DAY - HOUR);
    assert_eq!(world.finish(), 40, "again a day later");
}

#[test]
fn a_new_device_is_scanned_on_sight_and_before_the_rest() {
    let mut world = World::new("", vec![]);
    world.tell((1..=40).map(device).collect());
    world.poll();
    world.tell((1..=41).map(device).collect());
    world.poll();
    world.end(|look| look.device == device(1), |device| LookOutcome::Result(device.key()));
    assert!(
        world.open.iter().any(|look| look.device == device(41)),
        "the new device takes the next free place"
    );
    assert_eq!(world.begun[1].2, ScanKind::Seen);
}

#[test]
fn excluded_devices_are_not_scanned() {
    let toml =
        "exclude = [\"10.0.0.2\", \"02:00:00:00:00:03\"]\n[[device]]\nmatch = \"10.0.0.4\"\nscan = false\n";
    let mut world = World::new(toml, vec![]);
    world.tell((1..=5).map(device).collect());
    world.poll();
    let devices: Vec<Device> = world.open.iter().map(|look| look.device.clone()).collect();
    assert_eq!(devices, [device(1), device(5)]);
    let times = world.times.clone();
    world.agenda.reconfigure(config("exclude = [\"10.0.0.5\"]"), &times);
    world.poll();
    assert_eq!(
        world.cancelled,
        [world.open[1].id],
        "the look is cancelled as soon as the device is excluded"
    );
}

#[test]
fn an_absent_device_is_no_failure_and_is_retried_when_seen_again() {
    let mut world = World::new("", vec![]);
    world.tell(vec![device(1), device(2)]);
    world.poll();
    world.end(|look| look.device == device(2), |_| LookOutcome::Absent);
    world.finish();
    assert_eq!(world.ended, [(ScanId(1), ScanStatus::Complete)]);
    world.pass(14 * MINUTE);
    assert!(world.open.is_empty());
    world.tell(vec![device(1)]);
    world.poll();
    world.tell(vec![device(1), device(2)]);
    world.poll();
    assert_eq!(world.open.len(), 1, "seen again: retried at once");
    world.end(|_| true, |_| LookOutcome::Absent);
    world.pass(16 * MINUTE);
    assert_eq!(world.open.len(), 1, "listed all the time: retried after a pause");
    world.end(|_| true, |_| LookOutcome::Absent);
    world.pass(16 * MINUTE);
    assert!(world.open.is_empty(), "the pause grows");
}

#[test]
fn a_device_the_last_run_missed_is_scanned_when_it_returns() {
    let stored = vec![
        (device(1), "2026-05-31T22:00:00Z".parse().unwrap()),
        (device(2), "2026-05-30T22:00:00Z".parse().unwrap()),
    ];
    let mut world = World::new("", stored);
    world
        .agenda
        .restore("lan", LastStart::restored(3 * HOUR, "2026-05-31T21:00:00Z".parse().unwrap(), &world.times));
    world.tell(vec![device(1)]);
    world.poll();
    assert!(world.open.is_empty(), "the device has its result of the last run");
    world.tell(vec![device(1), device(2)]);
    world.poll();
    assert_eq!(world.open.len(), 1);
    assert_eq!(world.open[0].device, device(2));
}

#[test]
fn an_expired_result_is_renewed() {
    let toml = "[[scanner]]\nname = \"lan\"\ninterval = \"30d\"\n";
    let mut world = World::new(toml, vec![(device(1), "2026-05-26T00:00:00Z".parse().unwrap())]);
    world
        .agenda
        .restore("lan", LastStart::restored(7 * DAY, "2026-05-25T00:00:00Z".parse().unwrap(), &world.times));
    world.tell(vec![device(1)]);
    world.poll();
    assert!(world.open.is_empty(), "six days old");
    world.pass(DAY + HOUR);
    assert_eq!(world.open.len(), 1);
}

#[test]
fn a_clock_jump_starts_no_run() {
    let mut world = World::new("", vec![(device(1), "2000-01-01T00:01:00Z".parse().unwrap())]);
    world.times.wall = Some("2000-01-01T00:10:00Z".parse().unwrap());
    world
        .agenda
        .restore("lan", LastStart::restored(HOUR, "2000-01-01T00:00:00Z".parse().unwrap(), &world.times));
    world.tell(vec![device(1), device(2)]);
    world.poll();
    assert_eq!(world.finish(), 1, "only the new device");
    for wall in
        ["2026-06-01T00:00:00Z", "2038-01-01T00:00:00Z", "2000-01-01T00:00:00Z", "2026-06-01T00:00:00Z"]
    {
        world.times.wall = Some(wall.parse().unwrap());
        world.pass(MINUTE);
        assert!(world.open.is_empty(), "{wall}");
    }
    world.pass(DAY - HOUR);
    assert_eq!(world.finish(), 2, "the interval goes by the monotonic clock");
}

#[test]
fn an_interrupted_run_resumes_with_the_remaining_devices() {
    let found = "2026-05-31T23:30:00Z".parse().unwrap();
    let mut world = World::new("", vec![(device(1), found), (device(2), found)]);
    world
        .agenda
        .restore("lan", LastStart::restored(HOUR, "2026-05-31T23:00:00Z".parse().unwrap(), &world.times));
    let done = vec![device(1), device(2)];
    let times = world.times.clone();
    assert_eq!(world.agenda.resume("lan", ScanId(77), done, &times), None);
    world.poll();
    assert!(world.ended.is_empty(), "the run waits for the feed");
    world.tell((1..=4).map(device).collect());
    world.poll();
    assert!(world.open.iter().all(|look| look.scan == ScanId(77)));
    assert_eq!(world.finish(), 2);
    assert_eq!(world.ended, [(ScanId(77), ScanStatus::Complete)]);
    world.pass(HOUR);
    assert!(world.open.is_empty(), "no run starts again");
}

#[test]
fn a_run_of_a_removed_scanner_is_closed() {
    let mut world = World::new("", vec![]);
    let times = world.times.clone();
    let action = world.agenda.resume("other", ScanId(5), Vec::new(), &times);
    assert_eq!(action, Some(Action::End { scan: ScanId(5), status: ScanStatus::Partial }));
}

#[test]
fn a_run_that_outlasts_its_interval_delays_the_next() {
    let toml = "[[scanner]]\nname = \"fast\"\ninterval = \"1h\"\n";
    let mut world = World::new(toml, vec![]);
    world.tell(vec![device(1)]);
    world.poll();
    world.pass(3 * HOUR);
    assert_eq!((world.open.len(), world.begun.len()), (1, 1), "runs never overlap");
    world.finish();
    assert_eq!(world.begun.len(), 2, "the next run starts when the first is over");
}

#[test]
fn a_deadline_makes_a_run_partial() {
    let mut world = World::new("", vec![]);
    world.tell((1..=20).map(device).collect());
    world.poll();
    world.pass(2 * DAY);
    assert_eq!(world.cancelled.len(), MAX_IN_PROGRESS);
    world.end(|_| true, |_| LookOutcome::Partial);
    assert_eq!(world.ended[0], (ScanId(1), ScanStatus::Partial));
}

#[test]
fn the_status_of_a_run_shows_partial_and_failed_looks() {
    for (looked, status) in [
        (LookOutcome::Partial, ScanStatus::Partial),
        (LookOutcome::Failed, ScanStatus::Failed),
        (LookOutcome::Absent, ScanStatus::Complete),
    ] {
        let mut world = World::new("", vec![]);
        world.tell(vec![device(1)]);
        world.poll();
        world.end(|_| true, |_| looked.clone());
        assert_eq!(world.ended, [(ScanId(1), status)]);
    }
}

#[test]
fn a_paused_agenda_starts_nothing_until_it_continues() {
    let mut world = World::new("", vec![]);
    world.agenda.set_paused(true);
    world.tell(vec![device(1)]);
    world.poll();
    assert!(world.begun.is_empty());
    world.agenda.set_paused(false);
    world.poll();
    assert_eq!(world.open.len(), 1);
}

#[test]
fn two_scanners_share_the_places_equally() {
    let toml = "[[scanner]]\nname = \"a\"\ninterval = \"1d\"\n[[scanner]]\nname = \"b\"\ninterval = \"1d\"\n\
                targets = [\"10.0.0.0/24\"]\nports = \"80\"\n";
    let mut world = World::new(toml, vec![]);
    world.tell((1..=40).map(device).collect());
    world.poll();
    let of_a = world.open.iter().filter(|look| look.scan == ScanId(1)).count();
    assert_eq!(of_a, MAX_IN_PROGRESS / 2);
    assert_eq!(world.finish(), 40 + 256);
}

#[test]
fn a_rule_gives_a_device_its_own_ports_and_timing() {
    let mut world = World::new("[[device]]\nmatch = \"10.0.0.1\"\nports = \"80\"\ntiming = \"T1\"\n", vec![]);
    world.tell(vec![device(1), device(2)]);
    world.poll();
    assert_eq!((world.open[0].ports.to_string(), world.open[0].timing), ("80".into(), Timing::T1));
    assert_eq!(
        (world.open[1].ports.to_string(), world.open[1].timing),
        ("1-900,4400-4499".into(), Timing::T3)
    );
}

fn at(n: u8, mac: Option<u8>) -> Device {
    Device { mac: mac.and_then(|mac| device(mac).mac), ..device(n) }
}

#[test]
fn an_excluded_device_is_not_scanned_for_a_list_or_after_a_reload() {
    let lan = "[[scanner]]\nname = \"lan\"\ninterval = \"1d\"\ntargets = [\"10.0.0.0/30\"]\n";
    let never = |n: u8| format!("{lan}[[device]]\nmatch = \"10.0.0.{n}\"\nscan = false\n");
    let mut world = World::new(&never(2), vec![]);
    world.poll();
    assert_eq!(world.looks(), [0, 1, 3].map(|n| at(n, None)));
    let third = world.open[2].id;
    world.reconfigure(&never(3));
    assert_eq!(world.cancelled, [third], "the look is cancelled as soon as a rule forbids it");

    let mut world = World::new("", vec![]);
    world.tell((1..=20).map(device).collect());
    world.poll();
    world.reconfigure("[[device]]\nmatch = \"10.0.0.20\"\nscan = false\n");
    assert_eq!(world.finish(), 19, "a queued device is not scanned either");
}

#[test]
fn a_device_is_scanned_at_its_addresses_one_after_the_other() {
    let mut world = World::new("", vec![]);
    world.tell(vec![at(9, Some(1)), at(5, Some(1)), device(7)]);
    world.poll();
    assert_eq!(world.looks(), [at(5, Some(1)), device(7)]);
    assert_eq!(world.finish(), 3);
    world.pass(DAY);
    assert_eq!(world.looks(), [at(5, Some(1)), device(7)]);
    world.end(|look| look.device == at(5, Some(1)), |_| LookOutcome::Absent);
    assert_eq!(world.looks(), [device(7), at(9, Some(1))]);
    world.finish();
    assert_eq!(world.ended.last(), Some(&(ScanId(2), ScanStatus::Complete)));
    // A new address of a known device is scanned; a device that moves to it is not new.
    world.tell(vec![at(9, Some(1)), at(5, Some(1)), at(6, Some(1)), at(77, Some(7))]);
    world.poll();
    assert_eq!(world.looks(), [at(6, Some(1))]);
}

#[test]
fn a_queued_device_that_moves_is_scanned_at_its_new_address() {
    let mut world = World::new("", vec![]);
    world.tell((1..=20).map(device).collect());
    world.poll();
    // 18 moves; 19 and 20 leave; 21 takes the address of 20.
    let stay = (1..=17).map(device);
    world.tell(stay.chain([at(118, Some(18)), at(20, Some(21))]).collect());
    world.end(|look| look.device == device(1), |device| LookOutcome::Result(device.key()));
    for last in [2, 3, 4] {
        world.end(|look| look.device == device(last), |device| LookOutcome::Result(device.key()));
    }
    let run: Vec<Device> =
        world.open.iter().filter(|look| look.scan == ScanId(1)).map(|look| look.device.clone()).collect();
    assert_eq!(run[12..], [device(17), at(118, Some(18))], "the last two have left");
    world.finish();
    assert_eq!(world.ended.len(), 2);
    assert!(world.ended.iter().all(|(_, status)| *status == ScanStatus::Complete), "leaving is no fault");
}

#[test]
fn a_listed_address_is_scanned_with_the_device_that_has_it() {
    let toml = "[[scanner]]\nname = \"lan\"\ninterval = \"1d\"\ntargets = [\"10.0.0.0/27\"]\n";
    let mut world = World::new(toml, vec![]);
    world.tell(vec![device(30)]);
    world.poll();
    world.tell(vec![at(130, Some(30)), at(30, Some(31))]);
    while world.looks().iter().all(|device| device.address != at(30, None).address) {
        world.end(|_| true, |_| LookOutcome::Absent);
    }
    assert!(world.looks().contains(&at(30, Some(31))), "no device is followed out of the list");
}

#[test]
fn a_run_over_names_resumes_without_delaying_others() {
    let toml = "[[scanner]]\nname = \"lan\"\ninterval = \"1d\"\ntargets = [\"nas.lan\"]\n\
                [[scanner]]\nname = \"feed\"\ninterval = \"1d\"\n";
    let mut world = World::new(toml, vec![]);
    world.agenda.restore("feed", LastStart::at(world.times.now));
    assert_eq!(world.resume(77, &[]), None);
    world.poll();
    let (run, names) = world.resolving.pop().unwrap();
    assert_eq!(names, ["nas.lan"]);
    world.tell(vec![device(1)]);
    world.poll();
    assert_eq!(world.looks(), [device(1)], "scanned on sight");
    world.agenda.resolved(run, vec![device(9).address]);
    world.poll();
    assert_eq!(world.looks(), [device(1), at(9, None)]);
    assert_eq!(world.open[1].scan, ScanId(77), "the interrupted scan is continued");
    world.finish();
    assert_eq!(world.ended[0], (ScanId(77), ScanStatus::Complete));
    assert!(world.resolving.is_empty(), "the names are looked up once");
}

#[test]
fn a_resumed_run_waits_two_minutes_for_the_feed() {
    let mut world = World::new("", vec![]);
    world.agenda.restore("lan", LastStart::at(world.times.now));
    world.resume(77, &[device(1)]);
    world.pass(119 * Duration::from_secs(1));
    assert!(world.ended.is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.ended, [(ScanId(77), ScanStatus::Partial)], "no device is known");
    world.tell(vec![device(2)]);
    world.poll();
    assert_eq!(world.looks(), [device(2)], "scans no longer wait");
}

#[test]
fn no_run_over_the_feed_starts_before_the_feed_is_complete() {
    for resumed in [false, true] {
        let mut world = World::new("", vec![]);
        if resumed {
            world.agenda.restore("lan", LastStart::at(world.times.now));
            world.resume(77, &[]);
        }
        let times = world.times.clone();
        world.agenda.set_devices(vec![device(1)], false, &times);
        world.pass(14 * Duration::from_secs(1));
        assert!(world.open.is_empty() && world.begun.is_empty(), "a source has not answered yet");
        world.tell(vec![device(1), device(2)]);
        world.poll();
        assert_eq!(world.looks(), [device(1), device(2)]);
        assert_eq!(world.begun.len(), usize::from(!resumed), "all in one scan");

        let mut world = World::new("", vec![]);
        world.agenda.set_devices(vec![device(1)], false, &times);
        world.pass(15 * Duration::from_secs(1));
        assert_eq!(world.looks(), [device(1)], "the wait for a source ends");
    }
}

#[test]
fn a_scan_opened_for_a_removed_run_is_closed() {
    let mut world = World::new("", vec![]);
    world.opens = false;
    world.tell(vec![device(1)]);
    world.poll();
    let run = world.opening.pop().unwrap();
    world.reconfigure("[[scanner]]\nname = \"other\"\ninterval = \"1d\"\ntargets = [\"10.0.0.9\"]\n");
    let times = world.times.clone();
    let action = world.agenda.begun(run, ScanId(5), Vec::new(), &times);
    assert_eq!(action, Some(Action::End { scan: ScanId(5), status: ScanStatus::Partial }));
}

#[test]
fn a_scan_that_cannot_be_opened_is_retried_after_a_minute_and_not_counted() {
    let mut world = World::new("", vec![]);
    world.opens = false;
    world.tell(vec![device(1)]);
    world.poll();
    let run = world.opening.pop().unwrap();
    let times = world.times.clone();
    assert!(world.agenda.schedules(&times).is_empty(), "a run starts when its scan is opened");
    world.agenda.begin_failed(run, &times);
    world.pass(MINUTE - Duration::from_secs(1));
    assert!(world.opening.is_empty(), "neither the run nor a scan on sight is retried yet");
    world.opens = true;
    world.pass(Duration::from_secs(1));
    assert_eq!(world.begun.last().unwrap().2, ScanKind::Run, "the run is still due");
    assert_eq!(world.agenda.schedules(&world.times), [("lan".to_owned(), Duration::ZERO)]);
}

#[test]
fn a_device_named_by_ipv6_is_known_by_its_mac() {
    let named = Device { address: "fd00::5".parse().unwrap(), ..device(5) };
    let mut world = World::new("", vec![(named.clone(), "2026-05-31T23:30:00Z".parse().unwrap())]);
    world
        .agenda
        .restore("lan", LastStart::restored(HOUR, "2026-05-31T23:00:00Z".parse().unwrap(), &world.times));
    world.tell(vec![named.clone()]);
    world.poll();
    assert!(world.open.is_empty());
    world.pass(DAY);
    world.end(|_| true, |_| LookOutcome::Result(named.key()));
    world.pass(HOUR);
    assert!(world.open.is_empty(), "the device is not scanned again");
}

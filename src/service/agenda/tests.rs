//! The agenda against a clock of the test's own.

use std::net::Ipv4Addr;

use jiff::tz::TimeZone;

use super::*;
use crate::{
    config::Overrides,
    model::{Mac, Moment},
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
}

fn device(n: u8) -> Device {
    Device { address: Ipv4Addr::new(10, 0, 0, n).into(), mac: Some(Mac::new([2, 0, 0, 0, 0, n])), name: None }
}

fn times(now: Duration, wall: &str) -> Times {
    Times { now: Moment::ZERO + now, wall: Some(wall.parse().unwrap()), zone: TimeZone::UTC }
}

fn config(toml: &str) -> Arc<Config> {
    let file = Some((std::path::Path::new("test.toml"), toml));
    Arc::new(Config::load(&Overrides::default(), &|_| None, file).unwrap())
}

impl World {
    fn new(toml: &str, stored: Vec<(Device, Timestamp)>) -> Self {
        let times = times(Duration::ZERO, "2026-06-01T00:00:00Z");
        let agenda = Agenda::new(config(toml), stored, &times);
        Self {
            agenda,
            times,
            next_scan: 0,
            open: Vec::new(),
            ended: Vec::new(),
            begun: Vec::new(),
            cancelled: Vec::new(),
        }
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
                self.agenda.begun(run, ScanId(self.next_scan), Vec::new());
            }
            Action::Look(look) => self.open.push(look),
            Action::Cancel(look) => self.cancelled.push(look),
            Action::End { scan, status } => self.ended.push((scan, status)),
        }
        assert!(self.open.len() <= MAX_IN_PROGRESS);
    }

    /// Ends the open looks of these devices.
    fn end(&mut self, wanted: impl Fn(&Look) -> bool, looked: impl Fn(&Device) -> Looked) -> &mut Self {
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
            self.end(|_| true, |device| Looked::Result(device.key()));
        }
        count
    }
}

#[test]
fn the_first_run_takes_every_device_and_none_twice() {
    let mut world = World::new("", vec![]);
    world.poll();
    assert!(world.begun.is_empty(), "nobody to look at yet");
    world.agenda.set_devices((1..=40).map(device).collect());
    world.poll();
    assert_eq!(world.open.len(), MAX_IN_PROGRESS);
    assert_eq!(world.finish(), 40);
    assert_eq!(world.ended, [(ScanId(1), ScanStatus::Complete)]);
    world.pass(HOUR);
    assert!(world.open.is_empty());
    world.pass(DAY - HOUR);
    assert_eq!(world.finish(), 40, "a day later, again");
}

#[test]
fn a_new_device_is_looked_at_on_sight_and_before_the_rest() {
    let mut world = World::new("", vec![]);
    world.agenda.set_devices((1..=40).map(device).collect());
    world.poll();
    world.agenda.set_devices((1..=41).map(device).collect());
    world.poll();
    world.end(|look| look.device == device(1), |device| Looked::Result(device.key()));
    assert!(world.open.iter().any(|look| look.device == device(41)), "takes the next free place");
    assert_eq!(world.begun[1].2, ScanKind::Seen);
}

#[test]
fn exclusion_beats_everything() {
    let toml =
        "exclude = [\"10.0.0.2\", \"02:00:00:00:00:03\"]\n[[device]]\nmatch = \"10.0.0.4\"\nscan = false\n";
    let mut world = World::new(toml, vec![]);
    world.agenda.set_devices((1..=5).map(device).collect());
    world.poll();
    let devices: Vec<Device> = world.open.iter().map(|look| look.device.clone()).collect();
    assert_eq!(devices, [device(1), device(5)]);
    let times = world.times.clone();
    world.agenda.reconfigure(config("exclude = [\"10.0.0.5\"]"), &times);
    world.poll();
    assert_eq!(world.cancelled, [world.open[1].id], "left as soon as it is excluded");
}

#[test]
fn an_absent_device_is_no_fault_and_is_tried_when_seen_again() {
    let mut world = World::new("", vec![]);
    world.agenda.set_devices(vec![device(1), device(2)]);
    world.poll();
    world.end(|look| look.device == device(2), |_| Looked::Absent);
    world.finish();
    assert_eq!(world.ended, [(ScanId(1), ScanStatus::Complete)]);
    world.pass(14 * MINUTE);
    assert!(world.open.is_empty());
    world.agenda.set_devices(vec![device(1)]);
    world.poll();
    world.agenda.set_devices(vec![device(1), device(2)]);
    world.poll();
    assert_eq!(world.open.len(), 1, "seen anew: at once");
    world.end(|_| true, |_| Looked::Absent);
    world.pass(16 * MINUTE);
    assert_eq!(world.open.len(), 1, "listed all the time: after a pause");
    world.end(|_| true, |_| Looked::Absent);
    world.pass(16 * MINUTE);
    assert!(world.open.is_empty(), "which grows");
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
    world.agenda.set_devices(vec![device(1)]);
    world.poll();
    assert!(world.open.is_empty(), "has its result of the last run");
    world.agenda.set_devices(vec![device(1), device(2)]);
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
    world.agenda.set_devices(vec![device(1)]);
    world.poll();
    assert!(world.open.is_empty(), "six days old");
    world.pass(DAY + HOUR);
    assert_eq!(world.open.len(), 1);
}

#[test]
fn a_clock_that_jumps_relaunches_nothing() {
    let mut world = World::new("", vec![(device(1), "2000-01-01T00:01:00Z".parse().unwrap())]);
    world.times.wall = Some("2000-01-01T00:10:00Z".parse().unwrap());
    world
        .agenda
        .restore("lan", LastStart::restored(HOUR, "2000-01-01T00:00:00Z".parse().unwrap(), &world.times));
    world.agenda.set_devices(vec![device(1), device(2)]);
    world.poll();
    assert_eq!(world.finish(), 1, "only the new one");
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
fn an_interrupted_run_resumes_with_what_is_left() {
    let found = "2026-05-31T23:30:00Z".parse().unwrap();
    let mut world = World::new("", vec![(device(1), found), (device(2), found)]);
    world
        .agenda
        .restore("lan", LastStart::restored(HOUR, "2026-05-31T23:00:00Z".parse().unwrap(), &world.times));
    let done = HashSet::from([device(1).key(), device(2).key()]);
    let times = world.times.clone();
    assert_eq!(world.agenda.resume("lan", ScanId(77), done, &times), None);
    world.poll();
    assert!(world.ended.is_empty(), "waits for the feed");
    world.agenda.set_devices((1..=4).map(device).collect());
    world.poll();
    assert!(world.open.iter().all(|look| look.scan == ScanId(77)));
    assert_eq!(world.finish(), 2);
    assert_eq!(world.ended, [(ScanId(77), ScanStatus::Complete)]);
    world.pass(HOUR);
    assert!(world.open.is_empty(), "and nothing is relaunched");
}

#[test]
fn a_run_whose_scanner_is_gone_is_closed() {
    let mut world = World::new("", vec![]);
    let times = world.times.clone();
    let action = world.agenda.resume("other", ScanId(5), HashSet::new(), &times);
    assert_eq!(action, Some(Action::End { scan: ScanId(5), status: ScanStatus::Partial }));
}

#[test]
fn a_run_that_outlasts_its_interval_delays_the_next() {
    let toml = "[[scanner]]\nname = \"fast\"\ninterval = \"1h\"\n";
    let mut world = World::new(toml, vec![]);
    world.agenda.set_devices(vec![device(1)]);
    world.poll();
    world.pass(3 * HOUR);
    assert_eq!((world.open.len(), world.begun.len()), (1, 1), "never overlaps");
    world.finish();
    assert_eq!(world.begun.len(), 2, "the next starts when it is over");
}

#[test]
fn a_deadline_makes_a_run_partial() {
    let mut world = World::new("", vec![]);
    world.agenda.set_devices((1..=20).map(device).collect());
    world.poll();
    world.pass(2 * DAY);
    assert_eq!(world.cancelled.len(), MAX_IN_PROGRESS);
    world.end(|_| true, |_| Looked::Partial);
    assert_eq!(world.ended[0], (ScanId(1), ScanStatus::Partial));
}

#[test]
fn status_tells_results_from_faults() {
    for (looked, status) in [
        (Looked::Partial, ScanStatus::Partial),
        (Looked::Failed, ScanStatus::Failed),
        (Looked::Absent, ScanStatus::Complete),
    ] {
        let mut world = World::new("", vec![]);
        world.agenda.set_devices(vec![device(1)]);
        world.poll();
        world.end(|_| true, |_| looked.clone());
        assert_eq!(world.ended, [(ScanId(1), status)]);
    }
}

#[test]
fn a_paused_agenda_starts_nothing_and_goes_on_after() {
    let mut world = World::new("", vec![]);
    world.agenda.set_paused(true);
    world.agenda.set_devices(vec![device(1)]);
    world.poll();
    assert!(world.begun.is_empty());
    world.agenda.set_paused(false);
    world.poll();
    assert_eq!(world.open.len(), 1);
}

#[test]
fn two_scanners_share_the_places_fairly() {
    let toml = "[[scanner]]\nname = \"a\"\ninterval = \"1d\"\n[[scanner]]\nname = \"b\"\ninterval = \"1d\"\n\
                targets = [\"10.0.0.0/24\"]\nports = \"80\"\n";
    let mut world = World::new(toml, vec![]);
    world.agenda.set_devices((1..=40).map(device).collect());
    world.poll();
    let of_a = world.open.iter().filter(|look| look.scan == ScanId(1)).count();
    assert_eq!(of_a, MAX_IN_PROGRESS / 2);
    assert_eq!(world.finish(), 40 + 256);
}

#[test]
fn a_rule_gives_a_device_its_own_ports_and_timing() {
    let mut world = World::new("[[device]]\nmatch = \"10.0.0.1\"\nports = \"80\"\ntiming = \"T1\"\n", vec![]);
    world.agenda.set_devices(vec![device(1), device(2)]);
    world.poll();
    assert_eq!((world.open[0].ports.to_string(), world.open[0].timing), ("80".into(), Timing::T1));
    assert_eq!((world.open[1].ports.to_string(), world.open[1].timing), ("1-65535".into(), Timing::T3));
}

//! Interruptions of this machine's own link, and their effect.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use testkit::scenario::Unopened;

use crate::{
    engine::{LinkFacts, Reach, Ways},
    model::HostStatus,
};

use super::{properties::cases, *};

/// This machine's address, in the network of all hosts.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

/// What is interrupted.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The cable is pulled.
    Carrier,
    /// The address is removed.
    Address,
    /// The adapter is unplugged, and comes back under another index.
    Adapter,
}

/// One interruption.
#[derive(Clone, Copy, Debug)]
struct Flap {
    kind: Kind,
    from: Moment,
    until: Moment,
    /// The switch forwards nothing before this moment.
    forwards: Moment,
}

/// This machine's only link.
#[derive(Debug)]
pub(super) struct Wire {
    ways: Ways,
    flaps: Vec<Flap>,
    facts: LinkFacts,
    /// Interruptions that have begun, and that have ended.
    begun: usize,
    ended: usize,
}

impl Wire {
    pub(super) fn new() -> Self {
        let facts =
            LinkFacts { index: 2, name: "lan0".to_owned(), is_up: true, is_loopback: false, changes: 1 };
        let mut wire = Self { ways: Ways::default(), flaps: Vec::new(), facts, begun: 0, ended: 0 };
        wire.ways.set_links(&[wire.facts.clone()], START);
        wire.ways.set_addresses(&[(2, net())], START);
        wire
    }

    /// Applies the kernel's messages up to this moment.
    fn advance(&mut self, now: Moment) {
        loop {
            let flap = |number: usize| self.flaps.get(number).copied();
            match (flap(self.begun), flap(self.ended)) {
                (_, Some(flap)) if self.begun > self.ended && flap.until <= now => {
                    self.end(flap);
                    self.ended += 1;
                }
                (Some(flap), _) if self.begun == self.ended && flap.from <= now => {
                    self.begin(flap);
                    self.begun += 1;
                }
                _ => return,
            }
        }
    }

    fn begin(&mut self, Flap { kind, from, .. }: Flap) {
        match kind {
            Kind::Carrier => {
                (self.facts.is_up, self.facts.changes) = (false, self.facts.changes + 1);
                self.ways.set_link(&self.facts, from);
            }
            Kind::Address => {
                self.ways.address_lost(self.facts.index, from);
                self.ways.set_addresses(&[], from);
            }
            Kind::Adapter => self.ways.link_gone(self.facts.index, from),
        }
    }

    fn end(&mut self, Flap { kind, until, .. }: Flap) {
        match kind {
            Kind::Carrier => {
                (self.facts.is_up, self.facts.changes) = (true, self.facts.changes + 1);
                self.ways.set_link(&self.facts, until);
            }
            Kind::Address => {}
            Kind::Adapter => {
                (self.facts.index, self.facts.changes) = (self.facts.index + 1, 1);
                self.ways.set_link(&self.facts, until);
            }
        }
        self.ways.set_addresses(&[(self.facts.index, net())], until);
    }

    /// Whether a frame gets through.
    pub(super) fn carries(&self, at: Moment) -> bool {
        !self.flaps.iter().any(|flap| flap.from <= at && at < flap.forwards)
    }

    pub(super) fn reach(&mut self, probe: &Probe, now: Moment) -> Reach {
        self.advance(now);
        let is_down = self.begun > self.ended;
        self.ways.reach(&probe.address, Some(probe.link), (!is_down).then_some(OWN), now)
    }

    /// The outcome that a prober reports.
    pub(super) fn judged(&mut self, outcome: Outcome, passage: Passage, now: Moment) -> Outcome {
        self.advance(now);
        match outcome.is_answer() {
            Some(true) => self.ways.heard(passage),
            Some(false) if !self.ways.holds(passage, now) => return Outcome::Local(LocalError::LinkDown),
            _ => {}
        }
        outcome
    }
}

fn net() -> IpNet {
    IpNet::new(OWN, 0).unwrap()
}

/// An interruption that begins so much after the last one ended.
fn flap(kind: Kind, from: Moment, lasts: Duration, learning: Duration) -> Flap {
    Flap { kind, from, until: from + lasts, forwards: from + lasts + learning }
}

const KINDS: [Kind; 3] = [Kind::Carrier, Kind::Address, Kind::Adapter];

/// Devices of all kinds; every sixth is switched off.
fn devices(count: u64) -> Vec<Behaviour> {
    let device = |number: u64| match number % 6 {
        0 => Behaviour { absent: true, ..neighbour("") },
        1 => Behaviour { default: Unopened::Filtered, ..neighbour("22,80") },
        2 => Behaviour { default: Unopened::Filtered, ..neighbour("") },
        _ => neighbour("22,80,443"),
    };
    (0..count).map(device).collect()
}

fn assert_right(world: &World, jobs: &[JobId]) {
    for (host, job) in jobs.iter().enumerate() {
        let report = &world.reports[job];
        let status = if world.hosts[host].absent { HostStatus::Down } else { HostStatus::Up };
        assert_eq!(report.status, status, "{host}: {}", report.detail);
        let seen = compare(report, &world.hosts[host]);
        assert_eq!((seen.found, seen.phantoms, seen.mistaken, seen.false_closed), (seen.there, 0, 0, 0));
    }
}

#[test]
fn a_link_that_is_down_for_three_seconds_makes_no_device_look_down_or_filtered() {
    for kind in KINDS {
        for begins in [1, 900, 2500] {
            let mut world = World::new(devices(60), 7);
            let from = START + Duration::from_millis(begins);
            world.wire.flaps = vec![flap(kind, from, 3 * SECOND, SECOND)];
            let jobs: Vec<JobId> = (0..60).map(|host| world.submit(world.job(host, "1-400"))).collect();
            let took = world.run();
            assert_right(&world, &jobs);
            assert!(world.engine.stats().local[&LocalError::LinkDown] > 0, "{kind:?} {begins}");
            assert!(took < 60 * SECOND, "{kind:?} {begins}: {took:?}");
        }
    }
}

#[test]
fn a_switch_that_learns_for_half_a_minute_makes_no_device_look_down() {
    let mut world = World::new(devices(60), 7);
    world.wire.flaps = vec![flap(Kind::Carrier, START + SECOND, 10 * SECOND, 30 * SECOND)];
    let jobs: Vec<JobId> = (0..60).map(|host| world.submit(world.job(host, "1-100"))).collect();
    world.run();
    assert_right(&world, &jobs);
}

#[test]
fn a_night_without_a_link_costs_a_try_a_second_and_no_port_is_given_up() {
    let mut world = World::new(vec![neighbour("22,80")], 7);
    world.wire.flaps = vec![flap(Kind::Carrier, START + SECOND, 3600 * SECOND, SECOND)];
    let job = world.submit(world.job(0, "1-300"));
    let took = world.run();
    let report = &world.reports[&job];
    assert_eq!((report.status, report.coverage.len()), (HostStatus::Up, 300), "{}", report.detail);
    assert!((3600 * SECOND..3610 * SECOND).contains(&took), "{took:?}");
    assert!(world.engine.stats().local[&LocalError::LinkDown] < 3750);
}

#[test]
fn a_job_that_a_user_waits_for_ends_without_a_verdict() {
    let mut world = World::new(vec![neighbour("22")], 7);
    world.wire.flaps = vec![flap(Kind::Adapter, START, 3600 * SECOND, SECOND)];
    let job = HostJob { sits_out: 2 * SECOND, liveness: Liveness::Assume, ..world.job(0, "22") };
    let job = world.submit(job);
    let took = world.run();
    let report = &world.reports[&job];
    assert_eq!((report.status, report.verdict(22)), (HostStatus::Partial, None));
    assert!(report.detail.contains("link") && took < 4 * SECOND, "{took:?} {}", report.detail);
}

fn some_flaps() -> impl Strategy<Value = Vec<Flap>> {
    let kind = prop_oneof![Just(Kind::Carrier), Just(Kind::Address), Just(Kind::Adapter)];
    let times = (0_u64..8_000, 1_u64..9_000, prop_oneof![Just(0_u64), 0_u64..30_000]);
    prop::collection::vec((kind, times), 1..5).prop_map(|flaps| {
        let mut now = START;
        let timed = flaps.into_iter().map(|(kind, (after, lasts, learning))| {
            let [after, lasts, learning] = [after, lasts, learning].map(Duration::from_millis);
            let flap = flap(kind, now + after, lasts, learning);
            now = flap.forwards;
            flap
        });
        timed.collect()
    })
}

proptest! {
    #![proptest_config(cases(24))]

    /// Whenever and however the link fails, every device is reported correctly in the same run.
    #[test]
    fn a_loose_cable_costs_time_and_never_a_verdict(flaps in some_flaps(), seed: u64) {
        let mut world = World::new(devices(12), seed);
        world.wire.flaps = flaps;
        let jobs: Vec<JobId> = (0..12).map(|host| world.submit(world.job(host, "1-100"))).collect();
        world.run();
        assert_right(&world, &jobs);
    }
}

//! Properties that hold for every host, every loss and every local error.

use proptest::prelude::*;
use testkit::scenario::{Burst, Reboot, Vanish, Wake, When};

use super::*;
use crate::model::{HostStatus, Reason};

const PORTS: u16 = 300;

/// So many cases usually, or as many as `PROPTEST_CASES` says (`make properties`).
pub(super) fn cases(usual: u32) -> ProptestConfig {
    one_in(1, usual)
}

/// The same for one in so many of them: scans of all ports take that much longer.
pub(super) fn one_in(share: u32, usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let cases = asked.map_or(usual, |text| text.parse::<u32>().expect("a number of cases").div_ceil(share));
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

fn some_ports() -> impl Strategy<Value = Ports> {
    let few = prop::collection::vec(1..=PORTS, 0..8).prop_map(Ports::from_iter);
    let many = prop::collection::vec((1..=PORTS, 1..60_u16), 0..8)
        .prop_map(|ranges| ranges.into_iter().flat_map(|(first, len)| first..=first + len).collect());
    prop_oneof![3 => few, 2 => many, 1 => Just(Ports::all())]
}

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn link() -> impl Strategy<Value = Link> {
    prop_oneof![Just(Link::OnLink), Just(Link::Routed), Just(Link::Local)]
}

/// ICMP errors with which a host may reject.
fn rejection() -> impl Strategy<Value = Reason> {
    prop_oneof![
        Just(Reason::AdminProhibited),
        Just(Reason::HostUnreach),
        Just(Reason::NetUnreach),
        Just(Reason::IcmpError)
    ]
}

/// Hosts on a network that loses nothing.
fn a_device() -> impl Strategy<Value = Behaviour> {
    let sets = (some_ports(), some_ports(), some_ports());
    let wake = (millis(50..300), millis(0..100), millis(50..2000)).prop_map(|(delay, jitter, idle)| Wake {
        delay,
        jitter,
        idle,
    });
    let times = (millis(0..200), millis(0..50), prop::option::weighted(0.3, wake));
    let reboot = (31_usize..200, millis(500..6000)).prop_map(|(syns, silent)| Reboot { syns, silent });
    (sets, times, prop::option::weighted(0.2, reboot)).prop_map(|(sets, times, reboot)| {
        let ((open, filtered, rejected), (rtt, jitter, wake)) = (sets, times);
        Behaviour { open, filtered, rejected, rtt, jitter, wake, reboot, ..Behaviour::default() }
    })
}

fn lossy() -> impl Strategy<Value = (f64, Option<Burst>)> {
    let bursts = (millis(50..5000), millis(10..8000)).prop_map(|(every, lasts)| Burst { every, lasts });
    prop_oneof![
        (0.0..0.6_f64).prop_map(|loss| (loss, None)),
        bursts.prop_map(|burst| (0.0, Some(burst))),
        Just((1.0, None))
    ]
}

fn timing() -> impl Strategy<Value = Timing> {
    prop_oneof![6 => Just(Timing::T3), 1 => Just(Timing::T4), 1 => Just(Timing::T5)]
}

fn liveness() -> impl Strategy<Value = Liveness> {
    prop_oneof![Just(Liveness::Check), Just(Liveness::Assume)]
}

fn a_job() -> impl Strategy<Value = HostJob> {
    let first = prop::collection::vec(any::<u16>(), 0..5);
    let how = (timing(), 1_u16..120, liveness(), link(), any::<bool>());
    (how, first).prop_map(|((timing, max_in_flight, liveness, link, by_syn), first)| HostJob {
        address: "192.0.2.1".parse().unwrap(),
        ports: format!("1-{PORTS}").parse().unwrap(),
        first,
        timing,
        by_syn,
        max_in_flight,
        max_retries: None,
        max_rate: None,
        liveness,
        link,
        deadline: None,
        sits_out: Duration::MAX,
    })
}

fn troubles() -> impl Strategy<Value = Troubles> {
    let kinds = prop_oneof![
        Just(LocalError::Descriptors),
        Just(LocalError::Ports),
        Just(LocalError::Memory),
        Just(LocalError::Denied),
        Just(LocalError::LinkDown),
        Just(LocalError::SelfConnect),
        Just(LocalError::Other),
    ];
    let fault = (kinds, 0.0..1.0_f64, 0_u64..20);
    (prop::option::of(1_usize..60), prop::option::of(fault), millis(0..12)).prop_map(
        |(descriptors, fault, late)| {
            let until = |seconds| START + Duration::from_secs(seconds);
            let fault = fault.map(|(kind, share, seconds)| (kind, share, until(seconds)));
            Troubles { descriptors, fault, late, ..Troubles::default() }
        },
    )
}

proptest! {
    #![proptest_config(cases(60))]

    /// Without loss the report is the truth, at every template, on every kind of host.
    #[test]
    fn without_loss_the_report_is_the_truth(
        device in a_device(), rejection in rejection(), job in a_job(), seed: u64,
    ) {
        let (timing, link, ports) = (job.timing, job.link, job.ports.clone());
        // T3 never makes it reboot. Above T3, a host that drops everything but a port which is not found yet shows no
        // sign of having been away.
        let reboot = device.reboot.filter(|_| timing == Timing::T3);
        let mut world = World::new(vec![Behaviour { reboot, ..device }], seed);
        world.hosts[0].rejection = rejection;
        let id = world.submit(job);
        world.run();
        if timing == Timing::T3 {
            world.assert_polite();
        }
        let report = &world.reports[&id];
        // Behind a router a silent host cannot be told from an absent one.
        if report.status == HostStatus::Down {
            prop_assert_eq!(link, Link::Routed);
            prop_assert!(report.coverage.is_empty() && report.findings.is_empty());
            return Ok(());
        }
        prop_assert_eq!(report.status, HostStatus::Up, "{}", report.detail);
        prop_assert_eq!(&report.coverage, &ports);
        let seen = compare(report, &world.hosts[0]);
        prop_assert_eq!(seen.found, seen.there);
        prop_assert_eq!((seen.phantoms, seen.mistaken, seen.false_closed), (0, 0, 0));
    }

    /// Local errors cost time, never a verdict.
    #[test]
    fn faults_of_this_machine_are_never_verdicts(
        device in a_device(), rejection in rejection(), job in a_job(), troubles in troubles(), seed: u64,
    ) {
        let link = job.link;
        let mut world = World::new(vec![Behaviour { reboot: None, ..device }], seed);
        (world.troubles, world.hosts[0].rejection) = (troubles, rejection);
        let id = world.submit(job);
        world.run();
        let report = &world.reports[&id];
        if report.status == HostStatus::Up {
            let seen = compare(report, &world.hosts[0]);
            prop_assert_eq!(seen.found, seen.there);
            prop_assert_eq!((seen.phantoms, seen.mistaken, seen.false_closed), (0, 0, 0));
        } else {
            prop_assert_eq!((report.status, link), (HostStatus::Down, Link::Routed), "{}", report.detail);
        }
    }

    /// Whatever is lost, and whichever host vanishes: every job ends, no bound is broken, no result is invented.
    #[test]
    fn every_job_ends_within_its_bounds(
        device in a_device(), (loss, burst) in lossy(), vanishes in prop::option::of(millis(0..20_000)),
        jobs in prop::collection::vec(a_job(), 1..4), troubles in troubles(), seed: u64,
    ) {
        let vanish = vanishes.map(|after| Vanish { when: When::After(after), back: None });
        let polite = jobs.iter().any(|job| job.timing == Timing::T3);
        let mut world = World::new(vec![Behaviour { loss, burst, vanish, ..device }], seed);
        world.troubles = troubles;
        let link = jobs[0].link;
        let ids: Vec<JobId> = jobs.into_iter().map(|mut job| {
            job.link = link;
            // One careful job slows down all jobs on the host while it runs; here it is the last to end.
            if polite { job.timing = Timing::T3 }
            world.submit(job)
        }).collect();
        world.run();
        if polite {
            world.assert_polite();
        }
        for id in ids {
            let report = &world.reports[&id];
            prop_assert_eq!(report.status == HostStatus::Up, report.coverage.len() == u32::from(PORTS));
            let seen = compare(report, &world.hosts[0]);
            prop_assert_eq!((seen.phantoms, seen.false_closed), (0, 0));
        }
        prop_assert_eq!(world.engine.stats().launched, world.launched);
    }
}

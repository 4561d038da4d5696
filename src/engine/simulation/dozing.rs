//! Neighbours that drop all probes but those of one unlikely port, and doze off without traffic: whether that port is
//! found, and what that costs with hosts that stay silent.

use proptest::prelude::*;

use testkit::scenario::{Unopened, Wake};

use super::{
    properties::{cases, one_in},
    *,
};
use crate::model::HostStatus;

const MILLI: Duration = Duration::from_millis(1);

/// Answers within 0.4 s when it was asleep, and is asleep after 60 ms.
fn dozer(open: &str) -> Behaviour {
    let wake = Some(Wake { delay: 290 * MILLI, jitter: Duration::ZERO, idle: 60 * MILLI });
    Behaviour { wake, rtt: 100 * MILLI, ..silent(open) }
}

fn silent(open: &str) -> Behaviour {
    Behaviour { default: Unopened::Filtered, ..neighbour(open) }
}

/// Scans this many ports with at most this many sockets; returns the findings and the duration.
fn look(
    device: Behaviour,
    (timing, max_in_flight, last): (Timing, u16, u16),
    seed: u64,
) -> (Vec<u16>, Duration) {
    let world = World::new(vec![device], seed);
    let job = world.job(0, &format!("1-{last}"));
    run(world, HostJob { timing, max_in_flight, ..job })
}

fn run(mut world: World, job: HostJob) -> (Vec<u16>, Duration) {
    let timing = job.timing;
    let id = world.submit(HostJob { liveness: Liveness::Assume, ..job });
    let took = world.run();
    if timing <= Timing::T3 {
        world.assert_polite();
    }
    assert_eq!(world.reports[&id].status, HostStatus::Up);
    (world.reports[&id].open_ports().collect(), took)
}

#[test]
fn the_only_port_of_a_neighbour_that_dozes_is_found() {
    for (timing, sockets, last) in [
        (Timing::T2, 1, 100),
        (Timing::T3, 1, 150),
        (Timing::T3, 5, 300),
        (Timing::T3, 12, 300),
        (Timing::T3, 50, 500),
        (Timing::T3, u16::MAX, 800),
        (Timing::T4, 23, 300),
        (Timing::T4, u16::MAX, 800),
        (Timing::T5, 64, 300),
        (Timing::T5, u16::MAX, 800),
    ] {
        let missed =
            (0..6).filter(|&seed| look(dozer("90"), (timing, sockets, last), seed).0 != [90]).count();
        assert_eq!(missed, 0, "{timing}, {sockets} sockets: missed of six times");
    }
}

#[test]
fn it_is_found_by_a_scan_of_all_ports() {
    for (timing, sockets) in [(Timing::T3, 50), (Timing::T4, u16::MAX)] {
        assert_eq!(look(dozer("40000"), (timing, sockets, u16::MAX), 1).0, [40000], "{timing}");
    }
}

/// Silent hosts take longer because they may be dozing; `before`: the duration in seconds at the time when dozing
/// hosts were missed. From seven sockets on: fewer do not keep a host awake, and then the last try at every port
/// waits three times as long.
#[test]
fn silent_hosts_cost_hardly_more_than_if_none_dozed() {
    for (timing, sockets, last, before) in [
        (Timing::T3, 8, 2000, 159.8),
        (Timing::T3, 50, 300, 9.0),
        (Timing::T3, 50, 2000, 29.4),
        (Timing::T3, u16::MAX, 2000, 21.8),
        (Timing::T4, 50, 300, 8.1),
        (Timing::T4, 50, 2000, 28.3),
        (Timing::T4, u16::MAX, 300, 6.8),
        (Timing::T4, u16::MAX, 2000, 7.7),
        (Timing::T4, u16::MAX, u16::MAX, 24.7),
    ] {
        let (open, took) = look(silent(""), (timing, sockets, last), 1);
        assert!(open.is_empty());
        assert!(
            took.as_secs_f64() <= before * 1.15,
            "{timing}, {sockets} sockets, {last} ports: {took:?} in place of {before} s"
        );
    }
}

/// How long it takes to scan sixteen hosts at once that share 256 sockets.
fn look_together(device: &Behaviour, last: u16) -> Duration {
    let mut world = World::bounded(vec![device.clone(); 16], 1, 256);
    for host in 0..16 {
        let job = world.job(host, &format!("1-{last}"));
        world.submit(HostJob { liveness: Liveness::Assume, ..job });
    }
    let took = world.run();
    let there: Vec<u16> = device.open.iter().collect();
    assert!(world.reports.values().all(|report| report.open_ports().eq(there.iter().copied())));
    took
}

#[test]
fn hosts_that_share_few_sockets_are_kept_awake_together() {
    look_together(&dozer("90"), 1000);
    let took = look_together(&silent(""), 2000);
    assert!(took.as_secs_f64() <= 81.6 * 1.15, "{took:?} in place of 81.6 s");
}

fn a_dozer() -> impl Strategy<Value = Behaviour> {
    let millis = |range: std::ops::Range<u32>| range.prop_map(|millis| millis * MILLI);
    let wake = (millis(150..300), millis(0..100), millis(50..400));
    (wake, millis(0..200), millis(0..50), 1..=300_u16).prop_map(
        |((delay, woken, idle), rtt, jitter, open)| {
            let wake = Some(Wake { delay, jitter: woken, idle });
            Behaviour { wake, rtt, jitter, ..silent(&open.to_string()) }
        },
    )
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn whatever_dozes_is_found(
        device in a_dozer(), sockets in 1..120_u16, seed: u64,
        timing in prop_oneof![Just(Timing::T2), Just(Timing::T3), Just(Timing::T4), Just(Timing::T5)],
    ) {
        let there: Vec<u16> = device.open.iter().collect();
        prop_assert_eq!(look(device, (timing, sockets, 300), seed).0, there);
    }

    /// A slow rate leaves it time to doze off, and few tries leave one probe for each port.
    #[test]
    fn whatever_dozes_is_found_at_any_rate_and_by_any_number_of_tries(
        device in a_dozer(), max_in_flight in 1..120_u16, seed: u64,
        max_rate in prop::option::of(2..400_u32), max_retries in prop::option::of(0..4_u8),
        timing in prop_oneof![Just(Timing::T3), Just(Timing::T4), Just(Timing::T5)],
    ) {
        let there: Vec<u16> = device.open.iter().collect();
        let world = World::new(vec![device], seed);
        let max_rate = max_rate.and_then(NonZeroU32::new);
        let job = HostJob { timing, max_in_flight, max_rate, max_retries, ..world.job(0, "1-300") };
        prop_assert_eq!(run(world, job).0, there);
    }
}

proptest! {
    #![proptest_config(one_in(500, 1))]

    /// With enough sockets for an end within half a day.
    #[test]
    fn whatever_dozes_is_found_by_a_scan_of_all_ports(
        device in a_dozer(), port in 301..=u16::MAX, seed: u64,
        sockets in prop_oneof![8..120_u16, Just(512), Just(u16::MAX)],
        timing in prop_oneof![Just(Timing::T3), Just(Timing::T4), Just(Timing::T5)],
    ) {
        let device = Behaviour { open: std::iter::once(port).collect(), ..device };
        prop_assert_eq!(look(device, (timing, sockets, u16::MAX), seed).0, [port]);
    }
}

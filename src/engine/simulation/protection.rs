//! What protects this machine: the bound of its firewall's connection table, and the reaction to lateness.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::{properties::cases, *};

/// How long the table keeps the entry of an unanswered probe.
const ENTRY: Duration = Duration::from_secs(120);

fn bounds(per_second: u32) -> Bounds {
    Bounds { in_flight: 4096, silent: NonZeroU32::new(per_second), full: false }
}

/// So many neighbours that refuse, except on these ports, which are silent.
fn neighbours(count: usize, silent: &str) -> Vec<Behaviour> {
    vec![Behaviour { filtered: ports(silent), ..neighbour("22,80,700") }; count]
}

/// Submits a job for every host at once.
fn submit_all(world: &mut World, ports: &str, timing: Timing) {
    for host in 0..world.hosts.len() {
        let job = HostJob { timing, max_in_flight: 1000, ..world.job(host, ports) };
        world.submit(job);
    }
}

/// The most unanswered probes that left within any span of this length.
fn most_unanswered(world: &mut World, span: Duration) -> usize {
    world.unanswered.sort_unstable();
    peak(&world.unanswered, span)
}

fn assert_truth(world: &World) {
    for report in world.reports.values() {
        let seen = compare(report, &world.hosts[world.by_address[&report.address]]);
        assert_eq!((seen.found, seen.mistaken, seen.phantoms), (seen.there, 0, 0), "{report:?}");
    }
}

/// At T4 the kernel retransmits the SYN of an unanswered probe, which uses the same entry: sockets are counted.
#[test]
fn silent_hosts_share_the_connection_table() {
    for timing in [Timing::T3, Timing::T4, Timing::T5] {
        let mut world = World::within(neighbours(12, "1-65535"), 1, bounds(50));
        submit_all(&mut world, "1-700", timing);
        let took = world.run();
        assert_truth(&world);
        let (second, entries) = (most_unanswered(&mut world, SECOND), most_unanswered(&mut world, ENTRY));
        assert!(second <= 50 + 14, "{timing}: {second} in a second");
        assert!(entries <= 50 * 120 + 14, "{timing}: {entries} entries");
        let least = SECOND * (world.unanswered.len() / 50).try_into().unwrap();
        assert!(took < least.mul_f64(1.1) + SECOND * 10, "{timing}: {took:?} instead of {least:?}");
    }
}

#[test]
fn no_silent_host_waits_for_another_to_end() {
    let mut world = World::within(neighbours(6, "1-65535"), 1, bounds(30));
    submit_all(&mut world, "1-65535", Timing::T3);
    world.run_until(world.now + SECOND * 100);
    let asked: Vec<usize> = world.hosts.iter().map(|host| host.syns.len()).collect();
    let (least, most) = (asked.iter().min().unwrap(), asked.iter().max().unwrap());
    assert!(least * 10 >= most * 9, "{asked:?}");
}

#[test]
fn hosts_that_answer_do_not_wait_for_silent_ones() {
    let [free, bound] = [Bounds { silent: None, ..bounds(1) }, bounds(50)].map(|bounds| {
        let mut devices = neighbours(16, "");
        devices.iter_mut().step_by(2).for_each(|device| device.filtered = ports("1-65535"));
        let mut world = World::within(devices, 1, bounds);
        let start = world.now;
        submit_all(&mut world, "1-2000", Timing::T3);
        while world.reports.len() < 8 {
            assert!(world.step());
        }
        assert!(world.reports.values().all(|report| report.default_state == PortState::Closed));
        start.until(world.now)
    });
    assert!(bound < free.mul_f64(1.1) + SECOND, "{bound:?} instead of {free:?}");
}

#[test]
fn a_full_table_stops_all_hosts_for_as_long_as_it_is_full() {
    let mut devices = neighbours(3, "");
    devices[1].filtered = ports("1-300");
    devices[2].filtered = ports("1-65535");
    let mut world = World::within(devices, 1, bounds(500));
    submit_all(&mut world, "1-2000", Timing::T3);
    // By then the kernel has retransmitted the SYNs of the liveness checks.
    world.run_until(world.now + SECOND * 20);
    for _ in 0..5 {
        let now = world.now;
        world.engine.set_bounds(Bounds { full: true, ..bounds(500) }, now);
        world.run_until(now + SECOND * 2);
        let mut left = world.hosts.iter().flat_map(|host| &host.syns);
        assert!(left.all(|&at| at <= now || at >= now + SECOND * 3));
    }
    let start = world.now;
    world.run();
    assert!(
        start.until(world.now) < SECOND * 40,
        "it continues when the table is no longer reported as full"
    );
    assert_truth(&world);
}

#[test]
fn bounds_may_change_at_any_time() {
    let mut world = World::within(neighbours(4, "1-65535"), 1, Bounds { silent: None, ..bounds(1) });
    submit_all(&mut world, "1-20000", Timing::T3);
    world.run_until(world.now + SECOND * 5);
    for per_second in [20, 100, 40] {
        world.engine.set_bounds(bounds(per_second), world.now);
        world.run_until(world.now + SECOND * 3);
        let (start, launched) = (world.now, world.launched);
        world.run_until(start + SECOND * 20);
        let rate = (world.launched - launched) / 20;
        assert!(rate.abs_diff(u64::from(per_second)) <= 2, "{rate} instead of {per_second}");
    }
}

#[test]
fn lateness_shrinks_the_window_and_it_recovers_in_time() {
    let mut world = World::new(neighbours(8, "1-65535"), 1);
    submit_all(&mut world, "1-65535", Timing::T5);
    world.run_until(world.now + SECOND * 3);
    let before = world.engine.stats().window;
    world.wake_late(SECOND / 50);
    assert_eq!(world.engine.stats().window, before, "20 ms are not late");
    world.wake_late(SECOND / 40);
    let (window, in_flight) = (world.engine.stats().window, world.engine.stats().in_flight);
    assert!(window < before / 2 + 10, "{window} of {before}, {in_flight} in flight");
    world.run_until(world.now + SECOND * 12);
    assert_eq!(world.engine.stats().window, before);
    assert_eq!(world.engine.stats().lag.count(), 2);
}

proptest! {
    #![proptest_config(cases(25))]

    /// However many hosts answer, and whichever: the unanswered probes keep to the bound, but for two seconds' debt and
    /// the probes in flight when a host fell silent. All verdicts are right.
    #[test]
    fn the_table_does_not_fill_whichever_hosts_are_silent(
        silent in prop::collection::vec((0_u16..10, 1_u16..=10), 1..10),
        timing in prop_oneof![Just(Timing::T3), Just(Timing::T4), Just(Timing::T5)],
        per_second in 5_u32..100, seed: u64,
    ) {
        let mut devices = neighbours(silent.len(), "");
        for (device, (from, share)) in devices.iter_mut().zip(silent) {
            // So many of each ten ports in a row are silent.
            let filtered = |port: &u16| (port + from) % 10 < share;
            device.filtered = (1..=250).filter(filtered).collect();
        }
        let mut world = World::within(devices, seed, bounds(per_second));
        world.link = Link::Local;
        submit_all(&mut world, "1-250", timing);
        world.run();
        assert_truth(&world);
        let most = per_second as usize * 122 + world.most_sockets + 1;
        let entries = most_unanswered(&mut world, ENTRY);
        prop_assert!(entries <= most, "{entries} entries, at most {most}");
    }
}

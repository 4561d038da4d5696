//! Known situations, and the result that each must have.

use testkit::scenario::{Reboot, Unopened, Vanish, Wake, When};

use super::*;
use crate::model::{HostStatus, PortSet, Reason};

fn world(device: Behaviour) -> World {
    World::new(vec![device], 1)
}

/// A host behind a firewall that drops probes of all ports but these.
fn walled(open: &str) -> Behaviour {
    Behaviour { default: Unopened::Filtered, ..neighbour(open) }
}

/// Runs one job and returns its report.
fn scan(world: &mut World, ports: &str) -> HostReport {
    let job = world.job(0, ports);
    run(world, job)
}

fn run(world: &mut World, job: HostJob) -> HostReport {
    let job = world.submit(job);
    world.run();
    world.reports.remove(&job).unwrap()
}

fn after(world: &World, time: Duration) -> Moment {
    world.now + time
}

const SOME: &str = "22,80,443,631,1400,1883";

#[test]
fn a_plain_host_is_seen_as_it_is() {
    let mut world = world(neighbour("22,80,1883"));
    let report = scan(&mut world, "1-2000");
    world.assert_polite();
    assert_eq!((report.status, report.default_state), (HostStatus::Up, PortState::Closed));
    assert_eq!(report.open_ports().collect::<Vec<_>>(), [22, 80, 1883]);
    assert_eq!(report.coverage.to_string(), "1-2000");
    assert!(report.findings.iter().all(|finding| finding.rtt.is_some()));
    assert_eq!((report.probes, world.up.len()), (2000, 1));
}

/// A slow machine pays more for a wake-up than for a probe.
#[test]
fn paced_probes_of_all_hosts_leave_together() {
    for (hosts, most) in [(1, 0.38), (16, 0.025)] {
        let mut world = World::new(vec![neighbour(SOME); hosts], 1);
        (0..hosts).for_each(|host| _ = world.submit(world.job(host, "1-2000")));
        world.run();
        world.assert_polite();
        let each = |count: u64| count as f64 / world.launched as f64;
        let (wake_ups, batches) = (each(world.wake_ups), each(world.batches));
        assert!(wake_ups < most && batches < most, "{hosts} hosts: {wake_ups}, {batches} batches per probe");
        for host in &world.hosts {
            let mut ticks: HashMap<Moment, usize> = HashMap::new();
            host.syns.iter().for_each(|&syn| *ticks.entry(tick_of(syn)).or_default() += 1);
            assert!(ticks.values().all(|&probes| probes <= 3));
        }
    }
}

#[test]
fn an_absent_host_costs_no_packet() {
    let mut world = world(Behaviour { absent: true, ..neighbour("") });
    let report = scan(&mut world, "1-65535");
    assert_eq!(
        (report.status, report.probes),
        (HostStatus::Down, 8),
        "which wait for ARP, and end when it fails"
    );
    assert!(report.coverage.is_empty() && report.detail.contains("ARP"), "{report:?}");
    assert!(world.up.is_empty());
}

#[test]
fn a_silent_neighbour_is_up_and_filtered() {
    let mut world = world(walled(""));
    let report = scan(&mut world, "1-100");
    let verdict = (report.status, report.default_state, report.default_reason);
    assert_eq!(verdict, (HostStatus::Up, PortState::Filtered, Reason::NoResponse));
    assert_eq!((report.findings.len(), world.up.len()), (0, 1));
}

#[test]
fn a_silent_host_behind_a_router_is_down_after_eight_ports() {
    let mut world = world(walled("9999"));
    let job = HostJob { link: Link::Routed, ..world.job(0, "1-1000") };
    let report = run(&mut world, job);
    assert_eq!((report.status, report.probes), (HostStatus::Down, 8));
    let job = HostJob { link: Link::Routed, first: vec![9999], ..world.job(0, "1-10000") };
    assert_eq!(run(&mut world, job).status, HostStatus::Up, "a port that was open last time is probed first");
}

#[test]
fn a_vanished_host_gets_its_last_probe_within_ten_seconds() {
    for timing in [Timing::T2, Timing::T3, Timing::T4, Timing::T5] {
        for open in ["22,80", "1-65535"] {
            let vanish = Some(Vanish { when: When::After(SECOND * 2), back: None });
            let mut world = world(Behaviour { rtt: SECOND / 20, vanish, ..walled(open) });
            let gone = after(&world, SECOND * 2);
            let report = {
                let job = HostJob { timing, ..world.job(0, "1-65535") };
                run(&mut world, job)
            };
            assert_eq!(report.status, HostStatus::Partial);
            assert!(report.detail.contains("silent"), "{}", report.detail);
            let last = *world.hosts[0].syns.last().unwrap();
            assert!(gone.until(last) < SECOND * 10, "{timing}: {:?}", gone.until(last));
            let seen = compare(&report, &world.hosts[0]);
            assert_eq!(
                (seen.found, seen.mistaken),
                (seen.there, 0),
                "{timing}: nothing is said of the silence"
            );
        }
    }
}

#[test]
fn a_neighbour_that_leaves_the_network_is_a_fact_about_the_host() {
    for (open, status, covered) in [("22", HostStatus::Partial, "22"), ("", HostStatus::Down, "")] {
        let mut world = world(walled(open));
        let job = world.submit(world.job(0, "1-5000"));
        world.run_until(after(&world, 18 * SECOND));
        let left = world.now;
        world.hosts[0].absent = true;
        world.run();
        let report = &world.reports[&job];
        assert_eq!((report.status, report.coverage.to_string().as_str()), (status, covered));
        assert!(left.until(world.now) < 12 * SECOND);
    }
}

/// A neighbour that left minutes ago, and for which the kernel still has an entry.
#[test]
fn a_stale_neighbour_is_down() {
    for liveness in [Liveness::Check, Liveness::Assume] {
        let mut world = world(Behaviour { absent: true, ..neighbour("") });
        world.hosts[0].stale = true;
        let start = world.now;
        let job = HostJob { liveness, ..world.job(0, "1-5000") };
        let report = run(&mut world, job);
        assert_eq!(report.status, HostStatus::Down);
        assert!(report.coverage.is_empty() && report.detail.contains("ARP"), "{report:?}");
        assert!(start.until(world.now) < 16 * SECOND);
        assert!(world.up.is_empty());
    }
}

/// The silence of its liveness check must not count as a sign of life.
#[test]
fn a_second_job_does_not_revive_a_host_that_vanished() {
    let mut world = world(Behaviour { filtered: ports("2000-65535"), ..neighbour("22,80") });
    let scan = world.submit(world.job(0, "1-65535"));
    world.run_until(after(&world, 3 * SECOND));
    let gone = world.now;
    world.hosts[0].vanish(gone);
    world.run_until(gone + 4 * SECOND);
    let check = world.submit(world.job(0, "3000-4000"));
    world.run();
    assert_eq!(world.reports[&scan].status, HostStatus::Partial);
    assert_eq!((world.reports[&check].status, world.up.contains(&check)), (HostStatus::Down, false));
    assert!(gone.until(*world.hosts[0].syns.last().unwrap()) < 10 * SECOND);
}

#[test]
fn icmp_errors_cause_neither_canaries_nor_outages() {
    for icmp_rate in [None, Some(1)] {
        let device = Behaviour { rejected: ports("1-100"), icmp_rate, ..walled("") };
        let mut world = world(device);
        let report = scan(&mut world, "1-1000");
        assert_eq!(
            (report.status, report.default_state),
            (HostStatus::Up, PortState::Filtered),
            "{report:?}"
        );
        assert!(report.findings.is_empty());
        assert!(report.probes < 2050, "{icmp_rate:?}: {} probes", report.probes);
    }
}

#[test]
fn a_service_that_notices_connections_is_probed_rarely() {
    let mut world = world(walled("22"));
    scan(&mut world, "22,10000-15000");
    let asked: Vec<Moment> =
        world.hosts[0].asked.iter().filter(|(port, _)| *port == 22).map(|p| p.1).collect();
    assert!((4..=13).contains(&asked.len()), "{} connections", asked.len());
    assert!(asked.windows(2).all(|pair| pair[1].since(pair[0]) >= SECOND / 10), "{asked:?}");
    let (_last, routine) = asked[5..].split_last().unwrap();
    assert!(peak(routine, 9 * SECOND) <= 1, "{asked:?}");
}

#[test]
fn a_probe_that_woke_the_host_is_no_round_trip() {
    let wake = Some(Wake { delay: SECOND / 2, jitter: Duration::ZERO, idle: 10 * SECOND });
    let mut world = world(Behaviour { wake, ..walled(SOME) });
    let start = world.now;
    scan(&mut world, "1-2000");
    assert!(start.until(world.now) < 30 * SECOND, "{:?}", start.until(world.now));
}

/// Three more passes over all silent ports because of one lost packet would be a waste.
#[test]
fn one_late_refusal_causes_no_further_pass() {
    let mut world = world(Behaviour { filtered: ports("1000-2000"), ..neighbour("") });
    world.hosts[0].deaf_once.extend([501]);
    let report = scan(&mut world, "401-2000");
    assert_eq!(compare(&report, &world.hosts[0]).mistaken, 0);
    assert!(report.probes < 1600 + 1002 + 80, "{} probes", report.probes);
}

/// Even with a single try at each port: the one during the pause does not count.
#[test]
fn a_pause_of_the_host_devalues_its_silence() {
    for max_retries in [None, Some(0)] {
        let mut world = world(Behaviour { filtered: ports("1000-3000"), ..neighbour("22,80,1500,2500") });
        let job = world.submit(HostJob { max_retries, ..world.job(0, "1-3000") });
        world.run_until(after(&world, 3 * SECOND));
        let back = after(&world, 5 * SECOND);
        world.hosts[0].silence(back);
        world.run();
        let report = &world.reports[&job];
        assert_eq!(report.status, HostStatus::Up);
        let seen = compare(report, &world.hosts[0]);
        assert_eq!(seen, Comparison { found: 4, there: 4, ..Comparison::default() });
    }
}

/// Filtered ports and a host that is gone look the same, up to the last port.
#[test]
fn a_host_that_vanishes_at_the_end_is_not_reported_up() {
    let vanish = Some(Vanish { when: When::After(SECOND / 10), back: None });
    let mut world = world(Behaviour { vanish, ..walled("22") });
    let job = HostJob { max_retries: Some(0), ..world.job(0, "22,1000-1060") };
    let report = run(&mut world, job);
    assert_eq!((report.status, report.coverage.to_string().as_str()), (HostStatus::Partial, "22"));
}

#[test]
fn a_host_that_suffered_gets_backoff_from_then_on() {
    let device = Behaviour { reboot: Some(Reboot { syns: 40, silent: 5 * SECOND }), ..neighbour(SOME) };
    let mut world = world(device);
    let job = HostJob { timing: Timing::T5, max_in_flight: 1000, ..world.job(0, "1-2000") };
    let report = run(&mut world, job.clone());
    assert_eq!((report.status, world.hosts[0].manners.reboots()), (HostStatus::Up, 1));
    let before = world.hosts[0].syns.len();
    run(&mut world, job);
    assert_eq!(world.hosts[0].manners.reboots(), 1);
    let again = &world.hosts[0].syns[before..];
    assert!(peak(again, SECOND / 10) <= 30, "{} in 100 ms", peak(again, SECOND / 10));
}

/// The retransmits that the kernel may make for a fast scan are not charged to the job that comes after it.
#[test]
fn a_single_port_does_not_wait_for_what_a_fast_scan_spent() {
    let mut world = world(Behaviour { rtt: SECOND / 20, ..neighbour("22") });
    world.submit(HostJob { timing: Timing::T4, max_in_flight: 1000, ..world.job(0, "1-65535") });
    world.run_until(after(&world, SECOND));
    assert_eq!(world.jobs.len(), 1, "still running");
    let asked = world.now;
    let job = HostJob { liveness: Liveness::Assume, ..world.job(0, "22") };
    let job = world.submit(job);
    while !world.reports.contains_key(&job) {
        assert!(world.step());
    }
    assert_eq!(world.reports[&job].open_ports().collect::<Vec<_>>(), [22]);
    assert!(asked.until(world.now) < SECOND * 9 / 2, "{:?}", asked.until(world.now));
}

#[test]
fn polite_gadgets_never_reboot() {
    let mut world =
        world(Behaviour { reboot: Some(Reboot { syns: 30, silent: 5 * SECOND }), ..neighbour(SOME) });
    let report = scan(&mut world, "1-2000");
    assert_eq!((report.open_ports().count(), world.hosts[0].manners.reboots()), (6, 0));
}

#[test]
fn careful_templates_keep_their_pauses_and_send_one_probe_at_a_time() {
    for (timing, pause) in
        [(Timing::T0, 300 * SECOND), (Timing::T1, 15 * SECOND), (Timing::T2, SECOND * 2 / 5)]
    {
        let mut world = world(walled("80"));
        let job = HostJob { timing, ..world.job(0, "78-82") };
        assert_eq!(run(&mut world, job).open_ports().collect::<Vec<_>>(), [80]);
        let syns = &world.hosts[0].syns;
        let least = syns.windows(2).map(|pair| pair[1].since(pair[0])).min().unwrap();
        assert!(least + SECOND / 50 >= pause, "{timing}: {least:?} apart");
        assert_eq!(world.most_sockets, 1);
    }
}

#[test]
fn a_rate_is_kept_at_every_template() {
    for timing in [Timing::T3, Timing::T5] {
        let mut world = world(neighbour(SOME));
        let job = HostJob { timing, max_rate: NonZeroU32::new(100), ..world.job(0, "1-500") };
        run(&mut world, job);
        assert!(world.peak(0, SECOND) <= 102, "{}", world.peak(0, SECOND));
    }
}

#[test]
fn retries_can_be_forbidden() {
    let mut world = world(walled("80"));
    let job = HostJob { max_retries: Some(0), ..world.job(0, "1-500") };
    let report = run(&mut world, job);
    assert_eq!(report.open_ports().collect::<Vec<_>>(), [80]);
    assert!(report.probes < 530, "{} probes: 500, and a few to learn the round trip", report.probes);
}

#[test]
fn a_single_port_has_its_verdict_while_a_scan_is_running() {
    let mut world = world(walled("22,80"));
    world.submit(world.job(0, "1-65535"));
    world.run_until(after(&world, 10 * SECOND));
    for (port, state) in [("80", PortState::Open), ("443", PortState::Filtered)] {
        let asked = world.now;
        let job = world.submit(HostJob { liveness: Liveness::Assume, ..world.job(0, port) });
        while !world.reports.contains_key(&job) {
            assert!(world.step());
        }
        let report = &world.reports[&job];
        let found = report.findings.first().map_or(report.default_state, |finding| finding.state);
        assert_eq!(found, state);
        let most = if state == PortState::Open { SECOND / 2 } else { SECOND * 9 / 2 };
        assert!(asked.until(world.now) < most, "port {port}: {:?}", asked.until(world.now));
    }
    world.assert_polite();
}

#[test]
fn a_single_port_of_an_absent_neighbour_is_down_in_time() {
    let mut world = world(Behaviour { absent: true, ..neighbour("") });
    let job = HostJob { liveness: Liveness::Assume, ..world.job(0, "80") };
    let start = world.now;
    assert_eq!(run(&mut world, job).status, HostStatus::Down);
    assert!(start.until(world.now) < SECOND * 9 / 2);
}

#[test]
fn deadlines_and_cancelling_leave_what_is_known() {
    let mut world = world(neighbour("22,80"));
    let limited = HostJob { deadline: Some(2 * SECOND), ..world.job(0, "1-65535") };
    let start = world.now;
    let report = run(&mut world, limited);
    assert_eq!((report.status, start.until(world.now)), (HostStatus::Partial, 2 * SECOND));
    assert!(report.coverage.contains(22) && (400..600).contains(&report.coverage.len()));
    let job = world.submit(world.job(0, "1-65535"));
    world.run_until(after(&world, SECOND));
    world.cancel(job);
    world.step();
    assert_eq!(
        (world.reports[&job].status, world.reports[&job].detail.as_str()),
        (HostStatus::Partial, "stopped")
    );
    assert_eq!(world.reports[&job].open_ports().collect::<Vec<_>>(), [22, 80]);
}

#[test]
fn jobs_on_one_host_share_its_budget_and_its_signs_of_life() {
    let mut world = world(neighbour("22,80"));
    let jobs = [world.submit(world.job(0, "1-1000")), world.submit(world.job(0, "1-1000"))];
    let took = world.run();
    world.assert_polite();
    assert!(took > 7 * SECOND, "{took:?}");
    for job in jobs {
        assert_eq!(
            (world.reports[&job].status, world.reports[&job].open_ports().count()),
            (HostStatus::Up, 2)
        );
    }
    assert_eq!(world.up.len(), 2);
}

#[test]
fn hosts_take_turns_and_share_the_sockets_of_this_machine() {
    let mut world = World::bounded(vec![walled("80"); 20], 1, 60);
    let jobs: Vec<_> = (0..20).map(|host| world.submit(world.job(host, "1-200"))).collect();
    world.run_until(after(&world, 10 * SECOND));
    let probes: Vec<u64> =
        jobs.iter().filter_map(|&job| world.engine.progress(job)).map(|p| p.probes).collect();
    let (least, most) = (probes.iter().min().unwrap(), probes.iter().max().unwrap());
    assert!(most - least < 60, "{probes:?}");
    world.run();
    assert!(world.reports.values().all(|report| report.open_ports().eq([80])));
}

#[test]
fn a_shortage_of_descriptors_costs_time_and_no_verdict() {
    let mut world = world(Behaviour { filtered: ports("1000-1200"), ..neighbour(SOME) });
    world.troubles.descriptors = Some(12);
    let report = scan(&mut world, "1-2000");
    let seen = compare(&report, &world.hosts[0]);
    assert_eq!((report.status, seen.found, seen.mistaken), (HostStatus::Up, 6, 0));
    assert!(world.engine.stats().local[&LocalError::Descriptors] > 0);
}

#[test]
fn lasting_local_errors_are_waited_out_with_pauses() {
    for fault in [LocalError::Ports, LocalError::Denied, LocalError::SelfConnect] {
        let mut world = world(neighbour(SOME));
        world.troubles.fault = Some((fault, 1.0, after(&world, 60 * SECOND)));
        let report = scan(&mut world, "1-500");
        assert_eq!((report.status, report.open_ports().count()), (HostStatus::Up, 3), "{fault:?}");
        let faults = world.engine.stats().local[&fault];
        assert!((10..120).contains(&faults), "{fault:?} met {faults} times in a minute");
    }
}

#[test]
fn no_route_is_a_fact_about_this_machine() {
    let mut world = world(neighbour(SOME));
    world.troubles.fault = Some((LocalError::NoRoute, 1.0, after(&world, 60 * SECOND)));
    let report = scan(&mut world, "1-500");
    assert!(report.status == HostStatus::Partial && report.probes < 10, "{report:?}");
    assert!(report.detail.contains("no route") && report.coverage.is_empty());
}

/// If the processor is overloaded, probes get a later deadline instead of being missed again and again.
#[test]
fn a_late_prober_is_waited_for_and_never_bursts() {
    for late in [SECOND / 100, SECOND / 25, SECOND / 10] {
        let mut world = world(neighbour(SOME));
        world.troubles.late = late;
        let report = scan(&mut world, "1-1000");
        world.assert_polite();
        assert_eq!((report.status, report.open_ports().count()), (HostStatus::Up, 4));
        let (made, not_made) = (report.probes, world.engine.stats().not_started);
        assert!(made < 1010 && (1..200).contains(&not_made), "{late:?}: {made} made, {not_made} not");
    }
}

/// A thread that is late now and then is no reason for fewer probes.
#[test]
fn a_hiccup_of_the_prober_costs_no_pace() {
    let [smooth, jolted] = [None, Some(200)].map(|hiccup| {
        let mut world = World::bounded(vec![walled(SOME); 6], 1, 400);
        world.troubles.hiccup = hiccup;
        (0..6).for_each(|host| _ = world.submit(world.job(host, "1-1500")));
        let took = world.run();
        world.assert_polite();
        assert_eq!(world.engine.stats().not_started > 50, hiccup.is_some());
        took
    });
    assert!(jolted < smooth.mul_f64(1.1), "{jolted:?} instead of {smooth:?}");
}

#[test]
fn a_port_that_this_machine_may_not_probe_delays_no_other() {
    for (blocked, filtered) in [(700, "900-65535"), (80, ""), (80, "1-65535")] {
        let mut world = world(Behaviour { filtered: ports(filtered), ..neighbour(SOME) });
        world.troubles.blocked = Some(blocked);
        let start = world.now;
        let report = scan(&mut world, "1-1000");
        assert_eq!(report.status, HostStatus::Partial);
        assert!(report.detail.contains(&format!("port {blocked}:")), "{}", report.detail);
        assert_eq!((report.coverage.len(), report.coverage.contains(blocked)), (999, false));
        let faults = world.engine.stats().local[&LocalError::Denied];
        assert!(
            faults < 40 && start.until(world.now) < 60 * SECOND,
            "{faults}, {:?}",
            start.until(world.now)
        );
    }
}

#[test]
fn a_whole_network_can_be_scanned_at_once() {
    let device = |host: u8| Behaviour { absent: !host.is_multiple_of(4), ..neighbour(SOME) };
    let mut world = World::new((1..=254).map(device).collect(), 1);
    (0..254).for_each(|host| _ = world.submit(world.job(host, "1-100")));
    world.run();
    let up = world.reports.values().filter(|report| report.status == HostStatus::Up).count();
    assert_eq!((up, world.reports.len()), (63, 254));
    assert!(world.most_sockets <= 4096);
    assert_eq!(world.engine.stats().in_flight, 0);
    assert_eq!(world.wake, None, "nothing is left to do");
}

#[test]
fn no_ports_are_no_work() {
    let mut world = world(neighbour(""));
    let job = HostJob { ports: PortSet::default(), ..world.job(0, "1") };
    let job = HostJob { liveness: Liveness::Assume, ..job };
    let report = run(&mut world, job);
    assert_eq!((report.status, report.probes), (HostStatus::Up, 0));
}

#[test]
fn a_long_search_that_finds_nothing_more_is_the_end() {
    let rejected = Behaviour { default: Unopened::Unreachable, ..neighbour("443") };
    let mut world = world(rejected);
    let job = world.job(0, "1-65535");
    let report = run(&mut world, job);
    assert_eq!((report.status, report.open_ports().collect::<Vec<_>>()), (HostStatus::Up, vec![443]));
}

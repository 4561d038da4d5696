//! Known situations, and what must come of each.

use crate::model::{HostStatus, Reason};

use super::*;
use device::Loss;

const SECOND: Duration = Duration::from_secs(1);

fn world(device: Device) -> World {
    World::new(vec![device], 1)
}

fn neighbour(open: &str) -> Device {
    Device::new("192.0.2.1", open)
}

/// A host behind a firewall that drops everything but these.
fn walled(open: &str) -> Device {
    Device { filtered: ports("1-65535"), ..neighbour(open) }
}

fn lossy(device: Device, share: f64) -> Device {
    Device { loss: Loss::Random(share), ..device }
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

/// One row: what was found of what is there, what it cost.
fn row(name: &str, ports: &str, device: Device, change: impl Fn(&mut World, &mut HostJob)) -> String {
    let mut world = world(device);
    let mut job = world.job(0, ports);
    change(&mut world, &mut job);
    let (timing, start) = (job.timing, world.now);
    let report = run(&mut world, job);
    let took = world.now.since(start).as_secs_f64();
    let seen = compare(&report, &world.hosts[0].device);
    format!(
        "{name:<34} {timing} {status:<7} {found:>4}/{there:<4} {phantoms:>3} {mistaken:>5} {covered:>6} {probes:>7} {peak:>5} {took:>7.1}\n",
        status = report.status.as_str(),
        found = seen.found,
        there = seen.there,
        phantoms = seen.phantoms,
        mistaken = seen.mistaken,
        covered = report.coverage.len(),
        probes = report.probes,
        peak = world.peak(0, Duration::from_millis(100)),
    )
}

const SOME: &str = "22,80,443,631,1400,1883";

#[test]
fn the_table() {
    let t3 = |_: &mut World, _: &mut HostJob| {};
    let t4 = |_: &mut World, job: &mut HostJob| (job.timing, job.max_in_flight) = (Timing::T4, 1000);
    let t5 = |_: &mut World, job: &mut HostJob| (job.timing, job.max_in_flight) = (Timing::T5, 1000);
    let wifi = Device { doze: Some((SECOND / 5, SECOND / 4)), rtt: SECOND / 250, ..neighbour(SOME) };
    let gadget = Device { reboots: Some((40, 5 * SECOND)), ..neighbour(SOME) };
    let bursts = Loss::Bursts { good: 2 * SECOND, bad: SECOND / 20 };
    let far = Device { link: Link::Routed, rtt: SECOND / 20, jitter: SECOND / 50, ..neighbour(SOME) };
    let vanishing = |at| {
        move |world: &mut World, _: &mut HostJob| world.hosts[0].device.vanishes = Some(after(world, at))
    };
    let table = [
        row("plain", "1-2000", neighbour(SOME), t3),
        row("plain", "1-2000", neighbour(SOME), t4),
        row("plain", "1-2000", neighbour(SOME), t5),
        row("all open", "1-2000", neighbour("1-65535"), t3),
        row("all dropped", "1-2000", walled(""), t3),
        row("all dropped but some", "1-2000", walled(SOME), t3),
        row("all dropped but some", "1-2000", walled(SOME), t4),
        row("half dropped", "1-2000", Device { filtered: ports("1-1000"), ..neighbour(SOME) }, t3),
        row("all dropped but one, all ports", "1-65535", walled("50000"), t3),
        row("all rejected", "1-2000", Device { rejected: ports("1-65535"), ..neighbour(SOME) }, t3),
        row("refusals limited to 200/s", "1-2000", Device { refusals: Some(200), ..neighbour(SOME) }, t3),
        row("refusals limited to 200/s", "1-2000", Device { refusals: Some(200), ..neighbour(SOME) }, t4),
        row("0.5 % loss", "1-2000", lossy(neighbour(SOME), 0.005), t3),
        row("1 % loss", "1-2000", lossy(neighbour(SOME), 0.01), t3),
        row("3 % loss", "1-2000", lossy(neighbour(SOME), 0.03), t3),
        row("3 % loss", "1-2000", lossy(neighbour(SOME), 0.03), t4),
        row("3 % loss, all dropped but some", "1-2000", lossy(walled(SOME), 0.03), t3),
        row("bursts of loss", "1-2000", Device { loss: bursts, ..neighbour(SOME) }, t3),
        row("bursts of loss, dropped but some", "1-2000", Device { loss: bursts, ..walled(SOME) }, t3),
        row("dozing WiFi client", "1-2000", wifi.clone(), t3),
        row("dozing, all dropped but some", "1-2000", Device { filtered: ports("1-65535"), ..wifi }, t3),
        row("reboots above 40 in 0.1 s", "1-2000", gadget.clone(), t3),
        row("reboots above 40 in 0.1 s", "1-2000", gadget, t4),
        row("behind a router", "1-2000", far.clone(), t3),
        row("behind a router", "1-2000", far, t4),
        row("nobody there", "1-2000", Device { absent: true, ..neighbour("") }, t3),
        row("nobody there, behind a router", "1-2000", Device { link: Link::Routed, ..walled("") }, t3),
        row("gone after 3 s", "1-2000", neighbour(SOME), vanishing(3 * SECOND)),
        row("gone after 3 s, all but some silent", "1-2000", walled(SOME), vanishing(3 * SECOND)),
    ];
    let head = format!(
        "{:<34} -T {:<7} {:>9} {:>3} {:>5} {:>6} {:>7} {:>5} {:>7}\n",
        "host", "status", "open", "not", "wrong", "ports", "probes", "/0.1s", "s"
    );
    insta::assert_snapshot!(head + &table.concat());
}

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

#[test]
fn nobody_there_costs_no_packet() {
    let mut world = world(Device { absent: true, ..neighbour("") });
    let report = scan(&mut world, "1-65535");
    assert_eq!((report.status, report.probes), (HostStatus::Down, 8), "which wait for ARP, and end with it");
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
    let mut world = world(Device { link: Link::Routed, ..walled("9999") });
    let report = scan(&mut world, "1-1000");
    assert_eq!((report.status, report.probes), (HostStatus::Down, 8));
    let mut job = world.job(0, "1-10000");
    job.first = vec![9999];
    assert_eq!(run(&mut world, job).status, HostStatus::Up, "a port that was open last time is asked first");
}

#[test]
fn a_vanished_host_gets_its_last_probe_within_ten_seconds() {
    for timing in [Timing::T2, Timing::T3, Timing::T4, Timing::T5] {
        for open in ["22,80", "1-65535"] {
            let mut world = world(Device { rtt: SECOND / 20, ..walled(open) });
            let gone = after(&world, SECOND * 2);
            world.hosts[0].device.vanishes = Some(gone);
            let report = {
                let job = HostJob { timing, ..world.job(0, "1-65535") };
                run(&mut world, job)
            };
            assert_eq!(report.status, HostStatus::Partial);
            assert!(report.detail.contains("silent"), "{}", report.detail);
            let last = *world.hosts[0].syns.last().unwrap();
            assert!(gone.until(last) < SECOND * 10, "{timing}: {:?}", gone.until(last));
            let seen = compare(&report, &world.hosts[0].device);
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
        world.hosts[0].device.absent = true;
        world.run();
        let report = &world.reports[&job];
        assert_eq!((report.status, report.coverage.to_string().as_str()), (status, covered));
        assert!(left.until(world.now) < 12 * SECOND);
    }
}

/// A neighbour that left minutes ago, and that the kernel still remembers.
#[test]
fn a_stale_neighbour_is_down() {
    for liveness in [Liveness::Check, Liveness::Assume] {
        let mut world = world(Device { absent: true, stale: true, ..neighbour("") });
        let start = world.now;
        let job = HostJob { liveness, ..world.job(0, "1-5000") };
        let report = run(&mut world, job);
        assert_eq!(report.status, HostStatus::Down);
        assert!(report.coverage.is_empty() && report.detail.contains("ARP"), "{report:?}");
        assert!(start.until(world.now) < 16 * SECOND);
        assert!(world.up.is_empty());
    }
}

/// The silence of its liveness check must not pass for a sign of life.
#[test]
fn a_second_job_does_not_revive_a_host_that_vanished() {
    let mut world = world(Device { filtered: ports("2000-65535"), ..neighbour("22,80") });
    let scan = world.submit(world.job(0, "1-65535"));
    world.run_until(after(&world, 3 * SECOND));
    let gone = world.now;
    world.hosts[0].device.vanishes = Some(gone);
    world.run_until(gone + 4 * SECOND);
    let check = world.submit(world.job(0, "3000-4000"));
    world.run();
    assert_eq!(world.reports[&scan].status, HostStatus::Partial);
    assert_eq!((world.reports[&check].status, world.up.contains(&check)), (HostStatus::Down, false));
    assert!(gone.until(*world.hosts[0].syns.last().unwrap()) < 10 * SECOND);
}

#[test]
fn icmp_errors_neither_call_for_canaries_nor_for_outages() {
    for errors in [None, Some(1)] {
        let device =
            Device { rejected: ports("1-100"), filtered: ports("101-65535"), errors, ..neighbour("") };
        let mut world = world(device);
        let report = scan(&mut world, "1-1000");
        assert_eq!(
            (report.status, report.default_state),
            (HostStatus::Up, PortState::Filtered),
            "{report:?}"
        );
        assert!(report.findings.is_empty());
        assert!(report.probes < 2050, "{errors:?}: {} probes", report.probes);
    }
}

#[test]
fn a_service_that_minds_is_asked_rarely() {
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
fn what_woke_the_host_is_no_round_trip() {
    let mut world = world(Device { doze: Some((10 * SECOND, SECOND / 2)), ..walled(SOME) });
    let start = world.now;
    scan(&mut world, "1-2000");
    assert!(start.until(world.now) < 30 * SECOND, "{:?}", start.until(world.now));
}

/// Three more passes over all silent ports for the sake of one lost packet would be a waste.
#[test]
fn one_late_refusal_costs_no_further_pass() {
    let mut world = world(Device { filtered: ports("1000-2000"), ..neighbour("") });
    world.hosts[0].deaf_once.extend([501]);
    let report = scan(&mut world, "401-2000");
    assert_eq!(compare(&report, &world.hosts[0].device).mistaken, 0);
    assert!(report.probes < 1600 + 1002 + 80, "{} probes", report.probes);
}

/// Even with a single look at each port: the look during the pause was none.
#[test]
fn a_pause_of_the_host_devalues_its_silence() {
    for max_retries in [None, Some(0)] {
        let mut world = world(Device { filtered: ports("1000-3000"), ..neighbour("22,80,1500,2500") });
        let job = world.submit(HostJob { max_retries, ..world.job(0, "1-3000") });
        world.run_until(after(&world, 3 * SECOND));
        let back = after(&world, 5 * SECOND);
        world.hosts[0].sleep_until(back);
        world.run();
        let report = &world.reports[&job];
        assert_eq!(report.status, HostStatus::Up);
        let seen = compare(report, &world.hosts[0].device);
        assert_eq!(seen, Comparison { found: 4, there: 4, ..Comparison::default() });
    }
}

/// Silence is what filtered ports and a host that is gone have in common, up to the last port.
#[test]
fn a_host_that_vanishes_at_the_end_is_not_reported_up() {
    let mut world = world(walled("22"));
    let gone = after(&world, SECOND / 10);
    world.hosts[0].device.vanishes = Some(gone);
    let job = HostJob { max_retries: Some(0), ..world.job(0, "22,1000-1060") };
    let report = run(&mut world, job);
    assert_eq!((report.status, report.coverage.to_string().as_str()), (HostStatus::Partial, "22"));
}

#[test]
fn a_host_that_suffered_is_handled_with_care_from_then_on() {
    let device = Device { reboots: Some((40, 5 * SECOND)), ..neighbour(SOME) };
    let mut world = world(device);
    let job = HostJob { timing: Timing::T5, max_in_flight: 1000, ..world.job(0, "1-2000") };
    let report = run(&mut world, job.clone());
    assert_eq!((report.status, world.hosts[0].reboots), (HostStatus::Up, 1));
    let before = world.hosts[0].syns.len();
    run(&mut world, job);
    assert_eq!(world.hosts[0].reboots, 1);
    let again = &world.hosts[0].syns[before..];
    assert!(peak(again, SECOND) <= 51, "{} in a second", peak(again, SECOND));
}

/// A fast scan's second SYNs that the kernel may send are no debt of whoever comes after it.
#[test]
fn a_single_port_need_not_wait_for_what_a_fast_scan_spent() {
    let mut world = world(Device { rtt: SECOND / 20, ..neighbour("22") });
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
    let mut world = world(Device { reboots: Some((30, 5 * SECOND)), ..neighbour(SOME) });
    let report = scan(&mut world, "1-2000");
    assert_eq!((report.open_ports().count(), world.hosts[0].reboots), (6, 0));
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
    let mut world = world(Device { absent: true, ..neighbour("") });
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
    let devices =
        (1..=20).map(|host| Device { address: format!("192.0.2.{host}").parse().unwrap(), ..walled("80") });
    let mut world = World::bounded(devices.collect(), 1, 60);
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
    let mut world = world(Device { filtered: ports("1000-1200"), ..neighbour(SOME) });
    world.troubles.descriptors = Some(12);
    let report = scan(&mut world, "1-2000");
    let seen = compare(&report, &world.hosts[0].device);
    assert_eq!((report.status, seen.found, seen.mistaken), (HostStatus::Up, 6, 0));
    assert!(world.engine.stats().local[&LocalError::Descriptors] > 0);
}

#[test]
fn faults_that_last_are_sat_out_without_haste() {
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
    assert_eq!((report.status, report.probes), (HostStatus::Down, 9));
    assert!(report.detail.contains("no route"));
}

#[test]
fn a_late_prober_is_waited_for_and_never_bunches() {
    let mut world = world(neighbour(SOME));
    world.troubles.late = SECOND / 100;
    let report = scan(&mut world, "1-1000");
    world.assert_polite();
    assert_eq!((report.status, report.open_ports().count()), (HostStatus::Up, 4));
    assert!(world.engine.stats().not_started > 100);
}

/// A thread that is late now and then is no reason to ask less.
#[test]
fn a_hiccup_of_the_prober_costs_no_pace() {
    let [smooth, jolted] = [None, Some(200)].map(|hiccup| {
        let device = |host| Device { address: format!("192.0.2.{host}").parse().unwrap(), ..walled(SOME) };
        let mut world = World::bounded((1..=6).map(device).collect(), 1, 400);
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
fn a_port_that_this_machine_may_not_ask_holds_nothing_up() {
    for (barred, filtered) in [(700, "900-65535"), (80, ""), (80, "1-65535")] {
        let mut world = world(Device { filtered: ports(filtered), ..neighbour(SOME) });
        world.troubles.barred = Some(barred);
        let start = world.now;
        let report = scan(&mut world, "1-1000");
        assert_eq!(report.status, HostStatus::Partial);
        assert!(report.detail.contains(&format!("port {barred}:")), "{}", report.detail);
        assert_eq!((report.coverage.len(), report.coverage.contains(barred)), (999, false));
        let faults = world.engine.stats().local[&LocalError::Denied];
        assert!(
            faults < 40 && start.until(world.now) < 60 * SECOND,
            "{faults}, {:?}",
            start.until(world.now)
        );
    }
}

#[test]
fn a_whole_network_at_once_is_no_burden() {
    let device = |host: u8| {
        let address = format!("192.0.2.{host}").parse().unwrap();
        Device { address, absent: !host.is_multiple_of(4), ..neighbour(SOME) }
    };
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
    let rejected = Device { rejected: ports("1-65535"), rejection: Reason::HostUnreach, ..neighbour("443") };
    let mut world = world(rejected);
    let job = world.job(0, "1-65535");
    let report = run(&mut world, job);
    assert_eq!((report.status, report.open_ports().collect::<Vec<_>>()), (HostStatus::Up, vec![443]));
}

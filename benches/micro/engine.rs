//! The engine's cost per probe: deciding it and handling its reply, in virtual time. The figure includes the heap of
//! pending replies, some 50 ns.
//!
//! Also the cost of pacing: the processor time of a paced and of an unpaced probe, with real sockets.

use std::{
    cmp::Reverse, collections::BinaryHeap, net::Ipv4Addr, num::NonZeroUsize, process::Command, thread,
    time::Duration,
};

use criterion::{Criterion, criterion_group};
use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike,
    },
};
use portscan::{
    clock::{Clock, SystemClock},
    engine::{Bounds, Engine, Event, HostJob, Link, Liveness, Outcome, Probe, ProbeId, Reply},
    model::{Address, Moment, PortSet, Timing},
    net::ConnectProber,
    service::scanner::Scanner,
};

/// The one port that both hosts serve.
const OPEN: u16 = 22;
const RTT: Duration = Duration::from_micros(300);

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(20);
    targets = scans, pacing
}

fn scans(criterion: &mut Criterion) {
    let clock = SystemClock::start();
    for (name, usual) in [("refusing", Outcome::Refused), ("silent", Outcome::Silent)] {
        // The time of one probe, not of a scan: so it stays comparable when their number changes.
        criterion.bench_function(&format!("engine/probe of a {name} host"), |bencher| {
            bencher.iter_custom(|scans| {
                let start = clock.now();
                let probes: u64 = (0..scans).map(|seed| scan(usual, seed)).sum();
                let each = clock.now().since(start).div_f64(as_float(probes));
                each.mul_f64(as_float(scans))
            });
        });
    }
}

/// Scans all ports of a host on which all but one answer with `usual`; returns how many probes that took.
fn scan(usual: Outcome, seed: u64) -> u64 {
    let mut engine = Engine::new(Bounds { in_flight: 4096, silent: None, full: false }, seed);
    let mut now = Moment::ZERO;
    engine.submit(job(5, Timing::T4, PortSet::all()), now);
    let (mut probes, mut events): (Vec<Probe>, Vec<Event>) = Default::default();
    let mut answers = BinaryHeap::new();
    loop {
        let wake = engine.poll(now, &mut probes, &mut events);
        if events.drain(..).any(|event| matches!(event, Event::Finished(..))) {
            return engine.stats().launched;
        }
        for probe in probes.drain(..) {
            let silent = probe.port != OPEN && usual == Outcome::Silent;
            let due = now + if silent { probe.give_up } else { RTT };
            answers.push(Reverse((due, probe.id.0, probe.port, now)));
        }
        let next = answers.peek().map(|Reverse((due, ..))| *due);
        now = wake.into_iter().chain(next).min().expect("an unfinished job has something to wait for");
        while let Some(&Reverse((ended, id, port, started))) = answers.peek()
            && ended <= now
        {
            answers.pop();
            let outcome = if port == OPEN { Outcome::Accepted } else { usual };
            engine.reply(Reply { id: ProbeId(id), started, left_by: started, ended, outcome });
        }
    }
}

fn job(host: u8, timing: Timing, ports: PortSet) -> HostJob {
    HostJob {
        address: Address::from(Ipv4Addr::new(192, 0, 2, host)),
        ports,
        first: Vec::new(),
        timing,
        by_syn: false,
        max_in_flight: u16::MAX,
        max_retries: None,
        max_rate: None,
        liveness: Liveness::Check,
        link: Link::OnLink,
        deadline: None,
        sits_out: Duration::MAX,
    }
}

/// Prints what a probe costs at T3 and at T4, and their ratio. The hosts are addresses of this machine in a network of
/// the calling thread's own, which needs root; without it nothing is measured.
fn pacing(_: &mut Criterion) {
    thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            return println!("the cost of pacing is not measured: a network of its own needs root ({error})");
        }
        ip("link set lo up");
        (0..16).for_each(|host| ip(&format!("addr add 192.0.2.{}/32 dev lo", 5 + host)));
        for (hosts, paced, unpaced) in [(1, 1500, 20_000), (16, 800, 4000)] {
            let [paced, unpaced] = [(Timing::T3, paced), (Timing::T4, unpaced)]
                .map(|(timing, ports)| processor_time(hosts, timing, ports).as_secs_f64() * 1e6);
            let ratio = paced / unpaced;
            println!(
                "engine/{hosts} hosts: {paced:.1} us a probe at T3, {unpaced:.1} us at T4, ratio {ratio:.2}"
            );
        }
    })
    .join()
    .expect("a network that can be laid out");
}

/// The processor's time for one probe of a scan of so many ports of each of these hosts.
fn processor_time(hosts: u8, timing: Timing, ports: u16) -> Duration {
    let clock = SystemClock::start();
    let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let prober = ConnectProber::start(threads, clock).expect("a prober");
    let bounds = || Bounds { in_flight: 4096, silent: None, full: false };
    let (scanner, thread) = Scanner::start(1, prober, clock, bounds).expect("a scanner");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let before = used();
    let ports = PortSet::from_ranges([(1, ports)]);
    let job = |host| HostJob { link: Link::Local, ..job(5 + host, timing, ports.clone()) };
    let tickets: Vec<_> = (0..hosts).map(|host| scanner.submit(job(host))).collect();
    let reports = tickets.into_iter().map(|mut ticket| runtime.block_on(ticket.report()).expect("a report"));
    let probes: u64 = reports.map(|report| report.probes).sum();
    let used = used() - before;
    thread.join();
    used.div_f64(as_float(probes))
}

/// The processor's time that this process has used.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("reading one's own use");
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Duration::from_micros(micros.try_into().expect("a time"))
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}

#[expect(clippy::cast_precision_loss, reason = "a float has 53 bits: more than can be counted in a bench")]
fn as_float(count: u64) -> f64 {
    count as f64
}

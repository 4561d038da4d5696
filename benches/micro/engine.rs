//! The engine's share of a probe: deciding it and taking its answer, in virtual time, nothing else running.
//!
//! The heap of answers under way is in the figure: some 50 ns of it.

use std::{cmp::Reverse, collections::BinaryHeap, net::Ipv4Addr, time::Duration};

use criterion::{Criterion, criterion_group};
use portscan::{
    clock::{Clock, SystemClock},
    engine::{Bounds, Engine, Event, HostJob, Link, Liveness, Outcome, Probe, ProbeId, Reply},
    model::{Address, Moment, PortSet, Timing},
};

/// The one port that both hosts serve.
const OPEN: u16 = 22;
const RTT: Duration = Duration::from_micros(300);

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(20);
    targets = scans
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

/// Scans all ports of a host of which all others answer as usual; tells how many probes that took.
fn scan(usual: Outcome, seed: u64) -> u64 {
    let mut engine = Engine::new(Bounds { in_flight: 4096, silent: None, full: false }, seed);
    let mut now = Moment::ZERO;
    engine.submit(job(), now);
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

fn job() -> HostJob {
    HostJob {
        address: Address::from(Ipv4Addr::new(192, 0, 2, 5)),
        ports: PortSet::all(),
        first: Vec::new(),
        timing: Timing::T4,
        max_in_flight: u16::MAX,
        max_retries: None,
        max_rate: None,
        liveness: Liveness::Check,
        link: Link::OnLink,
        deadline: None,
        sits_out: Duration::MAX,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a float has 53 bits: more than can be counted in a bench")]
fn as_float(count: u64) -> f64 {
    count as f64
}

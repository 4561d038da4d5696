//! A scan, its queue, and workers that die, are cut off, and come back, in simulated time.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    engine::{Liveness, Progress, ScanSettings},
    fleet::{WorkerName, decode, encode},
    model::{Address, HostReport, HostStatus, Moment, PortFinding, PortSet, PortState, Reason},
};

fn pool() -> Pool {
    "10.0.0.0/8".parse().unwrap()
}

fn worker(number: usize) -> WorkerName {
    format!("w-{number}").parse().unwrap()
}

fn host(number: usize) -> Address {
    format!("10.0.{}.{}", number / 256, number % 256).parse().unwrap()
}

/// Every third host is there.
fn is_there(address: &Address) -> bool {
    address.ipv4().unwrap().octets()[3].is_multiple_of(3)
}

fn settings(liveness: Liveness) -> ScanSettings {
    ScanSettings {
        ports: "22,80".parse().unwrap(),
        timing: crate::model::Timing::T3,
        by_syn: false,
        liveness,
        max_in_flight: None,
        max_retries: None,
        max_rate: None,
        deadline: None,
    }
}

fn job(hosts: usize, workers: usize, liveness: Liveness) -> FleetJob {
    let announcement = WorkerAnnouncement { version: String::new(), networks: vec![pool()] };
    let workers = (0..workers).map(|number| (worker(number), (announcement.clone(), Moment::ZERO))).collect();
    let hosts = (0..hosts).map(|number| (host(number), pool())).collect();
    FleetJob::new(JobName::generate().unwrap(), settings(liveness), hosts, workers)
}

/// A host that is up, with all of these ports closed.
fn up(address: &Address, ports: &PortSet) -> HostReport {
    HostReport {
        status: HostStatus::Up,
        coverage: ports.clone(),
        default_state: PortState::Closed,
        default_reason: Reason::ConnRefused,
        detail: String::new(),
        ..HostReport::no_neighbour(address.clone())
    }
}

fn outcome(shard: &Shard, place: usize) -> Box<HostOutcome> {
    let address = &shard.hosts[place];
    let report = if is_there(address) {
        up(address, &shard.host_settings().ports)
    } else {
        HostReport::no_neighbour(address.clone())
    };
    Box::new(HostOutcome::Scanned(ShardHost::new(report, None, &shard.host_settings().ports)))
}

/// A shard in the queue: who takes it is up to the workers.
struct Queued {
    shard: Shard,
    delivered: u32,
    /// Until when it is not handed out.
    hidden_until: Moment,
}

/// What a worker has.
struct InWork {
    id: ShardId,
    lease: Lease,
    renews: Moment,
    reports: Moment,
    next_host: Moment,
    left: Vec<u16>,
}

/// A worker, which cannot reach the queue and the command until then.
#[derive(Default)]
struct SimulatedWorker {
    cut_until: Moment,
    works_on: Option<InWork>,
}

/// What befalls a worker at a moment.
#[derive(Clone, Copy, Debug)]
struct Mishap {
    at: u64,
    worker: usize,
    /// Seconds for which it is cut off; `None`: it dies, and is started anew at once.
    cut: Option<u64>,
}

fn mishap() -> impl Strategy<Value = Mishap> {
    let cut = prop_oneof![Just(None), (5_u64..200).prop_map(Some)];
    (0_u64..600, 0_usize..3, cut).prop_map(|(at, worker, cut)| Mishap { at, worker, cut })
}

const SECOND: Duration = Duration::from_secs(1);

/// Between two reports of a worker on how far it is.
const REPORT: Duration = Duration::from_secs(2);

/// How long the queue keeps what a worker could not begin.
const LATER: Duration = Duration::from_secs(10);

/// Runs to the end, and returns how many results each host has.
fn simulate(hosts: usize, mishaps: &[Mishap]) -> BTreeMap<usize, usize> {
    let mut job = job(hosts, 3, Liveness::Check);
    let mut queue: BTreeMap<ShardId, Queued> = BTreeMap::new();
    let mut workers = [(); 3].map(|()| SimulatedWorker::default());
    let mut results = BTreeMap::new();
    let mut now = Moment::ZERO;
    while !job.is_over() {
        assert!(now < Moment::from_start(20_000 * SECOND), "it does not end: {:?}", job.totals());
        while let Some((_, shard)) = job.next_shard(now) {
            queue.insert(shard.id, Queued { shard, delivered: 0, hidden_until: now });
        }
        for mishap in
            mishaps.iter().filter(|mishap| Moment::from_start(Duration::from_secs(mishap.at)) == now)
        {
            let worker = &mut workers[mishap.worker];
            match mishap.cut {
                Some(seconds) => worker.cut_until = now + Duration::from_secs(seconds),
                None => worker.works_on = None,
            }
        }
        for (number, worker) in workers.iter_mut().enumerate() {
            step(&mut job, &mut queue, &mut results, (number, worker), now);
        }
        for id in queue.keys() {
            let at_work =
                workers.iter().filter(|worker| worker.works_on.as_ref().is_some_and(|work| work.id == *id));
            assert!(at_work.count() <= 1, "two workers scan the same hosts");
        }
        now += SECOND;
    }
    results
}

/// One second of a worker.
fn step(
    job: &mut FleetJob,
    queue: &mut BTreeMap<ShardId, Queued>,
    results: &mut BTreeMap<usize, usize>,
    (number, state): (usize, &mut SimulatedWorker),
    now: Moment,
) {
    let is_cut_off = now < state.cut_until;
    let Some(work) = &mut state.works_on else {
        if is_cut_off {
            return;
        }
        let Some((id, queued)) = queue.iter_mut().find(|(_, queued)| queued.hidden_until <= now) else {
            return;
        };
        queued.delivered += 1;
        queued.hidden_until = now + LEASE;
        match job.receive(&worker(number), WorkerReport::Begun(*id, queued.delivered), now).0 {
            JobAnswer::Continue(finished) => {
                let places = 0..u16::try_from(queued.shard.hosts.len()).unwrap();
                let left = places.filter(|place| !finished.contains(place)).collect();
                state.works_on = Some(InWork {
                    id: *id,
                    lease: Lease::confirmed(now),
                    renews: now + RENEWAL,
                    reports: now + REPORT,
                    next_host: now + SECOND,
                    left,
                });
            }
            JobAnswer::Later => queued.hidden_until = now + LATER,
            JobAnswer::NotYours => {}
            JobAnswer::Drop => {
                let id = *id;
                queue.remove(&id);
            }
        }
        return;
    };
    if work.lease.is_lost(now) {
        state.works_on = None;
        return;
    }
    if is_cut_off {
        return;
    }
    if now >= work.renews {
        // What is no longer in the queue is no reason to stop: only the command's answer is.
        if let Some(queued) = queue.get_mut(&work.id) {
            queued.hidden_until = now + LEASE;
        }
        work.renews = now + RENEWAL;
    }
    if now >= work.reports {
        let progress = WorkerReport::Progress(work.id, Progress::default());
        if job.receive(&worker(number), progress, now).0 != JobAnswer::Continue(Vec::new()) {
            state.works_on = None;
            return;
        }
        work.lease.renew(now);
        work.reports = now + REPORT;
    }
    if now < work.next_host {
        return;
    }
    work.next_host = now + SECOND;
    let Some(place) = work.left.pop() else { return };
    let Some(queued) = queue.get(&work.id) else { return };
    let report = WorkerReport::Host(work.id, place, outcome(&queued.shard, usize::from(place)));
    let (answer, event) = job.receive(&worker(number), report, now);
    if let Some(JobEvent::Scanned(target, ..)) = event {
        *results.entry(target).or_default() += 1;
    }
    if answer == JobAnswer::Drop || work.left.is_empty() {
        queue.remove(&work.id);
    }
    if answer != JobAnswer::Continue(Vec::new()) || work.left.is_empty() {
        state.works_on = None;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_host_has_one_result_whatever_befalls_the_workers(
        hosts in 1_usize..400,
        mishaps in proptest::collection::vec(mishap(), 0..6),
    ) {
        let results = simulate(hosts, &mishaps);
        prop_assert_eq!(results.len(), hosts);
        prop_assert!(results.values().all(|count| *count == 1));
    }
}

#[test]
fn a_sparse_network_is_searched_first_and_only_what_is_there_is_scanned() {
    let mut job = job(300, 1, Liveness::Check);
    let (_, first) = job.next_shard(Moment::ZERO).unwrap();
    assert_eq!((first.purpose, first.hosts.len()), (ShardPurpose::Discovery, SHARD_HOSTS));
    assert_eq!(first.host_settings().ports, "22".parse().unwrap());
    // With `-Pn` all hosts are scanned.
    let (_, shard) = self::job(300, 1, Liveness::Assume).next_shard(Moment::ZERO).unwrap();
    assert_eq!(shard.purpose, ShardPurpose::Scan);
    job.receive(&worker(0), WorkerReport::Begun(first.id, 1), Moment::ZERO);
    for place in 0..SHARD_HOSTS {
        let report = WorkerReport::Host(first.id, u16::try_from(place).unwrap(), outcome(&first, place));
        let (answer, event) = job.receive(&worker(0), report, Moment::ZERO);
        assert_eq!(answer, JobAnswer::Continue(vec![]));
        assert_eq!(event.is_some(), !is_there(&first.hosts[place]), "{place}");
    }
    let shards: Vec<Shard> =
        std::iter::from_fn(|| job.next_shard(Moment::ZERO)).map(|(_, shard)| shard).collect();
    let discoveries = shards.iter().filter(|shard| shard.purpose == ShardPurpose::Discovery);
    assert_eq!(discoveries.map(|shard| shard.hosts.len()).sum::<usize>(), 300 - SHARD_HOSTS);
}

#[test]
fn a_delivery_that_was_held_up_is_not_begun() {
    let mut job = job(3, 2, Liveness::Check);
    let (_, shard) = job.next_shard(Moment::ZERO).unwrap();
    let mut begin = |number, delivery| {
        job.receive(&worker(number), WorkerReport::Begun(shard.id, delivery), Moment::ZERO).0
    };
    assert_eq!(begin(1, 2), JobAnswer::Continue(vec![]));
    assert_eq!(begin(0, 1), JobAnswer::NotYours);
    let progress = WorkerReport::Progress(shard.id, Progress::default());
    assert_eq!(job.receive(&worker(0), progress.clone(), Moment::ZERO).0, JobAnswer::NotYours);
    assert_eq!(job.receive(&worker(1), progress, Moment::ZERO).0, JobAnswer::Continue(vec![]));
}

/// A thief with another worker's key has the queue hand it out once more.
#[test]
fn a_shard_that_is_scanned_is_not_begun_by_another_until_it_was_left_or_its_lease_has_ended() {
    let mut job = job(1, 2, Liveness::Check);
    let (_, shard) = job.next_shard(Moment::ZERO).unwrap();
    let at = |seconds: u32| Moment::ZERO + seconds * SECOND;
    let begun = |delivery| WorkerReport::Begun(shard.id, delivery);
    assert_eq!(job.receive(&worker(0), begun(1), at(0)).0, JobAnswer::Continue(vec![]));
    assert_eq!(job.receive(&worker(1), begun(2), at(59)).0, JobAnswer::Later);
    assert_eq!(job.totals().taken_over, 0);
    assert_eq!(job.receive(&worker(1), begun(3), at(60)).0, JobAnswer::Continue(vec![]));
    assert_eq!(job.totals().taken_over, 1);
    assert_eq!(job.receive(&worker(0), WorkerReport::Left(shard.id), at(61)).0, JobAnswer::NotYours);
    job.receive(&worker(1), WorkerReport::Left(shard.id), at(61));
    assert_eq!(job.receive(&worker(0), begun(4), at(61)).0, JobAnswer::Continue(vec![]));
}

#[test]
fn a_shard_is_begun_by_a_worker_that_has_announced_its_network() {
    let mut job = job(1, 1, Liveness::Check);
    let (_, shard) = job.next_shard(Moment::ZERO).unwrap();
    let begun = WorkerReport::Begun(shard.id, 1);
    let announce = |job: &mut FleetJob, network: &str| {
        let networks = vec![network.parse().unwrap()];
        let announcement = WorkerAnnouncement { version: String::new(), networks };
        job.announce(worker(7), announcement, Moment::ZERO);
    };
    assert_eq!(job.receive(&worker(7), begun.clone(), Moment::ZERO).0, JobAnswer::Later);
    announce(&mut job, "192.0.2.0/24");
    assert_eq!(job.receive(&worker(7), begun.clone(), Moment::ZERO).0, JobAnswer::Later);
    announce(&mut job, "10.0.0.0/8");
    assert_eq!(job.receive(&worker(7), begun, Moment::ZERO).0, JobAnswer::Continue(vec![]));
}

#[test]
fn networks_whose_workers_are_silent_are_told() {
    let mut job = job(1, 1, Liveness::Check);
    let deserted = |job: &FleetJob, seconds: u32| -> Vec<Pool> {
        job.deserted(Moment::ZERO + seconds * SECOND, LEASE).copied().collect()
    };
    assert_eq!(deserted(&job, 59), vec![]);
    assert_eq!(deserted(&job, 60), vec![pool()]);
    let announcement = WorkerAnnouncement { version: String::new(), networks: vec![pool()] };
    job.announce(worker(1), announcement, Moment::ZERO + 30 * SECOND);
    assert_eq!(deserted(&job, 60), vec![]);
}

#[test]
fn a_shard_on_which_workers_fail_is_given_up() {
    let mut job = job(1, 1, Liveness::Check);
    let (_, shard) = job.next_shard(Moment::ZERO).unwrap();
    let mut begin = |delivery: u32| {
        let begun = WorkerReport::Begun(shard.id, delivery);
        job.receive(&worker(0), begun, Moment::ZERO + delivery * LEASE)
    };
    for delivery in 1..=5 {
        assert_eq!(begin(delivery), (JobAnswer::Continue(vec![]), None));
    }
    let (answer, event) = begin(6);
    assert_eq!((answer, event), (JobAnswer::Drop, Some(JobEvent::GivenUp(vec![0]))));
    assert!(job.is_over());
}

#[test]
fn a_shard_that_the_broker_has_lost_is_put_there_again() {
    let mut job = job(1, 1, Liveness::Check);
    let (_, shard) = job.next_shard(Moment::ZERO).unwrap();
    let at = |seconds: u32| Moment::ZERO + seconds * SECOND;
    job.receive(&worker(0), WorkerReport::Begun(shard.id, 1), at(10));
    assert!(!job.misses_shards(at(129)));
    assert!(job.misses_shards(at(130)));
    assert_eq!(job.repeat_shards(&"192.0.2.0/24".parse().unwrap(), at(130)), vec![]);
    let repeated = job.repeat_shards(&pool(), at(130));
    assert_eq!(repeated[0].id, ShardId { number: 0, attempt: 1 });
    assert!(!job.misses_shards(at(131)));
    // The one that was lost turns up again.
    let begun = |id| WorkerReport::Begun(id, 2);
    assert_eq!(job.receive(&worker(0), begun(shard.id), at(140)).0, JobAnswer::Drop);
    // Its queue has handed the new one out once: that is not an old delivery.
    let first = WorkerReport::Begun(repeated[0].id, 1);
    assert_eq!(job.receive(&worker(0), first, at(141)).0, JobAnswer::Continue(vec![]));
}

/// A host that is down has no port with a verdict.
#[test]
fn a_report_of_any_host_is_read_as_it_was_written() {
    let (_, shard) = job(3, 1, Liveness::Check).next_shard(Moment::ZERO).unwrap();
    let shard = Shard { hosts: (0..3).map(host).collect(), ..shard };
    for place in 0..3 {
        let report = WorkerReport::Host(shard.id, 0, outcome(&shard, place));
        assert_eq!(decode(&encode(&report)), Ok(report));
    }
}

#[test]
fn a_result_is_taken_once_and_only_if_it_is_about_its_host() {
    let mut job = job(64, 2, Liveness::Check);
    let (_, shard) = job.next_shard(Moment::ZERO).unwrap();
    let (address, ports) = (&shard.hosts[0], shard.host_settings().ports);
    let take = |job: &mut FleetJob, number, place, report| {
        let outcome = Box::new(HostOutcome::Scanned(ShardHost::new(report, None, &ports)));
        job.receive(&worker(number), WorkerReport::Host(shard.id, place, outcome), Moment::ZERO)
    };
    let with = |open: &[u16]| HostReport {
        findings: open
            .iter()
            .map(|&port| PortFinding { port, state: PortState::Open, reason: Reason::SynAck, rtt: None })
            .collect(),
        ..up(address, &ports)
    };
    let nonsense = (JobAnswer::NotYours, Some(JobEvent::Nonsense(worker(0))));
    assert_eq!(take(&mut job, 0, 0, with(&[])), nonsense, "it has not begun");
    job.receive(&worker(0), WorkerReport::Begun(shard.id, 1), Moment::ZERO);
    assert_eq!(take(&mut job, 0, 99, with(&[])), nonsense, "no such host");
    assert_eq!(take(&mut job, 0, 0, up(&"192.0.2.1".parse().unwrap(), &ports)), nonsense);
    assert_eq!(
        take(&mut job, 0, 0, up(address, &"22,443".parse().unwrap())),
        nonsense,
        "443 was not asked for"
    );
    assert_eq!(take(&mut job, 0, 0, with(&[443])), nonsense);
    assert_eq!(take(&mut job, 0, 0, with(&[80, 22])), nonsense);
    let all_open = HostReport { default_state: PortState::Open, ..with(&[]) };
    assert_eq!(take(&mut job, 0, 0, all_open), nonsense);
    let down = HostReport { status: HostStatus::Down, ..with(&[22]) };
    assert_eq!(take(&mut job, 0, 0, down), nonsense);
    let report = with(&[22, 80]);
    let taken = JobEvent::Scanned(0, Box::new(report.clone()), None);
    assert_eq!(take(&mut job, 0, 0, report), (JobAnswer::Continue(vec![]), Some(taken)));
    assert_eq!(take(&mut job, 0, 0, with(&[])), (JobAnswer::Continue(vec![]), None));
    assert_eq!(job.totals().twice, 0, "the answer was lost");
    // Another worker has the shard, and both report the same host.
    let again = job.receive(&worker(1), WorkerReport::Begun(shard.id, 2), Moment::ZERO + LEASE).0;
    assert_eq!(again, JobAnswer::Continue(vec![0]));
    let other = &shard.hosts[1];
    let answer = (JobAnswer::Continue(vec![]), None);
    assert!(take(&mut job, 0, 1, up(other, &ports)).1.is_some());
    assert_eq!(take(&mut job, 1, 1, up(other, &ports)), answer);
    assert_eq!(job.totals().twice, 1);
}

/// The figures of docs/scale.md.
#[test]
fn messages_are_small() {
    let mut settings = settings(Liveness::Check);
    settings.ports = PortSet::from_ranges((0..1000).map(|port| (port * 7, port * 7)));
    let hosts = (0..SHARD_HOSTS).map(|number| host(25_700 + number)).collect();
    let id = ShardId { number: 30_000, attempt: 0 };
    let shard = Shard { job: JobName::generate().unwrap(), id, purpose: ShardPurpose::Scan, settings, hosts };
    let open = |port| PortFinding {
        port,
        state: PortState::Open,
        reason: Reason::SynAck,
        rtt: Some(Duration::from_millis(20)),
    };
    let report = HostReport {
        findings: [21, 490, 6300].map(open).to_vec(),
        preparation: Duration::from_millis(30),
        scanning: Duration::from_secs(5),
        ..up(&shard.hosts[0], &shard.settings.ports)
    };
    let outcome = HostOutcome::Scanned(ShardHost::new(report, None, &shard.settings.ports));
    let scanned = encode(&WorkerReport::Host(id, 63, Box::new(outcome))).len();
    let down = HostReport::no_neighbour(shard.hosts[0].clone());
    let outcome = HostOutcome::Scanned(ShardHost::new(down, None, &shard.settings.ports));
    let absent = encode(&WorkerReport::Host(id, 63, Box::new(outcome))).len();
    let shard = encode(&shard).len();
    eprintln!(
        "a shard {shard} bytes, a host with three open ports {scanned}, one that is not there {absent}"
    );
    assert!(shard <= 6000 && scanned <= 100 && absent <= 100, "{shard}, {scanned}, {absent}");
}

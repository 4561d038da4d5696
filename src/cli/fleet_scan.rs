//! `portscan scan --fleet`: has the workers of a fleet scan, and prints their results as they arrive.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io,
    sync::Arc,
    time::Duration,
};

use jiff::tz::TimeZone;
use tokio::{
    sync::mpsc,
    time::{self, Instant, Interval, MissedTickBehavior, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    CliError, CommandEnv, HubDirArgs, INTERRUPTED, ScanArgs, ServeHubArgs, Terminal,
    found::HostResult,
    output::Outputs,
    progress::TICK,
    scan::warning_of_excluded,
    scan_output::{ScanEnd, ScanOutput},
    table::counted,
    targets::{Expanded, Target, TargetList},
};
use crate::{
    config::Overrides,
    fleet::{
        WorkerName,
        work::{FleetJob, JobAnswer, JobEvent, JobName, Pool, Shard, WorkerAnnouncement},
    },
    model::{Address, Moment, one_line},
    net::{
        Links,
        nats::{
            BrokerAccess, BrokerError, FromWorker, FromWorkers, JobConnection, QueueError, ReceivedReport,
        },
    },
    service::exclusions::{Exclusions, FirstStep},
};

/// How long to wait for the first worker: a little longer than from one announcement to the next.
const FIRST_WORKER: Duration = Duration::from_secs(6);

/// How long to wait for another worker after one: all answer at once, some of them by slow lines.
const NEXT_WORKER: Duration = Duration::from_secs(2);

/// How long to wait for workers at most.
const LAST_WORKER: Duration = Duration::from_secs(10);

/// Between two attempts to put a shard into its queue.
const AGAIN: Duration = Duration::from_secs(2);

/// After this time without a worker of a network, a person is told.
const DESERTED: Duration = Duration::from_secs(60);

/// The most networks that are named in a message.
const MOST_NAMED: usize = 5;

/// The most reasons of one worker that are kept apart.
const MOST_REASONS: usize = 5;

/// Between two looks whether the broker has lost shards.
const LOOKS: Duration = Duration::from_secs(30);

/// How long workers are told to stop after an interrupt: each reports every 2 s.
const FAREWELL: Duration = Duration::from_secs(3);

/// The most characters of a worker's reason.
const LONGEST_REASON: usize = 200;

/// Why workers cannot scan.
#[derive(Debug, thiserror::Error)]
pub(super) enum FleetScanError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(
        "--exclude names a MAC, which the workers do not know of; exclude it in the configuration of each worker, or by its \
         address"
    )]
    ExcludesMac,
    #[error(
        "no worker is there; start one in the network that is to be scanned: portscan worker (docs/fleet.md)"
    )]
    NoWorkers,
    #[error(
        "no worker reaches {address}; they reach {reached}; name its network under [worker] of one that does: networks"
    )]
    OutOfReach { address: Address, reached: String },
    #[error("this machine gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error("the connection to the broker is closed")]
    Closed,
}

/// The workers that are there.
type Workers = BTreeMap<WorkerName, (WorkerAnnouncement, Moment)>;

/// Scans, prints, and returns the exit code. Once `interrupted` is cancelled it prints what is known and ends.
pub(super) async fn scan(
    args: &ScanArgs,
    (verbose, overrides): (u8, &Overrides),
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
    interrupted: CancellationToken,
) -> Result<u8, CliError> {
    let mut targets = targets(args, overrides, world, terminal).await?;
    let outputs = Outputs::open(args.outputs(), &world.clock.wall().to_zoned(TimeZone::system()))?;
    let hub = ServeHubArgs { dir: HubDirArgs { dir: args.fleet_dir.clone() }, broker: args.broker.clone() };
    let access = hub.broker_access(overrides)?;
    let name = JobName::generate().map_err(FleetScanError::from)?;
    let finding = find_workers(&access, name, world);
    let Some(found) = interrupted.run_until_cancelled(finding).await else { return Ok(INTERRUPTED) };
    let (connection, mut received, workers) = found?;
    warn_of_versions(&workers, terminal);
    let asked_for = targets.len();
    let places = place(&mut targets, &workers, terminal)?;
    let pools: BTreeSet<Pool> = places.iter().copied().collect();
    connection.make_queues(&pools).await.map_err(FleetScanError::from)?;
    let hosts = targets.iter().map(|target| target.address.clone()).zip(places).collect();
    let mut output = ScanOutput::new((args, verbose), asked_for, &*world.clock, terminal);
    output.miss(asked_for - targets.len());
    let (to_put, shards) = mpsc::unbounded_channel();
    let (found_empty, empty) = mpsc::channel(1);
    let mut session = FleetSession {
        job: FleetJob::new(name, args.settings(), hosts, workers),
        output,
        targets,
        to_put,
        refused: BTreeMap::new(),
        nonsense: BTreeSet::new(),
        deserted: BTreeSet::new(),
    };
    let ended = tokio::select! {
        ended = session.drive(&mut received, empty, &interrupted) => ended,
        never = keep_queues(&connection, &pools, shards, found_empty) => match never {},
    };
    if !matches!(ended, Ok(false)) {
        session.stop(&mut received).await;
    }
    // If it fails, the next scan empties them.
    let _ = connection.empty(&name).await;
    session.conclude(ended?, outputs)
}

/// Connects, takes the queues, and waits for the workers.
async fn find_workers(
    access: &BrokerAccess,
    name: JobName,
    world: &CommandEnv,
) -> Result<(JobConnection, FromWorkers, Workers), FleetScanError> {
    let connection = JobConnection::open(access, Arc::clone(&world.clock)).await?;
    let mut received = connection.begin(name).await?;
    let workers = gather(&mut received, world).await?;
    Ok((connection, received, workers))
}

/// Puts shards into their queues, and says which queues are empty, again and again. What the broker does not take is tried
/// again, for as long as it takes; a broker that has lost its disk gets the queues anew. Apart from the session, which
/// answers the workers meanwhile.
async fn keep_queues(
    connection: &JobConnection,
    pools: &BTreeSet<Pool>,
    mut shards: mpsc::UnboundedReceiver<(Pool, Shard)>,
    found_empty: mpsc::Sender<Pool>,
) -> Infallible {
    let mut looks = every(LOOKS);
    loop {
        tokio::select! {
            put = shards.recv() => {
                // The session, which has the other end, ends this.
                let Some((pool, shard)) = put else { return std::future::pending().await };
                while let Err(error) = connection.put(&pool, &shard).await {
                    tracing::warn!(%error, "a part of the scan is not in its queue yet; trying again");
                    time::sleep(AGAIN).await;
                    let _ = connection.make_queues(pools).await;
                }
            }
            _ = looks.tick() => {
                for pool in pools {
                    let is_empty = match connection.queued(pool).await {
                        Ok(queued) => queued == 0,
                        Err(QueueError::NoBroker(_)) => false,
                        Err(_) => connection.make_queues(pools).await.is_ok(),
                    };
                    if is_empty {
                        let _ = found_empty.send(*pool).await;
                    }
                }
            }
        }
    }
}

/// Returns what is to be scanned.
async fn targets(
    args: &ScanArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<Vec<Target>, CliError> {
    let exclusions = Exclusions::read(overrides, args.ignore_exclude).map_err(CliError::Exclusions)?;
    let list = TargetList::read(args, &mut io::stdin())?;
    // Which of them is a whole network is known where the worker is.
    let Expanded { targets, warnings, left_out } = list.expand(&*world.resolver, Address::check_host).await?;
    if !left_out.is_empty() {
        return Err(FleetScanError::ExcludesMac.into());
    }
    for warning in &warnings {
        terminal.warn(warning);
    }
    // As if all were behind a router: the MACs are the workers' to ask for.
    let far = Links::default();
    let is_left_out = |target: &Target| exclusions.first(&target.address, &far) == FirstStep::LeaveOut;
    let (excluded, targets): (Vec<_>, Vec<_>) = targets.into_iter().partition(is_left_out);
    if let Some(warning) = warning_of_excluded(&excluded) {
        terminal.warn(&warning);
    }
    if targets.is_empty() { Err(CliError::NoTargets) } else { Ok(targets) }
}

/// Waits for the workers to say that they are there: until none has come for a while.
async fn gather(received: &mut FromWorkers, world: &CommandEnv) -> Result<Workers, FleetScanError> {
    let mut workers = Workers::new();
    let began = Instant::now();
    let mut until = began + FIRST_WORKER;
    loop {
        match timeout_at(until, received.next()).await {
            Err(_) if workers.is_empty() => return Err(FleetScanError::NoWorkers),
            Err(_) => return Ok(workers),
            Ok(None) => return Err(FleetScanError::Closed),
            Ok(Some(FromWorker::Announcement(worker, announcement))) => {
                if workers.insert(worker, (announcement, world.clock.now())).is_none() {
                    until = (Instant::now() + NEXT_WORKER).min(began + LAST_WORKER);
                }
            }
            // Nothing was asked yet.
            Ok(Some(FromWorker::Report(_))) => {}
        }
    }
}

fn warn_of_versions(workers: &Workers, terminal: &mut Terminal<'_>) {
    let own = env!("CARGO_PKG_VERSION");
    for (worker, (WorkerAnnouncement { version, .. }, _)) in
        workers.iter().filter(|(_, (known, _))| known.version != own)
    {
        let version = one_line(version, 32);
        terminal.warn(&format!(
            "the worker {worker} has version {version}, and this command {own}; if it does no work, upgrade it"
        ));
    }
}

/// Returns the pool of each target. Targets that no worker reaches are taken out.
fn place(
    targets: &mut Vec<Target>,
    workers: &Workers,
    terminal: &mut Terminal<'_>,
) -> Result<Vec<Pool>, FleetScanError> {
    let reached: BTreeSet<Pool> = workers.values().flat_map(|(known, _)| known.networks.clone()).collect();
    let (mut pools, mut beyond) = (Vec::with_capacity(targets.len()), Vec::new());
    targets.retain(|target| match Pool::nearest(&reached, &target.address) {
        Some(pool) => {
            pools.push(pool);
            true
        }
        None => {
            beyond.push(target.address.clone());
            false
        }
    });
    let Some(first) = beyond.first() else { return Ok(pools) };
    let mut list: Vec<String> = reached.iter().take(MOST_NAMED).map(Pool::to_string).collect();
    if reached.len() > MOST_NAMED {
        list.push(format!("{} more", reached.len() - MOST_NAMED));
    }
    let error = FleetScanError::OutOfReach { address: first.clone(), reached: list.join(", ") };
    if pools.is_empty() {
        return Err(error);
    }
    let all = if beyond.len() > 1 { format!(" (and {} more)", beyond.len() - 1) } else { String::new() };
    terminal.warn(&format!("left out{all}: {error}"));
    Ok(pools)
}

/// A scan in progress.
struct FleetSession<'a, 'w> {
    job: FleetJob,
    output: ScanOutput<'a, 'w>,
    targets: Vec<Target>,
    /// Shards for their queues.
    to_put: mpsc::UnboundedSender<(Pool, Shard)>,
    /// Why workers refuse hosts: the first host, and how many.
    refused: BTreeMap<(WorkerName, String), (Address, usize)>,
    /// Workers whose reports are not about what they were asked.
    nonsense: BTreeSet<WorkerName>,
    /// Networks without a worker, of which a person was told.
    deserted: BTreeSet<Pool>,
}

impl FleetSession<'_, '_> {
    /// Runs until every host has a result; returns whether it was interrupted before.
    async fn drive(
        &mut self,
        received: &mut FromWorkers,
        mut empty: mpsc::Receiver<Pool>,
        interrupted: &CancellationToken,
    ) -> Result<bool, CliError> {
        let mut tick = every(TICK);
        while !self.job.is_over() {
            let now = self.output.clock.now();
            while let Some(put) = self.job.next_shard(now) {
                // The other end lasts as long as this.
                let _ = self.to_put.send(put);
            }
            tokio::select! {
                message = received.next() => self.handle(message.ok_or(FleetScanError::Closed)?).await?,
                _ = tick.tick() => self.show(),
                Some(pool) = empty.recv() => {
                    let lost = self.job.repeat_shards(&pool, self.output.clock.now());
                    lost.into_iter().for_each(|shard| drop(self.to_put.send((pool, shard))));
                }
                () = interrupted.cancelled() => {
                    self.output.clear();
                    return Ok(true);
                }
            }
        }
        self.output.clear();
        Ok(false)
    }

    async fn handle(&mut self, message: FromWorker) -> Result<(), CliError> {
        let now = self.output.clock.now();
        match message {
            FromWorker::Announcement(worker, announcement) => self.job.announce(worker, announcement, now),
            FromWorker::Report(ReceivedReport { worker, report: Ok(report), answering }) => {
                let (answer, event) = self.job.receive(&worker, report, now);
                if let Some(event) = event {
                    self.take(&worker, event)?;
                }
                answering.answer(&answer).await;
            }
            FromWorker::Report(ReceivedReport { worker, report: Err(error), answering }) => {
                tracing::debug!(%worker, %error, "a worker's report cannot be read");
                self.nonsense.insert(worker);
                answering.answer(&JobAnswer::Drop).await;
            }
        }
        Ok(())
    }

    fn take(&mut self, worker: &WorkerName, event: JobEvent) -> Result<(), CliError> {
        match event {
            JobEvent::Scanned(place, mut report, mac) => {
                report.detail = one_line(&report.detail, LONGEST_REASON);
                // By this machine's clock: a worker's may not be set.
                let finished = self.output.clock.wall();
                let lasted = report.preparation.saturating_add(report.scanning);
                let started = finished.saturating_sub(lasted).unwrap_or(finished);
                let name = self.targets[place].name.clone();
                let found =
                    HostResult { report: *report, mac, name, identified: None, times: (started, finished) };
                self.output.finish(place, found)?;
            }
            JobEvent::Refused(place, reason) => {
                self.output.leave_out();
                let reasons = self.refused.keys().filter(|(other, _)| other == worker).count();
                let known = (worker.clone(), one_line(&reason, LONGEST_REASON));
                let reason = match reasons < MOST_REASONS || self.refused.contains_key(&known) {
                    true => known,
                    false => (worker.clone(), "several other reasons".to_owned()),
                };
                let address = || (self.targets[place].address.clone(), 0);
                self.refused.entry(reason).or_insert_with(address).1 += 1;
            }
            JobEvent::GivenUp(places) => {
                let first =
                    places.first().map_or_else(String::new, |place| self.targets[*place].address.to_string());
                self.output.warn_at_end(format!(
                    "{first}{}: given up, because every worker that began to scan them has failed",
                    and_more(places.len())
                ));
            }
            JobEvent::Nonsense(worker) => {
                self.nonsense.insert(worker);
            }
        }
        Ok(())
    }

    fn show(&mut self) {
        let now = self.output.clock.now();
        let deserted: BTreeSet<Pool> = self.job.deserted(now, DESERTED).copied().collect();
        for pool in deserted.difference(&self.deserted) {
            self.output.warn(&format!(
                "no worker of {pool} is there any more; waiting for one, Ctrl-C ends the scan"
            ));
        }
        self.deserted = deserted;
        let workers = self.job.workers(now);
        let more = format!("  {}", counted(workers, "worker"));
        self.output.show(std::iter::once(self.job.totals().in_progress), &more);
    }

    /// Tells the workers that report within a few seconds to stop; the others notice that the command is gone.
    async fn stop(&mut self, received: &mut FromWorkers) {
        self.job.stop();
        let telling = async {
            while let Some(message) = received.next().await {
                if self.handle(message).await.is_err() {
                    break;
                }
            }
        };
        let _ = timeout(FAREWELL, telling).await;
    }

    /// Prints the end of the output, and returns the exit code.
    fn conclude(mut self, interrupted: bool, outputs: Outputs) -> Result<u8, CliError> {
        for ((worker, reason), (first, count)) in &self.refused {
            let more = and_more(*count);
            self.output.warn_at_end(format!("{first}{more}: the worker {worker} refuses: {reason}"));
        }
        for worker in &self.nonsense {
            self.output.warn_at_end(format!(
                "the worker {worker} has sent reports that cannot be read, or are not about what it was asked; they were not \
                 taken"
            ));
        }
        let totals = self.job.totals();
        if totals.taken_over > 0 {
            self.output.warn_at_end(format!(
                "{} of the scan began again, because a worker was lost or stopped; what it had finished was kept",
                counted(totals.taken_over, "part")
            ));
        }
        if totals.twice > 0 {
            let hosts = counted(totals.twice, "host");
            self.output.warn_at_end(format!("{hosts} were scanned twice; the first result was taken"));
        }
        // Not one was scanned, and why is told above.
        let failed = self.output.has_no_targets();
        let end = ScanEnd { interrupted, failed, links: None, troubles: Vec::new() };
        self.output.conclude(end, outputs)
    }
}

fn and_more(count: usize) -> String {
    if count > 1 { format!(" and {} more", count - 1) } else { String::new() }
}

fn every(period: Duration) -> Interval {
    let mut interval = time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

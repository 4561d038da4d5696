//! `portscan scan --fleet`: has the workers of a fleet scan, and prints their results as they arrive.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    time::Duration,
};

use jiff::tz::TimeZone;
use tokio::time::{self, Interval, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    CliError, CommandEnv, HubDirArgs, ScanArgs, ServeHubArgs, Terminal,
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
        work::{Announcement, FleetJob, JobAnswer, JobEvent, JobName, Pool, Shard},
    },
    model::{Address, Moment, one_line},
    net::{
        Links,
        nats::{BrokerError, FromWorker, FromWorkers, JobConnection, QueueError, ReceivedReport},
    },
    service::exclusions::{Exclusions, FirstStep},
};

/// How long to wait for the first worker: a little longer than from one announcement to the next.
const FIRST_WORKER: Duration = Duration::from_secs(6);

/// How long to wait for another worker after one: all answer at once.
const NEXT_WORKER: Duration = Duration::from_millis(1500);

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
type Workers = BTreeMap<WorkerName, (Announcement, Moment)>;

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
    let connection = JobConnection::open(&access).await.map_err(FleetScanError::from)?;
    let name = JobName::generate().map_err(FleetScanError::from)?;
    let mut received = connection.begin(&name).await.map_err(FleetScanError::from)?;
    let workers = gather(&mut received, &name, world).await?;
    warn_of_versions(&workers, terminal);
    let pools = place(&mut targets, &workers, terminal)?;
    for pool in pools.iter().collect::<BTreeSet<_>>() {
        connection.make_queue(pool).await.map_err(FleetScanError::from)?;
    }
    let hosts = targets.iter().map(|target| target.address.clone()).zip(pools).collect();
    let mut session = FleetSession {
        job: FleetJob::new(name, args.settings(), hosts, workers),
        output: ScanOutput::new((args, verbose), targets.len(), &*world.clock, terminal),
        connection: &connection,
        name,
        targets,
        unsent: VecDeque::new(),
        refused: BTreeMap::new(),
        nonsense: BTreeSet::new(),
    };
    let is_stopped = session.drive(&mut received, &interrupted).await?;
    if is_stopped {
        session.stop(&mut received).await;
    }
    // The command may be over; what is left in the queues is taken out by the next one.
    let _ = connection.empty().await;
    session.conclude(is_stopped, outputs)
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

/// Waits for the workers to say that they are there.
async fn gather(
    received: &mut FromWorkers,
    name: &JobName,
    world: &CommandEnv,
) -> Result<Workers, FleetScanError> {
    let mut workers = Workers::new();
    loop {
        let patience = if workers.is_empty() { FIRST_WORKER } else { NEXT_WORKER };
        match timeout(patience, received.next()).await {
            Err(_) if workers.is_empty() => return Err(FleetScanError::NoWorkers),
            Err(_) => return Ok(workers),
            Ok(None) => return Err(FleetScanError::Closed),
            Ok(Some(FromWorker::Announcement(worker, announcement))) => {
                let is_new = workers.insert(worker, (announcement, world.clock.now())).is_none();
                if !is_new {
                    // All have had the time to announce themselves twice.
                    return Ok(workers);
                }
            }
            Ok(Some(FromWorker::Busy(answering))) => answering.answer(name).await,
            // Of a scan before this one.
            Ok(Some(FromWorker::Report(_))) => {}
        }
    }
}

fn warn_of_versions(workers: &Workers, terminal: &mut Terminal<'_>) {
    let own = env!("CARGO_PKG_VERSION");
    for (worker, (Announcement { version, .. }, _)) in
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
    let list: Vec<String> = reached.iter().map(Pool::to_string).collect();
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
    connection: &'a JobConnection,
    name: JobName,
    targets: Vec<Target>,
    /// Shards that the broker has not taken.
    unsent: VecDeque<(Pool, Shard)>,
    /// Why workers refuse hosts: the first host, and how many.
    refused: BTreeMap<(WorkerName, String), (Address, usize)>,
    /// Workers whose reports are not about what they were asked.
    nonsense: BTreeSet<WorkerName>,
}

impl FleetSession<'_, '_> {
    /// Runs until every host has a result; returns whether it was interrupted before.
    async fn drive(
        &mut self,
        received: &mut FromWorkers,
        interrupted: &CancellationToken,
    ) -> Result<bool, CliError> {
        let [mut tick, mut looks] = [TICK, LOOKS].map(every);
        while !self.job.is_over() {
            self.send().await;
            tokio::select! {
                message = received.next() => self.handle(message.ok_or(FleetScanError::Closed)?).await?,
                _ = tick.tick() => self.show(),
                _ = looks.tick() => self.look_for_lost_shards().await,
                () = interrupted.cancelled() => {
                    self.output.clear();
                    return Ok(true);
                }
            }
        }
        self.output.clear();
        Ok(false)
    }

    /// Puts the shards that are due into their queues. What the broker does not take is tried again.
    async fn send(&mut self) {
        let now = self.output.clock.now();
        while let Some((pool, shard)) = self.unsent.pop_front().or_else(|| self.job.next_shard(now)) {
            if let Err(error) = self.connection.put(&pool, &shard).await {
                tracing::warn!(%error, "a part of the scan is not in its queue yet; trying again");
                self.unsent.push_front((pool, shard));
                return;
            }
        }
    }

    async fn look_for_lost_shards(&mut self) {
        let now = self.output.clock.now();
        // Those that wait for a worker are in the queue, and have been silent, too.
        if self.job.misses_shards(now) && self.connection.queued().await.is_ok_and(|queued| queued == 0) {
            self.unsent.extend(self.job.repeat_shards(now));
        }
    }

    async fn handle(&mut self, message: FromWorker) -> Result<(), CliError> {
        let now = self.output.clock.now();
        match message {
            FromWorker::Announcement(worker, announcement) => self.job.announce(worker, announcement, now),
            FromWorker::Busy(answering) => answering.answer(&self.name).await,
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
                let reason = (worker.clone(), one_line(&reason, LONGEST_REASON));
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
        let workers = self.job.workers(self.output.clock.now());
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

//! Scans a shard: its hosts side by side, each reported as soon as it is finished, under a lease that is kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::SemaphorePermit,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::worker::{NEIGHBOUR, SCANNED, WorkerEnv};
use crate::{
    engine::{Link, Progress, ScanSettings},
    feed,
    fleet::work::{HostOutcome, JobAnswer, Lease, Pool, Purpose, RENEWAL, ScannedHost, Shard, WorkerReport},
    model::{Address, HostReport},
    net::{
        Links, Solicited, mac_after_scan,
        nats::{ReportFailure, ShardDelivery},
    },
    service::exclusions::{Exclusions, FirstStep, ask_for_mac},
};

/// Between two reports of how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

/// Between two attempts to renew a lease, or to report.
const AGAIN: Duration = Duration::from_secs(2);

/// How long a shard is kept whose command does not answer although the broker does: it may be connecting again.
const COMMAND_GONE: Duration = Duration::from_secs(60);

/// Why a worker is done with a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// All hosts are reported.
    Finished,
    /// It is of no use any more, and this is why.
    Dropped(&'static str),
    /// Another worker may have it.
    Lost,
    /// The worker that has it may be scanning.
    Held,
    /// The worker stops.
    Stopped,
}

/// A shard in work.
pub(super) struct ShardScan {
    env: WorkerEnv,
    shard: Shard,
    settings: ScanSettings,
    /// How far the hosts are that are being scanned.
    progress: Mutex<BTreeMap<u16, Progress>>,
}

impl ShardScan {
    pub(super) fn new(env: WorkerEnv, shard: Shard) -> Self {
        let settings = shard.host_settings();
        Self { env, shard, settings, progress: Mutex::default() }
    }

    /// Scans until all is reported, or something ends it.
    pub(super) async fn run(&self, delivery: &ShardDelivery, stop: &CancellationToken) -> Left {
        let lease = async {
            self.keep_lease(delivery).await;
            Left::Lost
        };
        let scanning = async {
            let begun = WorkerReport::Begun(self.shard.id, delivery.delivery);
            match self.report(begun).await {
                Ok(finished) => {
                    let hosts = async {
                        let ended = self.scan_hosts(&finished).await;
                        ended.err().unwrap_or(Left::Finished)
                    };
                    let progress = self.report_progress();
                    tokio::select! { left = hosts => left, left = progress => left }
                }
                Err(left) => left,
            }
        };
        // What is dropped here cancels its hosts in the engine.
        tokio::select! {
            biased;
            () = stop.cancelled() => Left::Stopped,
            left = lease => left,
            left = scanning => left,
        }
    }

    /// Renews the lease; returns once it is lost.
    async fn keep_lease(&self, delivery: &ShardDelivery) {
        let now = || self.env.clock.now();
        let mut lease = Lease::confirmed(now());
        loop {
            let sent = now();
            let is_renewed = delivery.renew().await;
            if is_renewed {
                lease.renew(sent);
            }
            sleep(if is_renewed { RENEWAL } else { AGAIN }).await;
            if lease.is_lost(now()) {
                return;
            }
        }
    }

    /// Says that it has stopped. If that is lost, the shard is taken for held a while longer.
    pub(super) async fn leave(&self) {
        let _ = self.env.connection.report(&self.shard.job, &WorkerReport::Left(self.shard.id)).await;
    }

    /// Reports until there is an answer; returns the places of finished hosts, or why to stop.
    async fn report(&self, report: WorkerReport) -> Result<Vec<u16>, Left> {
        let begun = self.env.clock.now();
        loop {
            match self.env.connection.report(&self.shard.job, &report).await {
                Ok(JobAnswer::Continue(finished)) => return Ok(finished),
                Ok(JobAnswer::Later) => return Err(Left::Held),
                Ok(JobAnswer::Drop) => {
                    return Err(Left::Dropped("it is finished, another worker has it, or the scan is over"));
                }
                Err(ReportFailure::NoCommand) if self.env.clock.now().since(begun) >= COMMAND_GONE => {
                    return Err(Left::Dropped("the command that asked for it has ended"));
                }
                // The lease ends it where the broker is away.
                Err(ReportFailure::NoCommand | ReportFailure::Again) => sleep(AGAIN).await,
            }
        }
    }

    /// Says how far it is, until it is told to stop; returns why.
    async fn report_progress(&self) -> Left {
        let mut due = interval(PROGRESS);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let all = self.board().values().fold(Progress::default(), |sum, one| Progress {
                ports: sum.ports + one.ports,
                settled: sum.settled + one.settled,
                open: sum.open + one.open,
                probes: sum.probes + one.probes,
            });
            if let Err(left) = self.report(WorkerReport::Progress(self.shard.id, all)).await {
                return left;
            }
        }
    }

    fn board(&self) -> std::sync::MutexGuard<'_, BTreeMap<u16, Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scans and reports all hosts but those at these places.
    async fn scan_hosts(&self, finished: &[u16]) -> Result<(), Left> {
        let links =
            (self.env.links)().map_err(|_| Left::Dropped("this machine's networks cannot be read"))?;
        let exclusions = Exclusions::of(Arc::clone(&self.env.config.borrow()));
        let places = (0..).zip(&self.shard.hosts).filter(|(place, _)| !finished.contains(place));
        let mut hosts: FuturesUnordered<_> = places
            .map(|(place, address)| {
                let (links, exclusions) = (&links, &exclusions);
                async move {
                    let outcome = self.scan_host(place, address, links, exclusions).await?;
                    self.report(WorkerReport::Host(self.shard.id, place, Box::new(outcome))).await
                }
            })
            .collect();
        while let Some(ended) = hosts.next().await {
            ended?;
        }
        Ok(())
    }

    async fn scan_host(
        &self,
        place: u16,
        address: &Address,
        links: &Links,
        exclusions: &Exclusions,
    ) -> Result<HostOutcome, Left> {
        if let Some(refusal) = self.refusal(address, links) {
            return Ok(HostOutcome::Refused(refusal));
        }
        let link = links.link_of(address);
        let _room = self.room(link).await;
        let excluded = || HostOutcome::Refused("the worker's configuration excludes it".to_owned());
        let down = |report| HostOutcome::Scanned(ScannedHost::new(report, None, &self.settings.ports));
        match exclusions.first(address, links) {
            FirstStep::Probe => {}
            FirstStep::LeaveOut => return Ok(excluded()),
            FirstStep::AskForMac => match ask_for_mac(links, address).await {
                Ok(Solicited::Answered(mac)) if exclusions.reason(address, mac).is_some() => {
                    return Ok(excluded());
                }
                Ok(Solicited::Answered(_)) => {}
                Ok(Solicited::Silent) => return Ok(down(HostReport::no_neighbour(address.clone()))),
                Ok(Solicited::NotAllowed) | Err(_) => {
                    let refusal = "the worker's configuration excludes a MAC, and the worker cannot ask which MAC the \
                                   host has; it needs CAP_NET_RAW";
                    return Ok(HostOutcome::Refused(refusal.to_owned()));
                }
            },
        }
        let mut ticket = self.env.scanner.submit(self.settings.job(address.clone(), link));
        let mut due = interval(PROGRESS);
        let report = loop {
            tokio::select! {
                report = ticket.report() => break report,
                _ = due.tick() => { self.board().insert(place, ticket.progress()); }
            }
        };
        self.board().remove(&place);
        let report = report.ok_or(Left::Stopped)?;
        let mac = mac_after_scan(&report, links);
        Ok(HostOutcome::Scanned(ScannedHost::new(report, mac, &self.settings.ports)))
    }

    /// Why the worker does not scan an address, whatever the hub says.
    fn refusal(&self, address: &Address, links: &Links) -> Option<String> {
        if let Err(error) = links.check_host(address) {
            return Some(error.to_string());
        }
        if Pool::nearest(self.env.networks.iter(), address).is_none() {
            return Some("it is in none of the worker's networks".to_owned());
        }
        let config = self.env.config.borrow();
        let is_own = |address: &Address| links.is_own_subnet(address);
        feed::admissible(address, is_own, &config.feed.allow).err().map(|refusal| refusal.to_string())
    }

    async fn room(&self, link: Link) -> Option<SemaphorePermit<'_>> {
        let takes = match (self.shard.purpose, link) {
            (Purpose::Scan, _) => SCANNED,
            (Purpose::Discovery, Link::OnLink) => NEIGHBOUR,
            (Purpose::Discovery, Link::Local | Link::Routed) => 1,
        };
        // The semaphore is never closed.
        self.env.room.acquire_many(takes).await.ok()
    }
}

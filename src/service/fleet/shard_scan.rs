//! Scans a shard: its hosts side by side, each reported as soon as it is finished, under a lease that is kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{OwnedSemaphorePermit, SemaphorePermit},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::worker_env::{NEIGHBOUR, SCANNED, WorkerEnv};
use crate::{
    engine::{Link, Progress, ScanSettings},
    feed,
    fleet::work::{
        HostOutcome, JobAnswer, Lease, Pool, RENEWAL, Shard, ShardHost, ShardPurpose, WorkerReport,
    },
    model::{Address, HostReport, Moment},
    net::{
        Links, Solicited, mac_after_scan,
        nats::{ReportFailure, ShardDelivery},
    },
    service::exclusions::{Exclusions, FirstStep, ask_for_mac},
};

/// Between two reports of how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

/// Between two attempts to report, or to renew in the queue.
const AGAIN: Duration = Duration::from_secs(2);

/// How long a worker asks whether it may begin: the command may be connecting again.
const TO_BEGIN: Duration = Duration::from_secs(20);

/// Why a worker is done with a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// All hosts are reported.
    Finished,
    /// It is finished already, or the scan is over.
    Over,
    /// Another worker has it.
    NotYours,
    /// The command has not answered for as long as the worker may go on without it.
    Lost,
    /// The worker that has it may be scanning.
    Held,
    /// There is no command that answers.
    NoCommand,
    /// This machine fails, and this is why.
    Failed(&'static str),
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

    /// Scans until all is reported, or something ends it. `room` is held until the hosts have asked for room of their own.
    pub(super) async fn run(
        &self,
        delivery: &ShardDelivery,
        room: OwnedSemaphorePermit,
        stop: &CancellationToken,
    ) -> Left {
        let working = async {
            let sent = self.now();
            let begun = WorkerReport::Begun(self.shard.id, delivery.delivery);
            let finished = match timeout(TO_BEGIN, self.report(&begun)).await {
                Ok(Ok(finished)) => finished,
                Ok(Err(left)) => return left,
                Err(_) => return Left::NoCommand,
            };
            let hosts = async { self.scan_hosts(&finished, room).await.err().unwrap_or(Left::Finished) };
            tokio::select! {
                left = self.keep_lease(sent) => left,
                left = hosts => left,
            }
        };
        // What is dropped here cancels its hosts in the engine.
        tokio::select! {
            biased;
            () = stop.cancelled() => Left::Stopped,
            left = working => left,
            () = renew(delivery) => Left::Lost,
        }
    }

    fn now(&self) -> Moment {
        self.env.clock.now()
    }

    /// Says that it has stopped. If that is lost, the shard is taken for held a while longer.
    pub(super) async fn leave(&self) {
        let _ = self.env.connection.report(&self.shard.job, &WorkerReport::Left(self.shard.id)).await;
    }

    /// Reports until there is an answer; returns the places of finished hosts, or why to stop.
    async fn report(&self, report: &WorkerReport) -> Result<Vec<u16>, Left> {
        loop {
            match self.env.connection.report(&self.shard.job, report).await {
                Ok(JobAnswer::Continue(finished)) => return Ok(finished),
                Ok(JobAnswer::Later) => return Err(Left::Held),
                Ok(JobAnswer::NotYours) => return Err(Left::NotYours),
                Ok(JobAnswer::Drop) => return Err(Left::Over),
                // The lease ends it.
                Err(ReportFailure::NoCommand | ReportFailure::Again) => sleep(AGAIN).await,
            }
        }
    }

    /// Says how far it is, which keeps the lease; returns once that is lost, or the command has it stop.
    async fn keep_lease(&self, begun: Moment) -> Left {
        let mut lease = Lease::confirmed(begun);
        let mut due = interval(PROGRESS);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let all = self.board().values().copied().sum();
            let sent = self.now();
            let progress = WorkerReport::Progress(self.shard.id, all);
            // Looked at also while the answer is waited for.
            match timeout(AGAIN, self.report(&progress)).await {
                Ok(Ok(_)) => lease.renew(sent),
                Ok(Err(left)) => return left,
                Err(_) => {}
            }
            if lease.is_lost(self.now()) {
                return Left::Lost;
            }
        }
    }

    fn board(&self) -> std::sync::MutexGuard<'_, BTreeMap<u16, Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scans and reports all hosts but those at these places.
    async fn scan_hosts(&self, finished: &[u16], room: OwnedSemaphorePermit) -> Result<(), Left> {
        let links = (self.env.links)().map_err(|_| Left::Failed("this machine's networks cannot be read"))?;
        let exclusions = Exclusions::of(Arc::clone(&self.env.config.borrow()));
        let places = (0..).zip(&self.shard.hosts).filter(|(place, _)| !finished.contains(place));
        let mut hosts: FuturesUnordered<BoxFuture<'_, Result<(), Left>>> = places
            .map(|(place, address)| {
                let (links, exclusions) = (&links, &exclusions);
                let scanned = async move {
                    let outcome = self.scan_host(place, address, links, exclusions).await?;
                    let report = WorkerReport::Host(self.shard.id, place, Box::new(outcome));
                    self.report(&report).await.map(drop)
                };
                scanned.boxed()
            })
            .collect();
        // The last that is polled: by then the hosts stand in line before the next shard.
        let given_back = async move {
            drop(room);
            Ok(())
        };
        hosts.push(given_back.boxed());
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
        let down = |report| HostOutcome::Scanned(ShardHost::new(report, None, &self.settings.ports));
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
        let report = report.ok_or(Left::Failed("the scanner has stopped"))?;
        let mac = mac_after_scan(&report, links);
        Ok(HostOutcome::Scanned(ShardHost::new(report, mac, &self.settings.ports)))
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
            (ShardPurpose::Scan, _) => SCANNED,
            (ShardPurpose::Discovery, Link::OnLink) => NEIGHBOUR,
            (ShardPurpose::Discovery, Link::Local | Link::Routed) => 1,
        };
        // The semaphore is never closed.
        self.env.room.acquire_many(takes).await.ok()
    }
}

/// Keeps the queue from handing the shard out again, for ever. It proves nothing but that the broker is there.
async fn renew(delivery: &ShardDelivery) {
    loop {
        let is_renewed = delivery.renew().await;
        sleep(if is_renewed { RENEWAL } else { AGAIN }).await;
    }
}

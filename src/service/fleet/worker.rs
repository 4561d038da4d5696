//! A worker: takes shards of scans from the queues of the networks that it reaches.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::shard_scan::{Left, ShardScan};
use crate::{
    clock::Clock,
    config::Config,
    fleet::work::{Announcement, Pool},
    net::{
        Links,
        nats::{BrokerError, ShardDelivery, WorkerConnection},
    },
    service::scanner::Scanner,
};

/// Between two announcements.
const ANNOUNCEMENTS: Duration = Duration::from_secs(5);

/// After a question to a queue that is not there, or to a broker that is not.
const PAUSE: Duration = Duration::from_secs(5);

/// How long a shard is left that another worker may have.
const HELD_ELSEWHERE: Duration = Duration::from_secs(10);

/// How long a shard that this worker cannot read is left for one of another version.
const UNREADABLE: Duration = Duration::from_secs(30);

/// What a worker has in progress at most, in hosts of which it is only asked whether they are there. Behind a router each
/// of them gets eight probes within some 16 s, so these are 500 a second, as many as a search for devices sends.
const ROOM: u32 = 1024;

/// What a host takes of it that is a neighbour: 128 at once. The kernel's table of neighbours has 1,024 entries for the whole
/// machine, also for addresses without a host, and clears it from 512 on (`gc_thresh2` and 3 of arp(7)).
pub(super) const NEIGHBOUR: u32 = ROOM / 128;

/// What a host takes of it of which all ports are scanned: 16 at once, as in a scan without workers.
pub(super) const SCANNED: u32 = ROOM / 16;

/// What a worker needs.
pub struct WorkerParts {
    /// The networks that it reaches.
    pub networks: BTreeSet<Pool>,
    /// Its connection to the broker.
    pub connection: WorkerConnection,
    /// The engine.
    pub scanner: Scanner,
    /// What it must not scan; the present configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Reads this machine's networks.
    pub links: fn() -> io::Result<Links>,
}

/// What all shards of a worker share.
#[derive(Clone)]
pub(super) struct WorkerEnv {
    pub(super) connection: WorkerConnection,
    pub(super) scanner: Scanner,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) links: fn() -> io::Result<Links>,
    pub(super) networks: Arc<BTreeSet<Pool>>,
    pub(super) room: Arc<Semaphore>,
}

/// Works until it is stopped; then gives its shards back.
///
/// # Errors
/// The connection is closed for good.
pub async fn work(parts: WorkerParts, stop: CancellationToken) -> Result<(), BrokerError> {
    let WorkerParts { networks, connection, scanner, config, clock, links } = parts;
    let announcement = Announcement {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        networks: networks.iter().copied().collect(),
    };
    let env = WorkerEnv {
        connection: connection.clone(),
        scanner,
        config,
        clock,
        links,
        networks: Arc::new(networks),
        room: Arc::new(Semaphore::new(ROOM as usize)),
    };
    let mut calls = connection.calls().await?;
    let mut tasks = JoinSet::new();
    for pool in env.networks.iter().copied() {
        tasks.spawn(take_shards(env.clone(), pool, stop.clone()));
    }
    let mut due = interval(ANNOUNCEMENTS);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = due.tick() => connection.announce(&announcement).await,
            called = calls.next() => {
                called.ok_or(BrokerError::Closed)?;
                tracing::debug!("a scan looks for workers");
                connection.announce(&announcement).await;
            }
            () = stop.cancelled() => break,
        }
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Takes shards from a pool's queue, as soon as there is room for a host of one.
async fn take_shards(env: WorkerEnv, pool: Pool, stop: CancellationToken) {
    let mut shards = JoinSet::new();
    while !stop.is_cancelled() {
        let has_room = async {
            // Only waited for: the hosts of the shard take it.
            drop(env.room.acquire_many(SCANNED).await);
        };
        if stop.run_until_cancelled(has_room).await.is_none() {
            break;
        }
        while shards.try_join_next().is_some() {}
        let asked = Instant::now();
        match stop.run_until_cancelled(env.connection.next_shard(&pool)).await.flatten() {
            Some(delivery) => {
                shards.spawn(work_on(env.clone(), delivery, stop.clone()));
                // Its hosts take their room before the next one is asked for.
                tokio::task::yield_now().await;
            }
            // An empty queue was waited for.
            None if asked.elapsed() >= PAUSE => {}
            None => drop(stop.run_until_cancelled(sleep(PAUSE)).await),
        }
    }
    while shards.join_next().await.is_some() {}
}

async fn work_on(env: WorkerEnv, delivery: ShardDelivery, stop: CancellationToken) {
    let shard = match &delivery.shard {
        Ok(shard) => shard.clone(),
        Err(error) => {
            tracing::warn!(%error, "a part of a scan cannot be read; upgrade the worker and the hub to the same version");
            delivery.give_back(Some(UNREADABLE)).await;
            return;
        }
    };
    let (job, number) = (shard.job, shard.id.number);
    let scan = ShardScan::new(env, shard);
    match scan.run(&delivery, &stop).await {
        Left::Finished => {
            tracing::debug!(%job, number, "a part of a scan is finished");
            delivery.finish().await;
        }
        Left::Dropped(reason) => {
            tracing::info!(%job, number, reason, "left a part of a scan");
            delivery.finish().await;
        }
        Left::Lost => {
            tracing::warn!(%job, number, "left a part of a scan: its lease was not renewed, so another worker takes it");
        }
        Left::Held => delivery.give_back(Some(HELD_ELSEWHERE)).await,
        Left::Stopped => {
            scan.leave().await;
            delivery.give_back(None).await;
        }
    }
}

//! A worker: takes shards of scans from the queues of the networks that it reaches.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    shard_scan::{Left, ShardScan},
    worker_env::{ROOM, SCANNED, WorkerEnv},
};
use crate::{
    clock::Clock,
    config::Config,
    fleet::work::{Pool, WorkerAnnouncement},
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

/// How long a shard is left that this worker cannot read or scan, or of which the command does not answer.
const LATER: Duration = Duration::from_secs(30);

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

/// Works until it is stopped; then gives its shards back.
///
/// # Errors
/// The connection is closed for good.
pub async fn work(parts: WorkerParts, stop: CancellationToken) -> Result<(), BrokerError> {
    let WorkerParts { networks, connection, scanner, config, clock, links } = parts;
    let announcement = WorkerAnnouncement {
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
    let leave = CancellationToken::new();
    let (pulling, mut pulls) = mpsc::channel(1);
    for pool in env.networks.iter().copied() {
        tasks.spawn(take_shards(env.clone(), pool, pulling.clone(), (stop.clone(), leave.clone())));
    }
    drop(pulling);
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
    // What is given back while the queue still has a request of this worker's would be handed to it again.
    let _ = pulls.recv().await;
    connection.flush().await;
    leave.cancel();
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Takes shards from a pool's queue, as soon as there is room for a host of one. It holds `pulling` while it may be handed
/// one; its shards end by themselves, or when `leave` is cancelled.
async fn take_shards(
    env: WorkerEnv,
    pool: Pool,
    pulling: mpsc::Sender<()>,
    (stop, leave): (CancellationToken, CancellationToken),
) {
    let mut shards = JoinSet::new();
    loop {
        let room = Arc::clone(&env.room).acquire_many_owned(SCANNED);
        // The semaphore is never closed.
        let Some(Ok(room)) = stop.run_until_cancelled(room).await else { break };
        while shards.try_join_next().is_some() {}
        let asked = env.clock.now();
        match stop.run_until_cancelled(env.connection.next_shard(&pool)).await {
            None => break,
            Some(Some(delivery)) => {
                shards.spawn(work_on(env.clone(), delivery, room, leave.clone()));
            }
            // An empty queue was waited for.
            Some(None) if env.clock.now().since(asked) >= PAUSE => {}
            Some(None) => {
                drop(room);
                let _ = stop.run_until_cancelled(sleep(PAUSE)).await;
            }
        }
    }
    drop(pulling);
    while shards.join_next().await.is_some() {}
}

async fn work_on(
    env: WorkerEnv,
    delivery: ShardDelivery,
    room: OwnedSemaphorePermit,
    leave: CancellationToken,
) {
    let shard = match &delivery.shard {
        Ok(shard) => shard.clone(),
        Err(error) => {
            tracing::warn!(%error, "a part of a scan cannot be read; upgrade the worker and the hub to the same version");
            delivery.give_back(Some(LATER)).await;
            return;
        }
    };
    let (job, number) = (shard.job, shard.id.number);
    let scan = ShardScan::new(env, shard);
    match scan.run(&delivery, room, &leave).await {
        Left::Finished | Left::Over => {
            tracing::debug!(%job, number, "a part of a scan is finished");
            delivery.finish().await;
        }
        Left::NotYours => tracing::info!(%job, number, "left a part of a scan: another worker has it"),
        Left::Lost => {
            tracing::warn!(%job, number, "left a part of a scan: its lease was not renewed, so another worker takes it");
        }
        Left::Held => delivery.give_back(Some(HELD_ELSEWHERE)).await,
        Left::NoCommand => {
            tracing::debug!(%job, number, "the command that asked for a part of a scan does not answer");
            delivery.give_back(Some(LATER)).await;
        }
        Left::Failed(reason) => {
            tracing::error!(%job, number, reason, "cannot scan a part of a scan; leaving it to another worker");
            scan.leave().await;
            delivery.give_back(Some(LATER)).await;
        }
        Left::Stopped => {
            scan.leave().await;
            delivery.give_back(None).await;
        }
    }
}

//! `portscan worker`: takes part in the scans of a fleet.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    log, manager, probing,
    serve::{Signals, Tasks, until_stopped, wait_for_stop},
    site::broker_access,
};
use crate::{
    clock::{Clock, SystemClock},
    config::{Config, Overrides, WorkerConfig},
    fleet::work::{NETWORKS, Pool},
    net::{Links, nats::WorkerConnection},
    service::fleet::{self, WorkerParts},
};

/// Runs the worker until a signal stops it.
pub(super) async fn work(flags: &Overrides, verbose: u8) -> anyhow::Result<()> {
    let signals = Signals::catch()?;
    let config = Config::read(flags)?;
    log::start(config.log, verbose);
    let Some(WorkerConfig { name, access, networks }) = config.worker.clone() else {
        bail!(
            "the configuration has no section [worker]; `portscan hub enrol --worker NAME`, at the hub, prints one"
        );
    };
    let networks = reached(networks)?;
    let clock = SystemClock::start();
    let connection = WorkerConnection::open(&broker_access(&access), name.clone(), Arc::new(clock)).await?;
    let probing = probing(clock).context("the scanner cannot start")?;
    let stop = CancellationToken::new();
    let (current, seen) = watch::channel(Arc::new(config));
    let shown: Vec<String> = networks.iter().map(Pool::to_string).collect();
    tracing::info!(%name, networks = shown.join(", "), "takes part in scans of these networks");

    let mut tasks = Tasks::new();
    tasks.spawn(until_stopped(stop.clone(), tell_trouble(connection.clone())));
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let scanner = probing.scanner.clone();
    let parts = WorkerParts { networks, connection, scanner, config: seen, clock, links: Links::read };
    let working = fleet::work(parts, stop.clone());
    tasks.spawn(async move { Ok(working.await?) });
    tasks.spawn(until_stopped(stop.clone(), manager::alive()));
    manager::ready();

    let ended = wait_for_stop(signals, flags, &current, &mut tasks).await;
    manager::stopping();
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    probing.scanner.stop();
    probing.thread.join();
    ended
}

/// The networks that it reaches: those of the configuration, else this machine's own.
fn reached(configured: Vec<Pool>) -> anyhow::Result<BTreeSet<Pool>> {
    if configured.len() > NETWORKS {
        bail!("worker.networks names more than {NETWORKS} networks; name larger ones that contain them");
    }
    if !configured.is_empty() {
        return Ok(configured.into_iter().collect());
    }
    let links = Links::read().context("cannot read this machine's networks")?;
    let own: BTreeSet<Pool> = links.subnets().map(Pool::new).collect();
    if own.is_empty() {
        bail!(
            "this machine is in no network; name those that it reaches under [worker]: networks = [\"192.0.2.0/24\"]"
        );
    }
    Ok(own)
}

/// Logs what the broker refuses.
async fn tell_trouble(connection: WorkerConnection) {
    let mut seen = connection.trouble();
    loop {
        if let Some(reason) = connection.next_trouble(&mut seen).await {
            tracing::warn!(reason, "the broker cannot be used; trying again");
        }
    }
}

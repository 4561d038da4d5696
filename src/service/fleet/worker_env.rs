//! What all shards of a worker share, and how much it has in progress.

use std::{collections::BTreeSet, io, sync::Arc};

use tokio::sync::{Semaphore, watch};

use crate::{
    clock::Clock,
    config::Config,
    fleet::work::Pool,
    net::{Links, nats::WorkerConnection},
    service::scanner::Scanner,
};

/// What a worker has in progress at most, in hosts of which it is only asked whether they are there. Behind a router each
/// of them gets eight probes within some 16 s, so these are 500 a second, as many as a search for devices sends.
pub(super) const ROOM: u32 = 1024;

/// What a host takes of it that is a neighbour: 128 at once. The kernel's table of neighbours has 1,024 entries for the whole
/// machine, also for addresses without a host, and clears it from 512 on (`gc_thresh2` and 3 of arp(7)).
pub(super) const NEIGHBOUR: u32 = ROOM / 128;

/// What a host takes of it of which all ports are scanned: 16 at once, as in a scan without workers.
pub(super) const SCANNED: u32 = ROOM / 16;

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

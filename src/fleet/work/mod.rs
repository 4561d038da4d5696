//! One scan, shared by many workers: what the command that asks for it and the workers tell one another, without I/O.
//!
//! The command cuts its targets into *shards* of at most 64 hosts, and puts each into the queue of a *pool*, which is a
//! network that workers say they reach. A worker takes a shard under a lease, reports each host as it is finished, and
//! removes the shard from the queue at its end. A shard whose lease has ended goes to another worker, which scans what
//! is not reported yet.
//!
//! All ports of a host are in one shard, a worker stops before its lease ends, and the command lets another one begin only
//! then: so a host is never scanned by two workers at once, and its bound holds.
//!
//! | file | content |
//! |---|---|
//! | `pool` | a network that workers reach |
//! | `shard` | a part of a scan, as a worker gets it |
//! | `report` | what a worker reports, and the answers |
//! | `lease` | for how long a shard is the worker's |
//! | `plan` | how many hosts a shard has |
//! | `shard_state` | which worker has a shard, and what of it is finished |
//! | `job` | decides which shard is next, and keeps account of what is done |

mod job;
mod lease;
mod plan;
mod pool;
mod report;
mod shard;
mod shard_state;
#[cfg(test)]
mod tests;

pub use job::{FleetJob, JobEvent, JobTotals};
pub use lease::{LEASE, Lease, RENEWAL};
pub use pool::{Pool, PoolError};
pub use report::{HostOutcome, JobAnswer, NETWORKS, ShardHost, WorkerAnnouncement, WorkerReport};
pub use shard::{JobName, JobNameError, SHARD_HOSTS, Shard, ShardId, ShardPurpose};

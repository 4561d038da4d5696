//! What a worker reports, and the answers.

use serde::{Deserialize, Serialize};

use super::{Pool, ShardId};
use crate::{
    engine::Progress,
    model::{Address, HostReport, HostStatus, Mac, PortSet, PortState},
};

/// The most networks of a worker.
pub const NETWORKS: usize = 32;

/// A worker says that it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAnnouncement {
    /// The program's version.
    pub version: String,
    /// The networks that it reaches, and from whose queues it takes: at most [`NETWORKS`].
    pub networks: Vec<Pool>,
}

/// What a worker reports of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WorkerReport {
    /// It has taken the shard, which the queue has handed out so many times.
    Begun(ShardId, u32),
    /// How far the hosts are that are not finished, all together.
    Progress(ShardId, Progress),
    /// What became of the host at this place of the shard.
    Host(ShardId, u16, Box<HostOutcome>),
    /// It has stopped before the end, and another worker may go on.
    Left(ShardId),
}

/// What became of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostOutcome {
    /// It was scanned, or asked whether it is there.
    Scanned(ShardHost),
    /// The worker does not scan it, and this is why.
    Refused(String),
}

/// A host that was scanned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardHost {
    /// What was found; without its coverage if that is all ports that were to be scanned, because a list of the commonest
    /// ports is longer than all else.
    report: HostReport,
    is_complete: bool,
    /// The MAC at the address, if the worker is a neighbour.
    mac: Option<Mac>,
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobAnswer {
    /// Go on, but for the hosts at these places, which are finished.
    Continue(Vec<u16>),
    /// Give the shard back for a while: the worker that has it may be scanning.
    Later,
    /// Stop, and leave the shard as it is: another worker has it, or the report was not about it.
    NotYours,
    /// Stop, and take the shard out of the queue: it is finished, or the scan is over.
    Drop,
}

impl WorkerReport {
    /// The shard that it is about.
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Begun(shard, _) | Self::Progress(shard, _) | Self::Host(shard, ..) | Self::Left(shard) => {
                *shard
            }
        }
    }
}

impl ShardHost {
    /// What was found at a host of which these ports were to be scanned.
    pub fn new(mut report: HostReport, mac: Option<Mac>, ports: &PortSet) -> Self {
        let is_complete = report.coverage == *ports;
        if is_complete {
            report.coverage = PortSet::default();
        }
        Self { report, is_complete, mac }
    }

    /// Returns what was found at this host, of which these ports were to be scanned. `None`: it cannot be the result of that.
    /// A worker may be in the wrong hands, and its reports go into tables, files and other programs.
    pub fn into_result(self, address: &Address, ports: &PortSet) -> Option<(HostReport, Option<Mac>)> {
        let Self { mut report, is_complete, mac } = self;
        if is_complete {
            report.coverage = ports.clone();
        }
        let HostReport { coverage, findings, .. } = &report;
        let is_result = report.address == *address
            // What is open is listed.
            && report.default_state != PortState::Open
            && (report.status != HostStatus::Down || findings.is_empty())
            && coverage.iter().all(|port| ports.contains(port))
            && findings.is_sorted_by(|one, next| one.port < next.port)
            && findings.iter().all(|finding| coverage.contains(finding.port));
        is_result.then_some((report, mac))
    }
}

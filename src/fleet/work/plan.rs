//! How many hosts a shard has.
//!
//! Few, so that all workers have work until the end and little is done again when one is lost; many, so that messages
//! are few and a worker has enough hosts at once.

use std::time::Duration;

use super::SHARD_HOSTS;
use crate::{engine::ScanSettings, model::Timing};

/// How long the hosts of a shard should take at most.
const LASTS: Duration = Duration::from_secs(120);

/// Hosts that a worker scans at once, which a shard should have.
pub(super) const AT_ONCE: usize = 16;

/// Shards for each worker at least, while there are hosts enough.
const FOR_EACH_WORKER: usize = 4;

/// From this number of hosts on it pays to find out first which are there.
const SPARSE: usize = 256;

/// Probes a second to one host, for an estimate: T3's pace, and what most hosts answer at T4.
fn pace(timing: Timing) -> f64 {
    match timing {
        Timing::T0 => 1.0 / 300.0,
        Timing::T1 => 1.0 / 15.0,
        Timing::T2 => 2.5,
        Timing::T3 => 266.0,
        Timing::T4 | Timing::T5 => 2000.0,
    }
}

/// How many hosts a shard of a scan has, with so many hosts and workers.
pub(super) fn hosts_of_shard(settings: &ScanSettings, hosts: usize, workers: usize) -> usize {
    let pace = settings.max_rate.map_or(f64::MAX, |rate| f64::from(rate.get())).min(pace(settings.timing));
    let host = f64::from(settings.ports.len()) / pace;
    let rounds = (LASTS.as_secs_f64() / host.max(f64::MIN_POSITIVE)).clamp(1.0, 4.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 4")]
    let by_time = AT_ONCE * rounds as usize;
    let fair = hosts.div_ceil(FOR_EACH_WORKER * workers.max(1));
    by_time.min(fair).clamp(1, SHARD_HOSTS)
}

/// Whether to find out first which of so many hosts are there: where it is not known that most are.
pub(super) fn is_sparse(hosts: usize) -> bool {
    hosts > SPARSE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Liveness;

    fn hosts(ports: &str, timing: Timing, hosts: usize, workers: usize) -> usize {
        let settings = ScanSettings {
            ports: ports.parse().unwrap(),
            timing,
            by_syn: false,
            liveness: Liveness::Check,
            max_in_flight: None,
            max_retries: None,
            max_rate: None,
            deadline: None,
        };
        hosts_of_shard(&settings, hosts, workers)
    }

    #[test]
    fn a_shard_has_fewer_hosts_the_longer_one_takes() {
        assert_eq!(hosts("1-1000", Timing::T3, 2000, 4), 64);
        assert_eq!(hosts("-", Timing::T3, 2000, 4), 16);
        assert_eq!(hosts("-", Timing::T4, 2000, 4), 48);
        assert_eq!(hosts("-", Timing::T0, 2000, 4), 16);
    }

    #[test]
    fn few_hosts_are_shared_by_all_workers() {
        assert_eq!(hosts("22", Timing::T3, 100, 4), 7);
        assert_eq!(hosts("22", Timing::T3, 3, 4), 1);
        assert_eq!(hosts("22", Timing::T3, 0, 0), 1);
    }
}

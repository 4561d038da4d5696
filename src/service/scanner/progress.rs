//! The progress of a job, published while it runs.

use std::mem;

use tokio::sync::watch;

use crate::{engine::Progress, model::PortSet};

/// The most open ports of a job that are reported while it runs. A host with more answers everywhere, and its report
/// follows.
pub const OPEN_PORTS: usize = 256;

/// The progress of a job, and what it has found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobProgress {
    /// How far it is.
    pub counts: Progress,
    /// The open ports found so far, in the order in which they answered; at most [`OPEN_PORTS`].
    pub open_ports: Vec<u16>,
}

/// Where a job publishes its progress.
#[derive(Clone, Debug, Default)]
pub struct ProgressSender {
    /// The progress of this job alone.
    pub progress: watch::Sender<JobProgress>,
    /// Marked as changed whenever the job has found further open ports. Many jobs may share it, so that whatever shows
    /// them waits for one thing.
    pub found: watch::Sender<()>,
}

impl ProgressSender {
    /// Begins with a job for these ports. What an earlier job for the same device has found stays, as far as this one
    /// scans it again.
    pub(super) fn begin(&self, ports: &PortSet) {
        self.progress.send_modify(|last| {
            last.counts = Progress { ports: ports.len(), ..Progress::default() };
            last.open_ports.retain(|&port| ports.contains(port));
        });
    }

    /// Publishes how far the job is. `open_ports` are all that it has found; those that were published stay.
    pub(super) fn publish(&self, counts: Progress, open_ports: impl Iterator<Item = u16>) {
        let mut has_found = false;
        self.progress.send_if_modified(|last| {
            let is_changed = mem::replace(&mut last.counts, counts) != counts;
            let known = last.open_ports.len();
            for port in open_ports {
                if last.open_ports.len() >= OPEN_PORTS {
                    break;
                }
                if !last.open_ports.contains(&port) {
                    last.open_ports.push(port);
                }
            }
            has_found = last.open_ports.len() > known;
            is_changed || has_found
        });
        if has_found {
            self.found.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_ports(sender: &ProgressSender) -> Vec<u16> {
        sender.progress.borrow().open_ports.clone()
    }

    #[test]
    fn open_ports_are_published_once_and_only_news_is_announced() {
        let sender = ProgressSender::default();
        let mut found = sender.found.subscribe();
        let mut is_announced = || {
            let has_changed = found.has_changed().unwrap();
            found.mark_unchanged();
            has_changed
        };
        let all = PortSet::from_ranges([(1, 1000)]);
        sender.begin(&all);
        let counts = |settled| Progress { ports: 1000, settled, open: 0, probes: 9 };
        sender.publish(counts(3), [443, 22].into_iter());
        assert!(is_announced());
        sender.publish(counts(4), [443, 22].into_iter());
        assert!(!is_announced(), "only the counts have changed");
        // A report has them in another order.
        sender.publish(counts(1000), [22, 80, 443].into_iter());
        assert!(is_announced());
        assert_eq!(open_ports(&sender), [443, 22, 80]);
        sender.publish(counts(1000), 1..=1000);
        assert_eq!(open_ports(&sender).len(), OPEN_PORTS);
    }

    #[test]
    fn a_second_job_keeps_what_the_first_has_found_of_its_ports() {
        let sender = ProgressSender::default();
        sender.begin(&PortSet::from_ranges([(1, 100)]));
        sender.publish(Progress { settled: 9, ..Progress::default() }, [80, 22].into_iter());
        sender.begin(&PortSet::from_ranges([(1, 50)]));
        let progress = sender.progress.borrow().clone();
        assert_eq!((progress.counts.ports, progress.counts.settled), (50, 0));
        assert_eq!(progress.open_ports, [22]);
    }
}

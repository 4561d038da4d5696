//! Observations that are being written, and the log lines once they are.

use super::{Done, Running, finished::Finished};
use crate::{
    model::{HostStatus, ScanId},
    service::agenda::LookId,
    store::Observation,
};

impl Running {
    /// Passes a look's observation to the store. The look's place is free at once, because commits are up to ten
    /// seconds apart; what it has found is shown until then, unless nothing of it will be stored. The log says
    /// "finished" only of what is on the disk.
    pub(super) fn record(&mut self, look: LookId, observation: Observation) {
        let scan = observation.scan;
        match observation.report.status {
            HostStatus::Up => self.live().keep(look, &observation.device),
            HostStatus::Down | HostStatus::Partial => self.live().remove(look),
        }
        if observation.report.status == HostStatus::Down {
            *self.down.entry(scan).or_default() += 1;
        }
        *self.unwritten.entry(scan).or_default() += 1;
        let (store, recorded) = (self.parts.store.clone(), self.parts.recorded.clone());
        let device = observation.device.key();
        self.writes.spawn(async move {
            let line = Finished::of(&observation);
            match store.record(observation).await {
                Ok(()) => {
                    line.log();
                    // If there is no room, it is found within the hour.
                    let _ = recorded.try_send(device);
                }
                Err(error) => {
                    tracing::error!(%error, address = %line.address, "failed to store a result");
                }
            }
            Done::Recorded(look, scan)
        });
    }

    pub(super) fn end_if_written(&mut self, scan: ScanId) {
        if self.unwritten.get(&scan).is_some_and(|left| *left > 0) {
            return;
        }
        self.unwritten.remove(&scan);
        if let Some(status) = self.ending.remove(&scan) {
            if let Some(hosts) = self.down.remove(&scan) {
                tracing::info!(scan = scan.0, hosts, "hosts down");
            }
            let store = self.parts.store.clone();
            self.writes.spawn(async move {
                if let Err(error) = store.end_scan(scan, status).await {
                    tracing::error!(%error, scan = scan.0, "failed to close a scan");
                }
                Done::Closed(scan)
            });
        }
    }
}

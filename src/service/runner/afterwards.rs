//! The runner's queries to the store besides scans: which devices need a second look, after every result, and which
//! are gone, now and then.

use super::{Done, Running};
use crate::service::feeds::Inventory;

impl Running {
    /// Marks the devices absent that were not seen for long.
    pub(super) fn mark_absent(&mut self, inventory: &Inventory) {
        let feeds_up = !inventory.sources.is_empty() && inventory.sources.iter().all(|source| source.up);
        let Some(since) = self.absence.due(feeds_up, &self.parts.times()) else { return };
        let store = self.parts.store.clone();
        self.writes.spawn(async move {
            if let Err(error) = store.mark_absent_since(since).await {
                tracing::error!(%error, "failed to mark devices as absent; will retry");
            }
            Done::Other
        });
    }

    /// Asks for the ports that wait for a second look: after every result, and once for what an earlier process left.
    pub(super) fn read_unconfirmed(&mut self) {
        let store = self.parts.store.clone();
        self.writes.spawn(async move {
            match store.unconfirmed_endpoints().await {
                Ok(doubts) => Done::Doubts(doubts),
                Err(error) => {
                    tracing::error!(%error, "failed to read what waits for a second look; will retry");
                    Done::Other
                }
            }
        });
    }
}

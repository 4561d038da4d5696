//! What is asked of the store afterwards: after every result who is to be looked at again, and now and then who is
//! gone.

use super::{Done, Running};
use crate::service::feeds::Inventory;

impl Running {
    /// Notes whom nobody has seen for long.
    pub(super) fn miss(&mut self, inventory: &Inventory) {
        let feeds_up = !inventory.sources.is_empty() && inventory.sources.iter().all(|source| source.up);
        let Some(since) = self.absence.due(feeds_up, &self.parts.times()) else { return };
        let store = self.parts.store.clone();
        self.writes.spawn(async move {
            if let Err(error) = store.mark_absent_since(since).await {
                tracing::error!(%error, "who is gone could not be noted");
            }
            Done::Other
        });
    }

    /// Asks what waits for a second look: after every result, and once for what an earlier process left.
    pub(super) fn ask_for_doubts(&mut self) {
        let store = self.parts.store.clone();
        self.writes.spawn(async move {
            match store.unconfirmed_endpoints().await {
                Ok(doubts) => Done::Doubts(doubts),
                Err(error) => {
                    tracing::error!(%error, "what is to be looked at again could not be read");
                    Done::Other
                }
            }
        });
    }
}

//! What Home Assistant's entities show, kept up to date.

use std::time::Duration;

use tokio::sync::watch;

use crate::{
    alerts::ApplianceState,
    service::{differences::Differences, health::Health},
    store::{Store, StoreError},
};

/// The shortest time between two states: a scan of all devices changes them often.
const PAUSE: Duration = Duration::from_secs(5);

/// How often what makes no event is looked for, as the end of a scan.
const LOOK: Duration = Duration::from_secs(15);

/// Where the state is read.
pub(super) struct StateParts {
    pub(super) store: Store,
    pub(super) differences: Differences,
    pub(super) health: watch::Receiver<Health>,
}

/// Tells the state whenever it has changed.
pub(super) async fn observe(mut parts: StateParts, told: watch::Sender<Option<ApplianceState>>) {
    let mut latest = parts.store.latest_event();
    let mut seen = None;
    loop {
        match parts.read(&mut seen).await {
            Ok(Some(state)) => {
                told.send_if_modified(|old| {
                    let is_new = old.as_ref() != Some(&state);
                    *old = Some(state);
                    is_new
                });
            }
            Ok(None) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "failed to read the state for Home Assistant; will retry"),
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            Ok(()) = latest.changed() => {}
            Ok(()) = parts.health.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

impl StateParts {
    /// Reads the state; `None`: nothing was written since the version that was seen.
    async fn read(
        &mut self,
        seen: &mut Option<(i64, Vec<String>)>,
    ) -> Result<Option<ApplianceState>, StoreError> {
        let trouble = self.health.borrow_and_update().sentences();
        let version = self.store.version().await?;
        if seen.as_ref().is_some_and(|seen| (seen.0, &seen.1) == (version, &trouble)) {
            return Ok(None);
        }
        let totals = self.store.totals().await?;
        let tally = self.differences.tally().await?;
        *seen = Some((version, trouble.clone()));
        Ok(Some(ApplianceState {
            unexpected: tally.rogue,
            missing: tally.missing,
            devices: totals.devices,
            open: tally.open,
            last_scan: totals.last_scan,
            trouble,
        }))
    }
}

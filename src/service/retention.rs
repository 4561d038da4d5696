//! Deletes what the configuration does not keep: old observations that supply no port's current state, and devices
//! that were not seen for long.
//!
//! Dates decide what is old, and a machine without a battery may have wrong ones. So nothing is deleted before the
//! clock has kept time for a while (`Trust`). An observation that the current state comes from stays, whatever the
//! clock says.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;

use super::feeds::Inventory;
use crate::{
    clock::{Clock, JumpDetector},
    config::Config,
    model::{DeviceKey, Moment, ScanId},
    store::{Repaired, Store, StoreError},
};

/// How often it deletes.
const EVERY: Duration = Duration::from_secs(3600);

/// A clock that goes wrong by more than this within a day has jumped, and so has one that differs by more from the
/// latest date that was stored.
const JUMP: Duration = Duration::from_secs(24 * 3600);

/// How long a clock that has jumped must keep time before it is trusted again.
const PROBATION: Duration = Duration::from_secs(24 * 3600);

/// Whether the wall clock may decide what is old.
#[derive(Debug)]
struct Trust {
    jumps: JumpDetector,
    /// No trust before this moment.
    from: Moment,
}

impl Trust {
    /// Returns the trust at the start, given the latest stored date: a machine that was off for no longer than
    /// [`JUMP`] shows a date soon after it.
    fn new(latest: Option<Timestamp>, now: Moment, wall: Timestamp) -> Self {
        let near = latest.is_none_or(|latest| wall.duration_since(latest).unsigned_abs() <= JUMP);
        Self { jumps: JumpDetector::since(now, wall), from: if near { now } else { now + PROBATION } }
    }

    /// Whether the clock is trusted now. Call it often: a jump is found by comparison with the last time.
    fn holds(&mut self, now: Moment, wall: Timestamp) -> bool {
        if let Some(said) = self.jumps.find(now, wall, JUMP) {
            tracing::warn!(%said, %wall, "the clock has jumped; nothing is deleted for a day");
            self.from = now + PROBATION;
        }
        now >= self.from
    }
}

/// Deletes what is old, at regular intervals, and never returns.
pub async fn keep(
    store: Store,
    clock: Arc<dyn Clock>,
    config: watch::Receiver<Arc<Config>>,
    inventory: watch::Receiver<Inventory>,
) {
    let latest = store.latest_date().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "failed to read the latest stored date; trusting the clock as it is");
        None
    });
    let mut trust = Trust::new(latest, clock.now(), clock.wall());
    loop {
        tokio::time::sleep(EVERY).await;
        // Called in any case, so that a jump is noticed.
        let trusted = trust.holds(clock.now(), clock.wall());
        if !trusted || !clock.is_synchronised() {
            continue;
        }
        let config = Arc::clone(&config.borrow());
        let inventory = inventory.borrow().clone();
        match forget(&store, clock.wall(), &config, &inventory).await {
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => tracing::warn!(%error, "pruning failed; will retry"),
        }
    }
}

async fn forget(
    store: &Store,
    wall: Timestamp,
    config: &Config,
    inventory: &Inventory,
) -> Result<(), StoreError> {
    let repaired = store.repair_dates(wall).await?;
    if repaired != Repaired::default() {
        tracing::info!(
            scans = repaired.scans,
            dates = repaired.dates,
            "future dates that a wrong clock had written are set back; their scans have new ids"
        );
    }
    for (row, device) in forgettable(store.unseen_since(wall - config.forget).await?, inventory) {
        store.forget(row).await?;
        tracing::info!(%device, "device deleted: not seen for a long time");
    }
    make_room(store, wall, config, inventory).await?;
    let changes = store.drop_old_changes().await?;
    if changes > 0 {
        tracing::info!(changes, "old change events deleted");
    }
    let pruned = store.prune(Some(ScanId((wall - config.keep).as_second()))).await?;
    if pruned.looks + pruned.scans > 0 {
        tracing::info!(looks = pruned.looks, scans = pruned.scans, "old observations deleted");
    }
    Ok(())
}

/// Deletes devices where more are stored than may be known. While a source is frozen, the devices that it does not
/// name may still be present.
async fn make_room(
    store: &Store,
    wall: Timestamp,
    config: &Config,
    inventory: &Inventory,
) -> Result<(), StoreError> {
    if inventory.sources.iter().any(|source| !source.up) {
        return Ok(());
    }
    let named = inventory.devices.iter().map(|known| known.device.key()).collect();
    let most = config.feed.max_devices;
    let forgotten = store.make_room(most, named, wall).await?;
    if forgotten > 0 {
        tracing::warn!(
            forgotten,
            max_devices = most,
            "too many devices are known; deleted those that never answered or have not answered for a long time"
        );
    }
    Ok(())
}

/// Returns those of the devices that no source names, and none while a source is frozen: a device may be unseen only
/// because no source looked for it.
fn forgettable(unseen: Vec<(i64, DeviceKey)>, inventory: &Inventory) -> Vec<(i64, DeviceKey)> {
    if inventory.sources.iter().any(|source| !source.up) {
        return Vec::new();
    }
    let named = |key: &DeviceKey| {
        inventory.devices.iter().any(|known| match key {
            DeviceKey::Mac(mac) => known.device.mac == Some(*mac),
            DeviceKey::Address(address) => known.device.address == *address,
        })
    };
    unseen.into_iter().filter(|(_, key)| !named(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Device,
        service::feeds::{Known, SourceId, SourceStatus},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Runs the clock for this many hours and checks the trust every hour. Returns whether it held at the end of each.
    fn hours(trust: &mut Trust, now: &mut Moment, wall: &mut Timestamp, count: u32) -> Vec<bool> {
        (0..count)
            .map(|_| {
                (*now, *wall) = (*now + HOUR, *wall + HOUR);
                trust.holds(*now, *wall)
            })
            .collect()
    }

    #[test]
    fn a_clock_that_goes_right_is_trusted() {
        let (mut now, mut wall) = (Moment::ZERO, at("2026-06-01T12:00:00Z"));
        for latest in [None, Some(at("2026-06-01T11:00:00Z")), Some(at("2026-05-31T18:00:00Z"))] {
            let mut trust = Trust::new(latest, now, wall);
            assert_eq!(hours(&mut trust, &mut now, &mut wall, 1), [true], "{latest:?}");
        }
    }

    #[test]
    fn a_jump_in_either_direction_puts_the_clock_on_probation() {
        for jump in ["2036-06-01T12:00:00Z", "2000-01-01T00:00:00Z", "2026-06-03T12:00:00Z"] {
            let (mut now, mut wall) = (Moment::ZERO, at("2026-06-01T12:00:00Z"));
            let mut trust = Trust::new(None, now, wall);
            assert_eq!(hours(&mut trust, &mut now, &mut wall, 2), [true, true]);
            wall = at(jump);
            assert_eq!(hours(&mut trust, &mut now, &mut wall, 24), [false; 24], "{jump}");
            assert_eq!(hours(&mut trust, &mut now, &mut wall, 1), [true], "{jump}");
        }
    }

    #[test]
    fn a_start_far_from_the_stored_dates_puts_the_clock_on_probation() {
        let (mut now, mut wall) = (Moment::ZERO, at("2036-06-01T12:00:00Z"));
        let mut trust = Trust::new(Some(at("2026-06-01T11:00:00Z")), now, wall);
        let day = hours(&mut trust, &mut now, &mut wall, 24);
        assert_eq!(day.iter().position(|trusted| *trusted), Some(23), "a day later");
        // Summer time and a slow crystal are not jumps.
        wall += HOUR;
        assert_eq!(hours(&mut trust, &mut now, &mut wall, 1), [true]);
    }

    #[test]
    fn a_device_that_is_named_or_maybe_unseen_is_kept() {
        let mac = |text: &str| DeviceKey::Mac(text.parse().unwrap());
        let unseen = || vec![(1, mac("02:00:00:00:00:01")), (2, mac("02:00:00:00:00:02"))];
        let device = Device {
            address: "192.0.2.1".parse().unwrap(),
            mac: "02:00:00:00:00:01".parse().ok(),
            name: None,
        };
        let known = Known { device, source: SourceId::Hosts, fresh: false, since: Moment::ZERO };
        let source = |up| SourceStatus {
            source: SourceId::Hosts,
            name: "hosts".to_owned(),
            up,
            asked: true,
            detail: String::new(),
            devices: 1,
            rejected: 0,
            held_back: None,
            remarks: Vec::new(),
            last_success: None,
        };
        let inventory = |up| {
            let (devices, sources) = (vec![known.clone()], vec![source(up)]);
            Inventory { devices, sources, ..Inventory::default() }
        };
        assert_eq!(forgettable(unseen(), &inventory(true)), unseen()[1..]);
        assert_eq!(forgettable(unseen(), &inventory(false)), []);
    }
}

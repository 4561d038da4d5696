//! Notifies the service manager: only systemd listens, and only if it started this process.

use std::future;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// Reports that the server accepts clients from now on.
pub(super) fn ready() {
    notify(NotifyState::Ready);
}

/// Reports that the process is stopping.
pub(super) fn stopping() {
    notify(NotifyState::Stopping);
}

/// Sends a heartbeat for ever, twice in each watchdog interval (`WatchdogSec=`), as `sd_watchdog_enabled(3)`
/// recommends. It runs as a task like all others: if the runtime no longer drives it, it drives no other task either,
/// and a restart is better. It does not check that the SD card accepts writes: a restart does not mend a hanging card.
pub(super) async fn alive() {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()) else {
        return future::pending().await;
    };
    let mut beat = interval(patience / 2);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        notify(NotifyState::Watchdog);
    }
}

/// Ignores errors: a manager that receives no message acts by itself, and no other receiver exists.
fn notify(state: NotifyState<'_>) {
    _ = sd_notify::notify(&[state]);
}

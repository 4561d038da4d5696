//! What the service manager is told: only systemd listens, and only if it started us.

use std::future;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// That clients are answered from now on.
pub(super) fn ready() {
    tell(NotifyState::Ready);
}

/// That the end has begun.
pub(super) fn stopping() {
    tell(NotifyState::Stopping);
}

/// Tells it for ever that we are alive, twice in each stretch of its patience (`WatchdogSec=`), as
/// `sd_watchdog_enabled(3)` has it. A task like all others: when it is not driven, neither are they, and a new start
/// is better. Whether a card writes is not asked: no start mends one that hangs.
pub(super) async fn alive() {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()) else {
        return future::pending().await;
    };
    let mut beat = interval(patience / 2);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        tell(NotifyState::Watchdog);
    }
}

/// A manager that does not hear it acts by itself; there is nobody else to tell.
fn tell(state: NotifyState<'_>) {
    _ = sd_notify::notify(&[state]);
}

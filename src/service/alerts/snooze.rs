//! Ends the snoozes in time.

use std::time::Duration;

use jiff::Timestamp;

use super::{REST, Shared};
use crate::{
    model::Moment,
    store::{Snooze, StoreError},
};

/// How often ends of snoozes are checked, because the wall clock may be set at any time.
const CHECK: Duration = Duration::from_secs(60);

/// A snooze, and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ActiveSnooze {
    snooze: Snooze,
    /// The latest end by the monotonic clock: a wall clock that is years behind must not prolong the snooze.
    latest: Moment,
}

/// How long a snooze still lasts, by the wall clock alone.
pub(super) fn remaining(snooze: &Snooze, wall: Timestamp) -> Duration {
    Duration::try_from(wall.duration_until(snooze.until)).unwrap_or(Duration::ZERO).min(snooze.length)
}

/// Ends each snooze in time; never returns.
pub(super) async fn run(shared: &Shared) {
    let mut asked = shared.snooze_changes.subscribe();
    let mut active = Vec::new();
    loop {
        asked.mark_unchanged();
        let pause = match step(shared, &mut active).await {
            Ok(next) => next,
            // The appliance is stopping, which also ends this task.
            Err(StoreError::Closed) => None,
            Err(error) => {
                tracing::warn!(%error, "failed to read or end the snoozes of alerts; will retry");
                Some(REST)
            }
        };
        // Without a snooze: longer than any pause, because a new one ends it.
        let pause = pause.unwrap_or(Duration::from_secs(86_400));
        tokio::select! {
            _ = asked.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Ends the snoozes that are over; returns when to check again, `None` without a snooze.
async fn step(shared: &Shared, active: &mut Vec<ActiveSnooze>) -> Result<Option<Duration>, StoreError> {
    let (now, wall) = (shared.clock.now(), shared.clock.wall());
    *active = follow(active, shared.store.snoozes().await?, now, wall);
    let is_over = |it: &ActiveSnooze| it.latest <= now;
    for over in active.iter().filter(|it| is_over(it)) {
        shared.store.end_snooze(over.snooze.device.clone()).await?;
    }
    active.retain(|it| !is_over(it));
    let is_all = active.iter().any(|it| it.snooze.device.is_none());
    shared.is_all_snoozed.send_if_modified(|known| std::mem::replace(known, is_all) != is_all);
    Ok(active.iter().map(|it| now.until(it.latest)).min().map(|next| next.min(CHECK)))
}

/// Reads the stored snoozes; a snooze that is known already keeps the earlier of its two ends.
fn follow(known: &[ActiveSnooze], stored: Vec<Snooze>, now: Moment, wall: Timestamp) -> Vec<ActiveSnooze> {
    let active = |snooze: Snooze| {
        let latest = now + remaining(&snooze, wall);
        let before = known.iter().find(|it| it.snooze == snooze).map(|it| it.latest);
        ActiveSnooze { latest: before.map_or(latest, |before| before.min(latest)), snooze }
    };
    stored.into_iter().map(active).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_does_not_prolong_a_snooze() {
        let hour = Duration::from_secs(3600);
        let wall: Timestamp = "2026-11-29T10:00:00Z".parse().unwrap();
        let snooze = Snooze { device: None, until: wall + 8 * hour, length: 8 * hour };
        assert_eq!(remaining(&snooze, wall + 2 * hour), 6 * hour);
        assert_eq!(remaining(&snooze, wall + 9 * hour), Duration::ZERO);
        // After a start in the year 2000.
        let boot: Timestamp = "2000-01-01T00:00:00Z".parse().unwrap();
        let start = Moment::ZERO + hour;
        let active = follow(&[], vec![snooze.clone()], start, boot);
        assert_eq!(active[0].latest, start + 8 * hour);
        let later = follow(&active, vec![snooze.clone()], start + 5 * hour, boot + 5 * hour);
        assert_eq!(later[0].latest, start + 8 * hour, "it does not begin anew whenever it is read");
        // The clock is set right: the snooze ends at its intended time.
        let set = follow(&later, vec![snooze], start + 6 * hour, wall + 7 * hour);
        assert_eq!(set[0].latest, start + 7 * hour);
    }
}

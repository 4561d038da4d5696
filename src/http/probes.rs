//! How many ports anybody may have looked at.
//!
//! The probe path makes this machine connect anywhere on anybody's word. That is its purpose, so what bounds
//! the harm is its rate: too low for a scan of others, or for drowning out our own. One bound for all
//! clients, because on a LAN an address is easily had.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::Refusal;
use crate::{clock::Clock, model::Moment};

/// Probes under way at once.
const AT_ONCE: usize = 16;

/// Time from one to the next in the long run: 20 a second.
const INTERVAL: Duration = Duration::from_millis(50);

/// How many may come in a bunch after a pause.
const BURST: u32 = 40;

/// Admits probes.
pub(super) struct Probes {
    clock: Arc<dyn Clock>,
    under_way: Semaphore,
    pace: Mutex<Pace>,
}

/// A token bucket kept as the time at which it will be full again (ITU-T I.371's virtual scheduling): no
/// fractions, no refill.
#[derive(Debug, Default)]
struct Pace {
    full_at: Moment,
}

impl Pace {
    /// Takes a token, or tells how long until there is one.
    fn take(&mut self, now: Moment) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + INTERVAL;
        let missing = now.until(full_at);
        if missing > INTERVAL * BURST {
            return Err(missing - INTERVAL * BURST);
        }
        self.full_at = full_at;
        Ok(())
    }
}

impl Probes {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, under_way: Semaphore::new(AT_ONCE), pace: Mutex::default() }
    }

    /// Lets one begin, or says when to come back. Dropping what it returns ends it.
    pub(super) fn admit(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let permit = self.under_way.try_acquire().map_err(|_| refusal(Duration::ZERO))?;
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.take(self.clock.now()).map_err(refusal)?;
        Ok(permit)
    }
}

fn refusal(wait: Duration) -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        format!(
            "too many ports are asked for; ask for at most {AT_ONCE} at once and {} a second",
            1000 / INTERVAL.as_millis()
        ),
    )
    .with(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_bunch_then_a_steady_pace() {
        let mut pace = Pace::default();
        let start = Moment::from_start(Duration::from_secs(1000));
        for _ in 0..BURST {
            assert_eq!(pace.take(start), Ok(()));
        }
        assert_eq!(pace.take(start), Err(INTERVAL));
        let mut taken = 0;
        for millis in 0..10_000 {
            taken += u32::from(pace.take(start + Duration::from_millis(millis)).is_ok());
        }
        assert_eq!(taken, 199, "20 a second for ten seconds, less the one that is due at the very end");
        assert_eq!(pace.take(start + Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn so_many_at_once() {
        let probes = Probes::new(Arc::new(SystemClock::start()));
        let admitted: Vec<_> = (0..AT_ONCE).map(|_| probes.admit().unwrap()).collect();
        assert!(probes.admit().is_err());
        drop(admitted);
        assert!(probes.admit().is_ok());
    }
}

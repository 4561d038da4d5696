//! Faults of this machine's in a row, without any probe that got out meanwhile: what keeps a broken machine
//! from trying the same thing a thousand times a second.

use std::time::Duration;

use crate::model::Moment;

use super::probe::LocalError;

/// Pauses after a fault: from 10 ms, doubling.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A route that is missing for a moment (an interface that comes up) is given longer.
const NO_ROUTE_PAUSE: Duration = Duration::from_millis(250);

/// No route so often in a row: it is not for a moment.
const NO_ROUTE: u32 = 3;

/// A self-connect is a coincidence of one in 28,000 and is simply tried again.
const COINCIDENCES: u32 = 3;

/// The faults met on the way to one host.
#[derive(Debug, Default)]
pub(super) struct Faults {
    row: u32,
    no_route: u32,
    until: Moment,
}

impl Faults {
    /// When the next probe may be tried.
    pub(super) const fn until(&self) -> Moment {
        self.until
    }

    /// Takes a fault; true if there is no way to the host. What comes back during a pause belongs to the fault
    /// that began it.
    pub(super) fn note(&mut self, error: LocalError, now: Moment) -> bool {
        if now < self.until {
            return false;
        }
        self.row += 1;
        self.no_route = if error == LocalError::NoRoute { self.no_route + 1 } else { 0 };
        let pause = match error {
            LocalError::SelfConnect if self.row <= COINCIDENCES => Duration::ZERO,
            LocalError::NoRoute => NO_ROUTE_PAUSE,
            _ => PAUSE,
        };
        self.until = now + (pause * (1 << (self.row - 1).min(7))).min(LONGEST_PAUSE);
        self.no_route >= NO_ROUTE
    }

    /// A probe got out.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_end_with_the_first_probe_that_gets_out() {
        let mut faults = Faults::default();
        let mut now = Moment::ZERO;
        for pause in [10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            assert!(!faults.note(LocalError::Memory, now));
            assert!(!faults.note(LocalError::NoRoute, now), "belongs to the same fault");
            assert_eq!(now.until(faults.until()), Duration::from_millis(pause));
            now = faults.until();
        }
        faults.clear();
        assert_eq!(faults.until(), Moment::ZERO);
    }

    #[test]
    fn no_route_three_times_in_a_row_is_none() {
        let mut faults = Faults::default();
        let mut note = |error| {
            let now = faults.until();
            faults.note(error, now)
        };
        let told = [LocalError::NoRoute, LocalError::NoRoute, LocalError::Memory].map(&mut note);
        assert_eq!(told, [false; 3]);
        assert_eq!([LocalError::NoRoute; 3].map(note), [false, false, true]);
    }
}

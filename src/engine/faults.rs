//! Local errors in a row, without any probe that left in between: pauses keep a broken machine from trying the same
//! thing a thousand times a second.

use std::time::Duration;

use crate::model::Moment;

use super::probe::LocalError;

/// Pauses after a local error: from 10 ms, doubling.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The pauses after a missing route are longer, because an interface may be coming up.
const NO_ROUTE_PAUSE: Duration = Duration::from_millis(250);

/// After this many of these errors in a row the host counts as unreachable.
const NO_ROUTE: u32 = 3;

/// After this many errors in a row, and 0.3 s of pauses, the fault counts as lasting.
const LASTING: u32 = 5;

/// A self-connect happens by chance, once in 28,000 probes, and is simply retried.
const COINCIDENCES: u32 = 3;

/// The local errors of the probes to one host.
#[derive(Debug, Default)]
pub(super) struct Faults {
    row: u32,
    no_route: u32,
    /// Since when the link has been down.
    link_down: Option<Moment>,
    /// Whether a probe is in flight that shows whether the fault lasts.
    trying: bool,
    until: Moment,
}

/// What a local error means for the jobs on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is retried later.
    Passing,
    /// The link has been down for this long.
    Interrupted(Duration),
    /// There is no route to the host.
    NoRoute,
}

impl Faults {
    /// When the next probe may be tried.
    pub(super) const fn until(&self) -> Moment {
        self.until
    }

    /// Whether a probe is in flight while the link is down, or after another fault has lasted: one at a time shows as
    /// much as a whole window.
    pub(super) const fn is_trying(&self) -> bool {
        self.trying
    }

    /// A probe leaves.
    pub(super) fn left(&mut self) {
        self.trying = self.link_down.is_some() || self.row >= LASTING;
    }

    /// A probe was not made.
    pub(super) fn not_made(&mut self) {
        self.trying = false;
    }

    /// Takes a local error. Further errors during a pause belong to the one that began it.
    pub(super) fn note(&mut self, error: LocalError, now: Moment) -> Meaning {
        if now < self.until {
            return Meaning::Passing;
        }
        self.trying = false;
        self.row += 1;
        self.no_route = if error == LocalError::NoRoute { self.no_route + 1 } else { 0 };
        self.link_down = (error == LocalError::LinkDown).then(|| self.link_down.unwrap_or(now));
        let pause = match error {
            LocalError::SelfConnect if self.row <= COINCIDENCES => Duration::ZERO,
            LocalError::NoRoute | LocalError::LinkDown => NO_ROUTE_PAUSE,
            _ => PAUSE,
        };
        self.until = now + (pause * (1 << (self.row - 1).min(7))).min(LONGEST_PAUSE);
        match self.link_down {
            Some(since) => Meaning::Interrupted(now.since(since)),
            None if self.no_route >= NO_ROUTE => Meaning::NoRoute,
            None => Meaning::Passing,
        }
    }

    /// A probe left this machine.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_end_with_the_first_probe_that_leaves() {
        let mut faults = Faults::default();
        let mut now = Moment::ZERO;
        for pause in [10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            assert_eq!(faults.note(LocalError::Memory, now), Meaning::Passing);
            assert_eq!(faults.note(LocalError::NoRoute, now), Meaning::Passing, "belongs to the same error");
            assert_eq!(now.until(faults.until()), Duration::from_millis(pause));
            now = faults.until();
        }
        faults.clear();
        assert_eq!(faults.until(), Moment::ZERO);
    }

    #[test]
    fn no_route_three_times_in_a_row_is_final() {
        let mut faults = Faults::default();
        let mut note = |error| {
            let now = faults.until();
            faults.note(error, now)
        };
        let told = [LocalError::NoRoute, LocalError::NoRoute, LocalError::Memory].map(&mut note);
        assert_eq!(told, [Meaning::Passing; 3]);
        let told = [LocalError::NoRoute; 3].map(note);
        assert_eq!(told, [Meaning::Passing, Meaning::Passing, Meaning::NoRoute]);
    }

    #[test]
    fn reports_how_long_the_link_has_been_down() {
        let (mut faults, mut now) = (Faults::default(), Moment::ZERO);
        for millis in [0, 250, 750, 1750, 2750] {
            let meaning = Meaning::Interrupted(Duration::from_millis(millis));
            assert_eq!(faults.note(LocalError::LinkDown, now), meaning);
            now = faults.until();
        }
        assert_eq!(faults.note(LocalError::Memory, now), Meaning::Passing);
        now = faults.until();
        assert_eq!(faults.note(LocalError::LinkDown, now), Meaning::Interrupted(Duration::ZERO));
    }
}

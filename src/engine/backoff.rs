//! The backoff towards a host that was seen to suffer from probes.

use std::time::Duration;

use crate::model::Moment;

use super::{pacer::INTERVAL, responsiveness::EndedSilence};

/// Canaries lost in a row that count as one event. By chance this happens in 2 of 10,000 silences of 2 s at 3 % loss
/// each way, and in 8 of a million at 1 %.
const EVENT: u8 = 3;

/// One event is enough if the host was silent for this long: gadgets take longer to restart, and random loss does not
/// last this long.
const AWAY: Duration = Duration::from_secs(4);

/// After this long without a lost canary, and twice as long after each further event, the backoff is relaxed by one
/// step.
const CALM: Duration = Duration::from_secs(60);

/// 50 a second, without bursts.
const GENTLE: Duration = Duration::from_millis(20);

/// 100 a second, the step between.
const BETTER: Duration = Duration::from_millis(10);

/// T3's pace, which remains whatever the template: a host that suffered from a faster one is never probed faster again.
const USUAL: Duration = INTERVAL;

/// The least window of a host.
const LEAST_WINDOW: usize = 4;

/// The backoff state of one host.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Least time between two probes; `None`: as the template says.
    interval: Option<Duration>,
    /// Since when the host has been calm.
    since: Moment,
    events: u32,
}

impl Backoff {
    /// Least time between two probes, if the host needs backoff.
    pub(super) const fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// The window that this pace can fill, if the host needs backoff.
    pub(super) fn window(&self, timeout: Duration) -> Option<usize> {
        let pace = |interval: Duration| timeout.as_millis() / interval.as_millis();
        self.interval.map(|interval| usize::try_from(pace(interval)).unwrap_or(usize::MAX).max(LEAST_WINDOW))
    }

    /// Takes a silence that has ended; returns whether the pace changes. A host that fell silent while it was
    /// `pressed` gets T3's pace, which gadgets can bear; a host that falls silent at that pace gets a slower one.
    pub(super) fn note_silence(&mut self, silence: EndedSilence, pressed: bool, now: Moment) -> bool {
        if silence.lost < EVENT {
            return false;
        }
        (self.events, self.since) = (self.events + 1, now);
        let suffers = silence.length >= AWAY || self.events >= 2;
        let wanted = if pressed { USUAL } else { GENTLE };
        suffers && self.interval.replace(wanted) != Some(wanted)
    }

    /// A canary was lost, or the host was not probed for a while: its calm is counted from now.
    pub(super) fn restart_calm(&mut self, now: Moment) {
        self.since = now;
    }

    /// Relaxes the backoff if the host has been calm for long enough; returns whether the pace changes.
    pub(super) fn relax(&mut self, now: Moment) -> bool {
        let calm = CALM * (1 << self.events.saturating_sub(1).min(6));
        let over = self.interval.is_some_and(|interval| interval > USUAL) && now.since(self.since) >= calm;
        if over {
            self.interval = Some(if self.interval == Some(GENTLE) { BETTER } else { USUAL });
            self.since = now;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    fn silence(lost: u8, seconds: u64) -> EndedSilence {
        EndedSilence { lost, length: Duration::from_secs(seconds) }
    }

    #[test]
    fn random_loss_causes_no_backoff() {
        let mut backoff = Backoff::default();
        assert!(!backoff.note_silence(silence(2, 9), false, at(10)), "two canaries");
        assert!(!backoff.note_silence(silence(3, 3), false, at(20)), "a short silence");
        assert_eq!(backoff.window(Duration::from_secs(1)), None);
        assert!(backoff.note_silence(silence(3, 3), false, at(30)), "another one");
        assert_eq!(backoff.interval(), Some(GENTLE));
        let window = |millis| backoff.window(Duration::from_millis(millis));
        assert_eq!((window(20), window(300)), (Some(4), Some(15)));
    }

    #[test]
    fn a_host_that_fails_under_pressure_gets_the_usual_pace() {
        let mut backoff = Backoff::default();
        assert!(backoff.note_silence(silence(3, 5), true, at(10)));
        assert_eq!(backoff.interval(), Some(USUAL));
        assert!(backoff.note_silence(silence(3, 5), false, at(20)), "at T3's pace, too");
        assert_eq!(backoff.interval(), Some(GENTLE));
    }

    #[test]
    fn calm_restores_the_usual_pace() {
        let mut backoff = Backoff::default();
        assert!(backoff.note_silence(silence(3, 5), false, at(0)));
        backoff.restart_calm(at(30));
        assert!(!backoff.relax(at(89)));
        assert!(backoff.relax(at(90)));
        assert_eq!(backoff.interval(), Some(BETTER));
        assert!(backoff.relax(at(150)));
        assert_eq!(backoff.interval(), Some(USUAL));
        assert!(!backoff.relax(at(999)), "no faster, ever");
        assert!(backoff.note_silence(silence(3, 3), false, at(1000)));
        assert!(!backoff.relax(at(1119)) && backoff.relax(at(1120)), "twice as long");
    }
}

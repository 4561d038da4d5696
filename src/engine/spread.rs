//! Evenly spaces probes that are likely to stay unanswered. If a whole window left at once, and the next one only
//! after all have timed out, the host would doze off in between, and the next window would find it asleep again.

use std::time::Duration;

use crate::model::Moment;

use super::{
    rate::Rate,
    tick::{TICK, tick_from, tick_of},
};

/// How far ahead of its time a probe may leave: those of one tick leave together.
const SLACK: Duration = TICK;

/// For how long a host plans with no more sockets than it had when none was free.
const SHORTAGE: Duration = Duration::from_secs(1);

/// The even spacing of a host's probes.
#[derive(Debug)]
pub(super) struct Spread {
    rate: Rate,
    shortage: Option<Shortage>,
}

/// No socket was free for the host.
#[derive(Clone, Copy, Debug)]
struct Shortage {
    /// When it began, and when it was last noted.
    began: Moment,
    at: Moment,
    /// The most sockets that the host had during the shortage.
    had: usize,
}

impl Default for Spread {
    fn default() -> Self {
        Self { rate: Rate::new(Duration::ZERO, SLACK, Moment::ZERO), shortage: None }
    }
}

impl Spread {
    /// The tick from which on the next probe may leave.
    pub(super) fn next(&self) -> Moment {
        tick_from(self.rate.next())
    }

    /// Notes that no socket was free for the host, which had this many.
    pub(super) fn note_shortage(&mut self, had: usize, now: Moment) {
        let this = Shortage { began: now, at: now, had };
        let lately = self.shortage.filter(|shortage| now.since(shortage.began) < SHORTAGE);
        self.shortage =
            Some(lately.map_or(this, |that| Shortage { at: now, had: that.had.max(had), ..that }));
    }

    /// Returns the spacing at which this many sockets suffice, if each probe holds one for this long.
    pub(super) fn interval(&self, held: Duration, sockets: usize, now: Moment) -> Duration {
        let lately = self.shortage.filter(|shortage| now.since(shortage.at) < SHORTAGE);
        let sockets = lately.map_or(sockets, |shortage| shortage.had.min(sockets)).max(1);
        held / u32::try_from(sockets).unwrap_or(u32::MAX)
    }

    /// Notes that a probe leaves; the next one may leave so much later.
    pub(super) fn take(&mut self, interval: Duration, now: Moment) {
        self.rate.set_interval(interval);
        self.rate.take(tick_of(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    const HELD: Duration = Duration::from_millis(300);

    #[test]
    fn spaces_probes_evenly_and_lets_those_of_one_tick_leave_together() {
        let mut spread = Spread::default();
        let interval = spread.interval(HELD, 300, at(0));
        let (mut now, mut left) = (at(0), Vec::new());
        while now < at(1000) {
            match spread.next() {
                next if next > now => now = next,
                _ => {
                    left.push(now);
                    spread.take(interval, now);
                }
            }
        }
        assert_eq!(left.len(), 1010);
        left.dedup();
        assert_eq!(left.len(), 98, "{left:?}");
    }

    #[test]
    fn plans_with_the_sockets_of_the_latest_shortage() {
        let mut spread = Spread::default();
        spread.note_shortage(10, at(5000));
        spread.note_shortage(7, at(5000));
        let interval = |sockets, millis| spread.interval(HELD, sockets, at(millis));
        assert_eq!((interval(50, 5999), interval(50, 6000)), (HELD / 10, HELD / 50));
        assert_eq!(interval(5, 5000), HELD / 5, "and on no more than it may have");
        spread.note_shortage(0, at(7000));
        assert_eq!(spread.interval(HELD, 50, at(7000)), HELD);
    }
}

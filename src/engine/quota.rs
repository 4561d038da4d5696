//! How many probes may stay without an answer, over all hosts: what a firewall's connection table bounds.
//!
//! A probe that nothing answers leaves an entry in that table for two minutes, whatever became of its socket;
//! its retransmits are the same entry. One that is answered leaves its entry for ten seconds, and is not
//! counted here. Which it will be is not known when it leaves. So hosts that mostly answer are trusted and
//! charged afterwards, for what stays silent; the others pay when the probe leaves and get it back with the
//! answer. A scanner that charged everybody at once would slow down those that answer to the pace of those that
//! do not; one that charged everybody afterwards would send in bunches, a window's worth at a time.

use std::{num::NonZeroU32, time::Duration};

use crate::model::Moment;

use super::rate::Rate;

/// How much may be spent at once, in the time that it takes to come back: enough for the first probes of a
/// few hosts that are not known to answer yet, too little to be felt by the table.
const BURST: Duration = Duration::from_millis(250);

/// How deep in debt those that mostly answer may bring everybody.
const DEEPEST: Duration = Duration::from_secs(2);

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuotaLevel {
    /// Enough for anybody.
    Enough,
    /// Only hosts that mostly answer may send.
    Low,
    /// Nobody may.
    Exhausted,
}

/// What may stay silent.
#[derive(Debug)]
pub(super) struct Quota(Rate);

impl Quota {
    pub(super) fn new(per_second: Option<NonZeroU32>) -> Self {
        Self(Rate::new(interval(per_second), BURST, Moment::ZERO))
    }

    /// From now on so many. What is spent takes as long as before to come back.
    pub(super) fn set(&mut self, per_second: Option<NonZeroU32>) {
        match per_second {
            Some(_) => self.0.set_interval(interval(per_second)),
            None => *self = Self::new(None),
        }
    }

    pub(super) fn level(&self, now: Moment) -> QuotaLevel {
        match now.until(self.enough_at()) {
            Duration::ZERO => QuotaLevel::Enough,
            wait if wait <= DEEPEST - BURST => QuotaLevel::Low,
            _ => QuotaLevel::Exhausted,
        }
    }

    /// When there is enough for anybody.
    pub(super) fn enough_at(&self) -> Moment {
        self.0.next()
    }

    /// A probe stays silent, or may.
    pub(super) fn charge(&mut self, now: Moment) {
        self.0.take(now);
    }

    /// One that was charged was answered.
    pub(super) fn refund(&mut self) {
        self.0.give_back();
    }
}

/// Zero: there is no bound.
fn interval(per_second: Option<NonZeroU32>) -> Duration {
    per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get())
}

/// What is to be expected of a host: the share of its latest looks that stayed silent.
#[derive(Debug)]
pub(super) struct Expectation(f64);

/// The weight of the latest look.
const LATEST: f64 = 0.25;

/// From this share on it is not one that mostly answers: one silence is enough, five answers make up for any.
const SILENT: f64 = 0.25;

impl Default for Expectation {
    /// Of a stranger silence is expected.
    fn default() -> Self {
        Self(1.0)
    }
}

impl Expectation {
    pub(super) fn note(&mut self, silent: bool) {
        self.0 += (f64::from(u8::from(silent)) - self.0) * LATEST;
    }

    pub(super) fn is_silence(&self) -> bool {
        self.0 >= SILENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn a_quarter_of_a_second_at_once_then_the_rate() {
        let mut quota = Quota::new(NonZeroU32::new(100));
        let spend = |quota: &mut Quota, now| {
            (0..1000)
                .take_while(|_| quota.level(now) == QuotaLevel::Enough && (quota.charge(now), true).1)
                .count()
        };
        assert_eq!(spend(&mut quota, at(10_000)), 26);
        assert_eq!((quota.level(at(10_009)), quota.enough_at()), (QuotaLevel::Low, at(10_010)));
        assert_eq!((11..=110).map(|second| spend(&mut quota, at(second * 1000))).sum::<usize>(), 26 * 100);
        let later = (1..=10_000).map(|millis| spend(&mut quota, at(110_000 + millis))).sum::<usize>();
        assert_eq!(later, 1000);
    }

    #[test]
    fn answers_are_free_and_debts_are_everybodys() {
        let mut quota = Quota::new(NonZeroU32::new(10));
        for millis in 0..100_000 {
            quota.charge(at(millis));
            quota.refund();
            assert_eq!(quota.level(at(millis)), QuotaLevel::Enough);
        }
        (0..21).for_each(|_| quota.charge(at(100_000)));
        assert_eq!(quota.level(at(100_000)), QuotaLevel::Exhausted);
        assert_eq!(quota.level(at(100_100)), QuotaLevel::Low);
        quota.set(None);
        assert_eq!(quota.level(at(100_100)), QuotaLevel::Enough);
    }

    #[test]
    fn without_a_bound_there_is_always_enough() {
        let mut quota = Quota::new(None);
        (0..100_000).for_each(|_| quota.charge(at(1)));
        assert_eq!(quota.level(at(1)), QuotaLevel::Enough);
    }

    #[test]
    fn one_silence_is_enough_and_five_answers_make_up_for_it() {
        let mut expected = Expectation::default();
        assert!(expected.is_silence(), "a stranger");
        (0..4).for_each(|_| expected.note(false));
        assert!(expected.is_silence());
        expected.note(false);
        assert!(!expected.is_silence());
        expected.note(true);
        assert!(expected.is_silence());
    }
}

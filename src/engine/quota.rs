//! Bounds how many probes may stay unanswered, over all hosts, because they fill a firewall's connection table.
//!
//! An unanswered probe leaves an entry in that table for two minutes, whatever happens to its socket; its retransmits
//! share the entry. The entry of an answered probe lasts ten seconds and is not counted here. Which of the two a
//! probe causes is unknown when it leaves. So hosts that mostly answer are charged afterwards, only for the probes
//! that stay unanswered; other hosts are charged when the probe leaves, and refunded with the reply. To charge all
//! hosts at once would slow down those that answer to the pace of those that do not; to charge all hosts afterwards
//! would send in bursts, a window's worth at a time.

use std::{num::NonZeroU32, time::Duration};

use crate::model::Moment;

use super::rate::Rate;

/// How much may be spent at once, as the time that it takes to regain it: enough for the first probes of a few hosts
/// that are not known to answer yet, too little to matter to the table.
const BURST: Duration = Duration::from_millis(250);

/// The deepest debt that hosts which mostly answer may cause.
const DEEPEST: Duration = Duration::from_secs(2);

/// How much of the quota is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuotaLevel {
    /// Enough for every host.
    Enough,
    /// Only hosts that mostly answer may be probed.
    Low,
    /// No host may be probed.
    Exhausted,
}

/// The quota of unanswered probes.
#[derive(Debug)]
pub(super) struct Quota(Rate);

impl Quota {
    pub(super) fn new(per_second: Option<NonZeroU32>) -> Self {
        Self(Rate::new(interval(per_second), BURST, Moment::ZERO))
    }

    /// Changes the quota from now on. What is spent takes as long as before to regain.
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

    /// When there is enough for every host.
    pub(super) fn enough_at(&self) -> Moment {
        self.0.next()
    }

    /// Charges a probe that stays unanswered, or may.
    pub(super) fn charge(&mut self, now: Moment) {
        self.0.take(now);
    }

    /// Refunds a charged probe that was answered.
    pub(super) fn refund(&mut self) {
        self.0.give_back();
    }
}

/// The time per probe; zero: there is no bound.
fn interval(per_second: Option<NonZeroU32>) -> Duration {
    per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get())
}

/// What to expect of a host: the share of its latest probes that stayed unanswered.
#[derive(Debug)]
pub(super) struct SilentShare(f64);

/// The weight of the latest probe.
const LATEST: f64 = 0.25;

/// From this share on the host does not count as mostly answering: one unanswered probe is enough, and five replies
/// make up for any number.
const SILENT: f64 = 0.25;

impl Default for SilentShare {
    /// A host that was not probed yet is expected to be silent.
    fn default() -> Self {
        Self(1.0)
    }
}

impl SilentShare {
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
    fn allows_a_burst_of_a_quarter_second_then_the_rate() {
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
    fn replies_are_free_and_debts_are_shared_by_all_hosts() {
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
    fn one_unanswered_probe_is_enough_and_five_replies_make_up_for_it() {
        let mut expected = SilentShare::default();
        assert!(expected.is_silence(), "not probed yet");
        (0..4).for_each(|_| expected.note(false));
        assert!(expected.is_silence());
        expected.note(false);
        assert!(!expected.is_silence());
        expected.note(true);
        assert!(expected.is_silence());
    }
}

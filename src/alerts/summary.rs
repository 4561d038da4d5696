//! A channel's daily or weekly summary of the network.
//!
//! It is due at a local time of day, so it needs a trusted clock. Its text is stored before the first attempt and its
//! delivery afterwards, so it arrives at least once, each time with the same content under the same key. A summary
//! that was due while the appliance was off is sent at the next start, because a missing summary should mean that the
//! appliance is dead. Of several such summaries only the latest is sent, because it contains the others' news.

use std::time::Duration;

use jiff::{
    ToSpan,
    civil::{Date, DateTime},
};
use serde::{Deserialize, Serialize};

use super::outbox::{Pace, QUIET_CHECK, retry_delay};
use crate::{config::SummaryTime, model::Moment};

/// A summary marked as done for a day this far in the future comes from a wrong clock, and is ignored.
const AHEAD_DAYS: i32 = 8;

/// What is stored of a channel's summaries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSummary {
    /// When they are due, as in the configuration; another time starts them anew.
    pub schedule: String,
    /// The day of the latest summary that is done; before the first, the last day before `summary` was configured.
    pub done: Option<Date>,
    /// The latest change event when that summary was written; later ones are new.
    pub after: i64,
    /// The one that is being delivered.
    pub waiting: Option<WaitingSummary>,
}

/// A summary that is being delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingSummary {
    /// The day on which it was due.
    pub day: Date,
    /// What distinguishes it from every other summary of its channel.
    pub number: String,
    /// The latest change event when it was written.
    pub newest: i64,
    /// As it was written.
    pub title: String,
    /// As it was written.
    pub text: String,
    /// Whether nothing needs the owner's attention.
    pub is_as_expected: bool,
}

/// The next step for a summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SummaryStep {
    /// This moment.
    Wait(Moment),
    /// That this is saved; then [`SummaryWatch::saved`].
    Save(SavedSummary),
    /// That the summary of this day is written: then [`SummaryWatch::write`], or [`SummaryWatch::skip`].
    Write {
        /// The day.
        day: Date,
        /// Events after this one are new.
        after: i64,
    },
    /// That it is sent; then [`SummaryWatch::delivered`] or [`SummaryWatch::failed`].
    Send(WaitingSummary),
}

/// One channel's summaries.
#[derive(Debug)]
pub struct SummaryWatch {
    time: SummaryTime,
    saved: SavedSummary,
    attempts: u32,
    next_try: Moment,
    failing_since: Option<Moment>,
}

impl SummaryWatch {
    /// Continues from a saved state.
    pub fn new(time: SummaryTime, saved: SavedSummary, now: Moment) -> Self {
        Self { time, saved, attempts: 0, next_try: now, failing_since: None }
    }

    /// Returns the next step. `local` is the local time, if the clock is trusted; `newest` is the latest event.
    pub fn step(&self, pace: &Pace, now: Moment, local: Option<DateTime>, newest: i64) -> SummaryStep {
        let later = SummaryStep::Wait(now + QUIET_CHECK);
        let is_quiet = pace.is_quiet(local.map(DateTime::time));
        if let Some(waiting) = &self.saved.waiting {
            return match () {
                () if now < self.next_try => SummaryStep::Wait(self.next_try),
                () if is_quiet => later,
                () => SummaryStep::Send(waiting.clone()),
            };
        }
        let Some(local) = local else { return later };
        let latest = latest_day(self.time, local);
        let schedule = self.time.to_string();
        let is_ahead = |done: Date| (done - latest).get_days() > AHEAD_DAYS;
        match self.saved.done {
            Some(done) if self.saved.schedule == schedule && !is_ahead(done) => {
                if done >= latest {
                    return SummaryStep::Wait(now + until_next(self.time, local).min(QUIET_CHECK));
                }
                if is_quiet { later } else { SummaryStep::Write { day: latest, after: self.saved.after } }
            }
            _ => {
                SummaryStep::Save(SavedSummary { schedule, done: Some(latest), after: newest, waiting: None })
            }
        }
    }

    /// Returns the state to save once the summary of a day is written; call [`SummaryWatch::saved`] then.
    pub fn write(&self, waiting: WaitingSummary) -> SavedSummary {
        SavedSummary { waiting: Some(waiting), ..self.saved.clone() }
    }

    /// Returns the state to save if the summary of a day is not sent; call [`SummaryWatch::saved`] then.
    pub fn skip(&self, day: Date) -> SavedSummary {
        SavedSummary { done: Some(day), ..self.saved.clone() }
    }

    /// Records that the summary was sent, or that the receiver refused it for good. Returns the state to save; call
    /// [`SummaryWatch::saved`] then.
    pub fn delivered(&mut self) -> SavedSummary {
        self.attempts = 0;
        self.failing_since = None;
        let SavedSummary { schedule, done, after, waiting } = self.saved.clone();
        let (done, after) = waiting.map_or((done, after), |it| (Some(it.day), it.newest));
        SavedSummary { schedule, done, after, waiting: None }
    }

    /// Records that an attempt failed and another may succeed.
    pub fn failed(&mut self, now: Moment) {
        self.next_try = now + retry_delay(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        self.failing_since.get_or_insert(now);
    }

    /// Records that the state is stored.
    pub fn saved(&mut self, saved: SavedSummary) {
        self.saved = saved;
    }

    /// Failed attempts at the present summary.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether one is being delivered, and for how long every attempt has failed.
    pub fn waiting(&self, now: Moment) -> Option<Option<Duration>> {
        self.saved.waiting.as_ref()?;
        Some(self.failing_since.map(|since| now.since(since)))
    }
}

/// The latest day, up to now, for which the summary is due.
fn latest_day(time: SummaryTime, local: DateTime) -> Date {
    let today = local.date();
    let last = if local.time() >= time.at { today } else { today.saturating_sub(1.day()) };
    let back = time.weekday.map_or(0, |weekday| last.weekday().since(weekday));
    last.saturating_sub(i64::from(back).days())
}

/// Returns the time until the next one, in local time.
fn until_next(time: SummaryTime, local: DateTime) -> Duration {
    let period = if time.weekday.is_some() { 7 } else { 1 };
    let next = latest_day(time, local).saturating_add(period.days()).to_datetime(time.at);
    Duration::try_from(local.duration_until(next)).unwrap_or(QUIET_CHECK)
}

#[cfg(test)]
mod tests {
    use jiff::civil::{Weekday, date, time};

    use super::*;
    use crate::config::QuietHours;

    const PACE: Pace = Pace { group: Duration::from_secs(30), burst: 10, quiet: None };
    const DAILY: SummaryTime = SummaryTime { weekday: None, at: time(8, 0, 0, 0) };

    fn at(day: i8, hour: i8, minute: i8) -> DateTime {
        date(2026, 11, day).at(hour, minute, 0, 0)
    }

    /// A watch that has begun on the 9th.
    fn begun(summary: SummaryTime) -> SummaryWatch {
        let mut watch = SummaryWatch::new(summary, SavedSummary::default(), Moment::ZERO);
        let SummaryStep::Save(saved) = watch.step(&PACE, Moment::ZERO, Some(at(9, 12, 0)), 7) else {
            panic!()
        };
        watch.saved(saved);
        watch
    }

    fn summary(day: i8) -> WaitingSummary {
        WaitingSummary {
            day: date(2026, 11, day),
            number: format!("2026-11-{day}"),
            newest: 40,
            title: "portscan: all as expected".to_owned(),
            text: "41 devices".to_owned(),
            is_as_expected: true,
        }
    }

    fn is_waiting(step: &SummaryStep) -> bool {
        matches!(step, SummaryStep::Wait(_))
    }

    #[test]
    fn one_is_sent_each_day_and_none_at_the_begin() {
        let mut watch = begun(DAILY);
        let now = Moment::ZERO;
        assert!(is_waiting(&watch.step(&PACE, now, Some(at(10, 7, 59)), 9)));
        assert!(is_waiting(&watch.step(&PACE, now, None, 9)), "not without a trusted clock");
        let due = watch.step(&PACE, now, Some(at(10, 8, 0)), 9);
        assert_eq!(due, SummaryStep::Write { day: date(2026, 11, 10), after: 7 });
        watch.saved(watch.write(summary(10)));
        let Some(SummaryStep::Send(sent)) = Some(watch.step(&PACE, now, None, 50)) else { panic!() };
        watch.failed(now);
        assert_eq!(
            watch.step(&PACE, now, Some(at(10, 8, 1)), 50),
            SummaryStep::Wait(now + Duration::from_secs(10))
        );
        assert_eq!(watch.waiting(now + Duration::from_secs(9)), Some(Some(Duration::from_secs(9))));
        let saved = watch.delivered();
        assert_eq!((saved.done, saved.after, &saved.waiting), (Some(sent.day), 40, &None));
        watch.saved(saved);
        assert!(is_waiting(&watch.step(&PACE, now, Some(at(10, 23, 59)), 50)));
        // The hour in which the clock is put back, or a small correction of it.
        assert!(is_waiting(&watch.step(&PACE, now, Some(at(10, 7, 59)), 50)));
        let next = watch.step(&PACE, now, Some(at(11, 8, 0)), 50);
        assert_eq!(next, SummaryStep::Write { day: date(2026, 11, 11), after: 40 });
    }

    #[test]
    fn what_is_killed_before_it_was_sent_is_sent_the_same_and_afterwards_not_again() {
        let watch = begun(DAILY);
        let stored = serde_json::to_string(&watch.write(summary(10))).unwrap();
        let restarted = || SummaryWatch::new(DAILY, serde_json::from_str(&stored).unwrap(), Moment::ZERO);
        for _ in 0..3 {
            let step = restarted().step(&PACE, Moment::ZERO, Some(at(12, 9, 0)), 60);
            assert_eq!(step, SummaryStep::Send(summary(10)));
        }
        let stored = restarted().delivered();
        let watch = SummaryWatch::new(DAILY, stored, Moment::ZERO);
        assert!(is_waiting(&watch.step(&PACE, Moment::ZERO, Some(at(10, 9, 0)), 60)));
    }

    #[test]
    fn of_those_missed_while_it_was_off_the_latest_is_sent() {
        let mut watch = begun(DAILY);
        let due = watch.step(&PACE, Moment::ZERO, Some(at(20, 3, 0)), 60);
        assert_eq!(due, SummaryStep::Write { day: date(2026, 11, 19), after: 7 });
        watch.saved(watch.skip(date(2026, 11, 19)));
        assert!(is_waiting(&watch.step(&PACE, Moment::ZERO, Some(at(20, 3, 0)), 60)));
    }

    #[test]
    fn a_weekly_one_is_due_on_its_day() {
        let monday = SummaryTime { weekday: Some(Weekday::Monday), at: time(8, 0, 0, 0) };
        // The 9th is a Monday.
        let watch = begun(monday);
        for early in [at(10, 9, 0), at(15, 23, 59), at(16, 7, 59)] {
            assert!(is_waiting(&watch.step(&PACE, Moment::ZERO, Some(early), 60)), "{early}");
        }
        for due in [at(16, 8, 0), at(18, 1, 0)] {
            let step = watch.step(&PACE, Moment::ZERO, Some(due), 60);
            assert_eq!(step, SummaryStep::Write { day: date(2026, 11, 16), after: 7 });
        }
    }

    #[test]
    fn it_begins_anew_with_another_time_and_after_a_clock_that_was_years_ahead() {
        let evening = SummaryTime { at: time(20, 0, 0, 0), ..DAILY };
        let step = SummaryWatch::new(evening, begun(DAILY).saved, Moment::ZERO);
        let step = step.step(&PACE, Moment::ZERO, Some(at(12, 10, 0)), 60);
        assert!(
            matches!(&step, SummaryStep::Save(saved) if saved.done == Some(date(2026, 11, 11))),
            "{step:?}"
        );
        let mut watch = begun(DAILY);
        watch.saved(watch.skip(date(2038, 1, 19)));
        let step = watch.step(&PACE, Moment::ZERO, Some(at(12, 10, 0)), 60);
        assert!(
            matches!(&step, SummaryStep::Save(saved) if saved.done == Some(date(2026, 11, 12))),
            "{step:?}"
        );
    }

    #[test]
    fn quiet_hours_hold_it() {
        let quiet = QuietHours { from: time(7, 0, 0, 0), until: time(9, 0, 0, 0) };
        let pace = Pace { quiet: Some(quiet), ..PACE };
        let mut watch = begun(DAILY);
        assert!(is_waiting(&watch.step(&pace, Moment::ZERO, Some(at(10, 8, 30)), 60)));
        watch.saved(watch.write(summary(10)));
        assert!(is_waiting(&watch.step(&pace, Moment::ZERO, Some(at(11, 8, 30)), 60)));
        let step = watch.step(&pace, Moment::ZERO, Some(at(11, 9, 0)), 60);
        assert_eq!(step, SummaryStep::Send(summary(10)));
    }
}

//! The appliance's own trouble, for which there is no change event. It is reported once it has lasted for a while,
//! and again when it is over.

use std::time::Duration;

use super::outbox::{Pace, QUIET_CHECK, retry_delay};
use crate::model::Moment;

/// How long a trouble, or its absence, must last before it is reported: a feed that restarts is no news.
const SETTLE: Duration = Duration::from_secs(300);

/// What a channel has reported of the appliance's trouble; survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedTrouble {
    /// The sentences without their figures; empty: no trouble.
    pub told: String,
    /// How many messages of this kind the channel has had: the next one's key.
    pub number: i64,
}

/// The next step for a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TroubleStep {
    /// This moment, or, without one, another state of the appliance.
    Wait(Option<Moment>),
    /// That a message with this number is sent; then [`TroubleWatch::delivered`] or [`TroubleWatch::failed`].
    Send {
        /// The message's number.
        number: i64,
        /// One sentence for each trouble; none: it is over.
        sentences: Vec<String>,
    },
}

/// One channel's view of the appliance's trouble.
#[derive(Debug)]
pub struct TroubleWatch {
    saved: SavedTrouble,
    sentences: Vec<String>,
    /// Since when the appliance is in this state.
    since: Moment,
    attempts: u32,
    next_try: Moment,
}

impl TroubleWatch {
    /// Continues from a saved state.
    pub fn new(saved: SavedTrouble, now: Moment) -> Self {
        Self { saved, sentences: Vec::new(), since: now, attempts: 0, next_try: now }
    }

    /// Takes the present troubles of the appliance.
    pub fn note(&mut self, sentences: Vec<String>, now: Moment) {
        if essence(&sentences) != essence(&self.sentences) {
            self.since = now;
        }
        self.sentences = sentences;
    }

    /// Returns the next step. As for an outbox, `time` is the local time of day if the clock is trusted.
    pub fn step(&self, pace: &Pace, now: Moment, time: Option<jiff::civil::Time>) -> TroubleStep {
        if essence(&self.sentences) == self.saved.told {
            return TroubleStep::Wait(None);
        }
        let due = (self.since + SETTLE).max(self.next_try);
        if now < due {
            return TroubleStep::Wait(Some(due));
        }
        if pace.is_quiet(time) {
            return TroubleStep::Wait(Some(now + QUIET_CHECK));
        }
        TroubleStep::Send { number: self.saved.number + 1, sentences: self.sentences.clone() }
    }

    /// Records that the message about these sentences was sent or refused for good; returns the state to save.
    pub fn delivered(&mut self, sentences: &[String]) -> SavedTrouble {
        self.attempts = 0;
        self.saved = SavedTrouble { told: essence(sentences), number: self.saved.number + 1 };
        self.saved.clone()
    }

    /// Records that an attempt failed and another may succeed.
    pub fn failed(&mut self, now: Moment) {
        self.next_try = now + retry_delay(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
    }
}

/// Returns the sentences without their figures, such as how long the trouble has lasted, which change while the trouble
/// stays the same. The digits of a name stay: another site's trouble is another trouble.
fn essence(sentences: &[String]) -> String {
    let is_name = |word: &str| word.starts_with(|c: char| c.is_ascii_alphabetic());
    let without = |word: &str| -> String { word.chars().filter(|c| !c.is_ascii_digit()).collect() };
    let of_word = |word: &str| if is_name(word) { word.to_owned() } else { without(word) };
    let of_sentence = |sentence: &String| sentence.split(' ').map(of_word).collect::<Vec<String>>().join(" ");
    let mut sentences: Vec<String> = sentences.iter().map(of_sentence).collect();
    sentences.sort_unstable();
    sentences.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { group: Duration::from_secs(30), burst: 10, quiet: None };
    const MINUTE: Duration = Duration::from_secs(60);

    fn sentences(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    fn a_trouble_that_lasts_is_told_once_and_so_is_its_end() {
        let start = Moment::ZERO;
        let mut watch = TroubleWatch::new(SavedTrouble::default(), start);
        assert_eq!(watch.step(&PACE, start, None), TroubleStep::Wait(None));
        watch.note(sentences("feed a: no answer for 1 min"), start);
        assert_eq!(watch.step(&PACE, start, None), TroubleStep::Wait(Some(start + 5 * MINUTE)));
        watch.note(sentences("feed a: no answer for 4 min"), start + 4 * MINUTE);
        let now = start + 5 * MINUTE;
        let TroubleStep::Send { number: 1, sentences: told } = watch.step(&PACE, now, None) else { panic!() };
        watch.failed(now);
        assert_eq!(watch.step(&PACE, now, None), TroubleStep::Wait(Some(now + Duration::from_secs(10))));
        let saved = watch.delivered(&told);
        watch.note(sentences("feed a: no answer for 90 min"), now);
        assert_eq!(
            watch.step(&PACE, now + 90 * MINUTE, None),
            TroubleStep::Wait(None),
            "another figure is no news"
        );

        // After a restart it knows what it has reported.
        let mut watch = TroubleWatch::new(saved, start);
        watch.note(sentences("feed a: no answer for 99 min"), start);
        assert_eq!(watch.step(&PACE, start + 10 * MINUTE, None), TroubleStep::Wait(None));
        watch.note(Vec::new(), start + 10 * MINUTE);
        let end = TroubleStep::Send { number: 2, sentences: Vec::new() };
        assert_eq!(watch.step(&PACE, start + 15 * MINUTE, None), end);
    }

    #[test]
    fn a_short_trouble_is_not_told() {
        let mut watch = TroubleWatch::new(SavedTrouble::default(), Moment::ZERO);
        watch.note(sentences("feed a: down"), Moment::ZERO);
        watch.note(Vec::new(), Moment::ZERO + 4 * MINUTE);
        assert_eq!(watch.step(&PACE, Moment::ZERO + 60 * MINUTE, None), TroubleStep::Wait(None));
    }

    #[test]
    fn the_trouble_of_another_site_is_another_trouble() {
        let essence = |text: &str| essence(&sentences(text));
        assert_eq!(essence("feed a1: no answer for 4 min"), essence("feed a1: no answer for 17 min"));
        assert_ne!(essence("site house-3 is silent"), essence("site house-4 is silent"));
    }
}

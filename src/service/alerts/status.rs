//! The state of the channels for display. Only in memory: what must survive a restart is in the store.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    alerts::{ChannelOutbox, NextMessage},
    model::Moment,
};

/// The activity of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelState {
    /// All events are sent.
    #[default]
    Idle,
    /// A message is being delivered.
    Delivering,
    /// A message waits for further events.
    Waiting,
    /// Too many messages were sent, so the next one waits.
    Paused,
    /// A message is held until the quiet hours end.
    Quiet,
    /// The latest attempt failed; another follows.
    Failing,
}

/// The state of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelStatus {
    /// Its activity.
    pub state: ChannelState,
    /// Events that wait; those of the message that is being delivered count as one.
    pub pending: usize,
    /// How long the oldest waiting alert has waited.
    pub oldest: Option<Duration>,
    /// How long the next message or attempt waits, where that is known.
    pub next: Option<Duration>,
    /// For how long every attempt has failed.
    pub failing: Option<Duration>,
    /// Why the latest attempt failed, if it did.
    pub error: Option<String>,
    /// Why the latest message has the built-in text, if its template failed.
    pub template_error: Option<String>,
    /// When the latest message was delivered, since the start.
    pub delivered_at: Option<Timestamp>,
    /// Messages delivered since the start.
    pub delivered: u64,
    /// Attempts failed since the start, refusals included.
    pub failed: u64,
}

/// The states of all channels.
#[derive(Default)]
pub(super) struct Statuses(BTreeMap<String, (ChannelStatus, Moment)>);

impl ChannelState {
    /// Its name in APIs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Delivering => "delivering",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Quiet => "quiet",
            Self::Failing => "failing",
        }
    }
}

impl Statuses {
    /// Forgets all channels but these.
    pub(super) fn keep(&mut self, names: &[String]) {
        self.0.retain(|name, _| names.contains(name));
    }

    /// Returns the state of a channel, with its ages brought up to now.
    pub(super) fn of(&self, name: &str, now: Moment) -> ChannelStatus {
        let Some((status, noted)) = self.0.get(name) else { return ChannelStatus::default() };
        let mut status = status.clone();
        let passed = now.since(*noted);
        for age in [&mut status.oldest, &mut status.failing].into_iter().flatten() {
            *age += passed;
        }
        status.next = status.next.map(|next| next.saturating_sub(passed));
        status
    }

    /// Records the state of a channel.
    pub(super) fn note(&mut self, name: &str, outbox: &ChannelOutbox, next: NextMessage, now: Moment) {
        let (status, noted) = self.0.entry(name.to_owned()).or_default();
        status.pending = outbox.pending();
        status.oldest = outbox.oldest(now);
        status.failing = outbox.failing(now);
        let (state, until) = match next {
            NextMessage::Nothing => (ChannelState::Idle, None),
            NextMessage::Delivering => (ChannelState::Delivering, None),
            NextMessage::Retrying(until) => (ChannelState::Failing, Some(until)),
            NextMessage::Grouping(until) => (ChannelState::Waiting, Some(until)),
            NextMessage::Paused(until) => (ChannelState::Paused, Some(until)),
            NextMessage::Quiet => (ChannelState::Quiet, None),
        };
        // The channel is still failing, whatever the next message waits for.
        status.state = if status.failing.is_some() { ChannelState::Failing } else { state };
        status.next = until.map(|until| now.until(until));
        *noted = now;
    }

    /// Notes that a summary is being delivered, and for how long every attempt has failed.
    pub(super) fn note_summary(&mut self, name: &str, failing: Option<Duration>) {
        let (status, _) = self.0.entry(name.to_owned()).or_default();
        status.pending += 1;
        status.oldest = status.oldest.max(failing);
        status.failing = status.failing.max(failing);
        if failing.is_some() {
            status.state = ChannelState::Failing;
        }
    }

    /// Notes a success.
    pub(super) fn note_delivered(&mut self, name: &str, at: Timestamp) {
        let (status, _) = self.0.entry(name.to_owned()).or_default();
        status.delivered += 1;
        status.delivered_at = Some(at);
        status.error = None;
    }

    /// Notes a failed attempt.
    pub(super) fn note_failed(&mut self, name: &str, error: String) {
        let (status, _) = self.0.entry(name.to_owned()).or_default();
        status.failed += 1;
        status.error = Some(error);
    }

    /// Notes whether the channel's templates could write the latest message.
    pub(super) fn note_template(&mut self, name: &str, failure: Option<String>) {
        let (status, _) = self.0.entry(name.to_owned()).or_default();
        status.template_error = failure;
    }

    /// One sentence for each channel that has failed for that long.
    pub(super) fn long_failures(&self, limit: Duration, now: Moment) -> Vec<String> {
        let sentence = |name: &String| {
            let status = self.of(name, now);
            let failing = status.failing.filter(|failing| *failing >= limit)?;
            let error = status.error.unwrap_or_else(|| "no attempt has succeeded".to_owned());
            let hours = failing.as_secs() / 3600;
            Some(format!("alert channel {name} has failed for {hours} h: {error}; its alerts wait"))
        };
        self.0.keys().filter_map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::SavedOutbox;

    #[test]
    fn a_failure_of_a_day_is_reported() {
        let day = Duration::from_secs(86_400);
        let failing =
            SavedOutbox { message: Some((1, 1)), attempts: 9, failing: day / 2, ..SavedOutbox::default() };
        let start = Moment::ZERO + day;
        let mut statuses = Statuses::default();
        let outbox = ChannelOutbox::new(&failing, start);
        statuses.note("phone", &outbox, NextMessage::Retrying(start + day), start);
        statuses.note_failed("phone", "no route".to_owned());
        assert_eq!(statuses.long_failures(day, start), Vec::<String>::new());
        let told = statuses.long_failures(day, start + day / 2);
        assert_eq!(told, ["alert channel phone has failed for 24 h: no route; its alerts wait"]);
        assert_eq!(statuses.of("phone", start).state, ChannelState::Failing);
        assert_eq!(statuses.of("phone", start + day / 4).next, Some(day / 4 * 3));
    }
}

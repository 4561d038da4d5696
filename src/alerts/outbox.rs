//! One channel's position in the order of the change events, and its next step.

use std::{collections::VecDeque, time::Duration};

use jiff::civil::Time;

use crate::{config::QuietHours, model::Moment};

/// How long an attempt waits after the first failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(10);

/// The longest wait before an attempt: a receiver that was down for a week gets its messages within an hour.
const LAST_RETRY: Duration = Duration::from_secs(3600);

/// The time in which [`Pace::burst`] messages may be sent.
const FLOOD: Duration = Duration::from_secs(600);

/// The most events of one message.
const MOST_EVENTS: usize = 100;

/// The most events that are known ahead: those of the next message, and some more.
const AHEAD: usize = 2 * MOST_EVENTS;

/// How often the end of the quiet hours is looked for: the clock may be set at any time.
pub(super) const QUIET_CHECK: Duration = Duration::from_secs(60);

/// How many events that it does not send an outbox may pass before it saves its position: reading them again costs
/// little.
const UNSAVED: i64 = 500;

/// How messages are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long a message waits for further events.
    pub group: Duration,
    /// The most messages within ten minutes, at least 1. After that many, everything else waits ten minutes for one
    /// message.
    pub burst: usize,
    /// When messages are held.
    pub quiet: Option<QuietHours>,
}

/// The state of an outbox that survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedOutbox {
    /// The greatest id of an event that the channel has dealt with.
    pub cursor: i64,
    /// The first and the last event of the message that is being delivered. They are those of its first attempt, so
    /// the content under its key never changes.
    pub message: Option<(i64, i64)>,
    /// Failed attempts at that message.
    pub attempts: u32,
    /// The wait before the next attempt.
    pub retry_in: Duration,
    /// For how long no attempt has succeeded; zero: the latest did.
    pub failing: Duration,
}

/// What an outbox waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboxStep {
    /// The events after this id, by [`ChannelOutbox::offer`].
    Read {
        /// The id.
        after: i64,
    },
    /// That its state is saved; then [`ChannelOutbox::saved`].
    Save(SavedOutbox),
    /// That the message of the chosen events from `first` to `last` is sent; then [`ChannelOutbox::delivered`], or
    /// [`ChannelOutbox::failed`].
    Send {
        /// The first event.
        first: i64,
        /// The last event.
        last: i64,
    },
    /// This moment, or, without one, a new event.
    Wait(Option<Moment>),
}

/// The state of the events that are to be sent, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextMessage {
    /// There is none.
    Nothing,
    /// It is being delivered.
    Delivering,
    /// Its latest attempt failed; the next one is at this moment.
    Retrying(Moment),
    /// It waits until this moment for further events.
    Grouping(Moment),
    /// Too many messages were sent, so the next one waits until this moment.
    Paused(Moment),
    /// It is held until the quiet hours end.
    Quiet,
}

impl Pace {
    /// Whether messages are held at this time of day.
    pub(super) fn is_quiet(&self, time: Option<Time>) -> bool {
        self.quiet.zip(time).is_some_and(|(quiet, time)| quiet.contains(time))
    }
}

/// Returns the wait before the next attempt after this many failures and one more.
pub(super) fn retry_delay(attempts: u32) -> Duration {
    (FIRST_RETRY * 2_u32.saturating_pow(attempts.min(16))).min(LAST_RETRY)
}

/// One channel's messages.
#[derive(Debug)]
pub struct ChannelOutbox {
    cursor: i64,
    /// The greatest id that was read.
    read: i64,
    /// The greatest id that there is.
    newest: i64,
    /// The events to be sent after `message`, by their ids, each with the moment at which it was read.
    queue: VecDeque<(i64, Moment)>,
    message: Option<(i64, i64)>,
    attempts: u32,
    next_try: Moment,
    failing_since: Option<Moment>,
    /// The saved cursor, and whether the rest of the state is saved.
    saved_cursor: i64,
    is_saved: bool,
    /// When the latest messages were sent, the oldest first.
    sent: VecDeque<Moment>,
    /// No new message is sent before this moment.
    paused_until: Moment,
}

impl ChannelOutbox {
    /// Continues from a saved state.
    pub fn new(saved: &SavedOutbox, now: Moment) -> Self {
        let read = saved.message.map_or(saved.cursor, |(_, last)| last);
        Self {
            cursor: saved.cursor,
            read,
            newest: read,
            queue: VecDeque::new(),
            message: saved.message,
            attempts: saved.attempts,
            // Not the whole remaining wait: often the owner restarts the appliance after correcting the channel. If
            // the attempt fails, the next one waits as long as it would have without the restart.
            next_try: now + saved.retry_in.min(FIRST_RETRY),
            failing_since: (saved.failing > Duration::ZERO).then(|| now - saved.failing),
            saved_cursor: saved.cursor,
            is_saved: true,
            sent: VecDeque::new(),
            paused_until: now,
        }
    }

    /// Tells the id of the newest event that there is.
    pub fn note_newest(&mut self, newest: i64) {
        self.newest = self.newest.max(newest);
    }

    /// Takes the ids of the events to send, among those from the last read one up to `read`.
    pub fn offer(&mut self, chosen: impl IntoIterator<Item = i64>, read: i64, now: Moment) {
        self.queue.extend(chosen.into_iter().map(|id| (id, now)));
        self.read = self.read.max(read);
        self.newest = self.newest.max(read);
        if self.queue.is_empty() && self.message.is_none() {
            self.cursor = self.read;
        }
    }

    /// Returns the next step. `time` is the local time of day, if the clock is trusted; without it, quiet hours hold
    /// nothing back.
    pub fn step(&mut self, pace: &Pace, now: Moment, time: Option<Time>) -> OutboxStep {
        if !self.is_saved {
            return OutboxStep::Save(self.state(now));
        }
        if self.read < self.newest && self.queue.len() < AHEAD {
            return OutboxStep::Read { after: self.read };
        }
        if self.cursor - self.saved_cursor >= UNSAVED {
            return OutboxStep::Save(self.state(now));
        }
        let Some(due) = self.due(pace, now) else { return OutboxStep::Wait(None) };
        if now < due {
            return OutboxStep::Wait(Some(due));
        }
        if pace.is_quiet(time) {
            return OutboxStep::Wait(Some(now + QUIET_CHECK));
        }
        match self.message {
            Some((first, last)) => OutboxStep::Send { first, last },
            None => {
                self.begin();
                OutboxStep::Save(self.state(now))
            }
        }
    }

    /// Returns when the present or the next message is due; `None`: there is none.
    fn due(&mut self, pace: &Pace, now: Moment) -> Option<Moment> {
        if self.message.is_some() {
            return Some(self.next_try);
        }
        let (_, since) = self.queue.front()?;
        let grouped = if self.queue.len() >= MOST_EVENTS { now } else { *since + pace.group };
        while self.sent.front().is_some_and(|sent| *sent + FLOOD <= now) {
            self.sent.pop_front();
        }
        // The pause begins with the last message. If it ended when the first one is ten minutes old, single messages
        // would follow as each further one gets that old, instead of one digest.
        if let Some(last) = self.sent.back().filter(|_| self.sent.len() >= pace.burst) {
            self.paused_until = *last + FLOOD;
            self.sent.clear();
        }
        Some(grouped.max(self.paused_until))
    }

    /// Makes one message of all that waits.
    fn begin(&mut self) {
        let count = self.queue.len().min(MOST_EVENTS);
        let chosen: Vec<i64> = self.queue.drain(..count).map(|(id, _)| id).collect();
        self.message = chosen.first().copied().zip(chosen.last().copied());
        self.attempts = 0;
        self.next_try = Moment::ZERO;
        self.is_saved = false;
    }

    /// Records that the message was sent, or that the receiver refused it for good. Both end it.
    pub fn delivered(&mut self, now: Moment) -> SavedOutbox {
        self.failing_since = None;
        self.sent.push_back(now);
        self.end();
        self.state(now)
    }

    /// Like [`ChannelOutbox::delivered`], for a message that has no event to send any more.
    pub fn dropped(&mut self, now: Moment) -> SavedOutbox {
        self.end();
        self.state(now)
    }

    fn end(&mut self) {
        let last = self.message.take().map_or(self.cursor, |(_, last)| last);
        self.cursor = if self.queue.is_empty() { self.read } else { last };
        self.attempts = 0;
        self.is_saved = false;
    }

    /// Records that an attempt failed and another may succeed.
    pub fn failed(&mut self, now: Moment) -> SavedOutbox {
        self.next_try = now + retry_delay(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        self.failing_since.get_or_insert(now);
        self.is_saved = false;
        self.state(now)
    }

    /// Records that the state which the latest step or result returned is stored.
    pub fn saved(&mut self, saved: &SavedOutbox) {
        self.saved_cursor = saved.cursor;
        self.is_saved = true;
    }

    /// Events that wait to be sent, as far as they are read; those of the present message count as one.
    pub fn pending(&self) -> usize {
        self.queue.len() + usize::from(self.message.is_some())
    }

    /// How long the oldest of them waits, at least.
    pub fn oldest(&self, now: Moment) -> Option<Duration> {
        let queued = self.queue.front().map(|(_, since)| now.since(*since));
        if self.message.is_some() { self.failing(now).or(queued).or(Some(Duration::ZERO)) } else { queued }
    }

    /// For how long every attempt has failed.
    pub fn failing(&self, now: Moment) -> Option<Duration> {
        self.failing_since.map(|since| now.since(since))
    }

    /// Returns what the next message waits for, as of the latest [`ChannelOutbox::step`].
    pub fn next_message(&self, pace: &Pace, now: Moment, time: Option<Time>) -> NextMessage {
        let due = match (self.message, self.queue.front()) {
            (Some(_), _) if self.attempts > 0 => NextMessage::Retrying(self.next_try),
            (Some(_), _) => NextMessage::Delivering,
            (None, None) => return NextMessage::Nothing,
            (None, Some(_)) if self.paused_until > now => NextMessage::Paused(self.paused_until),
            (None, Some((_, since))) if self.queue.len() < MOST_EVENTS && *since + pace.group > now => {
                NextMessage::Grouping(*since + pace.group)
            }
            (None, Some(_)) => NextMessage::Delivering,
        };
        match due {
            // Quiet hours hold only due messages, but a person who looks wants to know why no message will come.
            NextMessage::Delivering | NextMessage::Grouping(_) if pace.is_quiet(time) => NextMessage::Quiet,
            due => due,
        }
    }

    /// Whether a message has begun that is not delivered yet.
    pub fn is_delivering(&self) -> bool {
        self.message.is_some()
    }

    /// Failed attempts at the present message.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    fn state(&self, now: Moment) -> SavedOutbox {
        SavedOutbox {
            cursor: self.cursor,
            message: self.message,
            attempts: self.attempts,
            retry_in: now.until(self.next_try),
            // A state that has just begun to fail is not zero.
            failing: self
                .failing(now)
                .map_or(Duration::ZERO, |failing| failing.max(Duration::from_millis(1))),
        }
    }
}

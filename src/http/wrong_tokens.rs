//! Delays the responses to wrong tokens, and logs their senders.
//!
//! A token that this program generates cannot be guessed; one that the owner chose may be. The response to the right
//! token is never delayed, so that no other client can make the owner wait.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

use super::peer::PeerKey;
use crate::{
    clock::Clock,
    model::{Bucket, Moment},
};

/// The delay of the response to a sender's first wrong token; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// The longest delay, well within the time limit of a request.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// For how long a sender's wrong tokens are remembered after the last one.
const MEMORY: Duration = Duration::from_secs(600);

/// The most senders that are remembered; a new one replaces the one with the oldest request.
const SENDERS: usize = 256;

/// The most delayed responses at once, of one sender and in all: each holds a connection. Further ones are sent at once
/// and close their connection.
const HELD_OF_ONE: usize = 4;
const HELD: usize = 32;

/// Least time between two log lines about one sender.
const LINE: Duration = Duration::from_secs(60);

/// The limit of log lines about all senders: ten at once, then ten a minute.
const ANY_LINE: Duration = Duration::from_secs(6);
const LINES_BURST: Duration = Duration::from_secs(60);

/// Counts wrong tokens.
pub(super) struct WrongTokens {
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    senders: HashMap<PeerKey, Entry>,
    held: usize,
    lines: Bucket,
}

#[derive(Default)]
struct Entry {
    wrong: u32,
    /// Since the last log line.
    unlogged: u32,
    logged: Option<Moment>,
    last: Moment,
    held: usize,
}

/// What is due for a wrong token.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    /// The delay of the response; `None`: too many are delayed already.
    delay: Option<Duration>,
    /// For how many wrong tokens a log line is due.
    line: Option<u32>,
}

impl Table {
    fn note(&mut self, now: Moment, sender: PeerKey) -> Due {
        self.senders.retain(|_, entry| entry.held > 0 || entry.last.until(now) < MEMORY);
        if self.senders.len() >= SENDERS && !self.senders.contains_key(&sender) {
            // Fewer are delayed than remembered, so there is one.
            let idle = self.senders.iter().filter(|(_, entry)| entry.held == 0);
            if let Some(oldest) = idle.min_by_key(|(_, entry)| entry.last).map(|(sender, _)| *sender) {
                self.senders.remove(&oldest);
            }
        }
        let entry = self.senders.entry(sender).or_default();
        let delay = FIRST_DELAY.saturating_mul(1 << entry.wrong.min(16)).min(LONGEST_DELAY);
        entry.wrong = entry.wrong.saturating_add(1);
        entry.unlogged = entry.unlogged.saturating_add(1);
        entry.last = now;
        let is_due = entry.logged.is_none_or(|logged| logged.until(now) >= LINE)
            && self.lines.try_spend(now, ANY_LINE, LINES_BURST);
        let line = is_due.then(|| {
            entry.logged = Some(now);
            std::mem::take(&mut entry.unlogged)
        });
        let may_hold = entry.held < HELD_OF_ONE && self.held < HELD;
        if may_hold {
            entry.held += 1;
            self.held += 1;
        }
        Due { delay: may_hold.then_some(delay), line }
    }

    fn release(&mut self, sender: PeerKey) {
        self.held -= 1;
        if let Some(entry) = self.senders.get_mut(&sender) {
            entry.held -= 1;
        }
    }
}

impl WrongTokens {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, table: Mutex::default() }
    }

    /// Counts a wrong token of this sender; returns when its response is due. False: the connection should end with it.
    pub(super) async fn hold_back(&self, sender: PeerKey) -> bool {
        let Due { delay, line } = self.table().note(self.clock.now(), sender);
        if let Some(count) = line {
            tracing::warn!(%sender, count, "refused a wrong token; delaying responses to this sender's next ones");
        }
        let Some(delay) = delay else { return false };
        // A client that disconnects in the meantime drops this future, and so releases its place.
        let _held = Held { all: self, sender };
        sleep(delay).await;
        true
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A delayed response.
struct Held<'a> {
    all: &'a WrongTokens,
    sender: PeerKey,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.table().release(self.sender);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(number: u32) -> PeerKey {
        PeerKey::of((number.to_be_bytes(), 40_000).into())
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(1_000 + seconds))
    }

    fn delay(table: &mut Table, seconds: u64, number: u32) -> Option<Duration> {
        let delay = table.note(at(seconds), sender(number)).delay;
        if delay.is_some() {
            table.release(sender(number));
        }
        delay
    }

    #[test]
    fn each_wrong_token_of_a_sender_is_delayed_more_until_it_pauses() {
        let mut table = Table::default();
        for millis in [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000] {
            assert_eq!(delay(&mut table, 0, 1), Some(Duration::from_millis(millis)));
        }
        assert_eq!(delay(&mut table, 0, 2), Some(FIRST_DELAY), "another sender");
        assert_eq!(delay(&mut table, 599, 1), Some(LONGEST_DELAY));
        assert_eq!(delay(&mut table, 1_200, 1), Some(FIRST_DELAY));
    }

    #[test]
    fn few_responses_are_delayed_at_once() {
        let mut table = Table::default();
        let mut held = |number| table.note(at(0), sender(number)).delay.is_some();
        assert_eq!((0..10).filter(|_| held(1)).count(), HELD_OF_ONE);
        assert_eq!((2..100).filter(|number| held(*number)).count(), HELD - HELD_OF_ONE);
    }

    #[test]
    fn senders_are_bounded_and_the_oldest_is_replaced() {
        let mut table = Table::default();
        for number in 0..10_000 {
            delay(&mut table, u64::from(number) / 100, number);
        }
        assert_eq!(table.senders.len(), SENDERS);
        assert!(table.senders.contains_key(&sender(9_999)) && !table.senders.contains_key(&sender(0)));
    }

    #[test]
    fn the_log_has_a_line_a_minute_for_each_sender_and_ten_for_all() {
        let mut table = Table::default();
        let mut lines = |seconds, number| table.note(at(seconds), sender(number)).line;
        assert_eq!(lines(0, 1), Some(1));
        assert!((0..60).all(|seconds| lines(seconds, 1).is_none()));
        assert_eq!(lines(60, 1), Some(61));
        let lines = (2..1_000).filter(|number| lines(60, *number).is_some()).count();
        assert_eq!(lines, 9);
    }
}

//! The replies of all threads, until the driver collects them. One that may wait does not wake the driver up.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::engine::Reply;

/// Replies that are to be collected.
#[derive(Default)]
pub(super) struct Outbox {
    replies: Mutex<Vec<Reply>>,
    announced: Notify,
}

impl Outbox {
    /// Adds these replies without waking the driver.
    pub(super) fn add(&self, replies: &mut Vec<Reply>) {
        self.change(|waiting| waiting.append(replies));
    }

    /// Wakes the driver if there are replies.
    pub(super) fn announce(&self) {
        if !self.is_empty() {
            self.announced.notify_one();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.change(|waiting| waiting.is_empty())
    }

    /// Takes all replies, or waits until some are announced. Cancel-safe.
    pub(super) async fn collect(&self) -> Vec<Reply> {
        loop {
            let replies = self.change(std::mem::take);
            if !replies.is_empty() {
                return replies;
            }
            self.announced.notified().await;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Reply>) -> T) -> T {
        // No change leaves the list in pieces, whatever a thread that panicked was about to do.
        change(&mut self.replies.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

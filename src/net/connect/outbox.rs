//! The replies of the worker threads, until the driver collects them. One that may wait does not wake the driver up.

use std::{
    sync::{Mutex, PoisonError},
    task::Waker,
};

use crate::engine::Reply;

/// Replies that are to be collected.
pub(super) struct Outbox {
    content: Mutex<Content>,
    driver: Waker,
}

#[derive(Default)]
struct Content {
    replies: Vec<Reply>,
    /// Whether the driver was woken up for them: once is enough, however many threads have replies for it.
    announced: bool,
}

impl Outbox {
    /// An empty outbox; this waker announces its replies.
    pub(super) fn new(driver: Waker) -> Self {
        Self { content: Mutex::default(), driver }
    }

    /// Adds these replies without waking the driver.
    pub(super) fn add(&self, replies: &mut Vec<Reply>) {
        self.change(|content| content.replies.append(replies));
    }

    /// Wakes the driver if there are replies.
    pub(super) fn announce(&self) {
        let is_news = self.change(|content| {
            let is_news = !content.replies.is_empty() && !content.announced;
            content.announced |= is_news;
            is_news
        });
        if is_news {
            self.driver.wake_by_ref();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.change(|content| content.replies.is_empty())
    }

    /// Moves all replies to the end of this list.
    pub(super) fn collect(&self, replies: &mut Vec<Reply>) {
        self.change(|content| {
            content.announced = false;
            replies.append(&mut content.replies);
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        // No change leaves the list in pieces, whatever a thread that panicked was about to do.
        change(&mut self.content.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::Wake,
    };

    use super::*;
    use crate::{
        engine::{Outcome, ProbeId},
        model::Moment,
    };

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_the_driver_once_until_it_collects() {
        let count = Arc::<Count>::default();
        let outbox = Outbox::new(Waker::from(Arc::clone(&count)));
        let (started, outcome) = (Moment::ZERO, Outcome::Refused);
        let reply = Reply { id: ProbeId(1), started, left_by: started, ended: started, outcome };
        outbox.announce();
        outbox.add(&mut vec![reply]);
        assert_eq!(count.0.load(Ordering::Relaxed), 0, "nothing to announce, then nothing announced");
        let mut collected = Vec::new();
        for times in 1..3 {
            outbox.add(&mut vec![reply]);
            (0..2).for_each(|_| outbox.announce());
            assert_eq!(count.0.load(Ordering::Relaxed), times);
            outbox.collect(&mut collected);
        }
        assert_eq!((collected.len(), outbox.is_empty()), (3, true));
    }
}

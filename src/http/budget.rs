//! The memory that answers take while they wait for their clients, of all connections together.
//!
//! Of each answer one piece is in flight: the next is made only when the kernel has taken it. Before a piece is made it
//! has its room in the budget, which it gives back when the last of it has been taken, or the connection is over.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Refusal;

/// Room that a piece is given before it is known how large it is, in bytes. Whatever is larger is shared by all that
/// read it (the metrics, the page's files).
pub(super) const PIECE: u32 = 32 * 1024;

/// Bytes that may be in flight.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    /// At least one piece fits.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.max(PIECE as usize))))
    }

    /// Waits for room.
    async fn room(self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        self.0.acquire_many_owned(PIECE).await.ok()
    }
}

/// A piece's leave to be made: its room, and the place of the one piece in flight.
struct Leave {
    room: Option<OwnedSemaphorePermit>,
    _place: Option<OwnedSemaphorePermit>,
}

/// An answer's way through the budget.
pub(super) struct Flow {
    /// `None`: it takes no room.
    budget: Option<Budget>,
    place: Arc<Semaphore>,
    leave: Option<Leave>,
    asked: Option<Pin<Box<dyn Future<Output = Leave> + Send>>>,
}

impl Flow {
    /// Waits for room for the first piece.
    pub(super) async fn begin(budget: Budget) -> Self {
        let mut flow = Self { budget: Some(budget), ..Self::free() };
        flow.leave = Some(flow.ask().await);
        flow
    }

    /// For an answer of a few words.
    pub(super) fn free() -> Self {
        Self { budget: None, place: Arc::new(Semaphore::new(1)), leave: None, asked: None }
    }

    fn ask(&self) -> impl Future<Output = Leave> + Send + use<> {
        let (budget, place) = (self.budget.clone(), Arc::clone(&self.place));
        async move {
            // The place first: room is for those whose clients read.
            let place = place.acquire_owned().await.ok();
            let room = match budget {
                Some(budget) => budget.room().await,
                None => None,
            };
            Leave { room, _place: place }
        }
    }

    /// Ready when the next piece may be made.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.leave.is_none() {
            let ask = self.ask();
            let asked = self.asked.get_or_insert_with(|| Box::pin(ask));
            self.leave = Some(ready!(asked.as_mut().poll(cx)));
            self.asked = None;
        }
        Poll::Ready(())
    }

    /// The piece that was made, which holds its room for as long as it exists.
    pub(super) fn send(&mut self, text: Bytes) -> Bytes {
        let Some(mut leave) = self.leave.take() else { return text };
        let unused = (PIECE as usize).saturating_sub(text.len());
        drop(leave.room.as_mut().and_then(|room| room.split(unused)));
        Bytes::from_owner(Sent { text, _leave: leave })
    }
}

/// Told when too much waits for other clients.
pub(super) fn no_room(waited: Duration) -> Refusal {
    let why = format!(
        "too much waits in memory for other clients, and none was done within {} s; try again later",
        waited.as_secs()
    );
    Refusal::again_in(RETRY, why).closing()
}

/// What a client is to wait that was told to come again, in seconds: slow ones have been disconnected by then.
const RETRY: u64 = 10;

/// A piece in flight.
struct Sent {
    text: Bytes,
    _leave: Leave,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn one_piece_of_an_answer_is_in_flight_at_a_time() {
        let budget = Budget::new(10 * PIECE as usize);
        let mut flow = Flow::begin(budget.clone()).now_or_never().expect("there is room");
        let first = flow.send(Bytes::from(vec![0; 1000]));
        assert_eq!(budget.0.available_permits(), 9 * PIECE as usize + PIECE as usize - 1000);
        assert!(poll_fn(|cx| flow.poll_ready(cx)).now_or_never().is_none());
        let part = first.slice(900..);
        drop(first);
        assert!(poll_fn(|cx| flow.poll_ready(cx)).now_or_never().is_none(), "a part still waits");
        drop(part);
        assert!(poll_fn(|cx| flow.poll_ready(cx)).now_or_never().is_some());
        drop(flow);
        assert_eq!(budget.0.available_permits(), 10 * PIECE as usize);
    }

    #[test]
    fn an_answer_waits_while_the_budget_is_spent() {
        let budget = Budget::new(PIECE as usize);
        let mut flow = Flow::begin(budget.clone()).now_or_never().expect("there is room");
        let piece = flow.send(Bytes::from(vec![0; PIECE as usize]));
        assert!(Flow::begin(budget.clone()).now_or_never().is_none());
        drop(piece);
        assert!(Flow::begin(budget).now_or_never().is_some());
    }
}

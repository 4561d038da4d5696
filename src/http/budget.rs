//! The memory budget of all responses that wait for their clients.
//!
//! Each response has one piece in flight: the next one is made only after the kernel has taken it. A piece reserves
//! its bytes in the budget before it is made, and releases them when the kernel has taken all of it, or the connection
//! ends.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Refusal;

/// The bytes that a piece reserves before its size is known. Larger pieces are shared by all clients that read them
/// (the metrics, the page's files).
pub(super) const PIECE: u32 = 32 * 1024;

/// Bytes that may be in flight.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    /// Makes a budget of this number of bytes, at least one piece.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.max(PIECE as usize))))
    }

    /// Waits until a piece fits.
    async fn room(self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        self.0.acquire_many_owned(PIECE).await.ok()
    }
}

/// The permit to make a piece: its bytes, and the place of the one piece in flight.
struct Permit {
    room: Option<OwnedSemaphorePermit>,
    _place: Option<OwnedSemaphorePermit>,
}

/// A response's share of the budget.
pub(super) struct Flow {
    /// `None`: it needs no bytes of the budget.
    budget: Option<Budget>,
    place: Arc<Semaphore>,
    permit: Option<Permit>,
    pending: Option<Pin<Box<dyn Future<Output = Permit> + Send>>>,
}

impl Flow {
    /// Waits until the first piece fits.
    pub(super) async fn begin(budget: Budget) -> Self {
        let mut flow = Self { budget: Some(budget), ..Self::free() };
        flow.permit = Some(flow.acquire().await);
        flow
    }

    /// The flow of a short response, which needs no budget.
    pub(super) fn free() -> Self {
        Self { budget: None, place: Arc::new(Semaphore::new(1)), permit: None, pending: None }
    }

    fn acquire(&self) -> impl Future<Output = Permit> + Send + use<> {
        let (budget, place) = (self.budget.clone(), Arc::clone(&self.place));
        async move {
            // The place first: the budget is for responses that their clients read.
            let place = place.acquire_owned().await.ok();
            let room = match budget {
                Some(budget) => budget.room().await,
                None => None,
            };
            Permit { room, _place: place }
        }
    }

    /// Ready when the next piece may be made.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.permit.is_none() {
            let permit = self.acquire();
            let pending = self.pending.get_or_insert_with(|| Box::pin(permit));
            self.permit = Some(ready!(pending.as_mut().poll(cx)));
            self.pending = None;
        }
        Poll::Ready(())
    }

    /// Wraps a piece, which holds its bytes of the budget for as long as it exists.
    pub(super) fn send(&mut self, text: Bytes) -> Bytes {
        let Some(mut permit) = self.permit.take() else { return text };
        let unused = (PIECE as usize).saturating_sub(text.len());
        drop(permit.room.as_mut().and_then(|room| room.split(unused)));
        Bytes::from_owner(InFlightPiece { text, _leave: permit })
    }
}

/// The response if too many bytes wait for other clients.
pub(super) fn no_room(waited: Duration) -> Refusal {
    let why = format!(
        "too many responses wait in memory for other clients, and none ended within {} s; try again later",
        waited.as_secs()
    );
    Refusal::again_in(RETRY, why).closing()
}

/// After how many seconds a refused client is to retry: slow clients have been disconnected by then.
const RETRY: u64 = 10;

/// A piece in flight.
struct InFlightPiece {
    text: Bytes,
    _leave: Permit,
}

impl AsRef<[u8]> for InFlightPiece {
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

//! Who is connected, and who has to go when there is no room.
//!
//! A plain semaphore would let a few hundred silent connections lock everybody out for as long as their
//! time limit lasts, and then again. So a newcomer who finds the house full takes the place of the
//! connection that has been the longest without a complete request head; one whose request is being
//! answered is never closed for another's sake.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot, watch};

/// All connections of the server.
pub(super) struct Connections {
    most: usize,
    table: Mutex<Table>,
    /// Told when a connection ended or became one that may be closed.
    room: Notify,
}

#[derive(Default)]
struct Table {
    /// Counts events, so that "longest" needs no clock.
    ticks: u64,
    open: HashMap<u64, Entry>,
}

struct Entry {
    /// The tick since which it has had no complete head; `None` while a request is being answered.
    waiting_since: Option<u64>,
    /// Dropping it tells the connection to close.
    _keep: oneshot::Sender<()>,
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    /// Closes the connection that has waited longest; false if all are busy.
    fn close_oldest(&mut self) -> bool {
        let waiting = self.open.iter().filter_map(|(&id, entry)| Some((entry.waiting_since?, id)));
        match waiting.min() {
            Some((_, id)) => self.open.remove(&id).is_some(),
            None => false,
        }
    }
}

impl Connections {
    /// Room for this many.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, table: Mutex::default(), room: Notify::new() })
    }

    /// Whether the next seat costs somebody theirs.
    pub(super) fn is_full(&self) -> bool {
        self.table().open.len() >= self.most
    }

    /// Closes the connection that has waited longest; false if all are busy. Frees a descriptor when those
    /// run out.
    pub(super) fn close_oldest(&self) -> bool {
        self.table().close_oldest()
    }

    /// A seat for one more connection; waits while every connection is in the middle of a request.
    pub(super) async fn seat(self: &Arc<Self>) -> (Seat, Eviction) {
        loop {
            // Made before looking, so that what changes in between is not missed.
            let room = self.room.notified();
            if let Some(seated) = self.try_seat() {
                return seated;
            }
            room.await;
        }
    }

    fn try_seat(self: &Arc<Self>) -> Option<(Seat, Eviction)> {
        let mut table = self.table();
        if table.open.len() >= self.most && !table.close_oldest() {
            return None;
        }
        let (keep, eviction) = oneshot::channel();
        let id = table.tick();
        table.open.insert(id, Entry { waiting_since: Some(id), _keep: keep });
        Some((Seat { id, all: Arc::clone(self), busy: watch::Sender::new(false) }, Eviction(eviction)))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change under the lock is a single step, so a poisoned table is still a right one.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place; dropping it frees the place.
pub(super) struct Seat {
    id: u64,
    all: Arc<Connections>,
    busy: watch::Sender<bool>,
}

impl Seat {
    /// A complete head has come; `None` if the place has been given away meanwhile.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Turn> {
        self.all.table().open.get_mut(&self.id)?.waiting_since = None;
        self.busy.send_replace(true);
        Some(Turn(Arc::clone(self)))
    }

    /// Whether a request is being answered, as it changes.
    pub(super) fn busy(&self) -> watch::Receiver<bool> {
        self.busy.subscribe()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.all.table().open.remove(&self.id);
        self.all.room.notify_waiters();
    }
}

/// One request's time, from its complete head to the end of the answer's body.
pub(super) struct Turn(Arc<Seat>);

impl Turn {
    /// Gives the request its whole time once more.
    pub(super) fn renew(&self) {
        self.0.busy.send_replace(true);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let seat = &self.0;
        {
            let mut table = seat.all.table();
            let now = table.tick();
            if let Some(entry) = table.open.get_mut(&seat.id) {
                entry.waiting_since = Some(now);
            }
        }
        seat.busy.send_replace(false);
        seat.all.room.notify_waiters();
    }
}

/// Resolves when the connection has to make room.
pub(super) struct Eviction(oneshot::Receiver<()>);

impl Eviction {
    /// Cancel-safe.
    pub(super) async fn called(&mut self) {
        // Nothing is ever sent: the sender's end is the message.
        let _ = (&mut self.0).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn seat(all: &Arc<Connections>) -> Option<(Arc<Seat>, Eviction)> {
        all.seat().now_or_never().map(|(seat, eviction)| (Arc::new(seat), eviction))
    }

    #[test]
    fn the_one_that_waited_longest_makes_room() {
        let all = Connections::new(3);
        let (first, mut first_out) = seat(&all).unwrap();
        let (second, mut second_out) = seat(&all).unwrap();
        let (third, mut third_out) = seat(&all).unwrap();
        // The first is answered once and waits anew: now the third has waited longest but for the busy one.
        drop(first.begin());
        let turn = second.begin();

        let (fourth, mut fourth_out) = seat(&all).unwrap();
        assert!(third_out.called().now_or_never().is_some());
        assert!(third.begin().is_none(), "a request that came too late is not begun");
        for out in [&mut first_out, &mut second_out, &mut fourth_out] {
            assert!(out.called().now_or_never().is_none());
        }
        drop((turn, fourth));
    }

    #[test]
    fn busy_ones_stay_and_the_newcomer_waits() {
        let all = Connections::new(1);
        let (busy, mut out) = seat(&all).unwrap();
        let turn = busy.begin();
        let newcomer = all.seat();
        let mut newcomer = std::pin::pin!(newcomer);
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(out.called().now_or_never().is_none());
        drop(turn);
        assert!(newcomer.now_or_never().is_some());
        assert!(out.called().now_or_never().is_some());
    }

    #[test]
    fn a_place_is_freed_at_the_end() {
        let all = Connections::new(1);
        let (only, _out) = seat(&all).unwrap();
        assert!(all.is_full());
        drop(only);
        assert!(!all.is_full());
    }
}

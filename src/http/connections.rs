//! The table of open connections, from which one is closed if there are too many.
//!
//! With a plain semaphore a few hundred silent connections could lock every client out for as long as their time limit
//! lasts, and then again. So if all places are taken, a new connection replaces one without a complete request head;
//! and of the requests that are being answered each client has its share. [`admission`](super::admission) decides which
//! connection is closed and which request is refused.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot, watch};

use super::{
    admission::{AdmissionDecision, AdmissionQuota, Client, HeldSlot, RefusalReason, connection_to_close},
    peer::PeerKey,
    refusals::{self, Refusals},
};
use crate::clock::Clock;

/// All connections of the server.
pub(super) struct Connections {
    quota: AdmissionQuota,
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
    /// Notified when a connection ended or became one that may be closed.
    room: Notify,
}

#[derive(Default)]
struct Table {
    /// Counts events, so that "oldest" needs no clock.
    ticks: u64,
    open: HashMap<u64, Entry>,
    refusals: Refusals,
}

struct Entry {
    /// The client, first of the connection, then of its request: only the head shows for certain whether it is the
    /// owner.
    client: Client,
    since: u64,
    /// Whether a request is being answered; if not, no complete head has arrived since.
    is_busy: bool,
    /// Dropping it makes the connection close.
    _keep: oneshot::Sender<()>,
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    fn held(&self, is_busy: bool) -> Vec<HeldSlot> {
        let these = self.open.iter().filter(|(_, entry)| entry.is_busy == is_busy);
        these.map(|(&id, entry)| HeldSlot { id, client: entry.client, since: entry.since }).collect()
    }

    /// Closes a connection without a complete head; returns false if none may be closed.
    fn close_waiting(&mut self, newcomer: Option<Client>, safe: usize) -> bool {
        let closed = connection_to_close(&self.held(false), newcomer, safe);
        closed.is_some_and(|id| self.open.remove(&id).is_some())
    }
}

/// The decision about a new connection.
pub(super) enum Acceptance {
    /// The connection is served.
    Accepted(ConnectionSlot, Eviction),
    /// The connection is closed: there is no place for clients other than the owner.
    Refused,
}

/// The decision about a request with a complete head.
pub(super) enum RequestStart {
    /// The request is answered.
    Active(ActiveRequest),
    /// The request is refused; the client may retry later.
    Refused(RefusalReason),
    /// The connection has been closed before the head was complete.
    Closed,
}

impl Connections {
    /// Allows this number of connections.
    pub(super) fn new(most: usize, clock: Arc<dyn Clock>) -> Arc<Self> {
        let quota = AdmissionQuota::of_requests(most);
        Arc::new(Self { quota, clock, table: Mutex::default(), room: Notify::new() })
    }

    /// Whether another connection has to be closed for the next one.
    pub(super) fn is_full(&self) -> bool {
        self.table().open.len() >= self.quota.total
    }

    /// Closes a connection without a complete head, to free a descriptor if they run out; returns false if all are
    /// busy.
    pub(super) fn close_one(&self) -> bool {
        self.table().close_waiting(None, 0)
    }

    /// Gives a new connection its slot. While every connection is in the middle of a request, one from this machine
    /// waits; one from another machine does not, because it would delay those after it.
    pub(super) async fn accept(self: &Arc<Self>, peer: SocketAddr, is_from_here: bool) -> Acceptance {
        let client = Client { key: PeerKey::of(peer), address: peer.ip(), is_owner: is_from_here };
        loop {
            // Subscribed before trying, so that no change in between is missed.
            let room = self.room.notified();
            if let Some((slot, eviction)) = self.try_accept(client) {
                return Acceptance::Accepted(slot, eviction);
            }
            if !is_from_here {
                self.log(|refusals, now| refusals.note(now, RefusalReason::Full));
                return Acceptance::Refused;
            }
            room.await;
        }
    }

    fn try_accept(self: &Arc<Self>, client: Client) -> Option<(ConnectionSlot, Eviction)> {
        self.log(|refusals, now| refusals.end(now));
        let mut table = self.table();
        // Half of the places that are reserved for the owner's requests: the other half is for heads that may carry the
        // token.
        let safe = (self.quota.total - self.quota.strangers).div_ceil(2);
        if table.open.len() >= self.quota.total && !table.close_waiting(Some(client), safe) {
            return None;
        }
        let (keep, eviction) = oneshot::channel();
        let id = table.tick();
        table.open.insert(id, Entry { client, since: id, is_busy: false, _keep: keep });
        Some((
            ConnectionSlot { id, client, all: Arc::clone(self), busy: watch::Sender::new(false) },
            Eviction(eviction),
        ))
    }

    /// Updates the record of refusals, and logs the changes.
    fn log<C: IntoIterator<Item = refusals::RefusalEvent>>(
        &self,
        change: impl FnOnce(&mut Refusals, crate::model::Moment) -> C,
    ) {
        let changes = change(&mut self.table().refusals, self.clock.now());
        for change in changes {
            refusals::log("requests", change);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change under the lock is a single step, so a poisoned table is still consistent.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection; dropping it frees the place.
pub(super) struct ConnectionSlot {
    id: u64,
    client: Client,
    all: Arc<Connections>,
    busy: watch::Sender<bool>,
}

impl ConnectionSlot {
    /// The connection's client.
    pub(super) fn client(&self) -> Client {
        self.client
    }

    /// Notes that a complete head has arrived.
    pub(super) fn begin(self: &Arc<Self>, client: Client) -> RequestStart {
        match self.start_request(client) {
            RequestStart::Refused(reason) => {
                self.all.log(|refusals, now| refusals.note(now, reason));
                RequestStart::Refused(reason)
            }
            begun => begun,
        }
    }

    fn start_request(self: &Arc<Self>, client: Client) -> RequestStart {
        let mut table = self.all.table();
        let now = table.tick();
        match self.all.quota.decide(&table.held(true), client) {
            _ if !table.open.contains_key(&self.id) => return RequestStart::Closed,
            AdmissionDecision::Admitted => {}
            AdmissionDecision::InPlaceOf(id) => drop(table.open.remove(&id)),
            AdmissionDecision::Refused(reason) => return RequestStart::Refused(reason),
        }
        let Some(entry) = table.open.get_mut(&self.id) else { return RequestStart::Closed };
        (entry.client, entry.since, entry.is_busy) = (client, now, true);
        drop(table);
        self.busy.send_replace(true);
        RequestStart::Active(ActiveRequest(Arc::clone(self)))
    }

    /// Watches whether a request is being answered.
    pub(super) fn busy(&self) -> watch::Receiver<bool> {
        self.busy.subscribe()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.all.table().open.remove(&self.id);
        self.all.room.notify_waiters();
    }
}

/// A request in progress, from its complete head to the end of the response body.
pub(super) struct ActiveRequest(Arc<ConnectionSlot>);

impl ActiveRequest {
    /// Restarts the request's time limit.
    pub(super) fn renew(&self) {
        self.0.busy.send_replace(true);
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let slot = &self.0;
        {
            let mut table = slot.all.table();
            let now = table.tick();
            if let Some(entry) = table.open.get_mut(&slot.id) {
                (entry.client, entry.since, entry.is_busy) = (slot.client, now, false);
            }
        }
        slot.busy.send_replace(false);
        slot.all.room.notify_waiters();
    }
}

/// Resolves when the connection has to close for another.
pub(super) struct Eviction(oneshot::Receiver<()>);

impl Eviction {
    /// Cancel-safe.
    pub(super) async fn called(&mut self) {
        // Nothing is ever sent: that the sender is dropped is the message.
        let _ = (&mut self.0).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::clock::SystemClock;

    fn connections(most: usize) -> Arc<Connections> {
        Connections::new(most, Arc::new(SystemClock::start()))
    }

    const HERE: &str = "127.0.0.1:1";

    fn slot(all: &Arc<Connections>, peer: &str) -> Option<(Arc<ConnectionSlot>, Eviction)> {
        match all.accept(peer.parse().unwrap(), peer == HERE).now_or_never() {
            Some(Acceptance::Accepted(slot, eviction)) => Some((Arc::new(slot), eviction)),
            Some(Acceptance::Refused) | None => None,
        }
    }

    fn turn(slot: &Arc<ConnectionSlot>) -> ActiveRequest {
        match slot.begin(slot.client()) {
            RequestStart::Active(turn) => turn,
            RequestStart::Refused(reason) => panic!("{reason:?}"),
            RequestStart::Closed => panic!("closed"),
        }
    }

    fn is_called(eviction: &mut Eviction) -> bool {
        eviction.called().now_or_never().is_some()
    }

    #[test]
    fn the_connection_that_waited_longest_is_closed() {
        let all = connections(3);
        let (first, mut first_out) = slot(&all, HERE).unwrap();
        let (second, mut second_out) = slot(&all, HERE).unwrap();
        let (third, mut third_out) = slot(&all, HERE).unwrap();
        // The first is answered once and waits again: now the third has waited longest except for the busy one.
        drop(turn(&first));
        let turn = turn(&second);

        let (fourth, mut fourth_out) = slot(&all, HERE).unwrap();
        assert!(is_called(&mut third_out));
        let late = third.begin(third.client());
        assert!(matches!(late, RequestStart::Closed), "a request that arrives too late is not begun");
        for out in [&mut first_out, &mut second_out, &mut fourth_out] {
            assert!(!is_called(out));
        }
        drop((turn, fourth));
    }

    #[test]
    fn busy_connections_stay_and_a_new_one_waits_if_it_is_from_this_machine() {
        let all = connections(1);
        let (busy, mut out) = slot(&all, HERE).unwrap();
        let turn = turn(&busy);
        assert!(slot(&all, "192.0.2.1:1").is_none());
        let newcomer = all.accept(HERE.parse().unwrap(), true);
        let mut newcomer = std::pin::pin!(newcomer);
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(!is_called(&mut out));
        drop(turn);
        assert!(newcomer.now_or_never().is_some());
        assert!(is_called(&mut out));
    }

    #[test]
    fn a_client_that_fills_its_quota_is_refused_and_others_are_answered() {
        let all = connections(16);
        let begin = |peer: &str, is_owner: bool| {
            let (slot, eviction) = slot(&all, peer)?;
            match slot.begin(Client { is_owner, ..slot.client() }) {
                RequestStart::Active(turn) => Some((turn, eviction)),
                RequestStart::Refused(_) | RequestStart::Closed => None,
            }
        };
        let greedy: Vec<_> = (0..20).filter_map(|_| begin("192.0.2.1:1", false)).collect();
        assert_eq!(greedy.len(), 6);
        assert!(begin("192.0.2.1:1", true).is_some(), "with the token");
        let others: Vec<_> = (2..=9).filter_map(|last| begin(&format!("192.0.2.{last}:1"), false)).collect();
        assert_eq!(others.len(), 8, "14 for clients other than the owner");
        assert!(begin("192.0.2.99:1", false).is_none());
        assert!(begin(HERE, true).is_some() && begin("192.0.2.99:1", true).is_some());
        drop(greedy);
        assert!(begin("192.0.2.99:1", false).is_some());
    }

    #[test]
    fn a_place_is_freed_at_the_end() {
        let all = connections(1);
        let (only, _out) = slot(&all, HERE).unwrap();
        assert!(all.is_full());
        drop(only);
        assert!(!all.is_full());
    }
}

//! The clients that listen to events, each on its own connection for an unlimited time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{
    admission::{AdmissionDecision, AdmissionQuota, Client, HeldSlot, RefusalReason},
    refusals::{self, Refusals},
};
use crate::model::Moment;

/// The most listeners at once, an eighth of all connections. All tabs of a browser share one; a client always keeps
/// two.
const QUOTA: AdmissionQuota = AdmissionQuota { total: 32, strangers: 24, each: 8, spared: 2 };

/// The present listeners.
#[derive(Clone, Default)]
pub(super) struct Listeners(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    taken: u64,
    /// Each with a sender that ends it when dropped.
    open: Vec<(HeldSlot, oneshot::Sender<()>)>,
    refusals: Refusals,
}

impl Listeners {
    /// Admits one more listener, for which another client may lose one of its own.
    pub(super) fn admit(&self, now: Moment, client: Client) -> Result<ListenerSlot, RefusalReason> {
        let mut table = self.table();
        let changes = table.refusals.end(now);
        let held: Vec<HeldSlot> = table.open.iter().map(|(held, _)| *held).collect();
        let verdict = QUOTA.decide(&held, client);
        let admitted = match verdict {
            AdmissionDecision::Refused(reason) => Err(reason),
            AdmissionDecision::Admitted => Ok(()),
            AdmissionDecision::InPlaceOf(id) => {
                table.open.retain(|(held, _)| held.id != id);
                Ok(())
            }
        };
        let refused = admitted.err().and_then(|reason| table.refusals.note(now, reason));
        let listening = admitted.map(|()| {
            table.taken += 1;
            let (id, (ends, ended)) = (table.taken, oneshot::channel());
            table.open.push((HeldSlot { id, client, since: id }, ends));
            ListenerSlot { id, ended, all: self.clone() }
        });
        drop(table);
        for change in changes.into_iter().chain(refused) {
            refusals::log("event listeners", change);
        }
        listening
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change under the lock is a single step, so a poisoned table is still consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one listener; dropping it frees the place.
pub(super) struct ListenerSlot {
    id: u64,
    ended: oneshot::Receiver<()>,
    all: Listeners,
}

impl ListenerSlot {
    /// Resolves when another client gets the place. Cancel-safe.
    pub(super) async fn ended(&mut self) {
        // Nothing is ever sent: that the sender is dropped is the message.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for ListenerSlot {
    fn drop(&mut self) {
        self.all.table().open.retain(|(held, _)| held.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::http::peer::PeerKey;

    fn client(last: u8, is_owner: bool) -> Client {
        let peer = ([192, 0, 2, last], 1).into();
        Client { key: PeerKey::of(peer), address: peer.ip(), is_owner }
    }

    #[test]
    fn a_client_has_eight_listeners_and_loses_some_to_others() {
        let listeners = Listeners::default();
        let listen = |last, is_owner| listeners.admit(Moment::ZERO, client(last, is_owner));
        let mut greedy: Vec<ListenerSlot> = (0..9).filter_map(|_| listen(1, false).ok()).collect();
        assert_eq!(greedy.len(), 8);
        let more: Vec<ListenerSlot> =
            (0..8).flat_map(|_| [listen(2, false).unwrap(), listen(3, false).unwrap()]).collect();
        let mut new = listen(4, false).unwrap();
        let ended = |listening: &mut ListenerSlot| listening.ended().now_or_never().is_some();
        assert_eq!(greedy.iter_mut().map(ended).collect::<Vec<_>>()[..2], [true, false]);
        assert!(!ended(&mut new));
        let owners: Vec<ListenerSlot> = (0..8).map(|_| listen(1, true).unwrap()).collect();
        assert!(!ended(&mut greedy[1]), "the owner has places of its own");
        drop((greedy, more, new, owners));
        assert!(listeners.table().open.is_empty());
    }
}

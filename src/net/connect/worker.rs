//! A thread that makes connects for the driver, which has its own sockets for a few of them.

use std::sync::{
    Arc,
    mpsc::{Receiver, TryRecvError},
};

use super::{outbox::Outbox, sockets::Sockets};
use crate::{engine::Probe, model::Moment};

/// A thread's share of the probes.
pub(super) struct Worker {
    sockets: Sockets,
    portions: Receiver<Vec<Probe>>,
    outbox: Arc<Outbox>,
}

impl Worker {
    pub(super) fn new(sockets: Sockets, portions: Receiver<Vec<Probe>>, outbox: Arc<Outbox>) -> Self {
        Self { sockets, portions, outbox }
    }

    /// Serves until the prober is dropped.
    pub(super) fn run(mut self) {
        let mut until = None;
        loop {
            if self.outbox.is_empty() {
                self.sockets.note_announced();
            }
            self.sockets.wait(until);
            until = match self.portions.try_recv() {
                Ok(portion) => {
                    self.sockets.connect_all(&portion);
                    Some(Moment::ZERO) // There may be more of them.
                }
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            };
            self.hand_over();
        }
    }

    /// Puts the replies into the outbox, and announces them if that is due.
    fn hand_over(&mut self) {
        let replies = self.sockets.replies();
        if !replies.is_empty() {
            self.outbox.add(replies);
        }
        if self.sockets.must_announce() {
            self.sockets.note_announced();
            self.outbox.announce();
        }
    }
}

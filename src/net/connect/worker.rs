//! One thread's epoll loop.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::SocketAddr,
    os::fd::AsRawFd,
    sync::mpsc::{Receiver, TryRecvError},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use slab::Slab;
use socket2::Socket;
use tokio::sync::mpsc::UnboundedSender;

use super::verdict::{local_error, open, peer, verdict};
use crate::{
    clock::{Clock, SystemClock},
    engine::{Outcome, Probe, ProbeId, Reply},
    model::Moment,
};

/// The token of the waker; sockets have their slot's index, which never gets there.
pub(super) const WAKE: Token = Token(usize::MAX);

/// Readiness events taken from the kernel at once.
const EVENTS: usize = 256;

/// Connects made between two looks at what is due: a system call can take long where the processor is busy,
/// and a socket that is closed late sends a SYN that nobody asked for.
const STARTS: usize = 16;

/// A thread's share of the probes.
pub(super) struct Worker {
    poll: Poll,
    portions: Receiver<Vec<Probe>>,
    replies: UnboundedSender<Vec<Reply>>,
    clock: SystemClock,
    in_flight: Slab<InFlight>,
    /// The slots by the time at which they are given up. A tree rather than a heap: nearly every probe is
    /// answered long before, and an entry that stayed until its time would outnumber those in flight.
    deadlines: BTreeSet<(Moment, usize)>,
    /// Replies of this turn of the loop.
    done: Vec<Reply>,
}

/// A connect under way.
struct InFlight {
    id: ProbeId,
    peer: SocketAddr,
    socket: Socket,
    started: Moment,
    give_up_at: Moment,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        portions: Receiver<Vec<Probe>>,
        replies: UnboundedSender<Vec<Reply>>,
        clock: SystemClock,
    ) -> Self {
        let (in_flight, deadlines, done) = (Slab::new(), BTreeSet::new(), Vec::new());
        Self { poll, portions, replies, clock, in_flight, deadlines, done }
    }

    /// Serves until the prober is dropped.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut timeout = None;
        loop {
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => unreachable!("epoll_wait fails otherwise only on a bad argument: {error}"),
            }
            for event in events.iter().filter(|event| event.token() != WAKE) {
                self.look_at(event.token().0);
            }
            self.expire();
            timeout = match self.portions.try_recv() {
                Ok(portion) => {
                    for probes in portion.chunks(STARTS) {
                        probes.iter().for_each(|probe| self.start(probe));
                        self.expire();
                    }
                    Some(Duration::ZERO) // there may be more of them
                }
                Err(TryRecvError::Empty) => {
                    self.deadlines.first().map(|&(deadline, _)| self.clock.now().until(deadline))
                }
                Err(TryRecvError::Disconnected) => return,
            };
            if !self.done.is_empty() && self.replies.send(std::mem::take(&mut self.done)).is_err() {
                return; // nobody is left to hear it
            }
        }
    }

    fn start(&mut self, probe: &Probe) {
        let started = self.clock.now();
        if started > probe.start_by {
            self.tell(probe.id, started, started, Outcome::NotStarted);
        } else if let Err(outcome) = self.connect(probe, started) {
            self.tell(probe.id, started, self.clock.now(), outcome);
        }
    }

    /// Sets a connect under way; what is known of it at once comes back as the error.
    fn connect(&mut self, probe: &Probe, started: Moment) -> Result<(), Outcome> {
        let peer = peer(&probe.address, probe.port)?;
        let socket = open(peer)?;
        // Linux says EINPROGRESS even where the answer came within `connect`, as it does on the loopback; a
        // look saves the registration there and would be a wasted system call on any real network.
        if peer.ip().is_loopback()
            && let Some(outcome) = verdict(&socket, peer)
        {
            return Err(outcome);
        }
        let give_up_at = started + probe.give_up;
        let slot = self.in_flight.vacant_entry();
        let (key, fd) = (slot.key(), socket.as_raw_fd());
        let registry = self.poll.registry();
        registry
            .register(&mut SourceFd(&fd), Token(key), Interest::WRITABLE)
            .map_err(|error| Outcome::Local(local_error(&error)))?;
        slot.insert(InFlight { id: probe.id, peer, socket, started, give_up_at });
        self.deadlines.insert((give_up_at, key));
        Ok(())
    }

    /// A socket may have something to say. It may also not: a child process between fork and exec holds a
    /// copy of it, so that an event can come for a slot that has another socket since.
    fn look_at(&mut self, key: usize) {
        let Some(flight) = self.in_flight.get(key) else { return };
        if let Some(outcome) = verdict(&flight.socket, flight.peer) {
            self.end(key, outcome);
        }
    }

    /// Gives up what is due, after a last look: an answer that is in counts, however late we are.
    fn expire(&mut self) {
        let now = self.clock.now();
        while let Some(&(deadline, key)) = self.deadlines.first()
            && deadline <= now
        {
            let flight = &self.in_flight[key];
            self.end(key, verdict(&flight.socket, flight.peer).unwrap_or(Outcome::Silent));
        }
    }

    /// Frees a slot. Closing the socket takes it out of epoll: no `EPOLL_CTL_DEL` is needed.
    fn end(&mut self, key: usize, outcome: Outcome) {
        let flight = self.in_flight.remove(key);
        self.deadlines.remove(&(flight.give_up_at, key));
        self.tell(flight.id, flight.started, self.clock.now(), outcome);
    }

    fn tell(&mut self, id: ProbeId, started: Moment, ended: Moment, outcome: Outcome) {
        self.done.push(Reply { id, started, ended, outcome });
    }
}

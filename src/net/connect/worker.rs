//! One thread's epoll loop.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    net::SocketAddr,
    os::fd::AsRawFd,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use slab::Slab;
use socket2::Socket;

use super::{
    faults::local_error,
    outbox::Outbox,
    verdict::{connect, open, peer, silence, verdict},
};
use crate::{
    clock::{Clock, SystemClock},
    engine::{Link, LocalError, Outcome, Passage, Probe, ProbeId, Reach, Reply},
    model::Moment,
    net::LinkWatch,
};

/// The token of the waker; sockets have their slot's index, which never gets there.
pub(super) const WAKE: Token = Token(usize::MAX);

/// Readiness events taken from the kernel at once.
const EVENTS: usize = 256;

/// Connects made between two checks for expired probes: a system call can take long where the processor is busy,
/// and a socket that is closed late sends a SYN that the engine did not order.
const STARTS: usize = 16;

/// Sockets kept for the next probes: as many as come at once, or a few fewer.
const MOST_IDLE: usize = 32;

/// How long idle sockets are kept without new probes.
const IDLE_FOR: Duration = Duration::from_secs(1);

/// A thread's share of the probes.
pub(super) struct Worker {
    poll: Poll,
    portions: Receiver<Vec<Probe>>,
    outbox: Arc<Outbox>,
    links: LinkWatch,
    clock: SystemClock,
    slots: Slab<Slot>,
    /// Slots with a socket that waits for another probe, IPv4 and IPv6, the latest last.
    idle: [Vec<usize>; 2],
    /// The slots in flight by deadline. A tree rather than a heap: nearly every probe
    /// is answered long before, and an entry that stayed until its time would outnumber those in flight.
    deadlines: BTreeSet<(Moment, usize)>,
    /// Replies of this turn of the loop.
    done: Vec<Reply>,
    /// By when the driver is to know of the replies in the outbox, and of those of this turn.
    announce_by: Option<Moment>,
}

/// A socket and its use.
struct Slot {
    socket: Socket,
    /// Whether epoll watches it, under this slot's key.
    watched: bool,
    flight: Option<Flight>,
}

/// A connect in progress.
#[derive(Clone, Copy)]
struct Flight {
    id: ProbeId,
    peer: SocketAddr,
    passage: Passage,
    started: Moment,
    left_by: Moment,
    give_up_at: Moment,
    reply_within: Duration,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        portions: Receiver<Vec<Probe>>,
        outbox: Arc<Outbox>,
        links: LinkWatch,
        clock: SystemClock,
    ) -> Self {
        let (slots, idle) = (Slab::new(), Default::default());
        let (deadlines, done) = (BTreeSet::new(), Vec::new());
        let announce_by = None;
        Self { poll, portions, outbox, links, clock, slots, idle, deadlines, done, announce_by }
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
            if events.is_empty() && self.deadlines.is_empty() && self.announce_by.is_none() {
                self.close_idle();
            }
            if self.outbox.is_empty() {
                self.announce_by = None;
            }
            for event in events.iter().filter(|event| event.token() != WAKE) {
                self.look_at(event.token().0);
            }
            self.expire();
            let has_more = match self.portions.try_recv() {
                Ok(portion) => {
                    for probes in portion.chunks(STARTS) {
                        probes.iter().for_each(|probe| self.start(probe));
                        self.expire();
                    }
                    true // perhaps
                }
                Err(TryRecvError::Empty) => false,
                Err(TryRecvError::Disconnected) => return,
            };
            self.hand_over();
            timeout = if has_more { Some(Duration::ZERO) } else { self.idles_for() };
        }
    }

    /// How long the thread may sleep unless something happens; `None`: for ever.
    fn idles_for(&self) -> Option<Duration> {
        let deadline = self.deadlines.first().map(|&(deadline, _)| deadline);
        let due = deadline.into_iter().chain(self.announce_by).min();
        let idle = self.idle.iter().any(|idle| !idle.is_empty()).then_some(IDLE_FOR);
        due.map(|due| self.clock.now().until(due)).or(idle)
    }

    /// Puts the replies of this turn into the outbox, and announces them if that is due.
    fn hand_over(&mut self) {
        if !self.done.is_empty() {
            self.outbox.add(&mut self.done);
        }
        if self.announce_by.is_some_and(|announce_by| announce_by <= self.clock.now()) {
            self.announce_by = None;
            self.outbox.announce();
        }
    }

    fn start(&mut self, probe: &Probe) {
        let started = self.clock.now();
        if started > probe.start_by {
            self.tell(probe.id, [started; 3], Outcome::NotStarted, probe.reply_within);
        } else if let Err(outcome) = self.connect(probe, started) {
            let now = self.clock.now();
            self.tell(probe.id, [started, now, now], outcome, probe.reply_within);
        }
    }

    /// Starts a connect; an outcome that is known at once is returned as the error.
    fn connect(&mut self, probe: &Probe, started: Moment) -> Result<(), Outcome> {
        let passage = match self.links.reach(&probe.address, Some(probe.link)) {
            Reach::Open(passage) => passage,
            Reach::Closed => return Err(Outcome::Local(LocalError::LinkDown)),
            Reach::NoRoute if probe.link == Link::OnLink => return Err(Outcome::Local(LocalError::NoRoute)),
            // The kernel itself reports which error it is.
            Reach::NoRoute => Passage::LOCAL,
        };
        let peer = peer(&probe.address, probe.port)?;
        let key = self.socket(peer).map_err(|error| Outcome::Local(local_error(&error)))?;
        let slot = &mut self.slots[key];
        let asked = connect(&slot.socket, peer);
        let left_by = self.clock.now();
        let at_once = match asked {
            Err(outcome) => Some(outcome),
            // Linux says EINPROGRESS even where the answer came within `connect`, as it does on the loopback; a
            // look there saves the wait and would be a wasted system call on any real network.
            Ok(()) if peer.ip().is_loopback() => verdict(&slot.socket, peer),
            Ok(()) => None,
        };
        let watched = match at_once {
            Some(outcome) => Err(outcome),
            None => self.watch(key).map_err(|error| Outcome::Local(local_error(&error))),
        };
        if let Err(outcome) = watched {
            self.give_back(key, peer, outcome);
            return Err(match outcome {
                // The kernel noticed the interruption of the path before we did.
                Outcome::Local(LocalError::NoRoute) if self.links.is_interrupted(&probe.address) => {
                    Outcome::Local(LocalError::LinkDown)
                }
                outcome => self.judged(outcome, passage),
            });
        }
        let (give_up_at, reply_within) = (started + probe.give_up, probe.reply_within);
        let flight = Flight { id: probe.id, peer, passage, started, left_by, give_up_at, reply_within };
        self.slots[key].flight = Some(flight);
        self.deadlines.insert((give_up_at, key));
        Ok(())
    }

    /// Returns a slot with a socket for this peer. Without a free descriptor it closes the idle sockets.
    fn socket(&mut self, peer: SocketAddr) -> io::Result<usize> {
        if let Some(key) = self.idle[usize::from(peer.is_ipv6())].pop() {
            return Ok(key);
        }
        let socket = open(peer).or_else(|error| {
            if self.idle.iter().all(Vec::is_empty) {
                return Err(error);
            }
            self.close_idle();
            open(peer)
        })?;
        Ok(self.slots.insert(Slot { socket, watched: false, flight: None }))
    }

    /// Edge-triggered, so once is enough for all connects of a socket.
    fn watch(&mut self, key: usize) -> io::Result<()> {
        let slot = &mut self.slots[key];
        if !slot.watched {
            let fd = slot.socket.as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&fd), Token(key), Interest::WRITABLE)?;
            slot.watched = true;
        }
        Ok(())
    }

    /// Ends a connect. A socket that was refused is kept for the next; any other is closed, which takes it
    /// out of epoll, too.
    fn give_back(&mut self, key: usize, peer: SocketAddr, outcome: Outcome) {
        let idle = &mut self.idle[usize::from(peer.is_ipv6())];
        if outcome == Outcome::Refused && idle.len() < MOST_IDLE {
            idle.push(key);
        } else {
            self.slots.remove(key);
        }
    }

    fn close_idle(&mut self) {
        self.idle.iter_mut().flat_map(|idle| idle.drain(..)).for_each(|key| _ = self.slots.remove(key));
    }

    /// Handles a socket's event. The event may be spurious: one event may report two things, and a child process
    /// between fork and exec holds a copy of the socket, so that an event can arrive for a slot with another socket by
    /// then.
    fn look_at(&mut self, key: usize) {
        let Some(slot) = self.slots.get(key) else { return };
        let Some(flight) = slot.flight else { return };
        if let Some(outcome) = verdict(&slot.socket, flight.peer) {
            self.end(key, flight, outcome);
        }
    }

    /// Expires probes at their deadline, after a last check: an answer that has arrived counts, however late the check.
    fn expire(&mut self) {
        let now = self.clock.now();
        while let Some(&(deadline, key)) = self.deadlines.first()
            && deadline <= now
        {
            let slot = &self.slots[key];
            let Some(flight) = slot.flight else { unreachable!("a slot with a deadline is in flight") };
            let outcome = verdict(&slot.socket, flight.peer)
                .unwrap_or_else(|| silence(flight.peer, now.since(flight.started)));
            self.end(key, flight, outcome);
        }
    }

    fn end(&mut self, key: usize, flight: Flight, outcome: Outcome) {
        self.deadlines.remove(&(flight.give_up_at, key));
        self.slots[key].flight = None;
        self.give_back(key, flight.peer, outcome);
        let outcome = self.judged(outcome, flight.passage);
        let moments = [flight.started, flight.left_by, self.clock.now()];
        self.tell(flight.id, moments, outcome, flight.reply_within);
    }

    /// Judges a probe over this passage: silence, or an ICMP error about the host, counts only if the link was up all
    /// the time.
    fn judged(&self, outcome: Outcome, passage: Passage) -> Outcome {
        match outcome.is_answer() {
            Some(true) => self.links.heard(passage),
            Some(false) if !self.links.holds(passage) => return Outcome::Local(LocalError::LinkDown),
            Some(false) | None => {}
        }
        outcome
    }

    /// Notes a reply. One about a probe that was not made never waits: it shows that this machine is short of something.
    fn tell(
        &mut self,
        id: ProbeId,
        [started, left_by, ended]: [Moment; 3],
        outcome: Outcome,
        reply_within: Duration,
    ) {
        let within = outcome.is_answer().map_or(Duration::ZERO, |_| reply_within);
        let announce_by = ended + within;
        self.announce_by = Some(self.announce_by.map_or(announce_by, |earlier| earlier.min(announce_by)));
        self.done.push(Reply { id, started, left_by, ended, outcome });
    }
}

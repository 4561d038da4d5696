//! One thread's sockets, and the epoll that the thread sleeps on.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    net::SocketAddr,
    os::fd::AsRawFd,
    sync::Arc,
    task::{Wake, Waker},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use slab::Slab;
use socket2::Socket;

use super::{
    faults::local_error,
    verdict::{connect, open, peer, silence, verdict},
};
use crate::{
    clock::{Clock, SystemClock},
    engine::{Link, LocalError, Outcome, Passage, Probe, ProbeId, Reach, Reply},
    model::Moment,
    net::LinkWatch,
};

/// The token of the waker; sockets have their slot's index, which never gets there.
const WAKE: Token = Token(usize::MAX);

/// The token of what the thread watches beside its sockets.
const BESIDE: Token = Token(usize::MAX - 1);

/// Readiness events taken from the kernel at once.
const EVENTS: usize = 256;

/// Connects made between two checks for expired probes: a system call can take long where the processor is busy,
/// and a socket that is closed late sends a SYN that the engine did not order.
const STARTS: usize = 16;

/// Sockets kept for the next probes: as many as come at once, or a few fewer.
const MOST_IDLE: usize = 32;

/// How long idle sockets are kept without new probes.
const IDLE_FOR: Duration = Duration::from_secs(1);

/// The sockets of the probes that one thread makes.
pub(super) struct Sockets {
    poll: Poll,
    events: Events,
    links: LinkWatch,
    clock: SystemClock,
    slots: Slab<Slot>,
    /// Slots with a socket that waits for another probe, IPv4 and IPv6, the latest last.
    idle: [Vec<usize>; 2],
    /// When the last socket became idle.
    idle_since: Moment,
    /// The slots in flight by deadline. A tree rather than a heap: nearly every probe
    /// is answered long before, and an entry that stayed until its time would outnumber those in flight.
    deadlines: BTreeSet<(Moment, usize)>,
    /// Replies that the thread has not taken yet.
    replies: Vec<Reply>,
    /// By when the driver is to know of the replies, of those included that the thread has taken.
    announce_by: Option<Moment>,
    /// Whether what is watched beside the sockets has become readable.
    is_beside: bool,
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

/// Ends the wait of a thread for its sockets.
struct PollWaker(mio::Waker);

impl Wake for PollWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake().expect("writing to an eventfd fails only if it is closed");
    }
}

impl Sockets {
    /// Returns no sockets yet, and what ends a wait for them.
    ///
    /// # Errors
    /// Fails if no descriptor is available.
    pub(super) fn new(links: LinkWatch, clock: SystemClock) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::from(Arc::new(PollWaker(mio::Waker::new(poll.registry(), WAKE)?)));
        let sockets = Self {
            poll,
            events: Events::with_capacity(EVENTS),
            links,
            clock,
            slots: Slab::new(),
            idle: Default::default(),
            idle_since: Moment::ZERO,
            deadlines: BTreeSet::new(),
            replies: Vec::new(),
            announce_by: None,
            is_beside: false,
        };
        Ok((sockets, waker))
    }

    /// Makes these connects.
    pub(super) fn connect_all(&mut self, probes: &[Probe]) {
        for probes in probes.chunks(STARTS) {
            probes.iter().for_each(|probe| self.start(probe));
            self.expire(self.clock.now());
        }
    }

    /// Sleeps until a socket has an outcome or a deadline, until this moment (`None`: without limit), or until the
    /// waker is used. Returns whether the driver has something to do: after one of the last two, or if replies cannot
    /// wait any longer.
    pub(super) fn wait(&mut self, until: Option<Moment>) -> bool {
        let is_woken = self.sleep(until);
        is_woken || until.is_some_and(|until| until <= self.clock.now()) || self.must_announce()
    }

    /// Sleeps as [`wait`](Self::wait) does, and returns whether the waker was used.
    pub(super) fn sleep(&mut self, until: Option<Moment>) -> bool {
        let timeout = self.wake_by(until).map(|wake_by| self.clock.now().until(wake_by));
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => unreachable!("epoll_wait fails otherwise only on a bad argument: {error}"),
        }
        let mut is_woken = false;
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                WAKE => is_woken = true,
                BESIDE => self.is_beside = true,
                Token(key) => self.look_at(key),
            }
        }
        self.events = events;
        self.expire(self.clock.now());
        is_woken
    }

    /// Watches another socket, too, until it is closed: a wait ends when something arrives there.
    ///
    /// # Errors
    /// Fails for lack of memory.
    pub(super) fn watch_beside(&self, socket: &Socket) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), BESIDE, Interest::READABLE)
    }

    /// Whether something has arrived there since the last call. It is reported once, so read everything.
    pub(super) fn take_beside(&mut self) -> bool {
        std::mem::take(&mut self.is_beside)
    }

    /// Whether the driver is to know of the replies now.
    pub(super) fn must_announce(&self) -> bool {
        self.announce_by.is_some_and(|announce_by| announce_by <= self.clock.now())
    }

    /// Notes that the driver knows of all replies.
    pub(super) const fn note_announced(&mut self) {
        self.announce_by = None;
    }

    /// The replies that the thread has not taken yet.
    pub(super) const fn replies(&mut self) -> &mut Vec<Reply> {
        &mut self.replies
    }

    /// When a wait ends at the latest.
    fn wake_by(&self, until: Option<Moment>) -> Option<Moment> {
        let deadline = self.deadlines.first().map(|&(deadline, _)| deadline);
        let idle = self.has_idle().then(|| self.idle_since + IDLE_FOR);
        [until, deadline, self.announce_by, idle].into_iter().flatten().min()
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
            self.give_back(key, peer, outcome, left_by);
            return Err(match outcome {
                // The kernel noticed the interruption of the path before we did.
                Outcome::Local(LocalError::NoRoute) if self.links.is_interrupted(&probe.address) => {
                    Outcome::Local(LocalError::LinkDown)
                }
                outcome => self.links.judge(outcome, passage),
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
            if !self.has_idle() {
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
    fn give_back(&mut self, key: usize, peer: SocketAddr, outcome: Outcome, now: Moment) {
        let idle = &mut self.idle[usize::from(peer.is_ipv6())];
        if outcome == Outcome::Refused && idle.len() < MOST_IDLE {
            idle.push(key);
            self.idle_since = now;
        } else {
            self.slots.remove(key);
        }
    }

    fn has_idle(&self) -> bool {
        self.idle.iter().any(|idle| !idle.is_empty())
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
    /// Sockets that were idle for long are closed, too.
    fn expire(&mut self, now: Moment) {
        if now >= self.idle_since + IDLE_FOR {
            self.close_idle();
        }
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
        let ended = self.clock.now();
        self.give_back(key, flight.peer, outcome, ended);
        let outcome = self.links.judge(outcome, flight.passage);
        self.tell(flight.id, [flight.started, flight.left_by, ended], outcome, flight.reply_within);
    }

    /// Notes a reply. One about a probe that was not made never waits: it shows that this machine is short of something.
    pub(super) fn tell(
        &mut self,
        id: ProbeId,
        [started, left_by, ended]: [Moment; 3],
        outcome: Outcome,
        reply_within: Duration,
    ) {
        let within = outcome.is_answer().map_or(Duration::ZERO, |_| reply_within);
        let announce_by = ended + within;
        self.announce_by = Some(self.announce_by.map_or(announce_by, |earlier| earlier.min(announce_by)));
        self.replies.push(Reply { id, started, left_by, ended, outcome });
    }
}

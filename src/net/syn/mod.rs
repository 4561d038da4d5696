//! Probes by bare SYNs: a third of a connect's processor time, and no socket per probe. The engine's [`Prober`] where
//! `CAP_NET_RAW` is there; everything else it leaves to the [`ConnectProber`] that it contains.
//!
//! | file | content |
//! |---|---|
//! | `packet` | what is sent, what is believed: pure |
//! | `flights` | which answer belongs to which probe: pure |
//! | `filter` | what the kernel copies at all |
//! | `sockets` | the sockets, in batches |
//!
//! The engine decides which probes are SYNs: never the check whether a host is up, which needs the kernel's word that
//! ARP failed, and none before a SYN was answered where a connect is. It confirms every open port by a connect. So this
//! module only has to report honestly: what this machine dropped or could not send is its own fault, never silence.

mod filter;
mod flights;
mod packet;
mod sockets;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    task::Waker,
    time::Duration,
};

use self::{
    flights::{SynFlights, SynInFlight},
    packet::{Answer, Tuple, syn},
    sockets::{BATCH, SynBatch, SynSockets},
};
use super::connect::{ConnectProber, local_error};
use crate::{
    clock::{Clock, SystemClock},
    engine::{Link, LocalError, Outcome, Passage, Probe, Prober, Reach, Reply},
    model::{Address, Moment},
    net::LinkWatch,
};

/// How long the sockets stay open without a SYN in flight.
const IDLE_FOR: Duration = Duration::from_secs(5);

/// Least time between two attempts to open them: a capability does not come back, a descriptor does.
const OPEN_AGAIN: Duration = Duration::from_secs(30);

/// Checks that SYNs can be sent and their answers read.
///
/// # Errors
/// As [`SynProber`] would meet them: `PermissionDenied` without `CAP_NET_RAW`.
pub fn check_syn_probing() -> io::Result<()> {
    SynSockets::open().map(close)
}

/// Closes the sockets on a thread of its own. The kernel lets go of a packet socket only after a grace period of RCU, 10
/// to 30 ms, in which no probe could leave.
fn close(sockets: SynSockets) {
    // Without a thread it is dropped here, where that takes its time.
    _ = std::thread::Builder::new().name("closing".to_owned()).spawn(move || drop(sockets));
}

/// Probes with SYNs, and with connects whatever is not to be or cannot be probed so. The driver's thread sends and
/// receives.
pub struct SynProber {
    connects: ConnectProber,
    links: LinkWatch,
    clock: SystemClock,
    sockets: Option<SynSockets>,
    /// When opening the sockets may be tried again after it failed.
    open_again: Moment,
    /// The reasons why connects probe that the log has.
    told: Vec<&'static str>,
    flights: SynFlights,
    batch: SynBatch,
    /// The keys of the batch's flights.
    leaving: Vec<usize>,
    /// The time of what is being added to the batch: the clock is read once for each batch, not for each SYN.
    now: Moment,
    /// Whether there may be answers that were not read.
    unread: bool,
    /// Since when no SYN is in flight.
    idle_since: Moment,
    /// Answers were dropped up to then: the silence of SYNs that left before means nothing.
    dropped_until: Moment,
}

/// How a SYN gets to a host.
#[derive(Clone, Copy)]
enum SynRoute {
    From(Ipv4Addr, Ipv4Addr, Passage),
    /// It cannot, for this reason; a connect may, or its error tells more.
    Connect(&'static str),
    Fault(LocalError),
}

impl SynProber {
    /// Takes the prober that makes the connects.
    pub fn new(connects: ConnectProber, clock: SystemClock) -> Self {
        Self {
            links: connects.links().clone(),
            connects,
            clock,
            sockets: None,
            open_again: Moment::ZERO,
            told: Vec::new(),
            flights: SynFlights::default(),
            batch: SynBatch::default(),
            leaving: Vec::with_capacity(BATCH),
            now: Moment::ZERO,
            unread: false,
            idle_since: Moment::ZERO,
            dropped_until: Moment::ZERO,
        }
    }

    /// Opens the sockets unless they are open. Returns false if connects have to do.
    fn open(&mut self) -> bool {
        if self.sockets.is_some() {
            return true;
        }
        let now = self.clock.now();
        if now < self.open_again {
            return false;
        }
        let opened = SynSockets::open().and_then(|sockets| {
            self.connects.watch_beside(sockets.receiver())?;
            Ok(sockets)
        });
        match opened {
            Ok(sockets) => {
                self.sockets = Some(sockets);
                self.idle_since = now;
            }
            Err(error) => {
                self.open_again = now + OPEN_AGAIN;
                if self.is_news("cannot open") {
                    tracing::info!(%error, "cannot probe by SYNs, which takes CAP_NET_RAW; probing by connects");
                }
            }
        }
        self.sockets.is_some()
    }

    fn route(&self, address: &Address, link: Link) -> SynRoute {
        let IpAddr::V4(peer) = address.ip() else { return SynRoute::Connect("IPv6") };
        if link == Link::Local || address.is_loopback() {
            return SynRoute::Connect("this machine itself");
        }
        match self.links.reach_from(address, Some(link)) {
            (Reach::Open(passage), Some(IpAddr::V4(own))) if passage != Passage::LOCAL && own != peer => {
                SynRoute::From(own, peer, passage)
            }
            (Reach::Closed, _) => SynRoute::Fault(LocalError::LinkDown),
            (Reach::NoRoute, _) if link == Link::OnLink => SynRoute::Fault(LocalError::NoRoute),
            _ => SynRoute::Connect("no route is known"),
        }
    }

    fn is_news(&mut self, reason: &'static str) -> bool {
        let is_news = !self.told.contains(&reason);
        if is_news {
            self.told.push(reason);
        }
        is_news
    }

    /// Logs each reason once.
    fn tell_connects(&mut self, address: &Address, reason: &'static str) {
        if self.is_news(reason) {
            tracing::info!(host = %address, reason, "not probing by SYNs but by connects");
        }
    }

    /// Sends the SYNs of the batch, and reads what was answered meanwhile.
    fn flush(&mut self) {
        let mut from = 0;
        while let Some(sockets) = &self.sockets
            && from < self.batch.len()
        {
            let sent = sockets.send(&self.batch, from);
            let left_by = self.clock.now();
            self.now = left_by;
            match sent {
                Ok(count) => {
                    let left = self.leaving.get(from..from + count).unwrap_or_default();
                    left.iter().for_each(|key| self.flights.note_left(*key, left_by));
                    from += count.max(1);
                }
                Err(error) => {
                    let fault = local_error(&error);
                    if let Some(flight) = self.leaving.get(from).and_then(|key| self.flights.end_key(*key)) {
                        let times = [flight.started, left_by, left_by];
                        self.connects.tell(flight.id, times, Outcome::Local(fault), flight.reply_within);
                    }
                    from += 1;
                }
            }
            self.receive();
        }
        self.batch.clear();
        self.leaving.clear();
    }

    /// Reads some answers.
    fn receive(&mut self) {
        let Some(sockets) = self.sockets.take() else { return };
        let mut arrived = None;
        let take = |answer: Answer| {
            let by = *arrived.get_or_insert_with(|| self.clock.now());
            self.take(&answer, &sockets, by);
        };
        self.unread = match sockets.receive(take) {
            Ok(more) => more,
            Err(error) => {
                self.note_dropped();
                tracing::debug!(%error, "failed to read the answers to SYNs; what is in flight is probed again");
                false
            }
        };
        self.sockets = Some(sockets);
    }

    fn take(&mut self, answer: &Answer, sockets: &SynSockets, by: Moment) {
        let Some(flight) = self.flights.end(&answer.tuple) else {
            // The device sends its SYN-ACK again, so the kernel's RST did not reach it; or it comes late, and the
            // kernel's does.
            if answer.outcome == Outcome::SynAck {
                sockets.reset(answer);
            }
            return;
        };
        self.end(flight, answer.outcome, by);
    }

    /// Expires SYNs at their deadline, after a last look: an answer that has arrived counts, however late the look.
    fn expire(&mut self, now: Moment) {
        if self.flights.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        self.receive();
        while self.unread {
            self.receive();
        }
        if self.sockets.as_ref().is_none_or(|sockets| sockets.dropped().map_or(true, |dropped| dropped > 0)) {
            self.note_dropped();
        }
        let ended = self.clock.now();
        while let Some(flight) = self.flights.expire(now) {
            let is_conclusive = flight.started > self.dropped_until;
            let outcome = if is_conclusive { Outcome::Silent } else { Outcome::Local(LocalError::Memory) };
            self.end(flight, outcome, ended);
        }
    }

    /// Notes that answers were lost on this machine up to now.
    fn note_dropped(&mut self) {
        self.dropped_until = self.clock.now();
    }

    fn end(&mut self, flight: SynInFlight, outcome: Outcome, ended: Moment) {
        self.idle_since = ended;
        let outcome = self.links.judge(outcome, flight.passage);
        self.connects.tell(flight.id, [flight.started, flight.left_by, ended], outcome, flight.reply_within);
    }

    fn close_idle(&mut self, now: Moment) {
        if self.sockets.is_some() && self.flights.is_empty() && now >= self.idle_since + IDLE_FOR {
            // Closing takes it out of epoll, too.
            self.sockets.take().into_iter().for_each(close);
            self.unread = false;
        }
    }

    /// When a wait ends at the latest for the sake of SYNs.
    fn wake_by(&self) -> Option<Moment> {
        let idle = self.sockets.as_ref().filter(|_| self.flights.is_empty());
        let unread = self.unread.then_some(Moment::ZERO);
        let close = idle.map(|_| self.idle_since + IDLE_FOR);
        [self.flights.deadline(), unread, close].into_iter().flatten().min()
    }
}

impl Prober for SynProber {
    fn launch(&mut self, batch: &mut Vec<Probe>) {
        if !batch.iter().any(|probe| probe.by_syn) || !self.open() {
            return self.connects.launch(batch);
        }
        let mut connects = Vec::new();
        self.now = self.clock.now();
        // Most batches go to one host or a few, and within a batch its route does not change.
        let mut last: Option<(Address, SynRoute)> = None;
        for probe in batch.drain(..) {
            if !probe.by_syn {
                connects.push(probe);
                continue;
            }
            let route = match &last {
                Some((address, route)) if *address == probe.address => *route,
                _ => {
                    let route = self.route(&probe.address, probe.link);
                    last = Some((probe.address.clone(), route));
                    route
                }
            };
            match route {
                SynRoute::Connect(reason) => {
                    self.tell_connects(&probe.address, reason);
                    connects.push(probe);
                }
                SynRoute::Fault(error) => self.refuse(&probe, Outcome::Local(error)),
                SynRoute::From(own, peer, passage) => self.start(&probe, own, peer, passage),
            }
        }
        self.flush();
        if !connects.is_empty() {
            self.connects.launch(&mut connects);
        }
    }

    fn wait(&mut self, until: Option<Moment>, replies: &mut Vec<Reply>) {
        loop {
            let wake_by = until.into_iter().chain(self.wake_by()).min();
            let is_woken = self.connects.sleep(wake_by);
            if self.connects.take_beside() || self.unread {
                self.receive();
            }
            let now = self.clock.now();
            self.expire(now);
            self.close_idle(now);
            if is_woken || until.is_some_and(|until| until <= now) || self.connects.must_announce() {
                break;
            }
        }
        self.connects.collect(replies);
    }

    fn waker(&self) -> Waker {
        self.connects.waker()
    }
}

impl SynProber {
    fn refuse(&mut self, probe: &Probe, outcome: Outcome) {
        let now = self.clock.now();
        self.connects.tell(probe.id, [now; 3], outcome, probe.reply_within);
    }

    /// Adds a SYN to the batch, which is sent when it is full.
    fn start(&mut self, probe: &Probe, own: Ipv4Addr, peer: Ipv4Addr, passage: Passage) {
        let now = self.now;
        if now > probe.start_by {
            return self.refuse(probe, Outcome::NotStarted);
        }
        let Some(sockets) = &self.sockets else {
            return self.refuse(probe, Outcome::Local(LocalError::Descriptors));
        };
        let tuple = Tuple { own, peer, port: probe.port, way: 0 };
        let Some((key, tuple)) = self.flights.add(probe, tuple, passage, now) else {
            return self.refuse(probe, Outcome::Local(LocalError::Ports));
        };
        self.batch.add(syn(&tuple, sockets.ports(), sockets.secret()), peer);
        self.leaving.push(key);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

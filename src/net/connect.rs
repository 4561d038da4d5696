//! Makes connects by the thousand: the engine's [`Prober`] over ordinary sockets, without privileges.
//!
//! A few threads, one epoll each, and no task, timer or registration object per probe: on a Pi the
//! rate is bounded by a probe's cost beyond the kernel's own work. System calls of a refused probe: two
//! `connect`s, one to ask and one for the answer, and its share of an `epoll_wait`; a socket is opened and
//! closed only for those that are accepted or silent. Memory of a probe in flight: about 120 bytes here, 2-3 kB
//! in the kernel. Replies that no probe waits for are collected when the driver wakes up anyway (`outbox`).
//!
//! The driver's thread sleeps in the prober and has sockets of its own: for the few probes of a tick, waking up another
//! thread costs more than the connects themselves.

mod faults;
mod outbox;
mod sockets;
mod verdict;
mod worker;

use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    task::Waker,
    thread::JoinHandle,
    time::Duration,
};

use socket2::Socket;

pub(super) use self::{
    faults::local_error,
    verdict::{IcmpError, icmp_error, meaning, peer, silence},
};
use self::{outbox::Outbox, sockets::Sockets, worker::Worker};
use crate::{
    clock::SystemClock,
    engine::{Outcome, Probe, ProbeId, Prober, Reply},
    model::Moment,
    net::LinkWatch,
};

/// The most probes passed to a thread at once. Between two such portions it serves its sockets, so that a large batch
/// neither delays the detection of answers nor stays on one core.
const PORTION: usize = 32;

/// The most paced probes that the driver's thread connects itself: those of a tick of five hosts. To wake up another
/// thread for them costs more than the connects do; more of them are worth a second core.
const FEW: usize = 15;

/// Probes with non-blocking TCP connects, few at once on the driver's thread, many on threads of its own.
///
/// An established connection is reset at once, without a byte written: some devices print what they are
/// sent (ports 9100-9107 and 515), and small ones run out of memory for connections that linger. The number
/// of sockets open is the engine's to bound. Dropping the prober closes them all and joins the threads.
pub struct ConnectProber {
    /// The driver's.
    sockets: Sockets,
    waker: Waker,
    threads: Vec<Thread>,
    next: usize,
    outbox: Arc<Outbox>,
    links: LinkWatch,
}

struct Thread {
    batches: Sender<Vec<Probe>>,
    waker: Waker,
    handle: JoinHandle<()>,
}

impl ConnectProber {
    /// Starts this many threads; one per core is right.
    ///
    /// # Errors
    /// Fails if no descriptor or no thread is available.
    pub fn start(threads: NonZeroUsize, clock: SystemClock) -> io::Result<Self> {
        let links = LinkWatch::open(clock)?;
        let (sockets, waker) = Sockets::new(links.clone(), clock)?;
        let outbox = Arc::new(Outbox::new(waker.clone()));
        // Filled one by one, so that those already started are joined when a later one fails.
        let mut prober = Self { sockets, waker, threads: Vec::new(), next: 0, outbox, links };
        for number in 0..threads.get() {
            let (batches, portions) = channel();
            let (sockets, waker) = Sockets::new(prober.links.clone(), clock)?;
            let worker = Worker::new(sockets, portions, Arc::clone(&prober.outbox));
            let handle =
                std::thread::Builder::new().name(format!("prober-{number}")).spawn(move || worker.run())?;
            prober.threads.push(Thread { batches, waker, handle });
        }
        Ok(prober)
    }

    /// Watches another socket, too: see [`Sockets::watch_beside`].
    pub(super) fn watch_beside(&self, socket: &Socket) -> io::Result<()> {
        self.sockets.watch_beside(socket)
    }

    /// Whether something has arrived there since the last call.
    pub(super) fn take_beside(&mut self) -> bool {
        self.sockets.take_beside()
    }

    /// Waits as [`Prober::wait`] does, or for less: also what arrives beside ends it. Returns whether the waker was
    /// used.
    pub(super) fn sleep(&mut self, until: Option<Moment>) -> bool {
        self.sockets.sleep(until)
    }

    /// Whether the driver is to know of the replies now.
    pub(super) fn must_announce(&self) -> bool {
        self.sockets.must_announce()
    }

    /// Notes the reply to a probe that was made otherwise than by a connect: when it started, had left and ended, its
    /// outcome, and how long the driver may be left to sleep.
    pub(super) fn tell(&mut self, id: ProbeId, times: [Moment; 3], outcome: Outcome, reply_within: Duration) {
        self.sockets.tell(id, times, outcome, reply_within);
    }

    /// Appends all replies.
    pub(super) fn collect(&mut self, replies: &mut Vec<Reply>) {
        replies.append(self.sockets.replies());
        self.sockets.note_announced();
        self.outbox.collect(replies);
    }

    /// Returns the watch on this machine's links.
    pub fn links(&self) -> &LinkWatch {
        &self.links
    }
}

impl Prober for ConnectProber {
    fn launch(&mut self, batch: &mut Vec<Probe>) {
        if batch.iter().all(|probe| !probe.reply_within.is_zero()) {
            if batch.len() <= FEW {
                self.sockets.connect_all(batch);
                return batch.clear();
            }
            // The first thread first, so that as few threads as possible wake up for the probes of a tick.
            self.next = 0;
        }
        let mut probes = batch.drain(..);
        loop {
            let portion: Vec<Probe> = probes.by_ref().take(PORTION).collect();
            if portion.is_empty() {
                return;
            }
            let thread = &self.threads[self.next];
            self.next = (self.next + 1) % self.threads.len();
            thread.batches.send(portion).expect("a prober's thread lives as long as its channel");
            thread.waker.wake_by_ref();
        }
    }

    fn wait(&mut self, until: Option<Moment>, replies: &mut Vec<Reply>) {
        while !self.sockets.wait(until) {}
        self.collect(replies);
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Drop for ConnectProber {
    fn drop(&mut self) {
        for Thread { batches, waker, handle } in self.threads.drain(..) {
            drop(batches);
            waker.wake_by_ref(); // It is kept for the time being: a waker that is gone wakes up no thread.
            let _ = handle.join(); // A panic there was reported there.
        }
    }
}

#[cfg(test)]
mod tests;

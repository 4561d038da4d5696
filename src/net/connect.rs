//! Makes connects by the thousand: the engine's [`Prober`] over ordinary sockets, without privileges.
//!
//! A few threads, one epoll loop each, and no task, timer or registration object per probe: on a Pi the
//! rate is bounded by a probe's cost beyond the kernel's own work. System calls of a refused probe: two
//! `connect`s, one to ask and one for the answer, and its share of an `epoll_wait`; a socket is opened and
//! closed only for those that are accepted or silent. Memory of a probe in flight: about 120 bytes here, 2-3 kB
//! in the kernel. Replies that no probe waits for are collected when the driver wakes up anyway (`outbox`).

mod faults;
mod outbox;
mod verdict;
mod worker;

use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
};

use mio::{Poll, Waker};

use self::{
    outbox::Outbox,
    worker::{WAKE, Worker},
};
use crate::{
    clock::SystemClock,
    engine::{Probe, Prober, Reply},
    net::LinkWatch,
};

/// The most probes passed to a thread at once. Between two such portions it serves its sockets, so that a large batch
/// neither delays the detection of answers nor stays on one core.
const PORTION: usize = 32;

/// Probes with non-blocking TCP connects on threads of its own.
///
/// An established connection is reset at once, without a byte written: some devices print what they are
/// sent (ports 9100-9107 and 515), and small ones run out of memory for connections that linger. The number
/// of sockets open is the engine's to bound. Dropping the prober closes them all and joins the threads.
pub struct ConnectProber {
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
        let outbox = Arc::<Outbox>::default();
        // Filled one by one, so that those already started are joined when a later one fails.
        let links = LinkWatch::open(clock)?;
        let mut prober = Self { threads: Vec::with_capacity(threads.get()), next: 0, outbox, links };
        for number in 0..threads.get() {
            let (batches, portions) = channel();
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKE)?;
            let worker = Worker::new(poll, portions, Arc::clone(&prober.outbox), prober.links.clone(), clock);
            let handle =
                std::thread::Builder::new().name(format!("prober-{number}")).spawn(move || worker.run())?;
            prober.threads.push(Thread { batches, waker, handle });
        }
        Ok(prober)
    }

    /// Returns the watch on this machine's links.
    pub fn links(&self) -> &LinkWatch {
        &self.links
    }
}

impl Prober for ConnectProber {
    fn launch(&mut self, batch: Vec<Probe>) {
        // The probes of a tick always begin with the first thread, so that as few threads as possible wake up for them.
        if batch.iter().all(|probe| !probe.reply_within.is_zero()) {
            self.next = 0;
        }
        let mut probes = batch.into_iter();
        loop {
            let portion: Vec<Probe> = probes.by_ref().take(PORTION).collect();
            if portion.is_empty() {
                return;
            }
            let thread = &self.threads[self.next];
            self.next = (self.next + 1) % self.threads.len();
            thread.batches.send(portion).expect("a prober's thread lives as long as its channel");
            thread.waker.wake().expect("writing to an eventfd fails only if it is closed");
        }
    }

    async fn replies(&mut self) -> Vec<Reply> {
        self.outbox.collect().await
    }
}

impl Drop for ConnectProber {
    fn drop(&mut self) {
        for Thread { batches, waker, handle } in self.threads.drain(..) {
            drop(batches);
            // Neither can fail in a way that leaves anything to be done; a thread's panic was reported.
            let _ = waker.wake();
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests;

//! Drives the one engine of the process, on a thread of its own.
//!
//! The engine decides and the prober connects; here the two meet the clock and the clients. There is one engine for
//! all, so that scheduled runs, confirmations and probes over HTTP share each host's budget. The thread is its own, so
//! that no slow request or disk delays a paced probe.

mod progress;

use std::{
    collections::HashMap,
    io, mem,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    task::Waker,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::{oneshot, watch};

pub use self::progress::{JobProgress, OPEN_PORTS, ProgressSender};
use crate::{
    clock::{Clock, SystemClock},
    engine::{Bounds, Engine, Event, HostJob, JobId, Probe, Prober, Progress, Reply, Stats},
    model::{HostReport, HostStatus, Moment},
};

/// How old the results of [`Scanner::stats`] and [`Ticket::progress`] may be while probes are in flight.
const REFRESH: Duration = Duration::from_millis(250);

/// How often the machine's bounds are read while there is work: other programs use its connection table, too, and a
/// firewall that keeps one may be started later. Reading them takes a few files of /proc.
const READ_BOUNDS_EVERY: Duration = Duration::from_secs(2);

/// The limit of commands carried out before the engine is polled again.
const COMMANDS: usize = 64;

/// The handle to the scanner; all clones refer to the same one.
#[derive(Clone)]
pub struct Scanner {
    commands: CommandSender,
    stats: watch::Receiver<Stats>,
    tickets: Arc<AtomicU64>,
}

/// The scanner's thread. Dropping it stops the scanner and waits for its end, which takes no longer than
/// closing its sockets.
pub struct ScannerThread {
    commands: CommandSender,
    handle: Option<JoinHandle<()>>,
}

/// A job in progress. Dropping it cancels the job.
pub struct Ticket {
    number: TicketId,
    commands: CommandSender,
    up: watch::Receiver<bool>,
    progress: watch::Receiver<JobProgress>,
    report: Option<oneshot::Receiver<HostReport>>,
}

/// Identifies a job before the engine does: its submitter may cancel it without having waited for an id.
type TicketId = u64;

enum Command {
    Submit(Box<HostJob>, JobSender),
    Cancel(TicketId),
    Stop,
}

/// The way to the thread.
#[derive(Clone)]
struct CommandSender {
    queue: Sender<Command>,
    /// Wakes up the thread, which sleeps in its prober.
    waker: Waker,
}

impl CommandSender {
    /// Sends a command. After the thread's end it is dropped, and the channels of its job with it, which the job's
    /// ticket notices.
    fn send(&self, command: Command) {
        if self.queue.send(command).is_ok() {
            self.waker.wake_by_ref();
        }
    }
}

impl Scanner {
    /// Starts the thread. `bounds` reads the machine's bounds, again and again, because they change.
    ///
    /// # Errors
    /// Fails if the system has no thread.
    pub fn start<P: Prober + 'static>(
        seed: u64,
        prober: P,
        clock: SystemClock,
        mut bounds: impl FnMut() -> Bounds + Send + 'static,
    ) -> io::Result<(Self, ScannerThread)> {
        let (queue, inbox) = channel();
        let commands = CommandSender { queue, waker: prober.waker() };
        let engine = Engine::new(bounds(), seed);
        let (publish, stats) = watch::channel(Stats::default());
        let driver = Driver::new(engine, prober, clock, Box::new(bounds), inbox, publish);
        let handle = thread::Builder::new().name("scanner".to_owned()).spawn(move || driver.run())?;
        let thread = ScannerThread { commands: commands.clone(), handle: Some(handle) };
        Ok((Self { commands, stats, tickets: Arc::default() }, thread))
    }

    /// Returns the handle of a stopped scanner, without a thread: for reading a database while no appliance runs.
    pub fn stopped() -> Self {
        let (queue, _) = channel();
        let commands = CommandSender { queue, waker: Waker::noop().clone() };
        let (_, stats) = watch::channel(Stats::default());
        Self { commands, stats, tickets: Arc::default() }
    }

    /// Submits a job. After [`stop`](Self::stop) its ticket has no report.
    pub fn submit(&self, job: HostJob) -> Ticket {
        self.submit_with_progress(job, ProgressSender::default())
    }

    /// Submits a job that publishes its progress in `progress`: open ports at most 250 ms after their verdicts, all of
    /// them before its report. If two jobs share a sender, a job publishes nothing more once its ticket is dropped.
    pub fn submit_with_progress(&self, job: HostJob, progress: ProgressSender) -> Ticket {
        let number = self.tickets.fetch_add(1, Ordering::Relaxed);
        progress.begin(&job.ports);
        let followed = progress.progress.subscribe();
        let (publish_up, up) = watch::channel(false);
        let (deliver, report) = oneshot::channel();
        let sender = JobSender { ticket: number, up: publish_up, progress, report: deliver };
        self.commands.send(Command::Submit(Box::new(job), sender));
        Ticket { number, commands: self.commands.clone(), up, progress: followed, report: Some(report) }
    }

    /// Returns counts since the start, at most 250 ms old.
    pub fn stats(&self) -> Stats {
        self.stats.borrow().clone()
    }

    /// Ends every job with its partial result, and the thread. Returns at once.
    pub fn stop(&self) {
        self.commands.send(Command::Stop);
    }
}

impl ScannerThread {
    /// Stops the scanner, unless it is stopped, and waits for the thread's end.
    pub fn join(self) {
        drop(self);
    }
}

impl Drop for ScannerThread {
    fn drop(&mut self) {
        self.commands.send(Command::Stop);
        if let Some(handle) = self.handle.take() {
            let _ = handle.join(); // a panic there was reported there
        }
    }
}

impl Ticket {
    /// Waits until the host proves to be up. Returns false if the job ends before. Cancel-safe.
    pub async fn host_up(&mut self) -> bool {
        self.up.wait_for(|up| *up).await.is_ok()
    }

    /// Waits for the job's end. Returns `None` if the scanner stopped before it, or the report was already taken.
    /// Cancel-safe.
    pub async fn report(&mut self) -> Option<HostReport> {
        let report = self.report.as_mut()?.await.ok();
        self.report = None;
        report
    }

    /// Returns the job's progress, at most 250 ms old.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().counts
    }

    /// Ends the job. Its report follows, with the partial result.
    pub fn cancel(&self) {
        self.commands.send(Command::Cancel(self.number));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.report.is_some() {
            self.cancel();
        }
    }
}

/// The channels to a job's ticket.
struct JobSender {
    ticket: TicketId,
    up: watch::Sender<bool>,
    progress: ProgressSender,
    report: oneshot::Sender<HostReport>,
}

impl JobSender {
    /// Publishes the job's progress, unless its ticket was dropped: another job may have the sender by then.
    fn publish(&self, counts: Progress, open_ports: impl Iterator<Item = u16>) {
        if !self.report.is_closed() {
            self.progress.publish(counts, open_ports);
        }
    }
}

/// The state of the thread.
struct Driver<P> {
    engine: Engine,
    prober: P,
    clock: SystemClock,
    inbox: Receiver<Command>,
    stats: watch::Sender<Stats>,
    refreshed: Moment,
    bounds: Box<dyn FnMut() -> Bounds + Send>,
    /// When the bounds were last read.
    read_at: Option<Moment>,
    jobs: HashMap<JobId, JobSender>,
    tickets: HashMap<TicketId, JobId>,
    probes: Vec<Probe>,
    replies: Vec<Reply>,
    events: Vec<Event>,
    told_syns_lost: bool,
}

impl<P: Prober> Driver<P> {
    fn new(
        engine: Engine,
        prober: P,
        clock: SystemClock,
        bounds: Box<dyn FnMut() -> Bounds + Send>,
        inbox: Receiver<Command>,
        stats: watch::Sender<Stats>,
    ) -> Self {
        Self {
            engine,
            prober,
            clock,
            inbox,
            stats,
            refreshed: Moment::ZERO,
            bounds,
            read_at: None,
            jobs: HashMap::new(),
            tickets: HashMap::new(),
            probes: Vec::new(),
            replies: Vec::new(),
            events: Vec::new(),
            told_syns_lost: false,
        }
    }

    /// Runs until it is stopped.
    fn run(mut self) {
        let mut due = None;
        loop {
            let now = self.clock.now();
            if let Some(late) = due.filter(|&due| due <= now).map(|due| now.since(due)) {
                self.engine.woken_late(late, now);
            }
            self.read_bounds(now);
            let wake = self.engine.poll(now, &mut self.probes, &mut self.events);
            // Probes first: each has its time to leave, and a report can wait.
            if !self.probes.is_empty() {
                self.prober.launch(&mut self.probes);
            }
            self.forward_events();
            due = self.refresh(now, wake);
            self.prober.wait(due, &mut self.replies);
            self.replies.drain(..).for_each(|reply| self.engine.reply(reply));
            if self.carry_out_commands().is_break() {
                return;
            }
        }
    }

    /// Forwards the engine's events.
    fn forward_events(&mut self) {
        for event in mem::take(&mut self.events) {
            self.forward(event);
        }
    }

    /// Forwards an event to the job's ticket.
    fn forward(&mut self, event: Event) {
        match event {
            Event::HostUp(id) => {
                if let Some(job) = self.jobs.get(&id) {
                    job.up.send_replace(true);
                }
            }
            Event::SynsLost(_) => self.tell_syns_lost(),
            Event::Finished(id, report) => {
                let Some(job) = self.jobs.remove(&id) else { return };
                self.tickets.remove(&job.ticket);
                let ports = job.progress.progress.borrow().counts.ports;
                let counts = Progress {
                    ports,
                    settled: report.coverage.len(),
                    open: u32::try_from(report.open_ports().count()).unwrap_or(u32::MAX),
                    probes: report.probes,
                };
                // No port is stored of a host that was not up to the end.
                let stored = Some(&report).filter(|report| report.status == HostStatus::Up);
                job.publish(counts, stored.into_iter().flat_map(|report| report.open_ports()));
                let _ = job.report.send(*report); // its ticket may have been dropped
            }
        }
    }

    /// Logs once that SYNs are lost: a firewall that drops them does so for every host.
    fn tell_syns_lost(&mut self) {
        if !std::mem::replace(&mut self.told_syns_lost, true) {
            tracing::info!(
                "SYNs stay unanswered where connects are answered: does this machine's firewall drop packets of raw \
                 sockets? Probing by connects"
            );
        }
    }

    /// Reads the machine's bounds if there is work and the last reading is old.
    fn read_bounds(&mut self, now: Moment) {
        if !self.jobs.is_empty() && self.read_at.is_none_or(|read_at| now >= read_at + READ_BOUNDS_EVERY) {
            self.read_at = Some(now);
            self.engine.set_bounds((self.bounds)(), now);
        }
    }

    /// Publishes counts and progress if the last ones are old, or final. Returns when to call it again.
    fn refresh(&mut self, now: Moment, wake: Option<Moment>) -> Option<Moment> {
        let idle = self.jobs.is_empty();
        if idle || now >= self.refreshed + REFRESH {
            self.refreshed = now;
            self.stats.send_replace(self.engine.stats().clone());
            for (&id, job) in &self.jobs {
                if let Some(progress) = self.engine.progress(id) {
                    job.publish(progress, self.engine.open_ports(id));
                }
            }
        }
        let refresh = (!idle).then_some(self.refreshed + REFRESH);
        wake.into_iter().chain(refresh).min()
    }

    /// Cancels every job and forwards its partial result. Probes that the engine still wants launched are not.
    fn report_all(&mut self) {
        let now = self.clock.now();
        while !self.jobs.is_empty() {
            let before = self.jobs.len();
            self.engine.poll(now, &mut self.probes, &mut self.events);
            self.forward_events();
            if self.jobs.len() == before {
                return;
            }
        }
    }

    /// Carries out the commands. Breaks at the command to stop.
    fn carry_out_commands(&mut self) -> ControlFlow<()> {
        for _ in 0..COMMANDS {
            let command = match self.inbox.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return ControlFlow::Continue(()),
                Err(TryRecvError::Disconnected) => return ControlFlow::Break(()), // Every handle is gone.
            };
            let now = self.clock.now();
            match command {
                Command::Submit(job, sender) => {
                    let id = self.engine.submit(*job, now);
                    self.tickets.insert(sender.ticket, id);
                    self.jobs.insert(id, sender);
                }
                Command::Cancel(ticket) => {
                    if let Some(&id) = self.tickets.get(&ticket) {
                        self.engine.cancel(id, now);
                    }
                }
                Command::Stop => {
                    self.jobs.keys().for_each(|&id| self.engine.cancel(id, now));
                    self.report_all();
                    return ControlFlow::Break(());
                }
            }
        }
        // There may be more commands, and the next wait must not delay them.
        self.prober.waker().wake();
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;

//! The real engine and real sockets, on the loopback.

use std::{
    net::{SocketAddr, TcpListener},
    num::{NonZeroU32, NonZeroUsize},
};

use super::*;
use crate::{
    engine::{Bounds, Link, Liveness},
    model::{Delays, HostStatus, PortSet, PortState, Timing},
    net::ConnectProber,
};

const BOUNDS: Bounds = Bounds { in_flight: 256, silent: None, full: false };

fn scanner() -> (Scanner, ScannerThread) {
    let clock = SystemClock::start();
    let prober = ConnectProber::start(NonZeroUsize::MIN, clock).unwrap();
    Scanner::start(1, prober, clock, || BOUNDS).unwrap()
}

fn job(ports: PortSet) -> HostJob {
    HostJob {
        address: "127.0.0.1".parse().unwrap(),
        ports,
        first: Vec::new(),
        timing: Timing::T5,
        by_syn: false,
        max_in_flight: 256,
        max_retries: Some(0),
        max_rate: None,
        liveness: Liveness::Assume,
        link: Link::Local,
        deadline: None,
        sits_out: Duration::MAX,
    }
}

/// Returns a port that never answers: its backlog is full for as long as the returned value lives.
fn silent() -> (u16, impl Sized) {
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let fills_it = std::net::TcpStream::connect(address).unwrap();
    (address.port(), (full, fills_it))
}

#[tokio::test]
async fn a_job_ends_with_a_report_of_open_ports() {
    let (scanner, thread) = scanner();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    let mut ticket = scanner.submit(job(PortSet::from_ranges([(1, 200), (open, open)])));
    assert!(ticket.host_up().await);
    let report = ticket.report().await.unwrap();
    assert_eq!((report.status, report.default_state), (HostStatus::Up, PortState::Closed));
    assert!(report.open_ports().any(|port| port == open));
    let progress = ticket.progress();
    assert_eq!((progress.ports, progress.settled), (201, 201));
    assert!(progress.open >= 1 && progress.probes >= 201);
    assert_eq!(ticket.report().await, None);
    thread.join();
    let stats = scanner.stats();
    assert!(stats.accepted >= 1 && stats.refused >= 190, "{stats:?}");
    assert_eq!(stats.in_flight, 0);
}

#[tokio::test]
async fn a_cancelled_job_has_a_partial_report() {
    let (scanner, _thread) = scanner();
    let (port, _full) = silent();
    let mut ticket = scanner.submit(job(PortSet::from_iter([port])));
    ticket.cancel();
    let report = ticket.report().await.unwrap();
    assert_eq!((report.status, report.coverage.len()), (HostStatus::Partial, 0));
    assert!(!ticket.host_up().await);
}

/// A job that continued would hold its host to one probe a second for all later jobs.
#[tokio::test]
async fn a_dropped_ticket_cancels_its_job() {
    let (scanner, _thread) = scanner();
    drop(scanner.submit(HostJob { max_rate: NonZeroU32::new(1), ..job(PortSet::all()) }));
    let mut ticket = scanner.submit(job(PortSet::from_ranges([(1, 20)])));
    let report = tokio::time::timeout(Duration::from_secs(10), ticket.report()).await;
    assert_eq!(report.unwrap().unwrap().status, HostStatus::Up);
}

/// A look that submits its device anew, more gently, reports the progress of the second job alone.
#[tokio::test]
async fn shared_progress_comes_from_the_job_whose_ticket_is_kept() {
    let (scanner, _thread) = scanner();
    let publish = ProgressSender::default();
    let progress = publish.progress.subscribe();
    let paced = HostJob { max_rate: NonZeroU32::new(1), ..job(PortSet::all()) };
    let first = scanner.submit_with_progress(paced, publish.clone());
    let mut second = scanner.submit_with_progress(job(PortSet::from_ranges([(1, 20)])), publish);
    drop(first);
    second.report().await.unwrap();
    tokio::time::sleep(2 * REFRESH).await;
    let shown = progress.borrow().counts;
    assert_eq!((shown.ports, shown.settled), (20, 20));
}

/// A short job ends before its progress is published for the first time.
#[tokio::test]
async fn all_open_ports_are_published_before_the_report() {
    let (scanner, _thread) = scanner();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    let publish = ProgressSender::default();
    let (progress, found) = (publish.progress.subscribe(), publish.found.subscribe());
    let mut ticket = scanner.submit_with_progress(job(PortSet::from_iter([open])), publish.clone());
    ticket.report().await.unwrap();
    assert_eq!(progress.borrow().open_ports, [open]);
    assert!(found.has_changed().unwrap());
}

#[tokio::test]
async fn stopping_ends_every_job_with_a_partial_report_and_the_thread() {
    let (scanner, thread) = scanner();
    let (port, _full) = silent();
    let mut tickets: Vec<Ticket> = (0..3).map(|_| scanner.submit(job(PortSet::from_iter([port])))).collect();
    scanner.stop();
    thread.join();
    for ticket in &mut tickets {
        assert_eq!(ticket.report().await.unwrap().status, HostStatus::Partial);
    }
    let mut late = scanner.submit(job(PortSet::from_iter([port])));
    assert!(!late.host_up().await);
    assert_eq!(late.report().await, None);
}

#[tokio::test]
async fn a_stopped_scanner_has_no_report() {
    let scanner = Scanner::stopped();
    let mut ticket = scanner.submit(job(PortSet::from_iter([80])));
    assert!(!ticket.host_up().await);
    assert_eq!(ticket.report().await, None);
    assert_eq!((scanner.stats().jobs, scanner.stats().in_flight), (0, 0));
}

/// A prober that blocks for a while with every batch, as on an overloaded machine.
struct Stuck(ConnectProber);

impl Prober for Stuck {
    fn launch(&mut self, batch: &mut Vec<Probe>) {
        self.0.launch(batch);
        thread::sleep(Duration::from_millis(40));
    }

    fn wait(&mut self, until: Option<Moment>, replies: &mut Vec<Reply>) {
        self.0.wait(until, replies);
    }

    fn waker(&self) -> Waker {
        self.0.waker()
    }
}

#[tokio::test]
async fn lateness_is_measured_and_halves_the_window() {
    let clock = SystemClock::start();
    let prober = Stuck(ConnectProber::start(NonZeroUsize::MIN, clock).unwrap());
    let (scanner, thread) = Scanner::start(1, prober, clock, || BOUNDS).unwrap();
    // Paced, so that a batch is due every few milliseconds.
    let paced = HostJob { timing: Timing::T3, ..job(PortSet::from_ranges([(1, 60)])) };
    let report = scanner.submit(paced).report().await.unwrap();
    assert_eq!((report.status, report.coverage.len()), (HostStatus::Up, 60));
    thread.join();
    let stats = scanner.stats();
    let late = |lag: &Delays| {
        let in_time = lag.cumulative().find(|&(bound, _)| bound == Duration::from_millis(20)).unwrap();
        lag.count() - in_time.1
    };
    assert!(late(&stats.lag) >= 2, "{stats:?}");
    assert!(stats.window < BOUNDS.in_flight, "{stats:?}");
    assert!(stats.start_delay.count() >= 60, "{stats:?}");
}

#[tokio::test]
async fn reads_the_bounds_with_the_first_job_and_again() {
    let clock = SystemClock::start();
    let prober = ConnectProber::start(NonZeroUsize::MIN, clock).unwrap();
    let (read, reads) = std::sync::mpsc::channel();
    let mut count = 0;
    let bounds = move || {
        count += 1;
        let _ = read.send(());
        Bounds { full: (2..4).contains(&count), ..BOUNDS }
    };
    let (scanner, _thread) = Scanner::start(1, prober, clock, bounds).unwrap();
    let begun = clock.now();
    let report = scanner.submit(job(PortSet::from_ranges([(1, 20)]))).report().await.unwrap();
    let waited = clock.now().since(begun);
    assert_eq!((report.status, report.coverage.len()), (HostStatus::Up, 20));
    assert!(waited >= READ_BOUNDS_EVERY, "no probe was sent while the table was full: {waited:?}");
    assert!(reads.try_iter().count() >= 3);
}

//! The real engine and real sockets, on the loopback.

use std::{
    net::{SocketAddr, TcpListener},
    num::{NonZeroU32, NonZeroUsize},
};

use super::*;
use crate::{
    engine::{Bounds, Link, Liveness},
    model::{HostStatus, PortSet, PortState, Timing},
    net::ConnectProber,
};

fn scanner() -> (Scanner, ScannerThread) {
    let clock = SystemClock::start();
    let prober = ConnectProber::start(NonZeroUsize::MIN, clock).unwrap();
    Scanner::start(Engine::new(Bounds { in_flight: 256 }, 1), prober, clock).unwrap()
}

fn job(ports: PortSet) -> HostJob {
    HostJob {
        address: "127.0.0.1".parse().unwrap(),
        ports,
        first: Vec::new(),
        timing: Timing::T5,
        max_in_flight: 256,
        max_retries: Some(0),
        max_rate: None,
        liveness: Liveness::Assume,
        link: Link::Local,
        deadline: None,
    }
}

/// A port that never answers: its backlog is full as long as what comes back lives.
fn silent() -> (u16, impl Sized) {
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let fills_it = std::net::TcpStream::connect(address).unwrap();
    (address.port(), (full, fills_it))
}

#[tokio::test]
async fn a_job_ends_in_a_report_of_what_is_open() {
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
async fn a_cancelled_job_reports_in_part() {
    let (scanner, _thread) = scanner();
    let (port, _full) = silent();
    let mut ticket = scanner.submit(job(PortSet::from_iter([port])));
    ticket.cancel();
    let report = ticket.report().await.unwrap();
    assert_eq!((report.status, report.coverage.len()), (HostStatus::Partial, 0));
    assert!(!ticket.host_up().await);
}

/// A job that went on would hold its host to one probe a second for all that comes after.
#[tokio::test]
async fn a_dropped_ticket_cancels_its_job() {
    let (scanner, _thread) = scanner();
    drop(scanner.submit(HostJob { max_rate: NonZeroU32::new(1), ..job(PortSet::all()) }));
    let mut ticket = scanner.submit(job(PortSet::from_ranges([(1, 20)])));
    let report = tokio::time::timeout(Duration::from_secs(10), ticket.report()).await;
    assert_eq!(report.unwrap().unwrap().status, HostStatus::Up);
}

#[tokio::test]
async fn stopping_ends_every_job_in_part_and_the_thread() {
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

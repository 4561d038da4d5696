//! Scans UDP ports of hosts, many hosts at once: passes what a [`UdpHost`] decides to sockets, and what comes of it
//! back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::identify::is_left_alone;
use crate::{
    clock::Clock,
    engine::{Link, LocalError, Progress},
    model::{Address, HostReport, Moment, PortSet},
    net::UdpQuestion,
    udp::{self, UdpHost, UdpOutcome, UdpSettings, UdpStep, UdpTry},
};

/// The most datagrams that wait for an answer at once, each with a socket, towards all hosts together.
const MOST_SOCKETS: usize = 256;

/// How long an answer is waited for: the kernel reports after 3 s that no host answers ARP at the address (arp(7)).
const PATIENCE: Duration = Duration::from_millis(3900);

/// Scans hosts within one bound on sockets; cheap to clone.
#[derive(Clone)]
pub struct UdpScanner {
    clock: Arc<dyn Clock>,
    sockets: Arc<Semaphore>,
}

/// A host in progress. Dropping it stops the host.
pub struct UdpTicket {
    host: JoinHandle<UdpReport>,
    progress: watch::Receiver<Progress>,
    stop: CancellationToken,
    _stops: DropGuard,
}

/// What was found at a host, and what went wrong on this machine meanwhile.
#[derive(Debug)]
pub struct UdpReport {
    /// The verdicts.
    pub report: HostReport,
    /// This machine's faults, which are no verdicts.
    pub faults: BTreeMap<LocalError, u64>,
}

/// Whether a port may be sent a datagram: those of printers and machine controls are not.
pub fn may_be_asked(port: u16) -> bool {
    !is_left_alone(port) && !udp::is_control(port)
}

impl UdpScanner {
    /// A scanner without hosts.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, sockets: Arc::new(Semaphore::new(MOST_SOCKETS)) }
    }

    /// Begins with a host that is reached so. Ports that may not be asked are left out.
    pub fn submit(
        &self,
        (address, link): (Address, Link),
        ports: &PortSet,
        settings: UdpSettings,
    ) -> UdpTicket {
        let ports = ports.iter().filter(|port| may_be_asked(*port)).collect();
        let host = UdpHost::new(&ports, settings, self.clock.now());
        let (publish, progress) = watch::channel(host.progress());
        let stop = CancellationToken::new();
        let scan = HostScan { scanner: self.clone(), address, link, host, publish, stop: stop.clone() };
        UdpTicket { host: tokio::spawn(scan.run()), progress, _stops: stop.clone().drop_guard(), stop }
    }
}

impl UdpTicket {
    /// Waits for the end; `None` if this process is about to end.
    pub async fn report(&mut self) -> Option<UdpReport> {
        (&mut self.host).await.ok()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Ends it with what is known.
    pub fn cancel(&self) {
        self.stop.cancel();
    }
}

/// One host that is being scanned.
struct HostScan {
    scanner: UdpScanner,
    address: Address,
    link: Link,
    host: UdpHost,
    publish: watch::Sender<Progress>,
    stop: CancellationToken,
}

type Flights = FuturesUnordered<BoxFuture<'static, (UdpTry, UdpOutcome)>>;

impl HostScan {
    async fn run(mut self) -> UdpReport {
        let mut flights = Flights::new();
        loop {
            let now = self.scanner.clock.now();
            match self.host.next(now) {
                UdpStep::Done => break,
                UdpStep::Send(one) => self.send(one, &mut flights).await,
                UdpStep::Wait(until) => self.wait(now, until, &mut flights).await,
            }
            self.publish.send_replace(self.host.progress());
        }
        let faults = self.host.faults().clone();
        UdpReport { report: self.host.report(self.address, self.scanner.clock.now()), faults }
    }

    /// Sends a datagram once a socket is free.
    async fn send(&mut self, one: UdpTry, flights: &mut Flights) {
        let free = Arc::clone(&self.scanner.sockets).acquire_owned();
        let Some(Ok(permit)) = self.stop.run_until_cancelled(free).await else {
            return self.host.stop();
        };
        let service = udp::service(one.port);
        let request = service
            .map_or(&[][..], |service| service.requests[usize::from(one.number) % service.requests.len()]);
        let answers_from_any_port = service.is_some_and(|service| service.answers_from_any_port);
        let sent = UdpQuestion::send((&self.address, self.link), one.port, request, answers_from_any_port);
        // After the call: it may have been interrupted before the datagram left.
        let now = self.scanner.clock.now();
        match sent {
            Ok(question) => {
                self.host.sent(now);
                flights.push(Box::pin(flight(one, question, permit, now, Arc::clone(&self.scanner.clock))));
            }
            Err(fault) => self.host.ended(one, UdpOutcome::Local(fault), now),
        }
    }

    async fn wait(&mut self, now: Moment, until: Option<Moment>, flights: &mut Flights) {
        let pause = async {
            match until {
                Some(until) => sleep(now.until(until)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((one, outcome)) = flights.next() => self.host.ended(one, outcome, self.scanner.clock.now()),
            () = pause => {}
            () = self.stop.cancelled() => self.host.stop(),
        }
    }
}

/// Waits for what comes of a datagram; its socket counts until then.
async fn flight(
    one: UdpTry,
    question: UdpQuestion,
    _permit: OwnedSemaphorePermit,
    sent: Moment,
    clock: Arc<dyn Clock>,
) -> (UdpTry, UdpOutcome) {
    (one, question.outcome(sent, PATIENCE, &*clock).await)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::{
        clock::SystemClock,
        model::{HostStatus, PortState, Timing},
    };

    fn scanner() -> UdpScanner {
        UdpScanner::new(Arc::new(SystemClock::start()))
    }

    fn at_once() -> UdpSettings {
        UdpSettings { pace: Duration::from_millis(1), ..UdpSettings::of(Timing::T3) }
    }

    fn loopback() -> (Address, Link) {
        ("127.0.0.1".parse().unwrap(), Link::Local)
    }

    #[tokio::test]
    async fn closed_ports_of_this_machine_are_closed() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut ticket = scanner().submit(loopback(), &[free].into_iter().collect(), at_once());
        let found = ticket.report().await.unwrap();
        assert_eq!(found.report.verdict(free).unwrap().state, PortState::Closed);
        assert_eq!((found.report.status, found.faults.len()), (HostStatus::Up, 0));
        assert_eq!(ticket.progress().settled, 1);
    }

    #[tokio::test]
    async fn a_stopped_host_ends_with_what_is_known() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let mut ticket = scanner().submit(loopback(), &[port].into_iter().collect(), at_once());
        ticket.cancel();
        let found = ticket.report().await.unwrap().report;
        assert_eq!((found.status, found.coverage.len()), (HostStatus::Partial, 0));
    }

    #[tokio::test]
    async fn ports_of_printers_and_machine_controls_get_no_datagram() {
        let asked: PortSet = "502,515,2222,9100,20000,34962,44818,47808-47823".parse().unwrap();
        let mut ticket = scanner().submit(loopback(), &asked, at_once());
        let found = ticket.report().await.unwrap().report;
        assert_eq!((found.probes, found.coverage.len()), (0, 0));
        assert!(udp::known_ports().iter().all(may_be_asked));
    }
}

//! One look at one device: who is really there, what is open, and who was there to the end.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{
    clock::Clock,
    engine::{HostJob, Link, Liveness},
    model::{Address, Device, HostReport, HostStatus, Mac},
    net::{self, Links},
    service::{
        agenda::{Look, Looked},
        scanner::Scanner,
    },
    store::{Observation, Store},
};

/// What looking takes.
#[derive(Clone)]
pub struct Looker {
    /// The one engine's handle.
    pub scanner: Scanner,
    /// For the ports that were open last time: they come first, and get more tries.
    pub store: Store,
    /// For the dates of what is found.
    pub clock: Arc<dyn Clock>,
    /// Hard bound of probes in flight to one device.
    pub max_in_flight: u16,
}

/// Who answers at an address, as far as the neighbour table tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// As expected, or nobody can tell (routed, this machine itself, entry gone).
    Plausible(Option<Mac>),
    /// Another device.
    Other(Mac),
}

impl Looker {
    /// Looks at a device until its report is in or `cancel` is notified. An observation is returned where
    /// there is something to store: never under a MAC that did not hold the address before *and* after.
    pub async fn look(&self, look: Look, cancel: Arc<Notify>) -> (Looked, Option<Observation>) {
        let device = look.device.clone();
        let link = Links::read().link_of(&device.address);
        let first =
            self.store.latest(&device.key()).await.ok().flatten().map_or_else(Vec::new, |host| host.open);
        let started = self.clock.wall();
        let mut ticket = self.scanner.submit(HostJob {
            address: device.address.clone(),
            ports: look.ports.clone(),
            first,
            timing: look.timing,
            max_in_flight: self.max_in_flight,
            max_retries: None,
            max_rate: None,
            liveness: Liveness::Check,
            link,
            deadline: None,
        });
        let before = tokio::select! {
            up = ticket.host_up() => if up { holder(&device, link) } else { Holder::Plausible(device.mac) },
            () = cancel.notified() => return (Looked::Partial, None),
        };
        if let Holder::Other(mac) = before {
            report_takeover(&device, mac);
            return (Looked::Absent, None);
        }
        let report = tokio::select! {
            report = ticket.report() => report,
            () = cancel.notified() => return (Looked::Partial, None),
        };
        let Some(report) = report else { return (Looked::Failed, None) };
        let identified = match (before, holder(&device, link)) {
            _ if report.status == HostStatus::Down => device,
            (_, Holder::Other(mac)) => {
                report_takeover(&device, mac);
                return (Looked::Absent, None);
            }
            (Holder::Plausible(mac), Holder::Plausible(still)) if mac == still => Device { mac, ..device },
            _ => device,
        };
        self.conclude(&look, identified, report, started)
    }

    fn conclude(
        &self,
        look: &Look,
        device: Device,
        report: HostReport,
        started: Timestamp,
    ) -> (Looked, Option<Observation>) {
        let looked = match report.status {
            HostStatus::Up => Looked::Result(device.key()),
            HostStatus::Down => Looked::Absent,
            HostStatus::Partial => Looked::Partial,
        };
        let finished = self.clock.wall();
        (looked, Some(Observation { scan: look.scan, device, report, started, finished }))
    }
}

/// Compares the neighbour table with what the feed said. An entry that is gone is no contradiction: the
/// kernel drops the least used when its table fills up.
fn holder(device: &Device, link: Link) -> Holder {
    if link != Link::OnLink {
        return Holder::Plausible(device.mac);
    }
    match (neighbour(&device.address), device.mac) {
        (Some(found), Some(expected)) if found != expected => Holder::Other(found),
        (found, expected) => Holder::Plausible(found.or(expected)),
    }
}

fn neighbour(address: &Address) -> Option<Mac> {
    net::neighbour(address)
        .inspect_err(|error| tracing::warn!(%error, "the neighbour table cannot be read: addresses are taken on trust"))
        .ok()
        .flatten()
}

fn report_takeover(device: &Device, found: Mac) {
    let expected = device.mac.map(|mac| mac.to_string()).unwrap_or_default();
    tracing::warn!(
        address = %device.address, mac = expected, %found,
        "another device answers at this address: nothing is stored under the MAC that the feed gave"
    );
}

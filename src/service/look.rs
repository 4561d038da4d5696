//! One look at one device: which device is really there, what is open, and whether it was there to the end.

use std::{
    collections::BTreeSet,
    future::{pending, ready},
    io,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::Config,
    engine::{HostJob, Link, Liveness, Passage, Progress, Reach},
    model::{Address, Device, HostAddressError, HostReport, HostStatus, Mac, PortSet, Timing},
    net::{LinkWatch, Links},
    service::{
        agenda::{Look, LookOutcome, is_wanted},
        lines::Lines,
        retry::retry_kernel_read,
        scanner::Scanner,
        witness::{Doubt, Unsighted, Witness, identify},
    },
    store::{Observation, Store},
};

/// The longest look at T3 and above, whatever happens: a fragile host that drops everything takes three hours and
/// a half. A device that takes longer gives its place to the next, and its last result stands. Below T3, where
/// the pauses alone take days, the run's own deadline is the bound.
const LOOK: Duration = Duration::from_secs(4 * 3600);

/// From one look at which MAC has the address to the next during a scan: less than the second for which the kernel
/// itself ignores a change (`locktime` of arp(7) is one).
const WATCH: Duration = Duration::from_millis(500);

/// From one look at an interrupted way to the next.
const WAY: Duration = Duration::from_millis(250);

/// What looking takes.
#[derive(Clone)]
pub struct Looker {
    /// The one engine's handle.
    pub scanner: Scanner,
    /// Whether the device can be reached at all.
    pub watch: LinkWatch,
    /// For the ports that were open last time: they come first, and get more tries.
    pub store: Store,
    /// For the dates of what is found.
    pub clock: Arc<dyn Clock>,
    /// For what is said of a MAC that only the look itself finds out.
    pub config: Arc<Config>,
    /// How often the log says why nothing is stored.
    pub(super) lines: Arc<Lines>,
    /// Stations that answer for others: to see one of them says nothing of the device behind it.
    pub proxies: BTreeSet<Mac>,
}

/// Why a look has nothing to store.
#[derive(Debug, thiserror::Error)]
enum SkipReason {
    #[error(transparent)]
    Doubtful(#[from] Doubt),
    #[error("the device here is excluded, or has `scan = false`: it is left alone")]
    Unwanted(Mac),
    #[error("left out: {0}")]
    NoHost(#[from] HostAddressError),
    #[error(
        "left out of this run: no route from this machine leads there; add one (see `ip route`), or take it from the \
         targets"
    )]
    NoRoute,
    #[error(transparent)]
    Unsighted(Unsighted),
    #[error("which device has the address cannot be told, so nothing is stored: {0}")]
    Unreadable(#[from] io::Error),
    #[error("the scanner has stopped")]
    Stopped,
}

impl Looker {
    /// Looks at a device until its report is in or `cancel` is cancelled. An observation is returned where
    /// there is something to store: never under a MAC that did not hold the address before *and* after. How far
    /// it is, is published in `progress`.
    pub async fn look(
        &self,
        look: Look,
        cancel: CancellationToken,
        progress: watch::Sender<Progress>,
    ) -> (LookOutcome, Option<Observation>) {
        // Cancelled, the attempt is dropped, and with it its ticket.
        let attempt = tokio::select! {
            attempt = self.attempt(&look, &progress) => attempt,
            () = cancel.cancelled() => return (LookOutcome::Partial, None),
        };
        match attempt {
            Ok(observation) => {
                let looked = match observation.report.status {
                    HostStatus::Up => LookOutcome::Result(observation.device.key()),
                    HostStatus::Down => LookOutcome::Absent,
                    HostStatus::Partial => LookOutcome::Partial,
                };
                (looked, Some(observation))
            }
            Err(reason) => {
                if let Some(left_out) = self.lines.admit(reason.kind(), self.clock.now()) {
                    reason.log(&look.device);
                    if left_out > 0 {
                        tracing::warn!(
                            left_out,
                            kind = reason.kind(),
                            "lines of this kind were left out before"
                        );
                    }
                }
                (reason.outcome(), None)
            }
        }
    }

    async fn attempt(
        &self,
        look: &Look,
        progress: &watch::Sender<Progress>,
    ) -> Result<Observation, SkipReason> {
        let address = &look.device.address;
        let (links, witness, known) = self.sight(address).await?;
        let expected = witness.expected(&look.device)?;
        let started = self.clock.wall();
        let Some(known) = known else {
            let report = HostReport::no_neighbour(address.clone());
            return Ok(self.observation(look, expected, report, started));
        };
        self.may_look(&look.device, known)?;
        let sighted = || retry_kernel_read(|| ready(witness.sighted(address)));
        let key = Device { mac: expected, ..look.device.clone() }.key();
        let first = self.store.latest(&key).await.ok().flatten().map_or_else(Vec::new, |host| host.open);
        let way = self.way(look, known);
        let link = links.link_of(address);
        let submit =
            |way| self.scanner.submit_with_progress(self.job(look, way, &first, link), progress.clone());
        let mut ticket = submit(&way);
        let before = if ticket.host_up().await { sighted().await? } else { None };
        self.may_look(&look.device, before)?;
        let own_way = self.way(look, before);
        if before.is_some() && own_way != way {
            // A gadget that the owner wants treated gently is known by its MAC, and only now.
            ticket = submit(&own_way);
        }
        let report = tokio::select! {
            report = ticket.report() => report.ok_or(SkipReason::Stopped)?,
            mac = self.until_unwanted(witness, &look.device) => return Err(SkipReason::Unwanted(mac)),
        };
        let mac = match report.status {
            HostStatus::Down => expected,
            _ => identify(expected, self.vouched(before), self.vouched(sighted().await?))?,
        };
        Ok(self.observation(look, mac, report, started))
    }

    /// How the device is reached, and the MAC at its address; `None`: nothing answers there. What is found while the
    /// way is interrupted says nothing, not even how the device is reached.
    async fn sight(&self, address: &Address) -> Result<(Links, Witness, Option<Option<Mac>>), SkipReason> {
        // What no host can have is no question of routes.
        address.check_host()?;
        loop {
            let passage = self.passage(address).await?;
            let links = retry_kernel_read(|| ready(Links::read())).await?;
            if !self.watch.is_uninterrupted(passage) {
                sleep(WAY).await;
                continue;
            }
            links.check_host(address)?;
            let witness = Witness::of(&links, address);
            match self.first_sighted(witness, &links, address).await {
                Ok(known) => return Ok((links, witness, Some(known))),
                Err(_) if !self.watch.holds(passage) => sleep(WAY).await,
                Err(Unsighted::Silent) => return Ok((links, witness, None)),
                Err(unsighted) => return Err(unsighted.into()),
            }
        }
    }

    /// Waits for the way to the device to be open.
    async fn passage(&self, address: &Address) -> Result<Passage, SkipReason> {
        loop {
            match self.watch.reach(address, None) {
                Reach::Open(passage) => return Ok(passage),
                Reach::Closed => sleep(WAY).await,
                Reach::NoRoute => return Err(SkipReason::NoRoute),
            }
        }
    }

    /// The MAC at the address before the first probe: an excluded device gets not even that.
    async fn first_sighted(
        &self,
        witness: Witness,
        links: &Links,
        address: &Address,
    ) -> Result<Option<Mac>, Unsighted> {
        retry_kernel_read(|| async {
            match witness.first_sighted(&self.config, links, address).await {
                Err(Unsighted::Unreadable(error)) => Err(error),
                sighted => Ok(sighted),
            }
        })
        .await?
    }

    /// Asks again whether the device may be looked at, now that its MAC is known.
    fn may_look(&self, device: &Device, found: Option<Mac>) -> Result<(), SkipReason> {
        match found {
            Some(mac) if !is_wanted(&self.config, &Device { mac: Some(mac), ..device.clone() }) => {
                Err(SkipReason::Unwanted(mac))
            }
            _ => Ok(()),
        }
    }

    /// Waits for an excluded device to take the address, while another is being scanned there.
    async fn until_unwanted(&self, witness: Witness, device: &Device) -> Mac {
        if !self.config.excludes_by_mac() {
            return pending().await;
        }
        loop {
            sleep(WATCH).await;
            // A table that cannot be read now can be a moment later.
            let found = witness.sighted(&device.address).ok().flatten();
            if let Err(SkipReason::Unwanted(mac)) = self.may_look(device, found) {
                return mac;
            }
        }
    }

    /// A MAC that was seen, where it identifies the device.
    fn vouched(&self, seen: Option<Mac>) -> Option<Mac> {
        seen.filter(|mac| !self.proxies.contains(mac))
    }

    /// Which ports and how hard, by the rule for the device that has this MAC.
    fn way(&self, look: &Look, found: Option<Mac>) -> (PortSet, Timing) {
        let device = Device { mac: found.or(look.device.mac), ..look.device.clone() };
        let rule = self.config.rule_for(&device);
        let own = rule.filter(|_| !look.is_exact).and_then(|rule| rule.ports.clone());
        let ports = own.unwrap_or_else(|| look.ports.clone());
        (ports, rule.and_then(|rule| rule.timing).unwrap_or(look.timing))
    }

    fn job(&self, look: &Look, (ports, timing): &(PortSet, Timing), first: &[u16], link: Link) -> HostJob {
        HostJob {
            address: look.device.address.clone(),
            ports: ports.clone(),
            first: first.to_vec(),
            timing: *timing,
            max_in_flight: self.config.max_in_flight,
            max_retries: None,
            max_rate: None,
            liveness: Liveness::Check,
            link,
            deadline: (*timing >= Timing::T3).then_some(LOOK),
            sits_out: Duration::MAX,
        }
    }

    fn observation(
        &self,
        look: &Look,
        mac: Option<Mac>,
        report: HostReport,
        started: Timestamp,
    ) -> Observation {
        let device = Device { mac, ..look.device.clone() };
        Observation { scan: look.scan, device, report, started, finished: self.clock.wall() }
    }
}

impl From<Unsighted> for SkipReason {
    fn from(unsighted: Unsighted) -> Self {
        match unsighted {
            Unsighted::Unreadable(error) => Self::Unreadable(error),
            unsighted => Self::Unsighted(unsighted),
        }
    }
}

impl SkipReason {
    const fn outcome(&self) -> LookOutcome {
        match self {
            // An interface may come back, and is no reason to believe that a device is gone.
            Self::NoHost(
                HostAddressError::NoInterface { .. } | HostAddressError::UnknownInterface { .. },
            ) => LookOutcome::Failed,
            Self::Doubtful(Doubt::TakenOver { .. }) | Self::Unwanted(_) | Self::NoHost(_) => {
                LookOutcome::Absent
            }
            Self::Doubtful(Doubt::Unattested) => LookOutcome::Partial,
            Self::NoRoute | Self::Unsighted(_) | Self::Unreadable(_) | Self::Stopped => LookOutcome::Failed,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Doubtful(Doubt::TakenOver { .. }) => "taken over",
            Self::Doubtful(Doubt::Unattested) => "unattested",
            Self::Unwanted(_) => "unwanted",
            Self::NoHost(_) => "no host",
            Self::NoRoute => "no route",
            Self::Unsighted(_) => "unsighted",
            Self::Unreadable(_) => "unreadable",
            Self::Stopped => "stopped",
        }
    }

    fn log(&self, device: &Device) {
        let address = &device.address;
        let text = |mac: &Option<Mac>| mac.map(|mac| mac.to_string()).unwrap_or_default();
        match self {
            Self::Doubtful(Doubt::TakenOver { expected, found }) => {
                tracing::warn!(%address, mac = text(expected), found = text(found), "{self}");
            }
            Self::Unwanted(mac) => tracing::info!(%address, %mac, "{self}"),
            // A scan of one's own network means its hosts.
            Self::NoHost(HostAddressError::WholeNetwork { .. }) => tracing::debug!(%address, "{self}"),
            Self::NoHost(_)
            | Self::NoRoute
            | Self::Doubtful(Doubt::Unattested)
            | Self::Unsighted(_)
            | Self::Unreadable(_) => {
                tracing::warn!(%address, "{self}");
            }
            Self::Stopped => tracing::debug!(%address, "{self}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_taken_over_is_absent_and_what_is_unattested_is_looked_at_again() {
        let taken = Doubt::TakenOver { expected: None, found: None };
        assert_eq!(SkipReason::from(taken).outcome(), LookOutcome::Absent);
        assert_eq!(SkipReason::from(Doubt::Unattested).outcome(), LookOutcome::Partial);
    }

    #[test]
    fn what_cannot_be_checked_is_a_failure() {
        let reason = SkipReason::from(io::Error::other("out of descriptors"));
        assert_eq!(reason.outcome(), LookOutcome::Failed);
    }
}

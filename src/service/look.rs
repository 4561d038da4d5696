//! One look at one device: determines which device has the address, which ports are open, and whether the device was
//! present to the end.

use std::{
    collections::BTreeSet,
    future::{pending, ready},
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::Config,
    engine::{HostJob, Link, Liveness, Passage, Reach},
    model::{Address, Device, HostAddressError, HostReport, HostStatus, Mac, PortSet, Timing},
    net::{LinkWatch, Links},
    service::{
        agenda::{Look, LookOutcome, Scope, is_wanted},
        host_lease::HostLeases,
        lines::Lines,
        retry::retry_kernel_read,
        scanner::{ProgressSender, Scanner},
        witness::{Doubt, Unsighted, Witness, identify, vouched},
    },
    store::{Observation, Store},
};

/// The longest look at T3 and above, whatever happens: a fragile host that drops everything takes three hours and a
/// half. A device that takes longer gives its place to the next, and keeps its previous result. Below T3, where the
/// pauses alone take days, the run's own deadline is the limit.
const LOOK: Duration = Duration::from_secs(4 * 3600);

/// How often a scan checks which MAC has the address: more often than once in the second for which the kernel itself
/// ignores a change (`locktime` of arp(7) is one).
const WATCH: Duration = Duration::from_millis(500);

/// How often an interrupted path to the device is checked.
const WAY: Duration = Duration::from_millis(250);

/// What a look needs.
#[derive(Clone)]
pub struct Looker {
    /// The handle of the one engine.
    pub scanner: Scanner,
    /// Tells whether the device can be reached at all.
    pub watch: LinkWatch,
    /// Knows the ports that were open last time: they come first, and get more tries.
    pub store: Store,
    /// Dates the results.
    pub clock: Arc<dyn Clock>,
    /// Has the rules for a MAC that is learned only during the look.
    pub config: Arc<Config>,
    /// Limits how often the log reports why nothing is stored.
    pub(super) lines: Arc<Lines>,
    /// Stations that answer for others: seeing the MAC of one does not identify the device behind it.
    pub proxies: BTreeSet<Mac>,
    /// The hosts that have a dialogue.
    pub leases: HostLeases,
}

/// Where a look publishes its progress.
#[derive(Clone, Debug)]
pub struct LookProgress {
    /// How far it is, and what it has found.
    pub job: ProgressSender,
    /// The ports that are open by the device's state before the look; set before the first probe.
    pub open_before: Arc<OnceLock<PortSet>>,
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
    #[error("the device at the address is unknown, so nothing is stored: {0}")]
    Unreadable(#[from] io::Error),
    #[error("the scanner has stopped")]
    Stopped,
}

impl Looker {
    /// Scans a device until its report is complete or `cancel` is cancelled. Returns an observation if there is
    /// something to store, but never under a MAC that did not have the address before *and* after. Publishes its
    /// progress in `progress`.
    pub async fn look(
        &self,
        look: Look,
        cancel: CancellationToken,
        progress: LookProgress,
    ) -> (LookOutcome, Option<Observation>) {
        // When cancelled, the attempt is dropped, and its ticket with it.
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
                            "suppressed earlier lines of this kind"
                        );
                    }
                }
                (reason.outcome(), None)
            }
        }
    }

    async fn attempt(&self, look: &Look, progress: &LookProgress) -> Result<Observation, SkipReason> {
        let address = &look.device.address;
        let _lease = self.leases.scan(address).await;
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
        let open_before = progress.open_before.get_or_init(|| first.iter().copied().collect());
        let once_open = match look.scope {
            Scope::Common => self.store.once_open(&key, open_before.clone()).await.unwrap_or_default(),
            Scope::Usual | Scope::Exact => PortSet::default(),
        };
        let way = self.way(look, known, &once_open);
        let link = links.link_of(address);
        let submit =
            |way| self.scanner.submit_with_progress(self.job(look, way, &first, link), progress.job.clone());
        let mut ticket = submit(&way);
        let before = if ticket.host_up().await { sighted().await? } else { None };
        self.may_look(&look.device, before)?;
        let own_way = self.way(look, before, &once_open);
        if before.is_some() && own_way != way {
            // The rule for a device that needs gentle treatment may name its MAC, which is known only now.
            ticket = submit(&own_way);
        }
        let report = tokio::select! {
            report = ticket.report() => report.ok_or(SkipReason::Stopped)?,
            mac = self.until_unwanted(witness, &look.device) => return Err(SkipReason::Unwanted(mac)),
        };
        let mac = match report.status {
            HostStatus::Down => expected,
            _ => {
                identify(expected, vouched(before, &self.proxies), vouched(sighted().await?, &self.proxies))?
            }
        };
        Ok(self.observation(look, mac, report, started))
    }

    /// Returns how the device is reached, and the MAC at its address; `None` if nothing answers there. A finding that
    /// was made while the path was interrupted proves nothing, not even how the device is reached.
    async fn sight(&self, address: &Address) -> Result<(Links, Witness, Option<Option<Mac>>), SkipReason> {
        // For an address that no host can have, the route does not matter.
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

    /// Waits for the path to the device to be open.
    async fn passage(&self, address: &Address) -> Result<Passage, SkipReason> {
        loop {
            match self.watch.reach(address, None) {
                Reach::Open(passage) => return Ok(passage),
                Reach::Closed => sleep(WAY).await,
                // Its own route may be what has just gone, before the watch has seen why.
                Reach::NoRoute if self.watch.is_interrupted(address) => sleep(WAY).await,
                Reach::NoRoute => return Err(SkipReason::NoRoute),
            }
        }
    }

    /// Returns the MAC at the address before the first probe: an excluded device must not receive even that.
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

    /// Checks again whether the device may be scanned, now that its MAC is known.
    fn may_look(&self, device: &Device, found: Option<Mac>) -> Result<(), SkipReason> {
        match found {
            Some(mac) if !is_wanted(&self.config, &Device { mac: Some(mac), ..device.clone() }) => {
                Err(SkipReason::Unwanted(mac))
            }
            _ => Ok(()),
        }
    }

    /// Waits until an excluded device takes the address while another is being scanned there.
    async fn until_unwanted(&self, witness: Witness, device: &Device) -> Mac {
        if !self.config.excludes_by_mac() {
            return pending().await;
        }
        loop {
            sleep(WATCH).await;
            // A table that cannot be read now may be readable a moment later.
            let found = witness.sighted(&device.address).ok().flatten();
            if let Err(SkipReason::Unwanted(mac)) = self.may_look(device, found) {
                return mac;
            }
        }
    }

    /// Returns which ports to scan and how fast, by the rule for the device that has this MAC.
    fn way(&self, look: &Look, found: Option<Mac>, once_open: &PortSet) -> (PortSet, Timing) {
        let device = Device { mac: found.or(look.device.mac), ..look.device.clone() };
        let rule = self.config.rule_for(&device);
        let own = rule.and_then(|rule| rule.ports.as_ref());
        (
            look.scope.ports(&look.ports, own, once_open),
            rule.and_then(|rule| rule.timing).unwrap_or(look.timing),
        )
    }

    fn job(&self, look: &Look, (ports, timing): &(PortSet, Timing), first: &[u16], link: Link) -> HostJob {
        HostJob {
            address: look.device.address.clone(),
            ports: ports.clone(),
            first: first.to_vec(),
            timing: *timing,
            by_syn: look.method.allows_syns(),
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
            // An interface may come back, and its absence does not prove that a device is gone.
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
        let (address, kind) = (&device.address, self.kind());
        let text = |mac: &Option<Mac>| mac.map(|mac| mac.to_string()).unwrap_or_default();
        match self {
            Self::Doubtful(Doubt::TakenOver { expected, found }) => {
                let (mac, found) = (text(expected), text(found));
                tracing::warn!(%address, mac, found, kind, reason = %self, "nothing stored of a device");
            }
            Self::Unwanted(mac) => {
                tracing::info!(%address, %mac, kind, reason = %self, "nothing stored of a device");
            }
            // A user who scans a network of this machine means its hosts.
            Self::NoHost(HostAddressError::WholeNetwork { .. }) | Self::Stopped => {
                tracing::debug!(%address, kind, reason = %self, "nothing stored of a device");
            }
            Self::NoHost(_)
            | Self::NoRoute
            | Self::Doubtful(Doubt::Unattested)
            | Self::Unsighted(_)
            | Self::Unreadable(_) => {
                tracing::warn!(%address, kind, reason = %self, "nothing stored of a device");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_whose_address_was_taken_over_is_absent_and_an_unattested_result_is_partial() {
        let taken = Doubt::TakenOver { expected: None, found: None };
        assert_eq!(SkipReason::from(taken).outcome(), LookOutcome::Absent);
        assert_eq!(SkipReason::from(Doubt::Unattested).outcome(), LookOutcome::Partial);
    }

    #[test]
    fn an_unreadable_neighbour_table_is_a_failure() {
        let reason = SkipReason::from(io::Error::other("out of descriptors"));
        assert_eq!(reason.outcome(), LookOutcome::Failed);
    }
}

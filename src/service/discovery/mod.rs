//! Layer 3: finds the LAN's devices without a lanscan service: sends an ARP request for every address of an
//! interface's own subnets.
//!
//! `sweep` plans one round of requests, and `census` keeps track of the devices from one sweep to the next, both
//! without any I/O; here they meet the interface. Requests go out as ARP where this process may send it, and through
//! the kernel's own neighbour table otherwise. If the owner wants it, `ipv6` keeps track of the devices' link-local IPv6
//! addresses beside.

mod census;
mod ipv6;
mod sighting;
mod sweep;

use std::{collections::BTreeSet, io, net::Ipv4Addr, sync::Arc, time::Duration};

use ipnet::Ipv4Net;
use jiff::Timestamp;
use tokio::sync::mpsc;

use self::ipv6::Ipv6Census;
pub use self::{
    census::{AllSilent, Census, Swept},
    sweep::{Heard, Sweep, SweepPace},
};
use crate::{
    clock::Clock,
    config::Discover,
    feed::Feed,
    model::Moment,
    net::{ArpSocket, Lan, LanError, NeighbourQuery, Nudge, link_locals},
};

/// The time from the start of one sweep to the start of the next.
pub const EVERY: Duration = Duration::from_secs(5 * 60);

/// The time from a failed sweep to the next try: at boot, the link or DHCP may take that long.
const RETRY: Duration = Duration::from_secs(15);

/// The largest subnet, in addresses, that is swept without being named. A larger one is a site's, and its
/// administrator decides.
pub const MOST_UNNAMED: usize = 1024;

/// Why a sweep failed.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The interface does not exist, or is not ready.
    #[error(transparent)]
    Lan(#[from] LanError),
    /// The named prefix is not on the interface.
    #[error("{net} is in none of {interface}'s own subnets ({}), and ARP asks neighbours alone; name a part of these", list(.own))]
    Elsewhere {
        /// The interface.
        interface: String,
        /// The prefix in the configuration.
        net: Ipv4Net,
        /// The interface's own subnets.
        own: Vec<Ipv4Net>,
    },
    /// All of the subnets are large, and none was named.
    #[error("{}", .0.join("; "))]
    TooLarge(Vec<String>),
    /// The interface went away during the sweep, or the machine lacks a resource.
    #[error("cannot ask on {interface}: {source}")]
    Failed {
        /// The interface.
        interface: String,
        /// The system's error.
        source: io::Error,
    },
}

/// What the owner wants of sweeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// How long a device that is no longer found stays listed.
    pub(super) grace: Duration,
    /// Whether link-local IPv6 addresses are found, too.
    pub(super) has_ipv6: bool,
}

/// A complete sweep.
#[derive(Clone, Debug)]
pub struct Made {
    /// What it found.
    pub swept: Swept,
    /// When it ended.
    pub ended: Timestamp,
    /// How long the preparation took, mostly opening the socket.
    pub preparation: Duration,
    /// How long it took from the first request to the end.
    pub sweeping: Duration,
}

/// Sweeps at once and then every five minutes, for as long as a receiver exists. A sweep that takes longer than half
/// of that is followed by a rest as long. What the owner wants is read anew each time.
pub(super) async fn keep<R: Send>(
    discover: Discover,
    arp_grant: &'static str,
    clock: Arc<dyn Clock>,
    wanted: impl Fn() -> Wanted + Send,
    reports: mpsc::Sender<R>,
    report: impl Fn(Result<(Feed, Made), String>) -> R + Send,
) {
    let mut census = Census::default();
    let mut ipv6 = Ipv6Census::default();
    loop {
        let began = clock.now();
        let made = once(&discover, arp_grant, &*clock, |_, _| ()).await.map_err(|error| error.to_string());
        let Wanted { grace, has_ipv6 } = wanted();
        let mut found = made.and_then(|made| {
            let feed = census.take(&made.swept, grace, clock.now());
            feed.map(|feed| (feed, made)).map_err(|silence| silence.to_string())
        });
        if let (true, Ok((feed, made))) = (has_ipv6, &mut found) {
            // It takes longer than the sweep, and a first answer should not wait.
            let first = ipv6.is_empty().then(|| report(Ok((feed.clone(), made.clone()))));
            if let Some(first) = first
                && reports.send(first).await.is_err()
            {
                return;
            }
            add_ipv6(&mut ipv6, &discover.interface, feed, grace, &*clock).await;
        }
        let took = clock.now().since(began);
        let pause = if found.is_ok() { EVERY.saturating_sub(took).max(took) } else { RETRY.max(took) };
        if reports.send(report(found)).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Adds the devices' link-local addresses to what a sweep of their interface has found. If nothing can be asked, a
/// remark says so, and those that were known stay.
async fn add_ipv6(
    census: &mut Ipv6Census,
    interface: &str,
    feed: &mut Feed,
    grace: Duration,
    clock: &dyn Clock,
) {
    let asked = match Lan::of(interface) {
        Ok(lan) => {
            let macs = feed.devices.iter().filter_map(|device| device.mac).filter(|mac| *mac != lan.mac);
            link_locals(&lan, macs).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    match asked {
        Ok(found) => census.take(&found, grace, clock.now()),
        Err(remark) => feed.remarks.push(remark),
    }
    census.add_to(feed, interface);
}

/// Sweeps once. `arp_grant` explains to users how to permit ARP requests, where this process may not send them; `show`
/// receives the progress now and then.
///
/// # Errors
/// Fails if the interface is not ready, or goes away.
pub async fn once(
    discover: &Discover,
    arp_grant: &str,
    clock: &dyn Clock,
    show: impl FnMut(&Sweep, Moment) + Send,
) -> Result<Made, DiscoveryError> {
    let began = clock.now();
    let lan = Lan::of(&discover.interface)?;
    let (targets, mut remarks) = targets(&lan, discover.net)?;
    let failed = |source| DiscoveryError::Failed { interface: lan.interface.clone(), source };
    let start = |pace| Sweep::new(pace, targets.clone(), clock.now());
    let sweep = match ArpSocket::open(&lan) {
        Ok(mut socket) => carry_out(start(SweepPace::ARP), &mut socket, clock, show).await,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let mut nudge = Nudge::open(&lan).map_err(failed)?;
            remarks.push(format!(
                "{}: without CAP_NET_RAW devices are not asked by ARP but nudged by {}, and the \
                 kernel's table is read: slower, and seen only the second time that they are gone. To grant it: {arp_grant}",
                lan.interface,
                nudge.packets()
            ));
            carry_out(start(SweepPace::NUDGE), &mut nudge, clock, show).await
        }
        Err(error) => Err(error),
    };
    let sweep = sweep.map_err(failed)?;
    let preparation = sweep.began().since(began);
    let sweeping = clock.now().since(sweep.began());
    let own = lan.nets.iter().map(|net| (net.addr(), lan.mac)).collect();
    let swept = Swept { asked: targets.into_iter().collect(), heard: sweep.into_heard(), own, remarks };
    Ok(Made { swept, ended: clock.wall(), preparation, sweeping })
}

/// Probes the addresses that the sweep names, when it does, and passes the answers to it, until it is over.
async fn carry_out<A: NeighbourQuery>(
    mut sweep: Sweep,
    asker: &mut A,
    clock: &dyn Clock,
    mut show: impl FnMut(&Sweep, Moment) + Send,
) -> io::Result<Sweep> {
    loop {
        let now = clock.now();
        for address in sweep.due(now) {
            asker.send_query(address)?;
        }
        show(&sweep, now);
        let Some(next) = sweep.next(now) else { return Ok(sweep) };
        tokio::select! {
            answers = asker.replies() => answers?.into_iter().for_each(|answer| sweep.hear(answer)),
            () = tokio::time::sleep(now.until(next)) => {}
        }
    }
}

/// Returns the addresses to probe, and the subnets that are left out. A network's first and last address cannot be a
/// host's, and this machine's own are known.
fn targets(lan: &Lan, named: Option<Ipv4Net>) -> Result<(Vec<Ipv4Addr>, Vec<String>), DiscoveryError> {
    let mut asked = BTreeSet::new();
    let mut left_out = Vec::new();
    match named {
        Some(named) => {
            let around = lan.nets.iter().find(|net| net.contains(&named)).ok_or_else(|| {
                let (interface, own) = (lan.interface.clone(), lan.nets.clone());
                DiscoveryError::Elsewhere { interface, net: named, own }
            })?;
            asked.extend(hosts(named, around));
        }
        None => {
            for net in &lan.nets {
                match hosts(*net, net) {
                    few if few.size_hint().0 <= MOST_UNNAMED => asked.extend(few),
                    many => left_out.push(too_large(lan, net, many.size_hint().0)),
                }
            }
            if left_out.len() == lan.nets.len() {
                return Err(DiscoveryError::TooLarge(left_out));
            }
        }
    }
    Ok((asked.into_iter().filter(|address| !lan.is_own(*address)).collect(), left_out))
}

/// Returns the addresses of a part that hosts of the whole may have.
fn hosts(part: Ipv4Net, whole: &Ipv4Net) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let (mut first, mut last) = (part.network().to_bits(), part.broadcast().to_bits());
    // RFC 3021: both addresses of a /31 are hosts.
    if whole.prefix_len() < 31 {
        first = first.max(whole.network().to_bits() + 1);
        last = last.min(whole.broadcast().to_bits() - 1);
    }
    (first..=last).map(Ipv4Addr::from_bits)
}

fn too_large(lan: &Lan, net: &Ipv4Net, count: usize) -> String {
    let interface = &lan.interface;
    let shown = net.trunc();
    let named = if net.prefix_len() < 16 {
        // The part around this machine's own address, for lack of a better guess.
        Ipv4Net::new_assert(net.addr(), 24).trunc()
    } else {
        shown
    };
    let all = if named == shown { "all of it" } else { "the part in use, of at most 65,536" };
    format!(
        "{interface} is in {shown}; none of its {count} addresses is probed, because a subnet of more than \
         {MOST_UNNAMED} must be named: to probe {all}, write discover = [\"{interface} {named}\"] under [feed]"
    )
}

fn list(nets: &[Ipv4Net]) -> String {
    nets.iter().map(|net| net.trunc().to_string()).collect::<Vec<_>>().join(", ")
}

//! Announces the appliance's names on the LAN.

use std::{future::pending, io, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use mdns_sd::{DaemonEvent, MDNS_PORT, RRType};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    DOMAIN, MdnsScope,
    daemon::{Announcement, Daemon, MdnsError},
    label_of,
    valve::Valve,
};
use crate::{config::Config, model::one_line};

/// The name of the service that the appliance replaces where it discovers devices itself.
const LANSCAN: &str = "lanscan";

/// The delay before a failed step is retried.
const AGAIN: Duration = Duration::from_secs(60);

/// The shortest interval between two checks of the thread's memory; without traffic there are none. The memory can grow
/// unnoticed by what a network carries in this time and [`PROMPT`].
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A thread that does not report its cache size within this time receives more than it can read.
const PROMPT: Duration = Duration::from_millis(50);

/// For how long the sockets stay shut in that case.
const RELIEF: Duration = Duration::from_secs(1);

/// The most that the thread may cache of other hosts: records of up to 9 kB, and two timers for each, so that it is 15
/// MB at worst. mdns-sd has no bound of its own. 250 devices that announce four records each come to 3000.
const MOST_REMEMBERED: i64 = 5000;

/// The delay from a flood to the next attempt. Being unreachable by name costs less than constant restarts.
const FLOOD_PAUSE: Duration = Duration::from_secs(10);

/// After this long without a flood, the next one is logged again.
const CALM: Duration = Duration::from_secs(600);

/// The names under which the appliance is found now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertised {
    /// `portscan.local`; empty while mDNS is off, or while the name is still being checked for conflicts.
    pub names: Vec<String>,
    /// A notice for the owner.
    pub notice: Option<String>,
}

/// Starts and stops the daemon according to the configuration, and announces the appliance's services with it.
pub struct Responder {
    /// `None`: only this machine can reach the appliance, so it neither announces nor queries.
    scope: Option<MdnsScope>,
    config: watch::Receiver<Arc<Config>>,
    daemon: watch::Sender<Option<Daemon>>,
    advertised: watch::Sender<Advertised>,
}

/// What the configuration has mDNS announce.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Advertisement {
    label: String,
    /// Whether to announce lanscan's name, too.
    lanscan: bool,
}

/// Why the daemon must be restarted.
#[derive(Debug, PartialEq, Eq)]
enum RestartReason {
    /// Another machine has our name: this one is free (RFC 6762, 9). mdns-sd would continue under it, on that network
    /// alone, and answer queries for the service's host with the former name.
    Renamed(String),
    /// Another machine is lanscan.
    IsLanscan,
    /// The network sends more than it can cache.
    Flooded,
    /// The daemon's thread has ended.
    Ended,
}

impl Responder {
    /// Makes the responder of an appliance with this scope. Also returns the current daemon, if one is running, and the
    /// names that are announced.
    pub fn new(
        scope: Option<MdnsScope>,
        config: watch::Receiver<Arc<Config>>,
    ) -> (Self, watch::Receiver<Option<Daemon>>, watch::Receiver<Advertised>) {
        let (daemon, present) = watch::channel(None);
        let (advertised, seen) = watch::channel(Advertised::default());
        (Self { scope, config, daemon, advertised }, present, seen)
    }

    /// Runs until `stop` is cancelled, then withdraws the announcements.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
        self.end().await;
    }

    /// Applies the configuration, again whenever it changes.
    async fn follow(&self) {
        let mut config = self.config.clone();
        loop {
            let wanted = Advertisement::of(&config.borrow_and_update());
            // The notice and the names of the previous configuration no longer apply.
            self.advertised.send_replace(Advertised::default());
            tokio::select! {
                () = self.announce(wanted.clone()) => {}
                () = until_other(&mut config, wanted.as_ref()) => {}
            }
            self.end().await;
        }
    }

    /// Keeps a daemon running that announces the services under a free name.
    async fn announce(&self, wanted: Option<Advertisement>) {
        let (Some(scope), Some(wanted)) = (&self.scope, wanted) else { return pending().await };
        let Advertisement { mut label, mut lanscan } = wanted;
        let mut calm = pin!(sleep(Duration::ZERO));
        loop {
            let ended = self.start_and_watch(scope, &label, lanscan).await;
            self.end().await;
            match ended {
                Ok(RestartReason::Renamed(free)) => {
                    self.notify(format!(
                        "{label}{DOMAIN} is another machine's, so this appliance is {free}{DOMAIN}; give one of them \
                         another name (`name` under [mdns])"
                    ));
                    label = free;
                }
                Ok(RestartReason::IsLanscan) => {
                    tracing::info!("lanscan.local belongs to another machine; not announcing that name");
                    lanscan = false;
                }
                Ok(RestartReason::Flooded) => {
                    if calm.as_mut().now_or_never().is_some() {
                        tracing::warn!(
                            retry_after = ?FLOOD_PAUSE,
                            "mDNS: the network announces more names than a real one has; dropping them and restarting"
                        );
                    }
                    calm.set(sleep(CALM));
                    sleep(FLOOD_PAUSE).await;
                }
                Ok(RestartReason::Ended) => self.fail("its thread has ended").await,
                Err(error) => self.fail(&error.to_string()).await,
            }
        }
    }

    async fn start_and_watch(
        &self,
        scope: &MdnsScope,
        label: &str,
        lanscan: bool,
    ) -> Result<RestartReason, MdnsError> {
        let daemon = Daemon::start(scope)?;
        let events = daemon.events()?;
        for kind in ["_http._tcp", "_portscan._tcp"] {
            daemon.announce(&Announcement { kind, label, path: "/" })?;
        }
        self.daemon.send_replace(Some(daemon.clone()));
        let restart = async {
            loop {
                match events.recv_async().await {
                    Ok(event) => {
                        if let Some(reason) = self.interpret(&event, label) {
                            return Ok(reason);
                        }
                    }
                    Err(_) => return Ok(RestartReason::Ended),
                }
            }
        };
        tokio::select! {
            reason = restart => reason,
            reason = too_much(&daemon) => reason,
            error = as_lanscan(&daemon), if lanscan => Err(error),
        }
    }

    /// Interprets an event for our names.
    fn interpret(&self, event: &DaemonEvent, label: &str) -> Option<RestartReason> {
        match event {
            DaemonEvent::Announce(service, _) => {
                // A service's own name, which is for people, may have a number behind it.
                let of_lanscan = service.split(['.', ' ']).next() == Some(LANSCAN);
                self.found_as(format!("{}{DOMAIN}", if of_lanscan { LANSCAN } else { label }));
                None
            }
            DaemonEvent::NameChange(change) if change.rr_type == RRType::A => {
                match label_of(&change.original).as_deref() {
                    Some(LANSCAN) => Some(RestartReason::IsLanscan),
                    _ => label_of(&change.new_name).map(RestartReason::Renamed),
                }
            }
            DaemonEvent::Error(error) => {
                tracing::warn!(error = %one_line(&error.to_string(), 200), "the mDNS daemon reports an error");
                None
            }
            _ => None,
        }
    }

    fn found_as(&self, name: String) {
        self.advertised.send_if_modified(|advertised| {
            let new = !advertised.names.contains(&name);
            if new {
                tracing::info!(%name, "announced over mDNS");
                advertised.names.push(name);
            }
            new
        });
    }

    fn notify(&self, notice: String) {
        tracing::warn!(%notice, "mDNS does not work as configured");
        self.advertised.send_modify(|advertised| advertised.notice = Some(notice));
    }

    /// Logs the notice once, then waits: nothing else depends on mDNS.
    async fn fail(&self, reason: &str) {
        let notice = format!("the appliance is not found by name: {reason}");
        let known = self.advertised.borrow().notice.as_ref() == Some(&notice);
        if !known {
            self.notify(notice);
        }
        sleep(AGAIN).await;
    }

    /// Ends the daemon, if there is one, after withdrawing it from further use.
    async fn end(&self) {
        if let Some(daemon) = self.daemon.send_replace(None) {
            daemon.goodbye().await;
        }
        self.advertised.send_if_modified(|advertised| !std::mem::take(&mut advertised.names).is_empty());
    }
}

impl Advertisement {
    /// `None`: mDNS is off.
    fn of(config: &Config) -> Option<Self> {
        let (mdns, lanscan) = (&config.mdns, !config.feed.discover.is_empty());
        mdns.enabled.then(|| Self { label: mdns.name.clone(), lanscan })
    }
}

/// Returns when the configuration has mDNS announce something else.
async fn until_other(config: &mut watch::Receiver<Arc<Config>>, wanted: Option<&Advertisement>) {
    while config.changed().await.is_ok() {
        if Advertisement::of(&config.borrow()).as_ref() != wanted {
            return;
        }
    }
    pending::<()>().await;
}

/// Announces the appliance as lanscan as soon as no machine, this one included, answers to that name. Returns only if
/// that fails.
async fn as_lanscan(daemon: &Daemon) -> MdnsError {
    while !daemon.query(LANSCAN).await.is_empty() {
        tracing::debug!("lanscan.local exists already; not announcing it");
        sleep(10 * AGAIN).await;
    }
    match daemon.announce(&Announcement { kind: "_http._tcp", label: LANSCAN, path: "/lanscan/json" }) {
        Ok(()) => pending().await,
        Err(error) => error,
    }
}

/// Returns when the daemon caches too much, or no longer answers. In a flood its sockets are shut; if it caches too
/// much they stay shut, because it would neither answer nor end.
async fn too_much(daemon: &Daemon) -> Result<RestartReason, MdnsError> {
    // Its thread makes its sockets before it answers for the first time.
    let mut watched = None;
    loop {
        match timeout(PROMPT, daemon.burden()).await {
            Ok(None) => return Ok(RestartReason::Ended),
            Ok(Some(remembered)) if remembered <= MOST_REMEMBERED => {
                sleep(LOOK_EVERY).await;
                let valve = match watched.take() {
                    Some(valve) => valve,
                    None => Valve::on_port(MDNS_PORT).map_err(MdnsError::Valve)?,
                };
                watched.insert(valve).arrival().await;
            }
            Ok(Some(_)) | Err(_) => {
                let valve = shut();
                match daemon.burden().await {
                    None => return Ok(RestartReason::Ended),
                    Some(remembered) if remembered > MOST_REMEMBERED => return Ok(RestartReason::Flooded),
                    Some(_) => sleep(RELIEF).await,
                }
                if let Err(error) = valve.and_then(|valve| valve.open()) {
                    tracing::debug!(%error, "mDNS: failed to shut or reopen its sockets");
                }
            }
        }
    }
}

/// Makes the daemon receive nothing more, so that it finishes with what it has.
fn shut() -> io::Result<Valve> {
    let valve = Valve::on_port(MDNS_PORT)?;
    valve.shut()?;
    Ok(valve)
}

#[cfg(test)]
mod tests {
    use mdns_sd::DnsNameChange;

    use super::*;
    use crate::config::Discover;

    fn renamed(original: &str, new_name: &str, rr_type: RRType) -> DaemonEvent {
        let (original, new_name) = (original.to_owned(), new_name.to_owned());
        DaemonEvent::NameChange(DnsNameChange { original, new_name, rr_type, intf_name: "eth0".to_owned() })
    }

    #[test]
    fn a_name_that_is_taken_is_left_and_a_service_may_have_a_number() {
        let (_, config) = watch::channel(Arc::new(Config::default()));
        let (responder, _, advertised) = Responder::new(None, config);
        let announced =
            |service: &str| DaemonEvent::Announce(service.to_owned(), "portscan.local.:eth0".to_owned());
        for (event, reason) in [
            (
                renamed("portscan.local.", "portscan-2.local.", RRType::A),
                Some(RestartReason::Renamed("portscan-2".into())),
            ),
            (renamed("lanscan.local.", "lanscan-2.local.", RRType::A), Some(RestartReason::IsLanscan)),
            (renamed("portscan._http._tcp.local.", "portscan (2)._http._tcp.local.", RRType::SRV), None),
            (announced("portscan (2)._http._tcp.local."), None),
            (announced("portscan._portscan._tcp.local."), None),
            (announced("lanscan (2)._http._tcp.local."), None),
        ] {
            assert_eq!(responder.interpret(&event, "portscan"), reason, "{event:?}");
        }
        assert_eq!(advertised.borrow().names, ["portscan.local", "lanscan.local"]);
    }

    #[test]
    fn nothing_is_announced_if_off_and_lanscans_name_with_discovery() {
        let mut config = Config::default();
        let wanted = |lanscan| Some(Advertisement { label: "portscan".to_owned(), lanscan });
        assert_eq!(Advertisement::of(&config), wanted(false));
        config.feed.discover.push(Discover { interface: "eth0".to_owned(), net: None });
        assert_eq!(Advertisement::of(&config), wanted(true));
        config.mdns.enabled = false;
        assert_eq!(Advertisement::of(&config), None);
    }
}

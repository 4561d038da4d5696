//! `portscan serve`: the appliance, from its lock to its last commit.

use std::{fs, net::TcpListener, path::Path, sync::Arc, thread, time::Duration};

use anyhow::Context;
use axum::Router;
use nix::unistd::{getegid, geteuid};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{health, links, log, manager, probing, reload::reload, site, startup};
use crate::{
    cli::ProbeEngine,
    client::HttpClient,
    clock::{Clock, SystemClock},
    config::{self, Config, Overrides},
    data_dir::{self, Obstacle},
    doctor::{self, ARP_GRANT, Judged},
    http::{self, ApplianceParts, Gate, HostAllowlist, Token},
    model::ProbeMethod,
    net::{
        Lan, Links, check_syn_probing,
        mdns::{Advertised, LocalResolver, MdnsScope, Responder},
    },
    resolve::Resolve,
    service::{
        alerts::{AlertParts, Alerts},
        announcements,
        feeds::{self, Inventory},
        health::Health,
        host_lease::HostLeases,
        identify::{self, Identifier},
        import::Importer,
        names, port_watch, retention,
        runner::{self, Runner},
        spool::Spool,
    },
    store::{self, DirLock, DiskPace, Store, StoreError, WriterThread},
};

/// The time limit for stopping, commits included: systemd waits longer, a user does not.
const STOP: Duration = Duration::from_secs(2);

/// The running tasks; each ends when a stop is requested, or with a fatal error.
pub(super) type Tasks = JoinSet<anyhow::Result<()>>;

/// Runs the appliance until a signal stops it.
pub(super) async fn serve(flags: &Overrides, verbose: u8) -> anyhow::Result<()> {
    // First: until they are caught, SIGHUP and SIGTERM kill, and upgrading the database may take a while.
    let signals = Signals::catch()?;
    let config = Config::read(flags)?;
    log::start(config.log, verbose);
    let (listeners, _lock) = take(&config)?;
    let token_file = config.auth_token_file.as_deref();
    // A token that cannot be used is reported before the database is created; a missing one is created after it.
    let token = Token::existing(&config.data_dir, token_file)?;
    let clock = SystemClock::start();
    let (store, writer) =
        Store::open_to_serve(&config.data_dir.join(store::FILE_NAME), Arc::new(clock), DiskPace::DEFAULT)?;
    let token = token.map_or_else(|| Token::load(&config.data_dir, token_file), Ok)?;
    let probing = probing(clock).context("the scanner cannot start")?;
    let stop = CancellationToken::new();
    let (current, seen) = watch::channel(Arc::new(config));

    let mut tasks = Tasks::new();
    let file = flags.config.as_deref().unwrap_or(Path::new(config::DEFAULT_PATH));
    let parts = Parts { store: &store, probing: &probing, clock, config: &seen, stop: &stop, file, flags };
    let allowlist = HostAllowlist::new(hostname().as_deref(), seen.clone());
    let gate = Gate::new(token.clone(), allowlist.clone(), seen.clone(), Arc::new(clock));
    for listener in &listeners {
        tracing::info!("listening on http://{}/", listener.local_addr()?);
    }
    let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    startup::announce(&seen.borrow(), file, &addresses);
    warn_without_syns(&seen.borrow());
    parts.start(listeners, allowlist, (gate, token), &mut tasks);
    manager::ready();

    let ended = wait_for_stop(signals, flags, &current, &mut tasks).await;
    manager::stopping();
    stop.cancel();
    let stopping = finish(tasks, probing, store, writer);
    if tokio::time::timeout(STOP, stopping).await.is_err() {
        tracing::warn!(limit = ?STOP, "stopping took too long; exiting without waiting for the rest");
    }
    ended
}

/// Warns if a scanner is to ask by SYNs and this process may not: with `auto` that is no fault.
fn warn_without_syns(config: &Config) {
    let scanner = config.scanners.iter().find(|scanner| scanner.method == ProbeMethod::Syn);
    if let Some(scanner) = scanner
        && let Err(error) = check_syn_probing()
    {
        tracing::warn!(
            scanner = scanner.name, %error,
            "cannot probe by SYNs; probing by connects. Grant CAP_NET_RAW, or write method = \"auto\""
        );
    }
}

/// Binds the addresses and locks the data directory. If an address is in use nothing is created: a first start that
/// fails leaves the machine unchanged.
pub(super) fn take(config: &Config) -> anyhow::Result<(Vec<TcpListener>, DirLock)> {
    let dir = &config.data_dir;
    // Before the addresses: another running appliance holds them, and it is the error to report.
    let lock = store::lock_existing(dir)?;
    // Before anything is started: a port in use should be the only message.
    let listeners = http::bind(&config.listen)?;
    if let Err(error) = data_dir::create_dir(dir) {
        let explained =
            data_dir::obstacle(dir, &[], true).filter(|found| !matches!(found, Obstacle::Missing(_)));
        let remedy = || {
            let (user, group) = (geteuid(), getegid());
            format!(
                "cannot make data_dir {0}; make it with: sudo install -d -m 700 -o {user} -g {group} {0}",
                dir.display()
            )
        };
        return Err(explained.map_or_else(
            || anyhow::Error::new(error).context(remedy()),
            |found| StoreError::from(found).into(),
        ));
    }
    let lock = lock.map_or_else(|| store::lock(dir), Ok)?;
    Ok((listeners, lock))
}

/// The signals that the appliance handles. One that arrives before the first wait is kept.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn catch() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hang_up: catch(SignalKind::hangup())?,
        })
    }
}

/// Waits for a stop signal or the first task that fails; reloads on SIGHUP until then.
pub(super) async fn wait_for_stop(
    mut signals: Signals,
    flags: &Overrides,
    current: &watch::Sender<Arc<Config>>,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            _ = signals.hang_up.recv() => reload(flags, current),
            Some(ended) = tasks.join_next() => ended.context("a task has failed")??,
        }
    }
}

/// Stops the tasks, then the scanner, then the store after its queue.
async fn finish(mut tasks: Tasks, probing: ProbeEngine, store: Store, writer: WriterThread) {
    while tasks.join_next().await.is_some() {}
    probing.scanner.stop();
    drop(store);
    let (done, joined) = oneshot::channel();
    // A thread of its own: hanging look-ups may occupy all of the runtime's blocking threads.
    thread::spawn(move || {
        probing.thread.join();
        // It fails only if stopping took too long.
        _ = done.send(writer.join());
    });
    match joined.await {
        Ok(Ok(())) => tracing::info!("stopped"),
        Ok(Err(error)) => tracing::error!(%error, "failed to write to the database while stopping"),
        Err(_) => tracing::error!("the thread that stops the scanner and the store has panicked"),
    }
}

/// The parts that the tasks share.
struct Parts<'a> {
    store: &'a Store,
    probing: &'a ProbeEngine,
    clock: SystemClock,
    config: &'a watch::Receiver<Arc<Config>>,
    stop: &'a CancellationToken,
    /// Where the configuration is read from.
    file: &'a Path,
    flags: &'a Overrides,
}

impl Parts<'_> {
    /// Starts the feeds, the alerts, the health watch, retention, the search for names and announcements, identification,
    /// the runner, the server and the heartbeat.
    fn start(
        &self,
        listeners: Vec<TcpListener>,
        allowlist: HostAllowlist,
        (gate, token): (Gate, Token),
        tasks: &mut Tasks,
    ) {
        let ([resolver, asked], advertised) = self.start_mdns(&listeners, tasks);
        let clock: Arc<dyn Clock> = Arc::new(self.clock);
        let client = HttpClient::new(Arc::clone(&resolver));
        let (store, config) = (self.store.clone(), self.config.clone());
        let (inventory, feeds) =
            feeds::start(client.clone(), store, Arc::clone(&clock), config, Links::read, ARP_GRANT);
        tasks.spawn(until_stopped(self.stop.clone(), feeds));
        let (runs, requests) = runner::runs();
        let alerts = Alerts::new(AlertParts {
            store: self.store.clone(),
            config: self.config.clone(),
            resolver: Arc::clone(&resolver),
            clock: Arc::clone(&clock),
            hostname: hostname(),
            runs: runs.clone(),
            site: None,
        });
        let (of_fleet, fleet_notices) = watch::channel(Vec::new());
        let notices = [alerts.notices(), fleet_notices];
        let seen_health = self.watch_health(inventory.clone(), advertised.clone(), notices, tasks);
        tasks.spawn(until_stopped(self.stop.clone(), alerts.clone().run(seen_health.clone())));
        let watching = port_watch::keep(self.store.clone(), Arc::clone(&clock), self.config.clone());
        tasks.spawn(until_stopped(self.stop.clone(), watching));
        let keeping =
            retention::keep(self.store.clone(), Arc::clone(&clock), self.config.clone(), inventory.clone());
        tasks.spawn(until_stopped(self.stop.clone(), keeping));
        let naming =
            names::keep(self.store.clone(), Arc::clone(&clock), self.config.clone(), inventory.clone());
        tasks.spawn(until_stopped(self.stop.clone(), naming));

        let leases = HostLeases::default();
        let asker = announcements::DeviceAsker::new(
            self.store.clone(),
            Arc::clone(&clock),
            self.config.clone(),
            inventory.clone(),
            client,
            leases.clone(),
        );
        tasks.spawn(until_stopped(self.stop.clone(), announcements::collect(asker)));
        let (recorded, results) = identify::recorded();
        let identifier = Identifier {
            store: self.store.clone(),
            watch: self.probing.watch.clone(),
            clock: Arc::clone(&clock),
            config: self.config.clone(),
            inventory: inventory.clone(),
            leases: leases.clone(),
            recorded: results,
        };
        tasks.spawn(until_stopped(self.stop.clone(), identifier.run()));

        let runner = Runner {
            store: self.store.clone(),
            scanner: self.probing.scanner.clone(),
            watch: self.probing.watch.clone(),
            clock,
            resolver,
            config: self.config.clone(),
            inventory: inventory.clone(),
            requests,
            leases,
            recorded,
        };
        let running = runner.run(self.stop.clone());
        tasks.spawn(async move { running.await.context("the runner failed") });

        let clock: Arc<dyn Clock> = Arc::new(self.clock);
        let importer = Importer::new(self.store.clone(), Arc::clone(&clock), &self.config.borrow().data_dir);
        let spool = Spool::new(importer.clone(), clock, self.config.clone());
        tasks.spawn(until_stopped(self.stop.clone(), spool.run()));

        let parts = ApplianceParts {
            alerts,
            config: self.config.clone(),
            allowlist,
            gate: gate.clone(),
            advertised,
            store: self.store.clone(),
            scanner: self.probing.scanner.clone(),
            resolver: asked,
            inventory,
            health: seen_health.clone(),
            diagnose: self.diagnose(),
            importer,
            runs,
            clock: Arc::new(self.clock),
            limits: http::ServerLimits::default(),
        };
        let limits = http::ServerLimits {
            connections: self.probing.limits.connections(),
            ..http::ServerLimits::default()
        };
        let router = http::router(parts);
        self.join_fleet((router.clone(), token), seen_health, of_fleet, tasks);
        let server = http::Server { router, gate, clock: Arc::new(self.clock), limits };
        let serving = http::serve(listeners, server, self.stop.clone());
        tasks.spawn(async move { serving.await.context("the HTTP server failed") });
        tasks.spawn(until_stopped(self.stop.clone(), manager::alive()));
    }

    /// Makes the appliance a site, if the configuration names a hub.
    fn join_fleet(
        &self,
        (router, token): (Router, Token),
        health: watch::Receiver<Health>,
        notices: watch::Sender<Vec<String>>,
        tasks: &mut Tasks,
    ) {
        let Some(fleet) = self.config.borrow().fleet.clone() else {
            let store = self.store.clone();
            let stopping = async move {
                // The notes of a fleet that it was in before would grow for ever.
                if let Err(error) = store.end_outgoing().await {
                    tracing::warn!(%error, "failed to stop noting what a hub does not have");
                }
            };
            tasks.spawn(until_stopped(self.stop.clone(), stopping));
            return;
        };
        let host = hostname().unwrap_or_default();
        let clock: Arc<dyn Clock> = Arc::new(self.clock);
        let (store, config) = (self.store.clone(), self.config.clone());
        let parts = site::SiteParts { fleet, clock, store, config, health, host, notices, router, token };
        tasks.spawn(until_stopped(self.stop.clone(), site::run(parts)));
    }

    /// What judges this machine for clients.
    fn diagnose(&self) -> http::Diagnose {
        let (flags, clock) = (self.flags.clone(), self.clock);
        Arc::new(move || doctor::diagnose(&flags, Judged::Myself, &clock))
    }

    /// Starts the mDNS responder. Also returns the resolver of the appliance's own tasks, a separate one for clients, so
    /// that their look-ups do not delay the feeds, and the announced names.
    fn start_mdns(
        &self,
        listeners: &[TcpListener],
        tasks: &mut Tasks,
    ) -> ([Arc<dyn Resolve>; 2], watch::Receiver<Advertised>) {
        let reach: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let (responder, daemon, advertised) = Responder::new(MdnsScope::of(&reach), self.config.clone());
        let stop = self.stop.clone();
        // Stops by itself rather than by `until_stopped`: it must withdraw its announcements.
        tasks.spawn(async move {
            responder.run(stop).await;
            Ok(())
        });
        let resolvers = [daemon.clone(), daemon]
            .map(|daemon| Arc::new(LocalResolver::new(move || daemon.borrow().clone())) as Arc<dyn Resolve>);
        (resolvers, advertised)
    }

    fn watch_health(
        &self,
        inventory: watch::Receiver<Inventory>,
        advertised: watch::Receiver<Advertised>,
        [alerts, fleet]: [watch::Receiver<Vec<String>>; 2],
        tasks: &mut Tasks,
    ) -> watch::Receiver<Health> {
        let (health, seen) = watch::channel(Health::default());
        let (store, config) = (self.store.health(), self.config.clone());
        let lan = (self.file.to_owned(), Lan::likeliest as fn() -> Option<String>);
        let (down, seen_down) = watch::channel(Vec::new());
        tasks.spawn(until_stopped(self.stop.clone(), links::watch(self.probing.watch.clone(), down)));
        let notices = [seen_down, alerts, fleet];
        let watching = health::watch(store, inventory, advertised, config, notices, lan, health);
        tasks.spawn(until_stopped(self.stop.clone(), watching));
        seen
    }
}

/// Drives an endless task until a stop is requested.
pub(super) async fn until_stopped(
    stop: CancellationToken,
    task: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    stop.run_until_cancelled(task).await;
    Ok(())
}

/// Returns this machine's host name, which may be fully qualified.
pub(super) fn hostname() -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok().map(|name| name.trim().to_owned())
}

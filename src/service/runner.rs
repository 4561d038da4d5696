//! Carries out the [`Agenda`]: one task, one `select!`, one `match` for what happened and one for what to do.

mod afterwards;
mod finished;
mod live;
mod runs;
mod written;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::tz::TimeZone;
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::runs::PendingStart;
pub use self::{
    live::{Live, LookView, RunCounts},
    runs::{Requests, RunError, RunView, Runs, Started, runs},
};
use crate::{
    clock::Clock,
    config::Config,
    model::{Address, Device, Moment, ScanId, ScanKind, ScanStatus, unconfirmed::UnconfirmedEndpoint},
    net::LinkWatch,
    resolve::Resolve,
    service::{
        absence::Absence,
        agenda::{Action, Agenda, Look, LookId, LookOutcome, RunId},
        feeds::Inventory,
        host_lease::HostLeases,
        identify::Recorded,
        lines::Lines,
        look::Looker,
        reported::sightings,
        scanner::Scanner,
        schedule::{LastStart, Times},
    },
    store::{Observation, OpenScan, Schedule, Store, StoreError, StoreHealth},
};

/// The longest wait for a clock that has not been set: without a network it may never be.
const CLOCK_WAIT: Duration = Duration::from_secs(300);
/// How often the agenda is polled when nothing has happened, because `at` and intervals depend on the time.
const TICK: Duration = Duration::from_secs(5);
/// How often the ages of the last runs are written: as much may be lost in a crash on a machine without a clock.
const SAVE_SCHEDULES: Duration = Duration::from_secs(3600);
/// The longest that stopping waits for pending writes.
const STOP_WAIT: Duration = Duration::from_millis(1500);

/// What the runner works with.
pub struct Runner {
    /// Stores the results.
    pub store: Store,
    /// The handle of the one engine.
    pub scanner: Scanner,
    /// Tells whether devices can be reached.
    pub watch: LinkWatch,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// Resolves targets that are names.
    pub resolver: Arc<dyn Resolve>,
    /// Changes with every good reload.
    pub config: watch::Receiver<Arc<Config>>,
    /// The feed's devices.
    pub inventory: watch::Receiver<Inventory>,
    /// The requests of users; see [`runs`].
    pub requests: Requests,
    /// The hosts that have a dialogue: a look waits for its end.
    pub leases: HostLeases,
    /// Learns which devices have new results.
    pub recorded: Recorded,
}

/// Something that has happened elsewhere.
enum Done {
    Begun(RunId, Result<ScanId, StoreError>, Vec<Address>),
    Resolved(RunId, Vec<Address>),
    Looked(LookId, LookOutcome, Option<Observation>),
    Recorded(LookId, ScanId),
    Closed(ScanId),
    Sighted,
    Doubts(Vec<UnconfirmedEndpoint>),
    Other,
}

/// The runner in operation.
struct Running {
    parts: Runner,
    agenda: Agenda,
    absence: Absence,
    started: Moment,
    looks: JoinSet<Done>,
    cancels: HashMap<LookId, CancellationToken>,
    /// Requests for a start that wait for their ids.
    waiting: Vec<PendingStart>,
    writes: JoinSet<Done>,
    /// Observations that are being written, by scan.
    unwritten: HashMap<ScanId, usize>,
    /// Scans that are complete except for those.
    ending: HashMap<ScanId, ScanStatus>,
    saved: Moment,
    lines: Arc<Lines>,
    /// How many hosts of each scan in progress were down.
    down: HashMap<ScanId, usize>,
}

impl Runner {
    /// Runs until `stop` is cancelled, then leaves what is unfinished for the next process to resume.
    ///
    /// # Errors
    /// Fails if the store cannot be read at the start; later faults of the store only pause the scanning.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        let started = self.clock.now();
        if stop.run_until_cancelled(self.wait_for_clock(started)).await.is_none() {
            return Ok(());
        }
        let mut running = Running::restore(self, started).await?;
        running.until(&stop).await;
        running.finish().await;
        Ok(())
    }

    /// Waits for the wall clock to be set, [`CLOCK_WAIT`] at most.
    async fn wait_for_clock(&mut self, started: Moment) {
        if !self.clock.is_synchronised() {
            tracing::info!("the clock has not been set yet: scanning waits for it, 5 minutes at most");
        }
        while !self.clock.is_synchronised() && self.clock.now().since(started) < CLOCK_WAIT {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                Some(request) = self.requests.next() => request.refuse(),
            }
        }
    }

    fn times(&self) -> Times {
        let wall = self.clock.is_synchronised().then(|| self.clock.wall());
        Times { now: self.clock.now(), wall, zone: TimeZone::system() }
    }
}

impl Running {
    async fn restore(parts: Runner, started: Moment) -> Result<Self, StoreError> {
        let times = parts.times();
        let config = Arc::clone(&parts.config.borrow());
        let mut agenda = Agenda::new(Arc::clone(&config), parts.store.ages().await?, &times);
        for scanner in &config.scanners {
            if let Some(Schedule { since_start, started }) = parts.store.schedule(&scanner.name).await? {
                agenda.restore(&scanner.name, LastStart::restored(since_start, started, &times));
            }
        }
        let saved = times.now;
        let mut running = Self {
            agenda,
            absence: Absence::default(),
            started,
            looks: JoinSet::new(),
            cancels: HashMap::new(),
            waiting: Vec::new(),
            writes: JoinSet::new(),
            unwritten: HashMap::new(),
            ending: HashMap::new(),
            saved,
            lines: Arc::default(),
            down: HashMap::new(),
            parts,
        };
        for OpenScan { id, scanner, done, .. } in running.parts.store.open_scans().await? {
            tracing::info!(scanner, scan = id.0, done = done.len(), "resuming an interrupted run");
            if let Some(action) = running.agenda.resume(&scanner, id, done, &times) {
                running.act(action);
            }
        }
        Ok(running)
    }

    async fn until(&mut self, stop: &CancellationToken) {
        let mut health = self.parts.store.health();
        let mut config = self.parts.config.clone();
        let mut inventory = self.parts.inventory.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.take_inventory(&inventory.borrow_and_update());
        self.read_unconfirmed();
        loop {
            // Between two ticks, only a run with a known due time may become due.
            let due = self.agenda.next_due(self.parts.clock.now()).filter(|due| *due < TICK);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
                Ok(()) = config.changed() => {
                    let config = Arc::clone(&config.borrow_and_update());
                    self.agenda.reconfigure(config, &self.parts.times());
                    self.take_inventory(&inventory.borrow());
                }
                Ok(()) = inventory.changed() => self.take_inventory(&inventory.borrow_and_update()),
                Ok(()) = health.changed() => {
                    self.agenda.set_paused(*health.borrow_and_update() != StoreHealth::Ok);
                }
                Some(Ok(done)) = self.looks.join_next() => self.take(done),
                Some(Ok(done)) = self.writes.join_next() => self.take(done),
                Some(request) = self.parts.requests.next() => self.serve(request),
                _ = tick.tick() => {
                    self.save_schedules_hourly();
                    self.mark_absent(&inventory.borrow());
                    self.publish_runs();
                    self.live().remove_told();
                }
            }
            while self.poll() {}
        }
    }

    /// Carries out the agenda's present actions. Returns whether a run has ended, after which its scanner may be due
    /// again.
    fn poll(&mut self) -> bool {
        let actions = self.agenda.poll(&self.parts.times());
        let has_ended = actions.iter().any(|action| matches!(action, Action::End { .. }));
        actions.into_iter().for_each(|action| self.act(action));
        has_ended
    }

    fn take_inventory(&mut self, inventory: &Inventory) {
        let complete = inventory.is_complete(&self.parts.config.borrow().feed);
        let devices = inventory.devices.iter().map(|known| known.device.clone()).collect();
        self.agenda.set_devices(devices, complete, &self.parts.times());
        let (seen, reported) = sightings(inventory, &self.parts.config.borrow());
        self.record_sightings(seen, reported);
    }

    /// Records which devices are present, scanned or not: dates and addresses change without a scan.
    fn record_sightings(&mut self, seen: Vec<Device>, reported: Vec<Device>) {
        let store = self.parts.store.clone();
        self.writes.spawn(async move {
            if let Err(error) = store.record_sightings(seen, reported).await {
                tracing::error!(%error, "failed to record device sightings");
            }
            Done::Sighted
        });
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Begun(run, Ok(scan), addresses) => {
                if let Some(action) = self.agenda.begun(run, scan, addresses, &self.parts.times()) {
                    self.act(action);
                }
                self.answer_started();
                self.publish_runs();
            }
            Done::Resolved(run, addresses) => self.agenda.resolved(run, addresses),
            Done::Begun(run, Err(error), _) => {
                tracing::error!(%error, "failed to open a scan; retrying in a minute");
                self.agenda.begin_failed(run, &self.parts.times());
                self.answer_started();
            }
            Done::Looked(id, looked, observation) => {
                self.cancels.remove(&id);
                self.agenda.looked(id, &looked, &self.parts.times());
                match observation {
                    Some(observation) => self.record(id, observation),
                    None => self.live().remove(id),
                }
            }
            Done::Recorded(look, scan) => {
                self.live().stored(look);
                if let Some(left) = self.unwritten.get_mut(&scan) {
                    *left -= 1;
                }
                self.end_if_written(scan);
                self.read_unconfirmed();
            }
            // A device that has moved must be scanned again where it is now.
            Done::Sighted => self.read_unconfirmed(),
            Done::Closed(scan) => {
                self.agenda.closed(scan);
                self.publish_runs();
            }
            Done::Doubts(doubts) => self.agenda.set_doubts(doubts, &self.parts.times()),
            Done::Other => {}
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Begin { run, scanner, kind, ports, names } => {
                if kind == ScanKind::Run {
                    self.save_schedule(&scanner, Duration::ZERO);
                }
                let (store, resolver) = (self.parts.store.clone(), Arc::clone(&self.parts.resolver));
                self.writes.spawn(async move {
                    let addresses = resolve_all(resolver.as_ref(), &names).await;
                    Done::Begun(run, store.begin_scan(&scanner, kind, &ports).await, addresses)
                });
            }
            Action::Resolve { run, names } => {
                let resolver = Arc::clone(&self.parts.resolver);
                self.writes
                    .spawn(async move { Done::Resolved(run, resolve_all(resolver.as_ref(), &names).await) });
            }
            Action::Look(look) => self.look(look),
            Action::Cancel(id) => {
                if let Some(cancel) = self.cancels.get(&id) {
                    cancel.cancel();
                }
            }
            Action::End { scan, status } => {
                self.ending.insert(scan, status);
                self.end_if_written(scan);
            }
        }
    }

    fn look(&mut self, look: Look) {
        let cancel = CancellationToken::new();
        self.cancels.insert(look.id, cancel.clone());
        let progress = self.live().begin(&look, self.agenda.is_confirming(look.id));
        let looker = Looker {
            scanner: self.parts.scanner.clone(),
            watch: self.parts.watch.clone(),
            store: self.parts.store.clone(),
            clock: Arc::clone(&self.parts.clock),
            config: Arc::clone(&self.parts.config.borrow()),
            lines: Arc::clone(&self.lines),
            proxies: self.parts.inventory.borrow().proxies.clone(),
            leases: self.parts.leases.clone(),
        };
        self.looks.spawn(async move {
            let id = look.id;
            let (looked, observation) = looker.look(look, cancel, progress).await;
            Done::Looked(id, looked, observation)
        });
    }

    fn save_schedule(&mut self, scanner: &str, since_start: Duration) {
        let (store, scanner) = (self.parts.store.clone(), scanner.to_owned());
        let started = self.parts.clock.wall() - since_start;
        self.writes.spawn(async move {
            if let Err(error) = store.save_schedule(&scanner, Schedule { since_start, started }).await {
                tracing::error!(%error, scanner, "failed to save the schedule");
            }
            Done::Other
        });
    }

    fn save_schedules_hourly(&mut self) {
        let now = self.parts.clock.now();
        if now.since(self.saved) >= SAVE_SCHEDULES {
            self.saved = now;
            self.save_schedules();
        }
    }

    fn save_schedules(&mut self) {
        for (scanner, age) in self.agenda.schedules(&self.parts.times()) {
            self.save_schedule(&scanner, age);
        }
    }

    /// Stops: looks in progress are dropped and store nothing, and their scans stay open in the store.
    async fn finish(mut self) {
        self.looks.shutdown().await;
        self.save_schedules();
        let written = async {
            let flushed = self.parts.store.flush().await;
            while self.writes.join_next().await.is_some() {}
            flushed
        };
        match tokio::time::timeout(STOP_WAIT, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "failed to store everything before stopping"),
            Err(_) => tracing::error!("timed out storing everything before stopping"),
        }
        self.live().clear();
        tracing::debug!(uptime = ?self.parts.clock.now().since(self.started), "the runner has stopped");
    }
}

/// Resolves names one at a time. A name without an address is logged and left out of this run.
async fn resolve_all(resolver: &dyn Resolve, names: &[String]) -> Vec<Address> {
    let mut found = HashSet::new();
    for name in names {
        match resolver.resolve(name).await {
            Ok(addresses) => found.extend(addresses.into_iter().next()),
            Err(error) => tracing::warn!(%error, "failed to resolve a target; it is left out of this run"),
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests;

//! The state of the appliance at one moment, for metrics.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use futures_util::TryStreamExt;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    alerts::{Alerts, ChannelStatus},
    differences::{Differences, HostDifference, PortDeviation, by_device, deviations, shown_at},
    directory::DeviceDirectory,
    evidence::DeviceEvidence,
    feeds::{Inventory, SourceStatus},
    import::Importer,
    names,
    scanner::Scanner,
};
use crate::{
    clock::Clock,
    config::{ChannelConfig, Config, ScannerConfig},
    engine::{LocalError, Stats},
    model::{
        ChannelFacts, Deviation, DeviceKey, Endpoint, FeedFacts, HostFacts, ImportFacts, LimitFacts,
        PortFact, PortState, ProbeFacts, Protocol, ScannerFacts, Snapshot, StoreFacts, TableFacts,
        unconfirmed::Unconfirmed,
    },
    net::{SystemLimits, memory},
    store::{HostState, IdentifiedPage, IdentifiedPort, Store, StoreError, StoreHealth},
};

/// Reads snapshots.
#[derive(Clone)]
pub struct SnapshotReader {
    /// Has the stored facts.
    pub store: Store,
    /// Counts probes.
    pub scanner: Scanner,
    /// Counts the devices, and knows which ports are to be scanned on each.
    pub directory: DeviceDirectory,
    /// Names the scanners, and what is ignored.
    pub config: watch::Receiver<Arc<Config>>,
    /// Has the state of the feeds.
    pub inventory: watch::Receiver<Inventory>,
    /// Counts imports.
    pub importer: Importer,
    /// Finds the ports that differ from what is expected.
    pub differences: Differences,
    /// Decides which certificates have expired.
    pub clock: Arc<dyn Clock>,
    /// Counts alerts.
    pub alerts: Alerts,
}

impl SnapshotReader {
    /// Returns the version of the facts about devices that would be read now.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn hosts_version(&self) -> Result<HostsVersion, StoreError> {
        Ok(HostsVersion {
            store: self.store.version().await?,
            config: Arc::clone(&self.config.borrow()),
            day: self.clock.wall().as_second() / (24 * 3600),
        })
    }

    /// Returns the facts about devices, and nothing else.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn host_snapshot(&self) -> Result<Snapshot, StoreError> {
        self.host_facts().await
    }

    /// Returns all facts of this moment for metrics, except those about devices: little work, however many devices
    /// there are. What cannot be read is left out.
    pub async fn own_facts(&self) -> Snapshot {
        let totals = self.store.totals().await;
        let totals = totals.inspect_err(|error| tracing::warn!(%error, "metrics without the database")).ok();
        let without_row = self.directory.count_without_row().await.ok();
        let known = totals.zip(without_row).map(|(totals, others)| totals.rows.saturating_add(others));
        let scanners = readable(self.scanner_facts().await);
        let stats = self.scanner.stats();
        let count = |kind: LocalError| (kind.as_str(), stats.local.get(&kind).copied().unwrap_or(0));
        Snapshot {
            probes: probe_facts(&stats),
            local_errors: LocalError::ALL.map(count).to_vec(),
            limits: SystemLimits::read().ok().map(|limits| limit_facts(&limits)),
            memory: memory(),
            feeds: feed_facts(&self.inventory.borrow()),
            channels: self.alerts.channels().into_iter().map(channel_facts).collect(),
            store: StoreFacts {
                up: *self.store.health().borrow() == StoreHealth::Ok,
                bytes: self.store.bytes(),
                opened_bytes: self.store.opened_bytes(),
                known,
                devices: totals.map(|totals| totals.devices),
                last_scan: totals.and_then(|totals| totals.last_scan),
            },
            lag: stats.lag,
            start_delay: stats.start_delay,
            imports: self.import_facts(totals.and_then(|totals| totals.last_scan)),
            scanners,
            hosts: Vec::new(),
            differing: Differing::new(),
            advised: BTreeMap::new(),
        }
    }

    /// Returns the import facts as portmantool defines them, where every scan is an import.
    fn import_facts(&self, last_scan: Option<Timestamp>) -> ImportFacts {
        let facts = self.importer.facts();
        ImportFacts { last: facts.last.max(last_scan), ..facts }
    }

    async fn scanner_facts(&self) -> Result<Vec<ScannerFacts>, StoreError> {
        let config = Arc::clone(&self.config.borrow());
        let summaries = self.store.scanner_summaries().await?;
        let facts = |scanner: &ScannerConfig| {
            let summary = summaries.iter().find(|summary| summary.scanner == scanner.name);
            ScannerFacts {
                name: scanner.name.clone(),
                interval: scanner.interval,
                complete: summary.and_then(|summary| summary.complete),
                took: summary.and_then(|summary| summary.took),
                status: summary.map(|summary| summary.status),
            }
        };
        Ok(config.scanners.iter().map(facts).collect())
    }

    /// Returns the facts of every endpoint that has a result, how many rows /v1/diff has, and how many open ports
    /// matter how much: one pass reads all.
    async fn host_facts(&self) -> Result<Snapshot, StoreError> {
        let config = Arc::clone(&self.config.borrow());
        let has_baseline = self.store.has_baseline().await?;
        let now = self.clock.wall();
        let unconfirmed = self.store.unconfirmed_endpoints().await?.into_iter();
        let unconfirmed: BTreeMap<Endpoint, Unconfirmed> =
            unconfirmed.map(|waiting| (waiting.device.endpoint(), waiting.unconfirmed)).collect();
        let mut called = self.store.names().await?;
        let (mut facts, mut differing, mut advised) = (Vec::new(), Differing::new(), BTreeMap::new());
        let mut known = pin!(self.differences.host_states());
        let mut findings = Findings::default();
        while let Some(hosts) = known.try_next().await? {
            let last = hosts.last().map_or(0, |host| host.device_row);
            for endpoints in by_device(&hosts) {
                let row = endpoints.first().map_or(0, |host| host.device_row);
                let identified = findings.of(&self.store, row, last).await?;
                let called = called.remove(&row).unwrap_or_default();
                let differences = deviations(endpoints, &config);
                // A stranger is new as a whole; another address of a known device is not.
                let is_new = has_baseline && endpoints.iter().all(|host| host.expected.is_empty());
                for (host, differences) in endpoints.iter().zip(differences) {
                    for (protocol, ..) in &differences {
                        *differing.entry((shown_at(host), *protocol)).or_default() += 1;
                    }
                    if host.standings.is_empty() {
                        continue;
                    }
                    let names = names::all(&config, &host.device, called.clone());
                    let at_host = |found: &&IdentifiedPort| found.address == host.device.address;
                    let at_host = identified.iter().filter(at_host);
                    let evidence = DeviceEvidence::of(host.device.mac, &names, at_host, now);
                    let name = names.into_iter().next().map(|name| name.text);
                    let unconfirmed = unconfirmed.get(&host.device.endpoint());
                    let coverage = host.coverage();
                    let (scanned_ports, complete) =
                        (coverage.len(), self.directory.is_complete(&host.device, &coverage));
                    let facts_of = of_host(host, (has_baseline, is_new), &differences, unconfirmed);
                    for port in facts_of.ports.iter().filter(|port| port.open) {
                        if let Some(advice) = evidence.advise(port.protocol, port.port) {
                            *advised.entry(advice.level).or_default() += 1;
                        }
                    }
                    facts.push(HostFacts { name, scanned_ports, complete, ..facts_of });
                }
            }
        }
        let mut unseen = pin!(self.differences.unseen_differences());
        while let Some(found) = unseen.try_next().await? {
            for HostDifference { host, difference, .. } in found {
                *differing.entry((host, difference.protocol)).or_default() += 1;
            }
        }
        Ok(Snapshot { hosts: facts, differing, advised, ..Snapshot::default() })
    }
}

/// What ports were identified as, read for some devices ahead.
#[derive(Default)]
struct Findings {
    page: IdentifiedPage,
    /// The last device of which the page has all findings.
    to: Option<i64>,
}

impl Findings {
    /// Those of the device with this row; `last` is the last one that is to be asked for soon. Rows ascend from question
    /// to question.
    async fn of(&mut self, store: &Store, row: i64, last: i64) -> Result<Vec<IdentifiedPort>, StoreError> {
        if self.to.is_none_or(|to| to < row) {
            self.page = store.identified_ports(row, last).await?;
            self.to = Some(self.page.cut_after.unwrap_or(last));
        }
        Ok(self.page.ports.remove(&row).unwrap_or_default())
    }
}

/// Two equal versions stand for the same facts about devices.
#[derive(Clone, Debug)]
pub struct HostsVersion {
    store: i64,
    config: Arc<Config>,
    /// A certificate expires by time alone.
    day: i64,
}

impl PartialEq for HostsVersion {
    fn eq(&self, other: &Self) -> bool {
        self.store == other.store && self.day == other.day && Arc::ptr_eq(&self.config, &other.config)
    }
}

/// How many ports differ from what is expected, by host and protocol.
type Differing = BTreeMap<(DeviceKey, Protocol), u32>;

/// Returns nothing if the database cannot be read: the reason is in the log and in the health notices.
fn readable<T: Default>(read: Result<T, StoreError>) -> T {
    read.inspect_err(|error| tracing::warn!(%error, "metrics without the database")).unwrap_or_default()
}

/// Returns the facts of an endpoint and its ports; the name and what is scanned are the caller's to add. A port that
/// waits for a second look raises no alert, and neither does any single port of a device that is new as a whole.
fn of_host(
    host: &HostState,
    (has_baseline, is_stranger): (bool, bool),
    differences: &[PortDeviation],
    unconfirmed: Option<&Unconfirmed>,
) -> HostFacts {
    let new = is_stranger && differences.iter().any(|&(_, _, kind)| kind == Deviation::Rogue);
    let waits = |&(protocol, port, _): &PortDeviation| {
        protocol == Protocol::Tcp && unconfirmed.is_some_and(|unconfirmed| unconfirmed.waits(port))
    };
    let told = |difference: &&PortDeviation| has_baseline && !new && !waits(difference);
    let mut ports: BTreeMap<(Protocol, u16), PortFact> = BTreeMap::new();
    let mut listed = BTreeMap::new();
    for (&protocol, standing) in &host.standings {
        for stretch in standing.ranges().iter().filter(|stretch| stretch.listed) {
            *listed.entry((protocol, stretch.state)).or_default() += stretch.ports().len();
        }
        let open = standing.open();
        ports.extend(
            open.iter()
                .map(|port| ((protocol, port), PortFact { protocol, port, open: true, deviation: None })),
        );
    }
    for difference in differences.iter().filter(told) {
        let (protocol, port, deviation) = *difference;
        let fact = ports.entry((protocol, port));
        let fact = fact.or_insert(PortFact { protocol, port, open: false, deviation: None });
        fact.deviation = Some(deviation);
    }
    HostFacts {
        mac: host.device.mac,
        host: host.device.address.clone(),
        name: None,
        up: host.up,
        new,
        scanned_ports: 0,
        complete: false,
        expected: host.expected.count(PortState::Open),
        listed,
        ports: ports.into_values().collect(),
    }
}

fn probe_facts(stats: &Stats) -> ProbeFacts {
    ProbeFacts {
        accepted: stats.accepted,
        refused: stats.refused,
        silent: stats.silent,
        unreachable: stats.unreachable,
        not_started: stats.not_started,
        in_flight: stats.in_flight,
        hosts: stats.jobs,
        window: stats.window,
    }
}

fn limit_facts(limits: &SystemLimits) -> LimitFacts {
    let bounds = limits.bounds();
    let table = limits.conntrack.zip(bounds.silent);
    LimitFacts {
        descriptors: limits.descriptors,
        sockets: bounds.in_flight,
        local_ports: u32::from(*limits.local_ports.end()) - u32::from(*limits.local_ports.start()) + 1,
        conntrack: table.map(|(table, silent)| TableFacts {
            entries: table.count,
            max: table.max,
            silent_per_second: silent.get(),
        }),
    }
}

fn channel_facts((channel, status): (ChannelConfig, ChannelStatus)) -> ChannelFacts {
    ChannelFacts {
        name: channel.name,
        pending: status.pending,
        oldest: status.oldest.unwrap_or_default(),
        delivered: status.delivered,
        failed: status.failed,
    }
}

fn feed_facts(inventory: &Inventory) -> Vec<FeedFacts> {
    let facts = |source: &SourceStatus| FeedFacts {
        source: source.name.clone(),
        up: source.up,
        detail: source.detail.clone(),
        devices: source.devices,
        rejected: source.rejected,
        held_back: source.held_back.map_or(0, |held_back| held_back.count),
    };
    inventory.sources.iter().map(facts).collect()
}

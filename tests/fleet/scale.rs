//! What a hub of forty sites with 250 devices each costs. The sites are this process: databases with their uplinks.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::{Timestamp, ToSpan};
use portscan::{
    clock::SystemClock,
    config::Config,
    model::{
        Device, HostReport, HostStatus, Mac, PortFinding, PortSet, PortState, Protocol, Reason, ScanKind,
        ScanStatus,
    },
    net::nats::{BrokerAccess, SiteConnection},
    service::{
        fleet::{Uplink, UplinkParts},
        health::Health,
    },
    store::{DiskPace, Observation, Store, WriterThread},
};
use tokio::{sync::watch, task::JoinSet};

use super::{Fleet, PORT};
use crate::lab::Lab;

const SITES: usize = 40;
const DEVICES: u16 = 250;
/// Open on each device; which ones differ a little, so that some devices share a result and most do not.
const OPEN: u16 = 10;
/// A day's scans of the commonest ports.
const SCANS: i64 = 24;

/// Devices share commits, as on an appliance, which waits longer for them.
const PACE: DiskPace = DiskPace { commit: Duration::from_millis(20), ..DiskPace::DEFAULT };

fn open(path: &Path) -> (Store, WriterThread) {
    Store::open_at_pace(path, Arc::new(SystemClock::start()), PACE).unwrap()
}

fn device(number: u16) -> Device {
    let [high, low] = number.to_be_bytes();
    let address = format!("192.168.{high}.{low}").parse().unwrap();
    Device { address, mac: Some(Mac::new([2, 0, 0, 0, high, low])), name: None }
}

/// Scans all devices; the last one has one port more in every second scan.
async fn scan(store: &Store, number: i64, covered: &PortSet) {
    let started: Timestamp = "2026-06-01T00:00:00Z".parse::<Timestamp>().unwrap() + (number * 60).minutes();
    let scan = store.begin_scan("lan", ScanKind::Run, covered).await.unwrap();
    let mut writes = JoinSet::new();
    for place in 1..=DEVICES {
        let more = u16::from(place == DEVICES && number % 2 == 1);
        let finding = |step: u16| PortFinding {
            port: 20 + place % 7 + step * 11,
            state: PortState::Open,
            reason: Reason::SynAck,
            rtt: Some(Duration::from_micros(2000)),
        };
        let device = device(place);
        let report = HostReport {
            address: device.address.clone(),
            status: HostStatus::Up,
            coverage: covered.clone(),
            default_state: PortState::Closed,
            default_reason: Reason::ConnRefused,
            findings: (0..OPEN + more).map(finding).collect(),
            protocol: Protocol::Tcp,
            probes: 1000,
            preparation: Duration::from_millis(2),
            scanning: Duration::from_secs(4),
            detail: String::new(),
        };
        let finished = started + Duration::from_secs(5);
        let (store, observation) = (store.clone(), Observation { scan, device, report, started, finished });
        writes.spawn(async move { store.record(observation).await.unwrap() });
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap();
    }
    store.end_scan(scan, ScanStatus::Complete).await.unwrap();
}

/// Sends all that the stores have noted.
async fn send(stores: &[Store], fleet: &Fleet<'_>) -> Duration {
    let began = fleet.lab.now();
    let mut uplinks = JoinSet::new();
    for (store, name) in stores.iter().zip(names()) {
        let dir = fleet.home.path().join("sites").join(&name);
        let [authority, certificate, key] = ["ca.crt", "site.crt", "site.key"].map(|file| dir.join(file));
        let access = BrokerAccess { host: "localhost".to_owned(), port: PORT, authority, certificate, key };
        let store = store.clone();
        uplinks.spawn(async move {
            let connection =
                SiteConnection::open(&access, name.parse().unwrap(), Arc::new(SystemClock::start()))
                    .await
                    .unwrap();
            connection.wait_until_connected().await;
            let parts = UplinkParts {
                store: store.clone(),
                link: Arc::new(connection),
                config: watch::Sender::new(Arc::new(Config::default())).subscribe(),
                health: watch::Sender::new(Health::default()).subscribe(),
                host: name,
                notices: watch::Sender::new(Vec::new()),
            };
            let uplink = tokio::spawn(Uplink::new(parts).run());
            // It has no end of its own: it would wait for more.
            while store.has_outgoing().await.unwrap() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            uplink.abort();
        });
    }
    while let Some(ended) = uplinks.join_next().await {
        ended.unwrap();
    }
    fleet.lab.now().since(began)
}

/// Prints the figures: `make fleet-cost`.
#[test]
#[ignore = "some minutes: `make fleet-cost`"]
fn forty_sites_with_ten_thousand_devices() {
    let lab = Lab::enter("near");
    let fleet = Fleet::start(&lab, 0);
    names().for_each(|name| drop(fleet.credentials(&name)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(format!("{name}.db"));
    let (stores, _threads): (Vec<Store>, Vec<WriterThread>) = runtime.block_on(async {
        let (store, threads) = open(&path("first"));
        scan(&store, 0, &PortSet::all()).await;
        drop(store);
        tokio::task::spawn_blocking(|| threads.join()).await.unwrap().unwrap();
        let copies = names().map(|name| {
            std::fs::copy(path("first"), path(&name)).unwrap();
            open(&path(&name))
        });
        copies.unzip()
    });
    let disk = || {
        let copies = fleet.hub.database().with_file_name("sites");
        let files = std::fs::read_dir(copies)
            .unwrap()
            .flat_map(|site| std::fs::read_dir(site.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>() / 1024
    };
    let hub = fleet.running.as_ref().unwrap();
    let first = runtime.block_on(async {
        for store in &stores {
            store.begin_outgoing([7; 16]).await.unwrap();
        }
        send(&stores, &fleet).await
    });
    eprintln!(
        "{SITES} sites, {DEVICES} devices each: copied in {:.1} s; hub: {} KB resident, {} KB on the disk",
        first.as_secs_f32(),
        hub.rss() / 1024,
        disk()
    );
    let common: PortSet = "1-1000".parse().unwrap();
    let day = runtime.block_on(async {
        for store in &stores {
            for number in 1..=SCANS {
                scan(store, number, &common).await;
            }
        }
        send(&stores, &fleet).await
    });
    eprintln!(
        "a day of {SCANS} scans of each device: applied in {:.1} s; hub: {} KB resident, {} KB on the disk",
        day.as_secs_f32(),
        hub.rss() / 1024,
        disk()
    );
    for path in
        ["/v1/sites", "/v1/hosts", "/v1/diff", "/v1/changes", "/metrics", "/", "/v1/hosts?site=house-7"]
    {
        let began = lab.now();
        let answer = hub.get(path);
        assert_eq!(answer.status, 200, "{path}");
        eprintln!("{path}: {:.2} s, {} KB", lab.now().since(began).as_secs_f32(), answer.body.len() / 1024);
    }
    let sites = fleet.at_hub("/v1/sites");
    let devices: u64 = sites.as_array().unwrap().iter().filter_map(|site| site["devices"].as_u64()).sum();
    assert_eq!(devices, SITES as u64 * u64::from(DEVICES));
    eprintln!("hub: {} KB resident at most", hub.peak_rss() / 1024);
}

fn names() -> impl Iterator<Item = String> {
    (1..=SITES).map(|number| format!("house-{number}"))
}

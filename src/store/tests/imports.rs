//! Imported scans are ordered among own scans by their time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::store::{change::DatabaseChange, record::RecordObservation, scans::BeginScan};

fn at(minutes: i64) -> Timestamp {
    "2026-03-01T10:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(60 * minutes.unsigned_abs())
}

/// An observation of this device that began and ended so many minutes after ten o'clock.
fn look(scan: ScanId, device: Device, minutes: i64, covered: &str, open: &[u16]) -> Observation {
    let mut observation = up(scan, device, open);
    observation.report.coverage = covered.parse().unwrap();
    Observation { started: at(minutes), finished: at(minutes), ..observation }
}

fn without_mac(last: u8) -> Device {
    Device { mac: None, ..device(last) }
}

async fn import(store: &Store) -> ScanId {
    store.begin_scan("import", ScanKind::Import, &PortSet::all()).await.unwrap()
}

#[tokio::test]
async fn an_older_import_supplies_only_ports_that_nothing_newer_covers() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let (own, other) = (run(&store).await, import(&store).await);
    store.record(look(own, device(1), 10, "1-100", &[22])).await.unwrap();
    store.record(look(own, device(1), 20, "1-50", &[22])).await.unwrap();
    store.record(look(other, device(1), 15, "40-200", &[45, 80, 150])).await.unwrap();
    assert_eq!(open_now(&store, &device(1)).await.unwrap(), "22,80,150");
    assert_eq!(bench.count("SELECT latest_seq FROM endpoints"), 2);
    // Older than all own scans.
    store.record(look(other, device(1), 5, "1-300", &[1, 99, 199, 299])).await.unwrap();
    assert_eq!(open_now(&store, &device(1)).await.unwrap(), "22,80,150,299");
    // Newer than all others: it is the latest, and closes only ports that it covers.
    store.record(look(other, device(1), 30, "22,150", &[])).await.unwrap();
    assert_eq!(open_now(&store, &device(1)).await.unwrap(), "80,299");
    assert_eq!(bench.count("SELECT latest_seq FROM endpoints"), 5);
    // Stored later, but begun earlier.
    store.record(look(own, device(1), 25, "150", &[150])).await.unwrap();
    assert_eq!(open_now(&store, &device(1)).await.unwrap(), "80,299");
    // Own scans are ordered by sequence, whatever the clock says: this is the newest, although the clock was not set.
    let unset = Timestamp::UNIX_EPOCH;
    let unset = Observation { started: unset, ..look(own, device(1), 0, "150", &[150]) };
    store.record(unset).await.unwrap();
    assert_eq!(open_now(&store, &device(1)).await.unwrap(), "80,150,299");
}

#[tokio::test]
async fn an_import_without_macs_belongs_to_the_device_that_then_had_the_address() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let heir = Device { mac: Some(mac(9)), ..device(1) };
    bench.clock.set_wall("2026-03-01T10:00:00Z");
    store.record_sightings(vec![device(1)], Vec::new()).await.unwrap();
    bench.clock.set_wall("2026-03-01T11:00:00Z");
    store
        .record_sightings(vec![Device { address: "192.0.2.77".parse().unwrap(), ..device(1) }], Vec::new())
        .await
        .unwrap();
    bench.clock.set_wall("2026-03-01T12:00:00Z");
    store.record_sightings(vec![heir.clone()], Vec::new()).await.unwrap();
    let other = import(&store).await;
    for (minutes, port) in [(0, 10), (180, 20)] {
        store.record(look(other, without_mac(1), minutes, "1-100", &[port])).await.unwrap();
    }
    assert_eq!(open_now(&store, &device(1)).await.unwrap(), "10");
    assert_eq!(open_now(&store, &heir).await.unwrap(), "20");
    assert_eq!(open_now(&store, &without_mac(1)).await, None);
    store.record(look(other, without_mac(1), 240, "1-100", &[20, 21])).await.unwrap();
    let changes = store.change_events(ChangeFilter::default()).await.unwrap().rows;
    assert_eq!(
        changes.last().map(|change| &change.device),
        Some(&heir.key()),
        "the change is reported for the device with the address"
    );
    // The device that had this address at that time is unknown.
    store.record(look(other, without_mac(5), 30, "1-100", &[30])).await.unwrap();
    assert_eq!(open_now(&store, &without_mac(5)).await.unwrap(), "30");
    // A MAC is seen there: it belongs to the device that was known by its address alone.
    store.record_sightings(vec![device(5)], Vec::new()).await.unwrap();
    assert_eq!(open_now(&store, &without_mac(5)).await, None);
    assert_eq!(open_now(&store, &device(5)).await.unwrap(), "30");
}

#[tokio::test]
async fn an_address_shows_its_current_device() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    store.record(look(scan, device(1), 0, "1-100", &[10])).await.unwrap();
    bench.clock.pass(Duration::from_secs(60));
    let heir = Device { mac: Some(mac(9)), ..device(1) };
    store.record(look(scan, heir.clone(), 1, "1-100", &[20])).await.unwrap();
    let holders = async || {
        let hosts = store.host_states(0, 128).await.unwrap().rows.into_iter();
        hosts.map(|host| (host.device.mac.unwrap(), host.is_holder)).collect::<Vec<_>>()
    };
    assert_eq!(holders().await, [(mac(1), false), (mac(9), true)]);
    let expected = ExpectationUpdate {
        device: DeviceKey::Address(heir.address),
        protocol: Protocol::Tcp,
        port: 20,
        state: Some((PortState::Open, String::new())),
    };
    store.expect(vec![expected]).await.unwrap();
    let hosts = store.host_states(0, 128).await.unwrap().rows;
    let differences =
        |host: &HostState| host.expected.differences(&host.standings, &PortSet::default()).len();
    assert_eq!(
        hosts.iter().map(differences).collect::<Vec<_>>(),
        [1, 0],
        "an expectation of an address applies to its current device"
    );
}

#[tokio::test]
async fn old_imports_move_no_device_and_report_nothing() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let other = import(&store).await;
    let scan = run(&store).await;
    store.record(look(scan, device(1), 60, "1-100", &[10])).await.unwrap();
    let changes = bench.count("SELECT count(*) FROM changes");
    let elsewhere = Device { address: "192.0.2.66".parse().unwrap(), ..device(1) };
    store.record(look(other, elsewhere, 30, "1-200", &[20, 150])).await.unwrap();
    store.record(look(other, without_mac(7), 30, "1-200", &[20])).await.unwrap();
    assert_eq!(open_now(&store, &device(1)).await.unwrap(), "10,150");
    assert_eq!(bench.count("SELECT count(*) FROM changes"), changes);
    assert_eq!(
        bench.count("SELECT count(*) FROM endpoints WHERE address = '192.0.2.66' AND held = 'now'"),
        0
    );
    assert_eq!(
        bench.count("SELECT count(*) FROM endpoints WHERE address = '192.0.2.66' AND held = 'once'"),
        1
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Compares with a naive model, which keeps every observation and looks a port up in all of them in order. Own
    /// scans are made one a minute; imports have any time and arrive in any order.
    #[test]
    fn the_state_is_that_of_all_observations_in_order_of_time(
        looks in prop::collection::vec(
            (prop::option::of(0..15_i64), (1..20_u16, 0..12_u16), prop::collection::btree_set(1..32_u16, 0..8)),
            1..14,
        ),
    ) {
        let bench = Bench::new(EAGER);
        let connection = schema::open_writer(&bench.path(), schema::LADDER).unwrap();
        let transaction = connection.unchecked_transaction().unwrap();
        for (id, kind) in [(ScanId(1), ScanKind::Run), (ScanId(2), ScanKind::Import)] {
            let (scanner, ports, started) = ("lan".to_owned(), "1-40".to_owned(), at(0));
            BeginScan { id, scanner, kind, ports, started }.apply(&transaction).unwrap();
        }
        // By time; at equal times own scans first, then in the order of arrival.
        let mut naive: BTreeMap<(i64, bool, i64), (PortSet, Vec<u16>)> = BTreeMap::new();
        let mut minute = 0;
        for ((imported, (first, more), open), seq) in looks.into_iter().zip(1..) {
            let coverage = PortSet::from_ranges([(first, first + more)]);
            let open: Vec<u16> = coverage.iter().filter(|port| open.contains(port)).collect();
            minute += i64::from(imported.is_none());
            let (scan, time) = imported.map_or((ScanId(1), minute), |time| (ScanId(2), time));
            let observation = look(scan, device(1), time, &coverage.to_string(), &open);
            RecordObservation { seq, observation }.apply(&transaction).unwrap();
            naive.insert((time, imported.is_some(), seq), (coverage, open));

            let mut states: BTreeMap<u16, bool> = BTreeMap::new();
            for (coverage, open) in naive.values() {
                states.extend(coverage.iter().map(|port| (port, open.contains(&port))));
            }
            let expected: Vec<u16> = states.into_iter().filter(|(_, open)| *open).map(|(port, _)| port).collect();
            let found = lookups::latest(&transaction, &device(1).key()).unwrap().unwrap().open;
            prop_assert_eq!(found, expected);
        }
    }
}

//! A device on the network is one row, whatever is reported about it in any order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::store::{
    change::DatabaseChange, record::RecordObservation, scans::BeginScan, sightings::RecordSightings,
};

const HOUR: Duration = Duration::from_secs(3600);

fn at(last: u8, mac_of: Option<u8>) -> Device {
    Device { address: device(last).address, mac: mac_of.map(mac), name: None }
}

fn look(scan: ScanId, device: Device, when: Timestamp, covered: &str, open: &[u16]) -> Observation {
    let mut observation = up(scan, device, open);
    observation.report.coverage = covered.parse().unwrap();
    Observation { started: when, finished: when, ..observation }
}

/// The devices in text form: MAC or "-", and the addresses of each with the open ports there.
async fn rows(store: &Store) -> Vec<String> {
    let hosts = store.hosts(0, 128).await.unwrap().rows;
    let row = |host: &DeviceRecord| {
        let mac = host.device.mac.map_or_else(|| "-".to_owned(), |mac| mac.octets()[5].to_string());
        let endpoint =
            |(address, standings): &(crate::model::Address, crate::model::PortStatesByProtocol)| {
                let open =
                    standings.get(&Protocol::Tcp).map_or_else(String::new, |tcp| tcp.open().to_string());
                format!(" .{}:{open}", address.ipv4().unwrap().octets()[3])
            };
        mac + &host.endpoints.iter().map(endpoint).collect::<String>()
    };
    hosts.iter().map(row).collect()
}

async fn events(store: &Store) -> Vec<String> {
    let changes = store.change_events(ChangeFilter::default()).await.unwrap().rows;
    let line = |change: &ChangeEvent| {
        let ports = change.kind.ports().map(|(_, ports)| format!(" {ports}")).unwrap_or_default();
        format!("{} {}{ports}", change.device, change.kind.as_str())
    };
    changes.iter().map(line).collect()
}

#[tokio::test]
async fn an_address_that_did_not_answer_is_no_device() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    for scan in
        [run(&store).await, store.begin_scan("nmap", ScanKind::Import, &PortSet::all()).await.unwrap()]
    {
        for last in 1..=14 {
            store.record(ended(scan, at(last, None), HostStatus::Down)).await.unwrap();
        }
    }
    assert_eq!(rows(&store).await, [""; 0]);
    assert_eq!(store.totals().await.unwrap().devices, 0);
    assert_eq!(
        store.scan_summary(ScanId(1_772_359_200)).await.unwrap().unwrap().hosts,
        14,
        "the absent hosts count as scanned"
    );
}

#[tokio::test]
async fn a_row_known_by_its_address_gets_the_mac_found_there_and_keeps_its_data() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    store.record_sightings(vec![at(1, None)], Vec::new()).await.unwrap();
    let row = store.host(&at(1, None).key()).await.unwrap().unwrap().row.unwrap();
    let words = |text: &str| Some(Some(text.to_owned()));
    store
        .annotate(
            row,
            AnnotationPatch { name: words("nas"), note: words("in the attic"), ..AnnotationPatch::default() },
        )
        .await
        .unwrap();
    let update = ExpectationUpdate {
        device: at(1, None).key(),
        protocol: Protocol::Tcp,
        port: 22,
        state: Some((PortState::Open, "ssh".to_owned())),
    };
    store.expect(vec![update]).await.unwrap();
    store.record(look(scan, at(1, Some(7)), bench.clock.wall(), "1-100", &[22])).await.unwrap();
    assert_eq!(rows(&store).await, ["7 .1:22"]);
    let host = store.host(&at(1, Some(7)).key()).await.unwrap().unwrap();
    assert_eq!(
        host.words,
        Annotation { name: Some("nas".into()), note: Some("in the attic".into()), ..Annotation::default() }
    );
    let states = store.host_states(0, 128).await.unwrap().rows;
    assert!(states[0].expected.is(Protocol::Tcp, 22, PortState::Open));
    assert_eq!(events(&store).await, ["02:00:00:00:00:07 new"], "the device is reported once, by its MAC");
}

#[tokio::test]
async fn a_row_known_by_its_address_is_merged_into_the_device_that_has_it() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let scan = run(&store).await;
    let import = store.begin_scan("nmap", ScanKind::Import, &PortSet::all()).await.unwrap();
    store.record(look(scan, at(1, Some(7)), bench.clock.wall(), "1-100", &[22])).await.unwrap();
    store.record(look(import, at(2, None), bench.clock.wall(), "1-100", &[80])).await.unwrap();
    assert_eq!(rows(&store).await, ["7 .1:22", "- .2:80"]);
    let row = store.host(&at(2, None).key()).await.unwrap().unwrap().row.unwrap();
    store
        .annotate(
            row,
            AnnotationPatch {
                name: None,
                note: Some(Some("a web page".to_owned())),
                ..AnnotationPatch::default()
            },
        )
        .await
        .unwrap();
    bench.clock.pass(HOUR);
    store.record_sightings(vec![at(1, Some(7)), at(2, Some(7))], Vec::new()).await.unwrap();
    assert_eq!(rows(&store).await, ["7 .1:22 .2:80"]);
    let host = store.host(&at(2, None).key()).await.unwrap().unwrap();
    assert_eq!((host.device.mac, host.words.note.as_deref()), (Some(mac(7)), Some("a web page")));
    let open: Vec<_> = host.open_ports().into_iter().map(|open| (open.port, open.addresses)).collect();
    assert_eq!(open, [(22, vec![at(1, None).address]), (80, vec![at(2, None).address])]);
    assert_eq!(store.latest(&at(1, Some(7)).key()).await.unwrap().unwrap().open, [22, 80]);
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
}

#[tokio::test]
async fn each_address_has_its_own_ports_and_an_opening_is_reported_once_per_device() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    let both = || vec![at(1, Some(7)), at(2, Some(7))];
    store.record_sightings(both(), Vec::new()).await.unwrap();
    let looked = async |last: u8, open: &[u16]| {
        bench.clock.pass(Duration::from_secs(61));
        store.record(look(scan, at(last, Some(7)), bench.clock.wall(), "1-100", open)).await.unwrap();
    };
    looked(1, &[22, 80]).await;
    looked(2, &[22, 90]).await;
    assert_eq!(rows(&store).await, ["7 .1:22,80 .2:22,90"]);
    let unconfirmed = store.unconfirmed_endpoints().await.unwrap();
    assert_eq!(
        unconfirmed[0].device,
        at(2, Some(7)),
        "an opening is confirmed at the address where it was found"
    );
    assert_eq!(
        unconfirmed[0].unconfirmed.openings[0].1.to_string(),
        "90",
        "22 is open on the device already"
    );
    looked(2, &[22, 90]).await;
    looked(1, &[22]).await;
    looked(1, &[22]).await;
    let expected = ["02:00:00:00:00:07 new", "02:00:00:00:00:07 opened 90", "02:00:00:00:00:07 closed 80"];
    assert_eq!(events(&store).await, expected);
    assert_eq!(rows(&store).await, ["7 .1:22 .2:22,90"]);
}

#[tokio::test]
async fn detects_a_move_that_happened_between_scans() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    store.record(look(scan, at(1, Some(7)), bench.clock.wall(), "1-100", &[22])).await.unwrap();
    bench.clock.pass(24 * HOUR);
    // The new address is scanned before the old one.
    store.record(look(scan, at(2, Some(7)), bench.clock.wall(), "1-100", &[22])).await.unwrap();
    assert_eq!(rows(&store).await, ["7 .1:22 .2:22"]);
    store.record(ended(scan, at(1, None), HostStatus::Down)).await.unwrap();
    assert_eq!(rows(&store).await, ["7 .2:22"]);
    assert_eq!(events(&store).await, ["02:00:00:00:00:07 new", "02:00:00:00:00:07 moved"]);
}

#[tokio::test]
async fn a_scanned_device_counts_as_seen_and_is_not_forgotten() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    let import = store.begin_scan("nmap", ScanKind::Import, &PortSet::all()).await.unwrap();
    store
        .record_sightings(
            vec![at(1, Some(1)), at(2, Some(2)), at(3, None), at(4, Some(4)), at(5, Some(5))],
            Vec::new(),
        )
        .await
        .unwrap();
    bench.clock.pass(40 * 24 * HOUR);
    let now = bench.clock.wall();
    store.record(look(scan, at(1, Some(1)), now, "1-100", &[])).await.unwrap();
    let partial = Observation { finished: now, ..ended(scan, at(2, Some(2)), HostStatus::Partial) };
    store.record(partial).await.unwrap();
    // Credited to the device that has the address, and to one that is scanned elsewhere.
    store.record(look(import, at(4, None), now, "1-100", &[])).await.unwrap();
    store.record(look(scan, at(55, Some(5)), now, "1-100", &[])).await.unwrap();
    let unseen = store.unseen_since(now - 30 * 24 * HOUR).await.unwrap();
    assert_eq!(unseen.into_iter().map(|(_, key)| key).collect::<Vec<_>>(), [at(3, None).key()]);
    let hosts = store.hosts(0, 128).await.unwrap().rows;
    let seen: Vec<bool> = hosts.iter().map(|host| host.last_seen == now).collect();
    assert_eq!(seen, [true, true, false, true, true]);
}

/// An unchanging device on the network: its MAC, if neighbours can see it, and its addresses.
#[derive(Clone, Debug)]
struct Machine {
    mac: Option<u8>,
    addresses: Vec<u8>,
}

/// A report about a device.
#[derive(Clone, Debug)]
enum Report {
    /// A feed with MACs lists all of its addresses.
    Feed,
    /// A list of hosts contains one of its addresses, without a MAC.
    List(usize),
    /// An own scan of one of its addresses.
    Look(usize),
    /// An import, so many hours old, of one of its addresses, with its MAC, if it has one, or without.
    Import(usize, bool, u8),
    /// An own scan of an address that no device has.
    Unused(u8),
}

fn machines() -> Vec<Machine> {
    let machine = |mac, addresses: &[u8]| Machine { mac, addresses: addresses.to_vec() };
    vec![
        machine(Some(1), &[1]),
        machine(Some(2), &[20, 21]),
        machine(Some(3), &[30, 31, 32]),
        machine(None, &[40]),
    ]
}

fn reports() -> impl Strategy<Value = Vec<(usize, Report)>> {
    let report = prop_oneof![
        2 => Just(Report::Feed),
        3 => (0..3_usize).prop_map(Report::List),
        4 => (0..3_usize).prop_map(Report::Look),
        4 => (0..3_usize, any::<bool>(), 0..48_u8).prop_map(|(at, mac, age)| Report::Import(at, mac, age)),
        1 => (100..110_u8).prop_map(Report::Unused),
    ];
    prop::collection::vec((0..4_usize, report), 1..24)
}

impl Machine {
    fn at(&self, index: usize, with_mac: bool) -> Device {
        at(self.addresses[index % self.addresses.len()], self.mac.filter(|_| with_mac))
    }

    fn all(&self) -> Vec<Device> {
        (0..self.addresses.len()).map(|index| self.at(index, true)).collect()
    }

    /// The open ports at one of its addresses: one that all addresses share, and one of the address.
    fn open(&self, index: usize) -> Vec<u16> {
        let address = self.addresses[index % self.addresses.len()];
        vec![22, 100 + u16::from(address)]
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_device_is_one_row(reports in reports()) {
        let bench = Bench::new(EAGER);
        let connection = schema::open_writer(&bench.path(), schema::LADDER).unwrap();
        let transaction = connection.unchecked_transaction().unwrap();
        let (own, other) = (ScanId(1), ScanId(2));
        for (id, kind) in [(own, ScanKind::Run), (other, ScanKind::Import)] {
            let (scanner, ports, started) = ("lan".to_owned(), "1-200".to_owned(), bench.clock.wall());
            BeginScan { id, scanner, kind, ports, started }.apply(&transaction).unwrap();
        }
        let machines = machines();
        let mut reported = BTreeSet::new();
        for ((index, report), seq) in reports.into_iter().zip(1..) {
            bench.clock.pass(Duration::from_secs(600));
            let now = bench.clock.wall();
            let machine = &machines[index];
            let see = |devices| RecordSightings { devices, at: now }.apply(&transaction);
            let record = |observation| RecordObservation { seq, observation }.apply(&transaction);
            let made = match report {
                Report::Feed => see(vec![machine.all()]),
                Report::List(at) => see(vec![vec![machine.at(at, false)]]),
                Report::Look(at) => record(look(own, machine.at(at, true), now, "1-200", &machine.open(at))),
                Report::Import(at, with_mac, age) => {
                    let then = now - u32::from(age) * HOUR;
                    record(look(other, machine.at(at, with_mac), then, "1-200", &machine.open(at)))
                }
                Report::Unused(last) => record(ended(own, at(last, None), HostStatus::Down)),
            };
            if !matches!(report, Report::Unused(_)) {
                reported.insert(index);
            }
            made.unwrap();
            let shared = "SELECT count(*) FROM (SELECT 1 FROM endpoints WHERE held = 'now'
                          GROUP BY address HAVING count(*) > 1)";
            prop_assert_eq!(count(&transaction, shared), 0, "an address has one device");
            let addressless = "SELECT count(*) FROM devices WHERE id NOT IN (SELECT device FROM endpoints WHERE held = 'now')";
            prop_assert_eq!(count(&transaction, addressless), 0);
        }
        // Finally every feed reports, and every address of a device is scanned.
        let now = bench.clock.wall();
        let all = reported.iter().map(|index| machines[*index].all()).collect();
        RecordSightings { devices: all, at: now }.apply(&transaction).unwrap();
        let mut seq = 1000;
        for machine in reported.iter().map(|index| &machines[*index]) {
            for index in 0..machine.addresses.len() {
                seq += 1;
                let observation = look(own, machine.at(index, true), now, "1-200", &machine.open(index));
                RecordObservation { seq, observation }.apply(&transaction).unwrap();
            }
        }
        let mut found = Vec::new();
        let mut statement = transaction
            .prepare("SELECT d.mac, e.address, e.id FROM devices d JOIN endpoints e ON e.device = d.id
                      WHERE e.held = 'now' ORDER BY d.id, e.id").unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let looks = contributors::contributors_of(&transaction, row.get(2).unwrap()).unwrap();
            let open = contributors::standings(&looks).remove(&Protocol::Tcp).unwrap_or_default().open();
            let (mac, address): (Option<String>, String) = (row.get(0).unwrap(), row.get(1).unwrap());
            found.push((mac, address, open.to_string()));
        }
        found.sort();
        let mut expected: Vec<_> = reported.iter().flat_map(|index| {
            let machine = &machines[*index];
            (0..machine.addresses.len()).map(|at| {
                let device = machine.at(at, true);
                let open: PortSet = machine.open(at).into_iter().collect();
                (device.mac.map(|mac| mac.to_string()), device.address.to_string(), open.to_string())
            })
        }).collect();
        expected.sort();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(count(&transaction, "SELECT count(*) FROM devices"), i64::try_from(reported.len()).unwrap());
    }
}

#[tokio::test]
async fn a_device_that_is_only_reported_has_no_row_before_it_answers() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    store.record_sightings(Vec::new(), vec![at(1, Some(1)), at(2, None)]).await.unwrap();
    assert_eq!(store.hosts(0, 128).await.unwrap().rows, []);
    assert_eq!(store.known_among(vec![at(1, Some(1))]).await.unwrap(), KnownDevices::default());
    let reported = vec![at(1, Some(1)), at(2, None), at(9, Some(9))];
    store.record_sightings(vec![at(1, None), at(2, None)], Vec::new()).await.unwrap();
    store.record_sightings(Vec::new(), reported.clone()).await.unwrap();
    let hosts = store.hosts(0, 128).await.unwrap().rows;
    let macs: Vec<_> = hosts.iter().map(|host| (host.device.address.clone(), host.device.mac)).collect();
    let expected = [at(1, Some(1)), at(2, None)].map(|device| (device.address, device.mac));
    assert_eq!(macs, expected, "a row known by its address alone gets its MAC");
    let known = store.known_among(reported).await.unwrap();
    assert_eq!((known.total, known.endpoints.len(), known.devices.len()), (2, 2, 2));
}

//! Devices that never answered are dropped to make room, and a host that answers at random takes little room.

use std::{collections::HashSet, net::Ipv4Addr};

use super::*;
use crate::{
    model::{DeviceIdentification, DeviceKey, DeviceType, Evidence, IdentifyMethod, Mac, PortIdentification},
    store::{ExpectationUpdate, identity},
};

const DAY: Duration = Duration::from_secs(86_400);

/// The device with this number: its address and MAC differ from those of any other.
fn numbered(number: u32) -> Device {
    let [a, b, c, d] = number.to_be_bytes();
    let mac = Mac::new([2, 0xff, a, b, c, d]);
    Device { address: Ipv4Addr::new(10, b, c, d).into(), mac: Some(mac), name: None }
}

/// An observation at this moment.
fn found(bench: &Bench, scan: ScanId, device: Device, open: &[u16]) -> Observation {
    let now = bench.clock.wall();
    Observation { started: now, finished: now, ..up(scan, device, open) }
}

/// Fills a database as an earlier attack would: with rows of so many devices that never answered.
fn fill(bench: &Bench, numbers: std::ops::Range<u32>) {
    let at = bench.clock.wall();
    let outside = bench.outside();
    outside.execute_batch("BEGIN").unwrap();
    for number in numbers {
        identity::record_sighting(&outside, &numbered(number), at, None).unwrap();
    }
    outside.execute_batch("COMMIT").unwrap();
}

async fn keys(store: &Store) -> HashSet<DeviceKey> {
    let (mut keys, mut next) = (HashSet::new(), Some(i64::MIN));
    while let Some(after) = next {
        let page = store.hosts(after, 128).await.unwrap();
        keys.extend(page.rows.iter().map(|host| host.device.key()));
        next = page.next;
    }
    keys
}

#[tokio::test]
async fn makes_room_among_invented_devices_and_keeps_real_ones() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    // Real: one with open ports, one without, one with an annotation, one that is expected, one that is named.
    for last in [1, 2] {
        let open: &[u16] = if last == 1 { &[22] } else { &[] };
        store.record(found(&bench, scan, device(last), open)).await.unwrap();
    }
    store.record_sightings(vec![device(3), device(4), device(5)], Vec::new()).await.unwrap();
    let row = store.host(&device(3).key()).await.unwrap().unwrap().row.unwrap();
    store
        .annotate(row, AnnotationPatch { note: Some(Some("mine".to_owned())), ..AnnotationPatch::default() })
        .await
        .unwrap();
    let state = Some((PortState::Open, String::new()));
    store
        .expect(vec![ExpectationUpdate { device: device(4).key(), protocol: Protocol::Tcp, port: 22, state }])
        .await
        .unwrap();
    fill(&bench, 0..9000);
    let (most, named) = (1024, || HashSet::from([device(5).key()]));
    assert_eq!(
        store.make_room(most, named(), bench.clock.wall()).await.unwrap(),
        0,
        "the devices were just seen"
    );
    bench.clock.pass(2 * DAY);
    store.record(found(&bench, scan, device(1), &[22])).await.unwrap();
    let mut left = 9005;
    for forgotten in [4096, 4013, 0] {
        assert_eq!(store.make_room(most, named(), bench.clock.wall()).await.unwrap(), forgotten);
        left -= forgotten;
        assert_eq!(keys(&store).await.len(), left);
    }
    let kept = keys(&store).await;
    assert!((1..=5).all(|last| kept.contains(&device(last).key())), "real devices are kept");
    let changes =
        store.change_events(ChangeFilter { after: 0, ..ChangeFilter::default() }).await.unwrap().rows;
    assert!(
        changes.iter().all(|change| kept.contains(&change.device)),
        "invented devices leave no changes behind"
    );
}

#[tokio::test]
async fn devices_that_answered_are_dropped_last() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    for number in 0..60 {
        let open: &[u16] = if number < 20 { &[80] } else { &[] };
        store.record(found(&bench, scan, numbered(number), open)).await.unwrap();
    }
    let forgotten = async |time| {
        bench.clock.pass(time);
        store.make_room(64, HashSet::new(), bench.clock.wall()).await.unwrap()
    };
    assert_eq!(forgotten(DAY / 2).await, 0, "all devices have answered within a day");
    fill(&bench, 100..110);
    assert_eq!(forgotten(DAY).await, 14, "the devices that never answered, and four without an open port");
    let kept = keys(&store).await;
    assert!((0..20).all(|number| kept.contains(&numbered(number).key())));
    assert_eq!(kept.len(), 56);
}

/// A row's number is used again once its device is gone: a later one must not inherit what was identified.
#[tokio::test]
async fn nothing_that_was_identified_outlives_its_device_and_a_tagged_one_is_kept() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let scan = run(&store).await;
    let evidence = || Evidence {
        method: IdentifyMethod::Upnp,
        text: "a printer".to_owned(),
        time: "2026-03-01T11:00:00Z".parse().unwrap(),
    };
    for number in 0..70 {
        let device = numbered(number);
        store.record(found(&bench, scan, device.clone(), &[])).await.unwrap();
        let port = PortIdentification::unnamed(evidence());
        let (key, address) = (device.key(), device.address);
        let identified =
            IdentifiedPort { device: key.clone(), address, protocol: Protocol::Udp, port: 1900, found: port };
        store.record_identifications(vec![identified]).await.unwrap();
        let printer = DeviceIdentification {
            device_type: Some(DeviceType::Printer),
            ..DeviceIdentification::default()
        };
        store.record_device_identifications(vec![(key, printer, evidence())]).await.unwrap();
    }
    let row = store.host(&numbered(0).key()).await.unwrap().unwrap().row.unwrap();
    let tags = Some(vec!["office".to_owned()]);
    store.annotate(row, AnnotationPatch { tags, ..AnnotationPatch::default() }).await.unwrap();
    bench.clock.pass(2 * DAY);
    assert_eq!(store.make_room(64, HashSet::new(), bench.clock.wall()).await.unwrap(), 14);
    let kept = keys(&store).await;
    assert!(kept.len() == 56 && kept.contains(&numbered(0).key()));
    for table in ["identified_ports", "identified_devices"] {
        let sql = format!("SELECT count(*) FROM {table}");
        let rows: i64 = bench.outside().query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 56, "{table}");
    }
    drop(store);
    join(threads).unwrap();
    assert_sound(&bench.path());
}

/// The open ports of a honeypot: some 32,000, different in each scan.
fn at_random(look: u64) -> Vec<u16> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(look + 1) | 1;
    let mut coin = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 63 == 1
    };
    (1..=u16::MAX).filter(|_| coin()).collect()
}

#[tokio::test]
async fn ports_that_flip_at_random_are_stored_once() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let mut sizes = Vec::new();
    for look in 0..12 {
        let scan = run(&store).await;
        store.record(found(&bench, scan, device(1), &at_random(look))).await.unwrap();
        store.end_scan(scan, ScanStatus::Complete).await.unwrap();
        let sql = "SELECT coalesce(sum(length(body)), 0) FROM results";
        let waiting = "SELECT coalesce(sum(length(ports)), 0) FROM unconfirmed";
        let outside = bench.outside();
        let size = |sql| outside.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        sizes.push(size(sql) + size(waiting));
        bench.clock.pass(Duration::from_secs(3600));
    }
    assert!(sizes[0] > 30_000 && sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
    assert_eq!(open_now(&store, &device(1)).await, Some(PortSet::from_iter(at_random(0)).to_string()));
    // The honeypot's end is reported like any other change.
    for _ in 0..2 {
        let scan = run(&store).await;
        store.record(found(&bench, scan, device(1), &[22, 80])).await.unwrap();
        bench.clock.pass(Duration::from_secs(3600));
    }
    assert_eq!(open_now(&store, &device(1)).await.as_deref(), Some("22,80"));
}

/// A firewall that completes every handshake is switched on, and off again: all ports change in one direction.
#[tokio::test]
async fn stores_ports_that_all_open_or_all_close() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let all: Vec<u16> = (1..=u16::MAX).collect();
    for open in [&[22, 80][..], &all, &[22, 80]] {
        let scan = run(&store).await;
        store.record(found(&bench, scan, device(1), open)).await.unwrap();
        let expected = PortSet::from_iter(open.iter().copied()).to_string();
        assert_eq!(open_now(&store, &device(1)).await, Some(expected));
        bench.clock.pass(Duration::from_secs(3600));
    }
}

#[tokio::test]
async fn old_changes_are_dropped_except_those_of_open_ports() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    store.record(found(&bench, scan, device(1), &[22])).await.unwrap();
    let outside = bench.outside();
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
               INSERT INTO changes (at, device, address, kind, protocol, ports, alert)
               SELECT 0, ?1, '10.0.0.1', ?3, 'tcp', '22', 0 FROM n";
    let known = device(1).key().to_string();
    outside.execute(sql, rusqlite::params![known, 3, "opened"]).unwrap();
    outside.execute(sql, rusqlite::params!["02:FF:00:00:00:00", 700, "opened"]).unwrap();
    outside.execute(sql, rusqlite::params![known, 50_000, "gone"]).unwrap();
    assert_eq!(
        store.drop_old_changes().await.unwrap(),
        701,
        "those of the unknown device, and the event of the new one"
    );
    let count = |sql| outside.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM changes WHERE kind = 'opened'"), 3);
    assert_eq!(store.drop_old_changes().await.unwrap(), 0);
}

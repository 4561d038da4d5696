//! The names of devices, and their sources.

use super::*;
use crate::model::NameSource;

fn lookup(device: &Device, source: NameSource, name: &str) -> NameLookup {
    let name = (!name.is_empty()).then(|| name.to_owned());
    NameLookup { device: device.key(), source, name }
}

/// `source name` of each name of the only device, by precedence.
async fn names(store: &Store) -> Vec<String> {
    let mut hosts = store.hosts(0, 128).await.unwrap().rows;
    let mut host = hosts.pop().unwrap();
    assert_eq!(store.names().await.unwrap().remove(&host.row.unwrap()).unwrap_or_default(), host.names);
    host.names.sort_by_key(|name| name.source);
    host.names.iter().map(|name| format!("{} {}", name.source.as_str(), name.text)).collect()
}

#[tokio::test]
async fn each_source_has_a_name_of_its_own() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    // Recorded before the device has a row.
    store.record_names(vec![lookup(&device(1), NameSource::Dns, "host-1.lan")]).await.unwrap();
    store.record_sightings(vec![device(1)], Vec::new()).await.unwrap();
    assert_eq!(names(&store).await, ["dns host-1.lan"]);

    bench.clock.pass(Duration::from_secs(60));
    let both = vec![
        lookup(&device(1), NameSource::Mdns, "nas.local"),
        lookup(&device(1), NameSource::Dns, "nas.lan"),
        lookup(&device(2), NameSource::Dns, "another.lan"),
    ];
    store.record_names(both).await.unwrap();
    store
        .record_sightings(vec![Device { name: Some("box".to_owned()), ..device(1) }], Vec::new())
        .await
        .unwrap();
    let host = store.host(&device(1).key()).await.unwrap().unwrap();
    store
        .annotate(
            host.row.unwrap(),
            AnnotationPatch {
                name: Some(Some("my nas".to_owned())),
                note: None,
                ..AnnotationPatch::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(names(&store).await, ["owner my nas", "feed box", "mdns nas.local", "dns nas.lan"]);
    let host = store.host(&device(1).key()).await.unwrap().unwrap();
    let at = |source| host.names.iter().find(|name| name.source == source).unwrap().at;
    let now = Some(bench.clock.wall());
    assert_eq!([at(NameSource::Feed), at(NameSource::Mdns), at(NameSource::Owner)], [now, now, None]);

    // A feed repeats the same name; only the date of the first report is useful.
    bench.clock.pass(Duration::from_secs(7200));
    store
        .record_sightings(vec![Device { name: Some("box".to_owned()), ..device(1) }], Vec::new())
        .await
        .unwrap();
    store
        .record_names(vec![
            lookup(&device(1), NameSource::Mdns, ""),
            lookup(&device(1), NameSource::Dns, "nas.lan"),
        ])
        .await
        .unwrap();
    let host = store.host(&device(1).key()).await.unwrap().unwrap();
    let at = |source| host.names.iter().find(|name| name.source == source).map(|name| name.at);
    let times = [at(NameSource::Feed), at(NameSource::Mdns), at(NameSource::Dns)];
    assert_eq!(times, [Some(now), None, Some(Some(bench.clock.wall()))]);

    store.forget(host.row.unwrap()).await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM names"), 1, "the name of the other device");
}

#[tokio::test]
async fn upgrading_version_4_keeps_its_names() {
    let bench = Bench::new(EAGER);
    let old = schema::open_writer(&bench.path(), &schema::LADDER[..4]).unwrap();
    old.execute_batch(
        "INSERT INTO devices (mac, address, name, own_name, first_seen, last_seen)
         VALUES ('02:00:00:00:00:01', '192.0.2.1', 'box', 'my nas', 1000, 2000)",
    )
    .unwrap();
    drop(old);
    let (store, _threads) = bench.open();
    assert_eq!(names(&store).await, ["owner my nas", "feed box"]);
    let host = store.hosts(0, 128).await.unwrap().rows.pop().unwrap();
    assert!(host.names.iter().all(|name| name.at.is_none()), "no date was stored: {host:?}");
}

fn at(address: &str) -> Device {
    Device { address: address.parse().unwrap(), ..device(1) }
}

const MINUTE: Duration = Duration::from_secs(60);
const MOVES: &str = "SELECT count(*) FROM changes WHERE kind = 'moved'";

#[tokio::test]
async fn a_device_with_two_addresses_does_not_move_between_them() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    let (one, two) = (at("192.0.2.1"), at("192.0.2.7"));
    for minute in 0..180 {
        let written = bench.count("SELECT coalesce(max(last_seen), 0) FROM endpoints");
        store.record_sightings(vec![one.clone(), device(9), two.clone()], Vec::new()).await.unwrap();
        let is_hourly = minute % 60 == 0;
        assert_eq!(
            bench.count("SELECT coalesce(max(last_seen), 0) FROM endpoints") > written,
            is_hourly,
            "{minute}"
        );
        bench.clock.pass(MINUTE);
    }
    // Whichever of the two is scanned.
    for device in [&two, &one, &two] {
        store.record(up(scan, device.clone(), &[22])).await.unwrap();
        store.record_sightings(vec![one.clone(), two.clone()], Vec::new()).await.unwrap();
    }
    assert_eq!(bench.count(MOVES), 0);
    let host = store.host(&one.key()).await.unwrap().unwrap();
    let addresses: Vec<String> = host.addresses.iter().map(|lived| lived.address.to_string()).collect();
    assert_eq!((host.device.address, addresses.len()), (one.address.clone(), 2), "{addresses:?}");

    // The first is no longer seen: for a day and a half it may just have been missed; then the device has left it.
    let main = async || store.host(&one.key()).await.unwrap().unwrap().device.address;
    for hour in 1..=37 {
        bench.clock.pass(60 * MINUTE);
        store.record_sightings(vec![two.clone()], Vec::new()).await.unwrap();
        assert_eq!(bench.count(MOVES), i64::from(hour >= 36), "{hour}");
        assert_eq!(main().await, if hour > 2 { two.address.clone() } else { one.address.clone() }, "{hour}");
    }
    store.record_sightings(vec![one.clone(), two.clone()], Vec::new()).await.unwrap();
    assert_eq!(bench.count(MOVES), 1);
    // If an address is replaced by another, a former address makes no difference.
    store.record_sightings(vec![two.clone(), at("192.0.2.8")], Vec::new()).await.unwrap();
    assert_eq!(bench.count(MOVES), 2);
}

#[tokio::test]
async fn a_device_seen_by_scans_alone_leaves_an_address_after_eight_days_without_answer() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    let scan = run(&store).await;
    let look = async |address: &str| {
        let finished = bench.clock.wall();
        let observation = Observation { finished, ..up(scan, at(address), &[22]) };
        store.record(observation).await.unwrap();
        bench.count(MOVES)
    };
    assert_eq!(look("192.0.2.1").await, 0);
    for _ in 0..5 {
        assert_eq!((look("192.0.2.1").await, look("192.0.2.7").await), (0, 0));
        bench.clock.pass(24 * 60 * MINUTE);
    }
    for day in 2..=8 {
        bench.clock.pass(24 * 60 * MINUTE);
        assert_eq!(
            look("192.0.2.1").await,
            i64::from(day == 8),
            "{day} days after the last answer at the other"
        );
    }
}

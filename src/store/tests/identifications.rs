//! What ports and devices were identified as: stored once, bounded, and gone with the port.

use std::collections::BTreeSet;

use super::*;
use crate::model::{
    Certificate, ChangeKind, DeviceIdentification, DeviceType, Evidence, IdentifyMethod, PortIdentification,
};

const AT: &str = "2026-03-01T11:00:00Z";

fn evidence(method: IdentifyMethod, text: &str, time: &str) -> Evidence {
    Evidence { method, text: text.to_owned(), time: time.parse().unwrap() }
}

fn greeting(text: &str, time: &str) -> PortIdentification {
    PortIdentification {
        service: Some("ssh".to_owned()),
        tls: false,
        vendor: None,
        product: Some("OpenSSH".to_owned()),
        version: Some("9.2p1".to_owned()),
        title: None,
        certificate: None,
        host_key: None,
        device: DeviceIdentification::default(),
        evidence: evidence(IdentifyMethod::Greeting, text, time),
    }
}

fn identified(device: &Device, port: u16, found: PortIdentification) -> IdentifiedPort {
    let (key, address) = (device.key(), device.address.clone());
    IdentifiedPort { device: key, address, protocol: Protocol::Tcp, port, found }
}

/// What is known of the ports of a device.
async fn findings(store: &Store, device: &DeviceKey) -> Vec<IdentifiedPort> {
    store.host(device).await.unwrap().unwrap().identified
}

/// A store that knows this device with these open ports.
async fn with_open(bench: &Bench, device: &Device, open: &[u16]) -> (Store, WriterThread) {
    let (store, threads) = bench.open();
    let scan = run(&store).await;
    store.record(up(scan, device.clone(), open)).await.unwrap();
    (store, threads)
}

#[tokio::test]
async fn a_finding_comes_back_as_it_was_and_survives_a_restart() {
    let bench = Bench::new(EAGER);
    let (store, threads) = with_open(&bench, &device(1), &[22, 443]).await;
    let tls = PortIdentification {
        service: Some("http".to_owned()),
        tls: true,
        certificate: Some(Certificate {
            subject: "CN=nas".to_owned(),
            sans: vec!["nas.lan".to_owned(), "192.0.2.1".to_owned()],
            issuer: "CN=nas".to_owned(),
            not_after: "2027-01-01T00:00:00Z".parse().unwrap(),
            self_signed: true,
            key: "RSA 2048".to_owned(),
            signature: "SHA256-RSA".to_owned(),
            fingerprint: "ab".repeat(32),
        }),
        device: DeviceIdentification { device_type: Some(DeviceType::Nas), maker: None, model: None },
        evidence: evidence(IdentifyMethod::Tls, "CN=nas", AT),
        ..greeting("", AT)
    };
    let found = vec![
        identified(&device(1), 22, greeting("SSH-2.0-OpenSSH_9.2p1", AT)),
        identified(&device(1), 443, tls),
    ];
    store.record_identifications(found.clone()).await.unwrap();
    assert_eq!(findings(&store, &device(1).key()).await, found);
    drop(store);
    join(threads).unwrap();
    let (store, _threads) = bench.open();
    let by_address = DeviceKey::Address(device(1).address);
    assert_eq!(findings(&store, &by_address).await, found);
    assert_sound(&bench.path());
}

#[tokio::test]
async fn equal_findings_are_stored_once_and_a_date_moves_once_a_day() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = with_open(&bench, &device(1), &[22, 2222]).await;
    let at = async |time: &str| {
        let found =
            [22, 2222].map(|port| identified(&device(1), port, greeting("SSH-2.0-OpenSSH_9.2p1", time)));
        store.record_identifications(found.to_vec()).await.unwrap();
        findings(&store, &device(1).key()).await[0].found.evidence.time.to_string()
    };
    assert_eq!(at(AT).await, AT);
    assert_eq!(at("2026-03-02T10:59:59Z").await, AT);
    assert_eq!(at("2026-03-02T11:00:00Z").await, "2026-03-02T11:00:00Z");
    // A clock that was ahead is corrected.
    assert_eq!(at("2026-01-02T11:00:00Z").await, "2026-01-02T11:00:00Z");
    assert_eq!(bench.count("SELECT count(*) FROM identifications"), 1);
    assert_eq!(bench.count("SELECT count(*) FROM identified_ports"), 2);
}

#[tokio::test]
async fn a_closed_port_loses_its_finding() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = with_open(&bench, &device(1), &[22, 80]).await;
    let found = [22, 80, 443].map(|port| identified(&device(1), port, greeting("SSH-2.0-x", AT)));
    store.record_identifications(found.to_vec()).await.unwrap();
    let ports = async || {
        let found = findings(&store, &device(1).key()).await;
        found.iter().map(|found| found.port).collect::<Vec<_>>()
    };
    // Port 443 is known to be closed.
    assert_eq!(ports().await, [22, 80]);
    let scan = run(&store).await;
    let mut again = up(scan, device(1), &[22]);
    again.started += Duration::from_secs(600);
    again.finished += Duration::from_secs(600);
    store.record(again.clone()).await.unwrap();
    assert_eq!(ports().await, [22]);
    // It is hidden until a second look confirms it: a service that restarts keeps what it was.
    assert_eq!(bench.count("SELECT count(*) FROM identified_ports"), 2);
    again.started += Duration::from_secs(600);
    again.finished += Duration::from_secs(600);
    store.record(again).await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM identified_ports"), 1);
    store.prune(None).await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM identifications"), 1);
}

#[tokio::test]
async fn what_is_not_known_gets_no_finding() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = with_open(&bench, &device(1), &[22]).await;
    let elsewhere = Device { address: "192.0.2.99".parse().unwrap(), ..device(1) };
    let found = [device(2), elsewhere].map(|device| identified(&device, 22, greeting("SSH-2.0-x", AT)));
    store.record_identifications(found.to_vec()).await.unwrap();
    let tv = DeviceIdentification { device_type: Some(DeviceType::Television), ..Default::default() };
    let evidence = evidence(IdentifyMethod::Upnp, "TV", AT);
    store.record_device_identifications(vec![(device(2).key(), tv, evidence)]).await.unwrap();
    store.record_silence(&device(2).key(), AT.parse().unwrap()).await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM identified_ports"), 0);
    assert_eq!(bench.count("SELECT count(*) FROM identified_devices"), 0);
    assert_eq!(store.silenced(&device(2).key()).await.unwrap(), None);
}

#[tokio::test]
async fn findings_follow_a_device_that_gets_a_mac_or_moves_and_go_when_it_is_forgotten() {
    let bench = Bench::new(EAGER);
    let nameless = Device { mac: None, ..device(1) };
    let (store, _threads) = with_open(&bench, &nameless, &[22]).await;
    let known = identified(&nameless, 22, greeting("SSH-2.0-x", AT));
    store.record_identifications(vec![known]).await.unwrap();
    let nas = DeviceIdentification { device_type: Some(DeviceType::Nas), ..Default::default() };
    let said = evidence(IdentifyMethod::Upnp, "NAS", AT);
    store.record_device_identifications(vec![(nameless.key(), nas, said)]).await.unwrap();
    store.record_silence(&nameless.key(), AT.parse().unwrap()).await.unwrap();

    // The MAC is known from elsewhere, so that two rows become one.
    let before = Device { address: "192.0.2.77".parse().unwrap(), ..device(1) };
    store.record_sightings(vec![before], Vec::new()).await.unwrap();
    store.record_sightings(vec![device(1)], Vec::new()).await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM devices"), 1);
    assert_eq!(bench.count("SELECT count(*) FROM identified_devices"), 1);
    let found = findings(&store, &device(1).key()).await;
    assert_eq!((found.len(), found[0].address.clone()), (1, device(1).address));
    assert!(store.silenced(&device(1).key()).await.unwrap().is_some());

    bench.clock.pass(Duration::from_secs(7 * 3600));
    let moved = Device { address: "192.0.2.50".parse().unwrap(), ..device(1) };
    store.record_sightings(vec![moved.clone()], Vec::new()).await.unwrap();
    let found = findings(&store, &device(1).key()).await;
    assert_eq!((found.len(), found[0].address.clone()), (1, moved.address));

    let row = store.host_row(&device(1).key()).await.unwrap().unwrap();
    store.forget(row).await.unwrap();
    store.prune(None).await.unwrap();
    for table in ["identified_ports", "identified_devices", "identifications"] {
        assert_eq!(bench.count(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
    assert_sound(&bench.path());
}

#[tokio::test]
async fn the_findings_of_a_hostile_device_are_bounded() {
    let bench = Bench::new(EAGER);
    let open: Vec<u16> = (1..=200).collect();
    let (store, _threads) = with_open(&bench, &device(1), &open).await;
    let long = |fill: char| Some(fill.to_string().repeat(5000));
    let methods = [
        IdentifyMethod::DnsSd,
        IdentifyMethod::Upnp,
        IdentifyMethod::Greeting,
        IdentifyMethod::Tls,
        IdentifyMethod::SshKey,
        IdentifyMethod::Http,
    ];
    for fill in ['"', '\u{1f980}', '\u{1}', 'x'] {
        let text = long(fill).unwrap();
        let hostile = |method, port: u16| PortIdentification {
            service: long(fill),
            tls: true,
            vendor: long(fill),
            product: long(fill),
            version: long(fill),
            title: long(fill),
            host_key: long(fill),
            certificate: (method == IdentifyMethod::Tls).then(|| Certificate {
                subject: text.clone(),
                sans: vec![text.clone(); 100],
                issuer: text.clone(),
                not_after: AT.parse().unwrap(),
                self_signed: true,
                key: text.clone(),
                signature: text.clone(),
                fingerprint: text.clone(),
            }),
            device: DeviceIdentification { device_type: None, maker: long(fill), model: long(fill) },
            evidence: evidence(method, &format!("{port} {text}"), AT),
        };
        let found = open.iter().flat_map(|&port| methods.map(|method| (port, method)));
        let found = found.map(|(port, method)| identified(&device(1), port, hostile(method, port)));
        store.record_identifications(found.collect()).await.unwrap();
        let of_ports = "SELECT sum(length(CAST(body AS BLOB))) AS bytes
                        FROM identified_ports p JOIN identifications i ON i.id = p.identification GROUP BY port";
        let most = bench.count(&format!("SELECT coalesce(max(bytes), 0) FROM ({of_ports})"));
        assert!(most <= 2048, "{most} bytes of a port");
        assert!(most > 0 || fill == '\u{1}', "nothing is stored of {fill:?}");
        assert!(bench.count("SELECT count(*) FROM identified_ports") <= 512);
    }
    // Not all of the ports have found room.
    let ports: BTreeSet<u16> =
        findings(&store, &device(1).key()).await.iter().map(|found| found.port).collect();
    assert!((100..200).contains(&ports.len()), "{}", ports.len());
}

/// The kinds of all changes of ports' identities, with what was and what is.
async fn replaced(store: &Store) -> Vec<(String, String, String, bool)> {
    let events = store.change_events(ChangeFilter::default()).await.unwrap().rows;
    let replaced = events.into_iter().filter_map(|event| match event.kind {
        ChangeKind::Replaced { part, ports, from, to, .. } => {
            Some((format!("{part} {ports}"), from, to, event.alert))
        }
        _ => None,
    });
    replaced.collect()
}

#[tokio::test]
async fn another_identity_is_a_change_and_another_version_is_none() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = with_open(&bench, &device(1), &[22, 443]).await;
    let accepted = (PortState::Open, String::new());
    let update = ExpectationUpdate {
        device: device(1).key(),
        protocol: Protocol::Tcp,
        port: 22,
        state: Some(accepted),
    };
    store.expect(vec![update]).await.unwrap();
    let key = |key: &str| PortIdentification {
        host_key: Some(key.to_owned()),
        evidence: evidence(IdentifyMethod::SshKey, key, AT),
        ..greeting("", AT)
    };
    let certificate = |fingerprint: &str| PortIdentification {
        product: None,
        certificate: Some(Certificate {
            subject: "CN=nas".to_owned(),
            sans: Vec::new(),
            issuer: "CN=nas".to_owned(),
            not_after: "2027-01-01T00:00:00Z".parse().unwrap(),
            self_signed: true,
            key: String::new(),
            signature: String::new(),
            fingerprint: fingerprint.repeat(32),
        }),
        evidence: evidence(IdentifyMethod::Tls, "CN=nas", AT),
        ..greeting("", AT)
    };
    let newer = PortIdentification { version: Some("9.9".to_owned()), ..greeting("SSH-2.0-OpenSSH_9.9", AT) };
    let other =
        PortIdentification { product: Some("Dropbear".to_owned()), ..greeting("SSH-2.0-dropbear", AT) };
    for found in [greeting("SSH-2.0-OpenSSH_9.2p1", AT), newer, key("SHA256:a")] {
        store.record_identifications(vec![identified(&device(1), 22, found)]).await.unwrap();
    }
    store.record_identifications(vec![identified(&device(1), 443, certificate("ab"))]).await.unwrap();
    assert_eq!(replaced(&store).await, []);
    for found in [other, key("SHA256:b"), key("SHA256:b")] {
        store.record_identifications(vec![identified(&device(1), 22, found)]).await.unwrap();
    }
    store.record_identifications(vec![identified(&device(1), 443, certificate("cd"))]).await.unwrap();
    let text = |text: &str| text.to_owned();
    assert_eq!(
        replaced(&store).await,
        [
            (text("product 22"), text("OpenSSH"), text("Dropbear"), false),
            (text("host-key 22"), text("SHA256:a"), text("SHA256:b"), true),
            (
                text("certificate 443"),
                text("CN=nas until 2027-01-01 (SHA-256 abababababababab)"),
                text("CN=nas until 2027-01-01 (SHA-256 cdcdcdcdcdcdcdcd)"),
                false
            ),
        ]
    );
}

#[tokio::test]
async fn a_device_has_the_type_and_the_tags_that_its_owner_gives_it() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = with_open(&bench, &device(1), &[22]).await;
    let row = store.host_row(&device(1).key()).await.unwrap().unwrap();
    store.record_silence(&device(1).key(), AT.parse().unwrap()).await.unwrap();
    let tags = vec!["critical".to_owned(), "floor-2".to_owned()];
    let patch = AnnotationPatch {
        device_type: Some(Some(DeviceType::DeskPhone)),
        tags: Some(tags.clone()),
        ..AnnotationPatch::default()
    };
    assert!(store.annotate(row, patch).await.unwrap());
    let host = store.host(&device(1).key()).await.unwrap().unwrap();
    assert_eq!((host.words.device_type, host.words.tags), (Some(DeviceType::DeskPhone), tags.clone()));
    assert!(host.silenced.is_some());
    let patch = AnnotationPatch { device_type: Some(None), may_identify: true, ..AnnotationPatch::default() };
    store.annotate(row, patch).await.unwrap();
    let host = store.host(&device(1).key()).await.unwrap().unwrap();
    assert_eq!((host.words.device_type, host.words.tags, host.silenced), (None, tags, None));
    let none = AnnotationPatch { tags: Some(Vec::new()), ..AnnotationPatch::default() };
    store.annotate(row, none).await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM devices WHERE tags IS NULL"), 1);
}

/// 50 devices with 50 ports each, every port with a text of its own: the most that a home has.
#[tokio::test]
async fn the_findings_of_2500_ports_take_less_than_2_mb() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let scan = run(&store).await;
    let open: Vec<u16> = (1000..1050).collect();
    for last in 0..50 {
        store.record(up(scan, device(last), &open)).await.unwrap();
    }
    let size = async || {
        store
            .run_exclusive(|connection| {
                let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
                Ok(number("PRAGMA page_count")? * number("PRAGMA page_size")?)
            })
            .await
            .unwrap()
    };
    let before = size().await;
    for last in 0..50 {
        let found = open.iter().map(|&port| {
            let text = format!("HTTP/1.1 200 OK; Server: nginx/1.22.{port}; title: device {last}");
            identified(&device(last), port, greeting(&text, AT))
        });
        store.record_identifications(found.collect()).await.unwrap();
    }
    let bytes = size().await - before;
    eprintln!("2,500 ports take {bytes} bytes, {} each", bytes / 2500);
    assert!(bytes < 2_000_000, "{bytes}");
    drop(store);
    join(threads).unwrap();
}

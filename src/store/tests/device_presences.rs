//! Where devices are, without their ports.

use super::*;

#[tokio::test]
async fn presences_are_those_of_the_devices_themselves() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let scan = run(&store).await;
    store.record(up(scan, device(7), &[22])).await.unwrap();
    let nameless = Device { mac: None, ..device(9) };
    store.record(up(scan, nameless, &[80])).await.unwrap();
    store.record(up(scan, device(8), &[])).await.unwrap();
    store.end_scan(scan, ScanStatus::Complete).await.unwrap();
    let scan = run(&store).await;
    // At another address, by a later look; and one that is down.
    let moved = Device { address: "192.0.2.70".parse().unwrap(), ..device(7) };
    store.record(up(scan, moved, &[22])).await.unwrap();
    store.record(ended(scan, device(8), HostStatus::Down)).await.unwrap();
    store.enter(device(6), "2026-02-01T00:00:00Z".parse().unwrap()).await.unwrap();

    assert_eq!(store.known_macs(10).await.unwrap(), [mac(6), mac(7), mac(8)]);
    assert_eq!(store.known_macs(1).await.unwrap(), [mac(6)]);
    let asked = [mac(8), mac(5), mac(7), mac(6)];
    let check = async || {
        let known = store.device_presences(Arc::new(asked)).await.unwrap();
        assert_eq!(known.iter().map(|(mac, _)| *mac).collect::<Vec<_>>(), [mac(8), mac(7), mac(6)]);
        for (mac, found) in &known {
            let host = store.host(&DeviceKey::Mac(*mac)).await.unwrap().unwrap();
            let DeviceRecord { device, presence, first_seen, last_seen, .. } = host;
            let expected = DevicePresence { address: device.address, presence, first_seen, last_seen };
            assert_eq!(*found, expected, "{mac}");
        }
        known.into_iter().map(|(_, found)| found.presence).collect::<Vec<_>>()
    };
    assert_eq!(check().await, [Presence::Offline, Presence::Online, Presence::Unknown]);
    store.mark_absent_since("2027-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
    assert_eq!(check().await, [Presence::Offline; 3]);
    drop(store);
    join(threads).unwrap();
}

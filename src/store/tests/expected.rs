//! Expectations are stored, replaced, removed and found again.

use super::*;
use crate::model::{
    Expectation, KnownState,
    PortState::{Closed, Open},
};

fn update(device: &str, port: u16, state: Option<PortState>) -> ExpectationUpdate {
    let state = state.map(|state| (state, format!("since {port}")));
    ExpectationUpdate { device: device.parse().unwrap(), protocol: Protocol::Tcp, port, state }
}

async fn written(store: &Store) -> Vec<(String, u16, PortState)> {
    let page = store.expectations(0).await.unwrap();
    assert_eq!(page.next, None);
    page.rows.into_iter().map(|row| (row.device.to_string(), row.port, row.state)).collect()
}

#[tokio::test]
async fn the_last_written_expectation_of_a_port_applies() {
    let bench = Bench::new(EAGER);
    let (store, threads) = bench.open();
    let (mac, address) = ("02:00:00:00:00:01", "192.0.2.1");
    store.expect(vec![update(mac, 22, Some(Open)), update(address, 22, Some(Closed))]).await.unwrap();
    let scan = run(&store).await;
    store.record(up(scan, device(1), &[22])).await.unwrap();
    let differences = async |store: &Store| {
        let host = store.host_states(0, 128).await.unwrap().rows.remove(0);
        host.expected.differences(&host.standings, &PortSet::default())
    };
    let found = differences(&store).await;
    assert_eq!(
        (found[0].expected, found[0].actual),
        (Some(Closed), Some(KnownState { state: Open, scan: scan.0 }))
    );
    assert_eq!(found[0].comment, "since 22");
    // When written again, the expectation of the MAC is the later one, and stays so.
    store.expect(vec![update(mac, 22, Some(Open))]).await.unwrap();
    assert_eq!(differences(&store).await, []);
    drop(store);
    join(threads).unwrap();
    let (store, _threads) = bench.open();
    assert_eq!(differences(&store).await, []);
    let both = [(address.to_owned(), 22, Closed), (mac.to_owned(), 22, Open)];
    assert_eq!(written(&store).await, both);

    store.expect(vec![update(mac, 22, None), update(mac, 23, None)]).await.unwrap();
    assert_eq!(written(&store).await, both[..1]);
    assert_eq!(differences(&store).await.len(), 1);
}

#[tokio::test]
async fn expectations_of_unknown_devices_match_no_known_device() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    store.record_sightings(vec![device(1), device(2)], Vec::new()).await.unwrap();
    let known = ["02:00:00:00:00:01", "192.0.2.2"];
    let unknown = ["02:00:00:00:00:09", "192.0.2.9", "fe80::1%eth0"];
    let updates = known.iter().chain(&unknown).map(|device| update(device, 80, Some(Open)));
    store.expect(updates.collect()).await.unwrap();
    let of_unknown_devices = store.expectations_of_unknown_devices(0).await.unwrap().rows;
    let devices: Vec<_> = of_unknown_devices.iter().map(|row: &Expectation| row.device.to_string()).collect();
    assert_eq!(devices, unknown);
    // Known, but never scanned: the port is missing and its state is unknown.
    let hosts = store.host_states(0, 128).await.unwrap().rows;
    for host in hosts {
        let found = host.expected.differences(&host.standings, &PortSet::default());
        assert_eq!((found.len(), found[0].actual), (1, None));
    }
}

#[tokio::test]
async fn many_expectations_are_listed_page_by_page() {
    let bench = Bench::new(EAGER);
    let (store, _threads) = bench.open();
    store.expect((1..=600).map(|port| update("192.0.2.1", port, Some(Open))).collect()).await.unwrap();
    let (mut ports, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let page = store.expectations(from).await.unwrap();
        ports.extend(page.rows.iter().map(|row| row.port));
        after = page.next;
    }
    assert!(ports.into_iter().eq(1..=600));
}

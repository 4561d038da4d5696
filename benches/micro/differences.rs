//! The cost of computing the differences of a large network: 10,000 devices with ten open ports each, without
//! expectations, after one scan and after several.

use criterion::{Criterion, criterion_group};
use futures_util::future::join_all;
use portscan::{
    clock::{Clock, SystemClock},
    model::{PortSet, ScanKind, ScanStatus},
    store::Store,
};

use super::store::{look, open};

const DEVICES: u16 = 10_000;
/// Handed to the writer at a time: less than its queue holds.
const TOGETHER: u16 = 50;

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(10);
    targets = differences
}

fn differences(criterion: &mut Criterion) {
    let clock = SystemClock::start();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for scans in [1, 5] {
        let dir = tempfile::tempdir().unwrap();
        let (store, threads) = open(dir.path());
        for _ in 0..scans {
            runtime.block_on(scan(&store));
        }
        let start = clock.now();
        let first = runtime.block_on(store.host_states(0, 128)).unwrap();
        let began = clock.now().since(start);
        assert!(!first.rows.is_empty());
        println!("differences/after {scans} scans: the first page takes {began:?}");
        criterion.bench_function(&format!("differences/of 100,000 ports after {scans} scans"), |bencher| {
            bencher.iter(|| assert_eq!(runtime.block_on(tell_all(&store)), usize::from(DEVICES) * 10));
        });
        threads.join().unwrap();
    }
}

async fn scan(store: &Store) {
    let scan = store.begin_scan("lan", ScanKind::Run, &PortSet::all()).await.unwrap();
    for first in (0..DEVICES).step_by(usize::from(TOGETHER)) {
        let hosts = first..first + TOGETHER;
        let ports = |host: u16| (0..10).map(|index| 20 + host % 97 + index * 100).collect::<Vec<_>>();
        let records = join_all(hosts.map(|host| store.record(look(scan, host, &ports(host)))));
        let (recorded, flushed) = tokio::join!(records, store.flush());
        recorded.into_iter().chain([flushed]).for_each(Result::unwrap);
    }
    // Commits only when flushed, like everything else here.
    let (ended, flushed) = tokio::join!(store.end_scan(scan, ScanStatus::Complete), store.flush());
    ended.and(flushed).unwrap();
}

async fn tell_all(store: &Store) -> usize {
    let (mut found, mut after) = (0, Some(0));
    while let Some(from) = after {
        let page = store.host_states(from, 128).await.unwrap();
        let none = PortSet::default();
        let differences =
            page.rows.iter().map(|host| host.expected.differences(&host.standings, &none).len());
        found += differences.sum::<usize>();
        after = page.next;
    }
    found
}

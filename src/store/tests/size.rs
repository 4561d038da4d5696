//! The cost of an unchanging network: a device's thousandth scan is a short row and slows down no query.

use std::fs;

use futures_util::future::join_all;
use nix::time::{ClockId, clock_gettime};

use super::*;

const DEVICES: u8 = 100;

/// The hosts that finish in time for one commit. A nightly run has 16 in progress, which begin together and, because
/// they share the budget of probes in flight, end together: 100 devices take seven commits, besides its begin and end.
const TOGETHER: usize = 16;

/// The numbers of runs after which the cost is measured. Without optimisation, a thousand take half a minute.
const RUNS: [u32; 3] = [10, 100, if cfg!(debug_assertions) { 300 } else { 1000 }];

/// The last runs, of which the writes are counted. The others need not survive a power cut.
const COUNTED: u32 = 10;

/// The measurements after some runs.
#[derive(Debug)]
struct Measured {
    runs: u32,
    /// The size of the database in bytes, without a log.
    size: u64,
    /// See [`reading`].
    read: Duration,
}

/// One nightly run without changes.
async fn nightly(store: &Store) {
    let scan = run(store).await;
    let devices: Vec<u8> = (0..DEVICES).collect();
    for together in devices.chunks(TOGETHER) {
        let open = |device: u8| (0..10).map(|index| 20 + index * 100 + u16::from(device)).collect::<Vec<_>>();
        let looks = together.iter().map(|&last| store.record(up(scan, device(last), &open(last))));
        let (recorded, flushed) = tokio::join!(join_all(looks), store.flush());
        recorded.into_iter().chain([flushed]).for_each(Result::unwrap);
    }
    let (ended, flushed) = tokio::join!(store.end_scan(scan, ScanStatus::Complete), store.flush());
    ended.and(flushed).unwrap();
}

/// The reader's processor time for one query of the state and the expectations of every device, which is all that a
/// diff reads. Not elapsed time, and the least of many measurements, because other processes use this machine and its
/// caches, too.
async fn reading(store: &Store) -> Duration {
    const TIMES: u32 = 50;
    let used = async || {
        let own = |_: &Connection| Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
        Duration::from(store.read(own).await.unwrap())
    };
    let mut least = Duration::MAX;
    for _ in 0..TIMES {
        let before = used().await;
        let page = store.host_states(i64::MIN, 128).await.unwrap();
        least = least.min(used().await - before);
        let open = |host: &HostState| host.standings[&Protocol::Tcp].open().len();
        assert_eq!(page.rows.iter().map(open).sum::<u32>(), u32::from(DEVICES) * 10);
    }
    least
}

/// The bytes that the writer has written so far; `None` if the kernel does not count them.
async fn written(store: &Store) -> Option<u64> {
    let own = |_: &mut Connection| Ok(fs::read_to_string("/proc/thread-self/io").unwrap_or_default());
    let counts = store.run_exclusive(own).await.unwrap();
    counts.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

#[tokio::test]
async fn an_unchanging_networks_cost_does_not_grow() {
    // Beside the test program, because /tmp may be in memory, for which the kernel counts no writes.
    let beside = std::env::current_exe().unwrap();
    let bench = Bench { dir: tempfile::tempdir_in(beside.parent().unwrap()).unwrap(), ..Bench::new(LAZY) };
    let (mut made, mut measured) = (0, Vec::new());
    let mut bytes = None;
    for runs in RUNS {
        let (store, threads) = bench.open();
        let sync = async |how: &'static str| {
            let set =
                move |connection: &mut Connection| Ok(connection.pragma_update(None, "synchronous", how)?);
            store.run_exclusive(set).await.unwrap();
        };
        sync("OFF").await;
        let mut before = None;
        for run in made..runs {
            if run == runs - COUNTED {
                sync("FULL").await;
                before = written(&store).await;
            }
            bench.clock.pass(Duration::from_secs(86_400));
            nightly(&store).await;
        }
        let after = written(&store).await;
        let looks = u64::from(COUNTED) * u64::from(DEVICES);
        bytes = before.zip(after).map(|(before, after)| (after - before) / looks);
        made = runs;
        let read = reading(&store).await;
        drop(store);
        join(threads).unwrap();
        let size = fs::metadata(bench.path()).unwrap().len();
        eprintln!(
            "{runs} runs: {} KB, {bytes:?} bytes written a look, reading all takes {read:?}",
            size >> 10
        );
        measured.push(Measured { runs, size, read });
    }
    let [first, .., last] = measured.as_slice() else { unreachable!("several measurements were made") };
    // A thousand runs take 12 MB at most.
    assert!(last.size < u64::from(last.runs) * 12_000, "{measured:?}");
    assert!(last.read < first.read * 2, "{measured:?}");
    match bytes.filter(|&bytes| bytes > 0) {
        Some(bytes) => assert!(bytes <= 2048, "{bytes} bytes written for an unchanged host"),
        None => eprintln!("written bytes are unknown: the kernel or the file system does not count them"),
    }
}

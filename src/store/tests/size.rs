//! What a network that does not change costs: a device's thousandth scan is a short row, and nothing is read
//! more slowly for it.

use futures_util::future::join_all;

use super::*;
use crate::clock::SystemClock;

const DEVICES: u8 = 100;

/// Hosts that finish in time for one commit. A nightly run has 16 in progress, which begin together and, as they
/// share what may be in flight, end together: 100 devices are seven commits, beside the run's begin and end.
const TOGETHER: usize = 16;

/// Runs after which is measured.
const RUNS: [u32; 3] = [10, 100, 1000];

/// How the store is after some runs.
#[derive(Debug)]
struct Measured {
    runs: u32,
    /// Of the database, its log tidied away.
    size: u64,
    /// From asking what stands and is expected of every device to having found where that differs.
    diff: Duration,
}

/// One nightly run in which nothing has changed.
async fn nightly(store: &Store) {
    let scan = run(store).await;
    let devices: Vec<u8> = (0..DEVICES).collect();
    for together in devices.chunks(TOGETHER) {
        let open = |device: u8| (0..10).map(|index| 20 + index * 100 + u16::from(device)).collect::<Vec<_>>();
        let looks = together.iter().map(|&last| store.record(up(scan, device(last), &open(last))));
        let (recorded, flushed) = tokio::join!(join_all(looks), store.flush());
        recorded.into_iter().chain([flushed]).for_each(Result::unwrap);
    }
    store.end_scan(scan, ScanStatus::Complete).await.unwrap();
    store.flush().await.unwrap();
}

/// The shortest of many: whatever else this machine does only makes it longer.
async fn diff(store: &Store) -> Duration {
    let clock = SystemClock::start();
    let mut shortest = Duration::MAX;
    for _ in 0..50 {
        let asked = clock.now();
        let page = store.host_states(i64::MIN).await.unwrap();
        let none = PortSet::default();
        let differing = page
            .rows
            .iter()
            .map(|host| host.expected.differences(&host.standings, &none).len())
            .sum::<usize>();
        shortest = shortest.min(clock.now().since(asked));
        assert_eq!(differing, usize::from(DEVICES) * 10);
    }
    shortest
}

/// What the writer has had the kernel write so far, in bytes; `None` where the kernel does not count that.
async fn written(store: &Store) -> Option<u64> {
    let own = |_: &mut Connection| Ok(fs::read_to_string("/proc/thread-self/io").unwrap_or_default());
    let counts = store.aside(own).await.unwrap();
    counts.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

#[tokio::test]
async fn a_network_that_does_not_change_costs_little_however_long() {
    // Beside the program that this is: /tmp may be memory, of which the kernel counts no writes.
    let beside = std::env::current_exe().unwrap();
    let bench = Bench { dir: tempfile::tempdir_in(beside.parent().unwrap()).unwrap(), ..Bench::new(LAZY) };
    let (mut made, mut measured) = (0, Vec::new());
    let mut bytes = None;
    for runs in RUNS {
        let (store, threads) = bench.open();
        let before = written(&store).await;
        for _ in made..runs {
            bench.clock.pass(Duration::from_secs(86_400));
            nightly(&store).await;
        }
        let after = written(&store).await;
        let looks = u64::from(runs - made) * u64::from(DEVICES);
        bytes = before.zip(after).map(|(before, after)| (after - before) / looks);
        made = runs;
        let diff = diff(&store).await;
        drop(store);
        join(threads).unwrap();
        let size = fs::metadata(bench.path()).unwrap().len();
        eprintln!("{runs} runs: {} KB, {bytes:?} bytes written a look, a diff takes {diff:?}", size >> 10);
        measured.push(Measured { runs, size, diff });
    }
    let [first, .., last] = measured.as_slice() else { unreachable!("there are several") };
    assert_eq!(last.runs, 1000);
    assert!(last.size < 12 << 20, "{measured:?}");
    assert!(last.diff < first.diff * 2, "{measured:?}");
    match bytes.filter(|&bytes| bytes > 0) {
        Some(bytes) => assert!(bytes <= 2048, "{bytes} bytes are written for an unchanged host"),
        None => eprintln!("what is written is not told: the kernel or the file system does not count it"),
    }
}

//! The siege: every kind of hostile client, neighbour and fault at once, while sixty devices are scanned.
//!
//! `make siege` runs it for ten minutes with optimised code; the default is half a minute.
//!
//! | file | contents |
//! |---|---|
//! | `setup` | the network, the appliance, and its memory and writes |
//! | `clients` | connections that occupy the server |
//! | `floods` | multicast DNS, ARP and a forged feed from a hostile machine |
//! | `machine` | kills, a loose cable, a clock that is set, a full disk |
//! | `owner` | the owner's requests and writes, and the comparison with the truth |

mod clients;
mod floods;
mod machine;
mod owner;
mod setup;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rusqlite::Connection;

use self::{machine::FaultCounts, owner::Observations, setup::Siege};
use crate::harness::{LONG, eventually, field};

/// The limit of memory besides the program's pages, in octets. Without optimisation the states of connections are
/// larger.
const MEMORY: u64 = if cfg!(debug_assertions) { 30 << 20 } else { 24 << 20 };

/// The limit for the owner's slowest answer. Without optimisation, on a machine with other work, the test only shows
/// that the owner gets an answer at all.
const ANSWER: Duration = if cfg!(debug_assertions) { owner::PATIENCE } else { Duration::from_secs(1) };

#[test]
fn half_a_minute_of_siege_leaves_the_appliance_correct_and_responsive() {
    besiege(Duration::from_secs(30));
}

#[test]
#[ignore = "takes ten minutes: make siege"]
fn a_long_siege_leaves_the_appliance_correct_and_responsive() {
    let minutes = std::env::var("PORTSCAN_TEST_SIEGE").map_or(10, |text| text.parse().expect("minutes"));
    besiege(Duration::from_secs(60 * minutes));
}

fn besiege(length: Duration) {
    // A thousand connections need a thousand descriptors of this process, too.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(8192), hard).unwrap();
    let siege = Siege::set_up(&format!("http://{}/lanscan/json", floods::FEED));
    let (faults, seen) = (FaultCounts::default(), Observations::default());
    thread::scope(|scope| {
        let (siege, faults, seen) = (&siege, &faults, &seen);
        let clients: [fn(&Siege); 5] =
            [clients::read_slowly, clients::write_slowly, clients::listen, clients::idle, clients::probe];
        let floods: [fn(&Siege); 3] = [floods::multicast_dns, floods::arp, floods::forged_feed];
        for assault in clients.into_iter().chain(floods) {
            scope.spawn(move || siege.attackers.within(|| assault(siege)));
        }
        for fault in [machine::kill, machine::unplug, machine::set_clock, machine::fill_disk] {
            scope.spawn(move || fault(siege, faults));
        }
        for task in [owner::ask, owner::compare, owner::write] {
            scope.spawn(move || siege.pi.within(|| task(siege, seen)));
        }
        siege.continues_after(length);
        siege.end();
    });
    let summary = summarise(&siege, &faults, &seen, length);
    eprintln!("{summary}");
    assert_correct(&siege, &seen, &summary);
    siege.stop();
}

/// What happened, in a few lines.
fn summarise(siege: &Siege, faults: &FaultCounts, seen: &Observations, length: Duration) -> String {
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let mut answers = seen.answers.lock().unwrap().clone();
    answers.sort_unstable();
    let (worst, at) = answers.last().copied().unwrap_or_default();
    let median = answers.get(answers.len() / 2).map_or(Duration::ZERO, |&(took, _)| took);
    let stored = std::fs::metadata(siege.portscan.database()).expect("the database exists").len() >> 10;
    let megabytes = siege.usage.peak.load(Ordering::Relaxed) >> 20;
    let written = siege.written() >> 10;
    format!(
        "{length:?}: {} kills, {} flaps of the cable, {} jumps of the clock, {} full disks\n\
         owner: {} answers, median {median:.1?}, worst {worst:.1?} ({at}); {} without an answer; {} ports acknowledged\n\
         results: {} compared with the truth, {} wrong\n\
         peak memory {megabytes} MB; {written} KB written to files and to clients; the database has {stored} KB",
        count(&faults.kills),
        count(&faults.flaps),
        count(&faults.jumps),
        count(&faults.full_disks),
        answers.len(),
        seen.unanswered.lock().unwrap().len(),
        seen.acknowledged.lock().unwrap().len(),
        count(&seen.compared),
        seen.wrong_results.lock().unwrap().len(),
    )
}

/// Asserts what must hold after the siege; the last part once the assaults have ended.
fn assert_correct(siege: &Siege, seen: &Observations, summary: &str) {
    let wrong_results = seen.wrong_results.lock().unwrap();
    assert!(
        wrong_results.is_empty(),
        "{summary}\n{}",
        wrong_results[..wrong_results.len().min(20)].join("\n")
    );
    let unanswered = seen.unanswered.lock().unwrap();
    assert!(unanswered.is_empty(), "{summary}\n{}", unanswered[..unanswered.len().min(20)].join("\n"));
    let worst = seen.answers.lock().unwrap().iter().max().copied().expect("the owner got an answer");
    assert!(worst.0 < ANSWER, "{summary}");
    assert!(siege.usage.peak.load(Ordering::Relaxed) < MEMORY, "{summary}");

    let truth = owner::truth(siege);
    siege.pi.within(|| {
        siege.with_appliance(|running| {
            eventually(LONG, &format!("all sixty devices are served\n{summary}"), || {
                truth.keys().all(|mac| running.open_ports(mac).is_some()).then_some(())
            });
            for (mac, open) in &truth {
                assert_eq!(running.open_ports(mac).as_ref(), Some(open), "{mac}\n{summary}");
            }
            let rows = running.get("/v1/expected").json();
            let kept: BTreeSet<u64> =
                rows.as_array().unwrap().iter().filter_map(|row| row["port"].as_u64()).collect();
            for port in seen.acknowledged.lock().unwrap().iter() {
                assert!(kept.contains(&u64::from(*port)), "{port} was acknowledged\n{summary}");
            }
            let served: BTreeSet<String> = running.macs().into_iter().collect();
            for line in siege.usage.finished.lock().unwrap().iter() {
                let mac = field(line, "mac")
                    .map(str::to_uppercase)
                    .expect("a log line about a finished device has its MAC");
                assert!(!truth.contains_key(&mac) || served.contains(&mac), "{line}\n{summary}");
            }
        });
    });
    let database = Connection::open(siege.portscan.database()).unwrap();
    let integrity: String = database.pragma_query_value(None, "quick_check", |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

//! Besieged: every kind of hostile client, neighbour and mishap at once, while sixty devices are scanned.
//!
//! `make siege` takes ten minutes of it with optimised code; every day there is half a minute.
//!
//! | file | what it holds |
//! |---|---|
//! | `ground` | the network, the appliance and what it costs |
//! | `clients` | connections that take and give nothing |
//! | `floods` | what a hostile machine sends to everybody |
//! | `machine` | kills, a loose cable, a clock that is set, a full disk |
//! | `owner` | who asks and writes meanwhile, and compares with the truth |

mod clients;
mod floods;
mod ground;
mod machine;
mod owner;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rusqlite::Connection;

use self::{ground::Ground, machine::Mishaps, owner::Diary};
use crate::harness::{LONG, eventually, field};

/// The most resident memory, in octets. Unoptimised the program itself is larger.
const MEMORY: u64 = if cfg!(debug_assertions) { 56 << 20 } else { 32 << 20 };

/// The owner's slowest answer. Without optimisation, on a machine that does other things, it only shows that the owner is
/// answered at all.
const ANSWER: Duration = if cfg!(debug_assertions) { owner::PATIENCE } else { Duration::from_secs(1) };

#[test]
fn a_siege_of_half_a_minute_leaves_it_right_and_responsive() {
    besiege(Duration::from_secs(30));
}

#[test]
#[ignore = "takes ten minutes: make siege"]
fn a_long_siege_leaves_it_right_and_responsive() {
    let minutes = std::env::var("PORTSCAN_TEST_SIEGE").map_or(10, |text| text.parse().expect("minutes"));
    besiege(Duration::from_secs(60 * minutes));
}

fn besiege(length: Duration) {
    // A thousand connections are a thousand descriptors of ours, too.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(8192), hard).unwrap();
    let ground = Ground::lay(&format!("http://{}/lanscan/json", floods::FEED));
    let (mishaps, diary) = (Mishaps::default(), Diary::default());
    thread::scope(|scope| {
        let (ground, mishaps, diary) = (&ground, &mishaps, &diary);
        let clients: [fn(&Ground); 5] =
            [clients::read_slowly, clients::write_slowly, clients::listen, clients::idle, clients::probe];
        let floods: [fn(&Ground); 3] = [floods::multicast_dns, floods::arp, floods::forged_feed];
        for assault in clients.into_iter().chain(floods) {
            scope.spawn(move || ground.foes.within(|| assault(ground)));
        }
        for mishap in [machine::kill, machine::unplug, machine::set_clock, machine::fill_disk] {
            scope.spawn(move || mishap(ground, mishaps));
        }
        for task in [owner::ask, owner::compare, owner::write] {
            scope.spawn(move || ground.pi.within(|| task(ground, diary)));
        }
        ground.goes_on_after(length);
        ground.end();
    });
    let tale = tell(&ground, &mishaps, &diary, length);
    eprintln!("{tale}");
    judge(&ground, &diary, &tale);
    ground.stop();
}

/// What has happened, in a few lines.
fn tell(ground: &Ground, mishaps: &Mishaps, diary: &Diary, length: Duration) -> String {
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let mut answers = diary.answers.lock().unwrap().clone();
    answers.sort_unstable();
    let (worst, at) = answers.last().copied().unwrap_or_default();
    let median = answers.get(answers.len() / 2).map_or(Duration::ZERO, |&(took, _)| took);
    let stored = std::fs::metadata(ground.portscan.database()).expect("it is there").len() >> 10;
    let megabytes = ground.toll.peak.load(Ordering::Relaxed) >> 20;
    let written = ground.written() >> 10;
    format!(
        "{length:?}: {} kills, {} flaps of the cable, {} jumps of the clock, {} full disks\n\
         owner: {} answers, median {median:.1?}, worst {worst:.1?} ({at}); {} without an answer; {} ports acknowledged\n\
         results: {} compared with the truth, {} wrong\n\
         peak memory {megabytes} MB; {written} KB written to files and to clients; the database has {stored} KB",
        count(&mishaps.kills),
        count(&mishaps.flaps),
        count(&mishaps.jumps),
        count(&mishaps.full_disks),
        answers.len(),
        diary.unanswered.lock().unwrap().len(),
        diary.acknowledged.lock().unwrap().len(),
        count(&diary.compared),
        diary.lies.lock().unwrap().len(),
    )
}

/// What must hold afterwards; the last of it once there is peace.
fn judge(ground: &Ground, diary: &Diary, tale: &str) {
    let lies = diary.lies.lock().unwrap();
    assert!(lies.is_empty(), "{tale}\n{}", lies[..lies.len().min(20)].join("\n"));
    let unanswered = diary.unanswered.lock().unwrap();
    assert!(unanswered.is_empty(), "{tale}\n{}", unanswered[..unanswered.len().min(20)].join("\n"));
    let worst = diary.answers.lock().unwrap().iter().max().copied().expect("it was asked");
    assert!(worst.0 < ANSWER, "{tale}");
    assert!(ground.toll.peak.load(Ordering::Relaxed) < MEMORY, "{tale}");

    let truth = owner::truth(ground);
    ground.pi.within(|| {
        ground.with_appliance(|running| {
            eventually(LONG, &format!("all sixty devices are served\n{tale}"), || {
                truth.keys().all(|mac| running.open_ports(mac).is_some()).then_some(())
            });
            for (mac, open) in &truth {
                assert_eq!(running.open_ports(mac).as_ref(), Some(open), "{mac}\n{tale}");
            }
            let rows = running.get("/v1/expected").json();
            let kept: BTreeSet<u64> =
                rows.as_array().unwrap().iter().filter_map(|row| row["port"].as_u64()).collect();
            for port in diary.acknowledged.lock().unwrap().iter() {
                assert!(kept.contains(&u64::from(*port)), "{port} was acknowledged\n{tale}");
            }
            let served: BTreeSet<String> = running.macs().into_iter().collect();
            for line in ground.toll.finished.lock().unwrap().iter() {
                let mac =
                    field(line, "mac").map(str::to_uppercase).expect("a finished device's line names it");
                assert!(!truth.contains_key(&mac) || served.contains(&mac), "{line}\n{tale}");
            }
        });
    });
    let database = Connection::open(ground.portscan.database()).unwrap();
    let integrity: String = database.pragma_query_value(None, "quick_check", |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

//! Invented devices: results of real devices are complete all the same, and memory, disk and log stay small.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::{
    harness::{
        LONG, Portscan, Running, eventually,
        feed::{FeedServer, Says},
        scanner,
    },
    lab::{Host, Lab},
};

/// Feeds of 4,096 devices each: one poll of all names as many as fourteen polls of one forged feed.
const FORGED: usize = 14;

/// The time from one poll of the feeds to the next, doubled for a busy machine.
const NEXT_POLL: Duration = Duration::from_secs(80);

/// The scans of newcomers in a day, which bound what is written: a burst of 24 and six an hour; the sightings come on
/// top.
const SCANS_OF_A_DAY: u64 = 24 + 24 * 6;

fn named(hosts: &[Host<'_>]) -> Vec<(String, String)> {
    hosts.iter().map(|host| (host.address().to_string(), host.mac().to_lower())).collect()
}

fn config(feeds: &[FeedServer], more: &str) -> String {
    let urls: Vec<String> = feeds.iter().map(|feed| format!("{:?}", feed.url())).collect();
    format!("[feed]\nurl = [{}]\n{more}{}", urls.join(", "), scanner("lan", "1d", "20-30,80,443"))
}

/// The value of a metric, summed over all its labels.
fn metric(running: &Running, name: &str) -> f64 {
    let page = running.get("/metrics").body;
    let samples = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

fn scans(running: &Running) -> usize {
    running.get("/v1/scans").json().as_array().map_or(0, Vec::len)
}

fn listed(running: &Running) -> usize {
    running.get("/v1/hosts").json().as_array().map_or(0, Vec::len)
}

#[test]
fn forged_feeds_cost_little_and_sixty_real_devices_have_complete_results() {
    let lab = Lab::enter("lan-250");
    let real: Vec<Host<'_>> = lab.hosts().take(60).collect();
    let mut feeds: Vec<_> = (0..FORGED).map(|_| FeedServer::start(Says::Inventing(4096))).collect();
    feeds.push(FeedServer::start(Says::Devices(named(&real))));
    let running = Portscan::new(&lab, &config(&feeds, "")).start();
    let before = running.written();
    running.wait_for_devices(60, LONG);
    for host in &real {
        let open = host.open_ports().iter().filter(|port| matches!(port, 20..=30 | 80 | 443)).collect();
        assert_eq!(running.open_ports(&host.mac().to_string()), Some(open), "{}", host.address());
    }
    for feed in &feeds {
        feed.wait_for_requests(2, NEXT_POLL);
    }
    running.wait_for_line(LONG, |line| line.contains("WARN") && line.contains("max_newcomers"));
    let held_back = eventually(LONG, "the second poll has been processed", || {
        Some(metric(&running, "portscan_feed_devices_held_back")).filter(|held_back| *held_back > 40_000.0)
    });
    let (written, known) = (running.written() - before, listed(&running));
    let (rss, lines) = (running.peak_rss() >> 20, running.lines().len());
    eprintln!(
        "two polls of {FORGED} forged feeds: {known} devices, {written} bytes written, {rss} MB, {lines} lines; \
         {held_back} held back"
    );
    assert!((60..=1024 + 60).contains(&known), "{known} devices");
    assert!(written < 4_000_000, "{written} bytes");
    assert!(rss < 64, "{rss} MB");
    assert!(lines < 500, "{lines} lines");
    let (before, scans) = (running.written(), scans(&running));
    for feed in &feeds {
        feed.wait_for_requests(4, 2 * NEXT_POLL);
    }
    let scans = self::scans(&running) - scans;
    let each = (running.written() - before) / scans.max(1) as u64;
    let day = each * SCANS_OF_A_DAY;
    eprintln!("{scans} scans of newcomers, {each} bytes each: {day} bytes a day");
    assert!(day < 20_000_000, "{day} bytes a day");
    let notices = running.get("/healthz").body;
    assert!(notices.contains("max_newcomers") || notices.contains("max_devices"), "{notices}");
    let stored: Value = running.get("/v1/changes").json();
    let strangers = stored
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| !real.iter().any(|host| change["mac"] == host.mac().to_string().as_str()));
    assert_eq!(strangers.count(), 0, "devices that never answered cause no change event");
    running.stop();
}

#[test]
fn a_device_that_never_answered_is_shown_and_not_stored() {
    let lab = Lab::enter("near");
    let absent = ("10.77.0.200".to_owned(), "02:00:00:00:02:00".to_owned());
    let feed = [FeedServer::start(Says::Devices(vec![absent]))];
    let portscan = Portscan::new(&lab, &config(&feed, ""));
    let running = portscan.start();
    let shown = |running: &Running| {
        let hosts = running.get("/v1/hosts").json();
        hosts.as_array().and_then(|hosts| hosts.first().cloned())
    };
    let host = eventually(LONG, "the device is shown", || shown(&running));
    assert_eq!((&host["mac"], &host["address"]), (&"02:00:00:00:02:00".into(), &"10.77.0.200".into()));
    assert_eq!(running.get("/v1/changes").json(), Value::Array(Vec::new()));
    assert_eq!(running.get("/v1/hosts/10.77.0.200").json()["mac"], "02:00:00:00:02:00");
    assert_eq!(running.macs(), [""; 0]);
    running.stop();
    feed[0].set(Says::Down);
    let running = portscan.start();
    running.wait_for_line(LONG, |line| line.contains("the feed is down"));
    assert_eq!(shown(&running), None, "the device was not stored");
    running.stop();
}

#[test]
fn a_key_in_a_feed_url_is_never_shown() {
    let lab = Lab::enter("near");
    let feed = FeedServer::start(Says::Status("403 Forbidden"));
    let keyed = |key: &str| format!("\"{}?key={key}\"", feed.url());
    let config = format!("[feed]\nurl = [{}, {}]\n", keyed("s3cret1"), keyed("s3cret2"));
    let portscan = Portscan::new(&lab, &(config + &scanner("lan", "1d", "20-30")));
    let running = portscan.start();
    feed.wait_for_requests(2, LONG);
    running.wait_for_line(LONG, |line| line.contains("the feed is down"));
    let pages = ["/healthz", "/metrics", "/v1/info", "/v1/health", "/"].map(|path| running.get(path).body);
    let checked = portscan.run(&["check-config", "-v"], LONG);
    let all = [pages.concat(), running.log(), checked.stdout, checked.stderr].concat();
    assert!(!all.contains("s3cret"), "{all}");
    for name in ["?...\"", "?... (2)\""] {
        let series = format!("portscan_feed_up{{source=\"{}{name}}} 0", feed.url());
        assert!(pages[1].contains(&series), "{series}: {}", pages[1]);
    }
    running.stop();
}

#[test]
fn changing_macs_fill_no_more_than_max_devices() {
    let lab = Lab::enter("lan-250");
    let hosts: Vec<Host<'_>> = lab.hosts().collect();
    let (real, liars) = hosts.split_at(60);
    let config = "[feed]\nurl = []\ndiscover = [\"lan0\"]\nmax_devices = 300\n".to_owned();
    let portscan = Portscan::new(&lab, &(config + &scanner("lan", "1d", "22,80")));
    let mut rows = Vec::new();
    // Each start sweeps the network at once; stored devices are known from the start.
    for round in 0..4_u8 {
        for (liar, index) in liars.iter().zip(0_u8..) {
            liar.set_mac(&format!("02:66:00:00:{round:02x}:{index:02x}"));
        }
        let running = portscan.start();
        running.wait_for_line(LONG, |line| line.contains("the feed is up"));
        rows.push(eventually(LONG, "the sweep is stored", || {
            let rows = stored(&portscan.database());
            (rows.iter().filter(|mac| !mac.starts_with("02:66")).count() > 60).then_some(rows)
        }));
        if round > 1 {
            running.wait_for_line(LONG, |line| line.contains("WARN") && line.contains("max_devices"));
            assert!(running.get("/healthz").body.contains("max_devices"));
        }
        if round == 3 {
            running.wait_for_devices(61, LONG * 2);
            for host in real {
                let open = host.open_ports().iter().filter(|port| [22, 80].contains(port)).collect();
                let found =
                    eventually(LONG, "the device is scanned", || running.open_ports(&host.mac().to_string()));
                assert_eq!(found, open, "{}", host.address());
            }
            eprintln!("{} MB", running.peak_rss() >> 20);
        }
        running.stop();
    }
    let counts: Vec<usize> = rows.iter().map(Vec::len).collect();
    eprintln!("devices after each sweep, of which 61 are real: {counts:?}");
    assert!(counts.iter().all(|count| *count <= 300), "{counts:?}");
}

/// The MACs of the devices in a database.
fn stored(database: &Path) -> Vec<String> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = connection.prepare("SELECT mac FROM devices WHERE mac IS NOT NULL").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

//! Somebody makes devices up: what is real is complete all the same, and memory, disk and log stay small.

use std::time::Duration;

use serde_json::Value;

use crate::{
    harness::{
        LONG, Portscan, Running, eventually,
        feed::{FeedServer, Says},
        scanner,
    },
    lab::{Host, Lab},
};

/// Feeds of 4,096 devices each: one poll of all is what one forged feed names in fourteen.
const FORGED: usize = 14;

/// From one poll of the feeds to the next, with some patience.
const NEXT_POLL: Duration = Duration::from_secs(80);

fn named(hosts: &[Host<'_>]) -> Vec<(String, String)> {
    hosts.iter().map(|host| (host.address().to_string(), host.mac().to_lower())).collect()
}

fn config(feeds: &[FeedServer], more: &str) -> String {
    let urls: Vec<String> = feeds.iter().map(|feed| format!("{:?}", feed.url())).collect();
    format!("[feed]\nurl = [{}]\n{more}{}", urls.join(", "), scanner("lan", "1d", "20-30,80,443"))
}

/// A sample of /metrics, the sum of all its labels'.
fn metric(running: &Running, name: &str) -> f64 {
    let page = running.get("/metrics").body;
    let samples = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

fn listed(running: &Running) -> usize {
    running.get("/v1/hosts").json().as_array().map_or(0, Vec::len)
}

#[test]
fn forged_feeds_cost_little_and_sixty_real_neighbours_are_complete() {
    let lab = Lab::enter("lan-250");
    let real: Vec<Host<'_>> = lab.hosts().take(60).collect();
    let mut feeds: Vec<_> =
        (0..FORGED).map(|_| FeedServer::start(Says::Inventing(Vec::new(), 4096))).collect();
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
    let held_back = eventually(LONG, "the second poll is in", || {
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
    let notices = running.get("/healthz").body;
    assert!(notices.contains("max_newcomers") || notices.contains("max_devices"), "{notices}");
    let stored: Value = running.get("/v1/changes").json();
    let strangers = stored
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| !real.iter().any(|host| change["mac"] == host.mac().to_string().as_str()));
    assert_eq!(strangers.count(), 0, "what never answered is no change");
    running.stop();
}

#[test]
fn a_device_that_only_a_feed_names_is_shown_and_stored_when_its_owner_says_so() {
    let lab = Lab::enter("near");
    let absent = ("10.77.0.200".to_owned(), "02:00:00:00:02:00".to_owned());
    let feed = [FeedServer::start(Says::Devices(vec![absent]))];
    let portscan = Portscan::new(&lab, &config(&feed, ""));
    let running = portscan.start();
    let shown = |running: &Running| {
        let hosts = running.get("/v1/hosts").json();
        hosts.as_array().and_then(|hosts| hosts.first().cloned())
    };
    let host = eventually(LONG, "it is shown", || shown(&running));
    assert_eq!((&host["mac"], &host["address"]), (&"02:00:00:00:02:00".into(), &"10.77.0.200".into()));
    assert_eq!(running.get("/v1/changes").json(), Value::Array(Vec::new()));
    assert_eq!(running.get("/v1/hosts/10.77.0.200").json()["mac"], "02:00:00:00:02:00");
    assert_eq!(running.macs(), [""; 0]);
    running.stop();
    feed[0].set(Says::Down);
    let running = portscan.start();
    running.wait_for_line(LONG, |line| line.contains("the feed is down"));
    assert_eq!(shown(&running), None, "nothing was stored of it");
    running.stop();
}

#[test]
fn a_key_in_a_feeds_url_is_shown_nowhere() {
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

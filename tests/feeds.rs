//! Feeds fail alone and freeze: whatever one feed does, known devices stay known and are scanned.

use std::time::Duration;

use crate::{
    harness::{
        LONG, Portscan, eventually,
        feed::{FeedServer, Says},
        scanner,
    },
    lab::{Host, Lab},
};

/// Feeds are polled every 60 s.
const TWO_POLLS: Duration = Duration::from_secs(80);

fn names(hosts: &[Host<'_>]) -> Vec<(String, String)> {
    hosts.iter().map(|host| (host.address().to_string(), host.mac().to_lower())).collect()
}

fn config(feeds: &[&FeedServer]) -> String {
    let urls: Vec<String> = feeds.iter().map(|feed| format!("{:?}", feed.url())).collect();
    format!("[feed]\nurl = [{}]\n{}", urls.join(", "), scanner("lan", "5s", "20-90"))
}

#[test]
fn a_bad_feed_does_not_affect_the_others() {
    let lab = Lab::enter("near");
    let good = FeedServer::start(Says::Devices(names(&lab.hosts().collect::<Vec<_>>())));
    let half = r#"{"scan":[{"ipv4":"10.77.0.5","#.to_owned();
    let hostile = r#"{"scan":[{"ipv4":"8.8.8.8","mac":"02:00:00:00:00:08"},{"ipv4":"224.0.0.1","mac":"x"}]}"#;
    let bad = [
        Says::Down,
        Says::Slow,
        Says::Huge,
        Says::Status("500 Internal Server Error"),
        Says::Body(half),
        Says::Body("{}".to_owned()),
        Says::Body("[".repeat(100_000)),
        Says::Body(hostile.to_owned()),
    ]
    .map(FeedServer::start);
    let feeds: Vec<&FeedServer> = bad.iter().chain([&good]).collect();
    let running = Portscan::new(&lab, &config(&feeds)).start();
    running.wait_for_devices(3, LONG);
    for host in lab.hosts() {
        let open = host.open_ports().iter().filter(|port| (20..=90).contains(port)).collect();
        assert_eq!(running.open_ports(&host.mac().to_string()), Some(open));
    }
    for feed in &bad {
        feed.wait_for_requests(1, LONG);
    }
    // The time-out of a feed has passed; the endless one was cut off.
    running.wait_for_line(LONG, |line| line.contains("WARN") && line.contains(bad[2].url().as_str()));
    let megabytes = running.peak_rss() >> 20;
    assert!(megabytes < 64, "{megabytes} MB for a feed that never ends");
    assert_eq!(lab.outside(), Default::default(), "addresses that a feed may not name got no packet");
    running.stop();
}

#[test]
fn a_feed_that_fails_later_keeps_its_devices_while_another_adds_one() {
    let lab = Lab::enter("near");
    let hosts: Vec<Host<'_>> = lab.hosts().collect();
    let [first, second, new] = hosts[..] else { panic!("the scenario has three hosts") };
    let down = FeedServer::start(Says::Devices(names(&[first])));
    let empty = FeedServer::start(Says::Devices(names(&[second])));
    let good = FeedServer::start(Says::Devices(names(&[second])));
    let running = Portscan::new(&lab, &config(&[&down, &empty, &good])).start();
    running.wait_for_devices(2, LONG);
    down.set(Says::Down);
    empty.set(Says::Body("{}".to_owned()));
    good.set(Says::Devices(names(&[second, new])));
    for feed in [&down, &empty] {
        feed.wait_for_requests(2, TWO_POLLS);
        running.wait_for_line(LONG, |line| line.contains("WARN") && line.contains(&feed.url()));
    }
    running.wait_for_devices(3, LONG);
    let before = hosts.iter().map(|host| host.stats().syns);
    for (host, before) in hosts.iter().zip(before.collect::<Vec<_>>()) {
        eventually(LONG, "known devices are still scanned", || {
            (host.stats().syns > before + 50).then_some(())
        });
    }
    assert_eq!(running.macs().len(), 3, "no device is gone");
    running.stop();
}

#[test]
fn environment_variables_of_the_original_are_honoured() {
    let lab = Lab::enter("near");
    let feed = FeedServer::start(Says::Devices(names(&[lab.host("10.77.0.5")])));
    let cache = tempfile::tempdir().unwrap();
    let portscan = Portscan::new(&lab, &scanner("lan", "1d", "20-90"))
        .env("MY_LANSCAN_URL", &feed.url())
        .env("MY_REST_API_BASE_URL", "ports")
        .env("MY_REST_API_HOST_ADDRESS", "10.77.0.1")
        .env("MY_CACHE_DIRECTORY", &cache.path().to_string_lossy())
        .env("MY_NUM_THREADS", "");
    let running = portscan.start();
    assert!(running.base().starts_with("http://10.77.0.1:"), "{}", running.base());
    let served = eventually(LONG, "the device is served below the other path", || {
        let answer = running.get("/ports/json");
        (answer.status == 200 && answer.body.contains("02:00:00:00:00:05")).then_some(answer)
    });
    assert_eq!(served.json(), serde_json::json!({ "macs": ["02:00:00:00:00:05"] }));
    assert!(cache.path().join("portscan.db").exists());
    running.stop();
}

#[test]
fn the_originals_port_variables_override_each_other_in_order() {
    let lab = Lab::enter("near");
    let names =
        ["MY_CONTAINER_BIND_PORT", "MY_REST_API_PORT", "MY_REST_API_CONTAINER_PORT", "MY_REST_API_HOST_PORT"];
    let mut portscan = Portscan::new(&lab, "[feed]\nurl = []\n");
    // Each overrides those before it, and an empty one counts as unset.
    for (port, name) in (8101..).zip(names) {
        portscan = portscan.env(name, &port.to_string());
        let running = portscan.start();
        assert!(running.base().ends_with(&format!(":{port}")), "{name}: {}", running.base());
        running.stop();
    }
    let running = portscan.env("MY_REST_API_HOST_PORT", "").start();
    assert!(running.base().ends_with(":8103"), "{}", running.base());
    running.stop();
}

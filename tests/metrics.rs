//! The metrics agree with what happened in the lab.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use crate::{
    harness::{
        NO_IDENTIFICATION, Portscan, eventually,
        feed::{FeedServer, Says},
        prometheus::{Page, promtool},
        scanner, static_feed,
    },
    lab::Lab,
};

const LONG: Duration = Duration::from_secs(120);

#[test]
fn the_metrics_agree_with_the_packets_of_a_scan() {
    let lab = Lab::enter("near");
    let config = static_feed(&lab) + NO_IDENTIFICATION + &scanner("lan", "1d", "20-90");
    // The data directory lives as long as this value.
    let portscan = Portscan::new(&lab, &config);
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    promtool(&["check", "metrics"], &running.get("/metrics").body);
    let metrics = eventually(LONG, "the scan is closed", || {
        let metrics = Page::parse(&running.get("/metrics").body);
        metrics.get("portscan_last_scan_timestamp_seconds").is_some().then_some(metrics)
    });
    let probes = |outcome| metrics.value(&format!("portscan_probes_total{{outcome=\"{outcome}\"}}"));
    // 22 and 80; 22; 80. Some more than once, as canaries and in liveness checks.
    assert!((4.0..40.0).contains(&probes("accepted")), "{metrics:#?}");
    assert!(probes("refused") >= 69.0 && probes("silent") >= 140.0, "{metrics:#?}");
    assert!(probes("unreachable") >= 70.0, "{metrics:#?}");
    let made: f64 = ["accepted", "refused", "silent", "unreachable"].map(probes).iter().sum();
    let seen: usize = lab.hosts().map(|host| host.stats().syns - host.stats().retransmits).sum();
    assert_eq!(made, seen as f64, "each probe was one SYN on the wire");
    let started = metrics.value("portscan_probe_start_delay_seconds_count");
    assert_eq!(started, made + metrics.value("portscan_probes_not_started_total"));
    for (series, value) in [
        (concat!("portscan_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
        ("portscan_probes_in_flight", 0.0),
        ("portscan_hosts_in_progress", 0.0),
        ("portscan_local_errors_total{kind=\"descriptors\"}", 0.0),
        ("portscan_feed_up{source=\"hosts\"}", 1.0),
        ("portscan_feed_devices{source=\"hosts\"}", 3.0),
        ("portscan_devices_known", 3.0),
        ("portscan_devices_scanned", 3.0),
        ("portscan_store_up", 1.0),
    ] {
        assert_eq!(metrics.value(series), value, "{series}");
    }
    assert!(metrics.value("portscan_database_bytes") > 4096.0, "{metrics:#?}");
    assert!(metrics.value("portscan_event_loop_lag_seconds_count") > 0.0);
    running.stop();
}

#[test]
fn a_feed_that_does_not_answer_is_reported_as_down() {
    let lab = Lab::enter("near");
    let feed = FeedServer::start(Says::Down);
    let running = Portscan::new(&lab, &format!("[feed]\nurl = [\"{}\"]\n", feed.url())).start();
    feed.wait_for_requests(1, LONG);
    let metrics = Page::parse(&running.get("/metrics").body);
    assert_eq!(metrics.value(&format!("portscan_feed_up{{source=\"{}\"}}", feed.url())), 0.0);
    assert_eq!(metrics.value("portscan_devices_scanned"), 0.0);
    assert_eq!(metrics.get("portscan_last_scan_timestamp_seconds"), None);
    running.stop();
}

#[test]
fn the_rogue_port_metric_counts_the_differences() {
    let lab = Lab::enter("near");
    let config = static_feed(&lab) + &scanner("lan", "1d", "20-90,443");
    let running = Portscan::new(&lab, &config).start();
    running.wait_for_devices(3, LONG);
    // Open and not expected; expected and closed; never scanned; of a host that was never seen; closed, not filtered.
    let row = |address: &str, port: u16, state: &str| json!({ "address": address, "port": port, "protocol": "tcp", "state": state });
    let expected = json!([
        row("10.77.0.5", 22, "open"),
        row("02:00:00:00:00:05", 25, "open"),
        row("10.77.0.5", 9000, "open"),
        row("10.77.0.6", 22, "open"),
        row("10.77.0.6", 23, "closed"),
        row("10.77.0.99", 80, "open"),
        row("02:00:00:00:00:99", 80, "open"),
    ]);
    assert_eq!(running.patch("/v1/expected", &expected).status, 204);
    let rows = running.get("/v1/diff").json();
    let mut differences = BTreeMap::<String, usize>::new();
    for row in rows.as_array().unwrap() {
        *differences.entry(row["address"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let differing = |host: &str, count| (host.to_owned(), count);
    let truth = [
        differing("02:00:00:00:00:99", 1),
        differing("10.77.0.5", 4),
        differing("10.77.0.6", 1),
        differing("10.77.0.7", 1),
        differing("10.77.0.99", 1),
    ];
    assert_eq!(differences, BTreeMap::from(truth), "{rows}");
    let metrics = Page::parse(&running.get("/metrics").body);
    for (host, count) in differences {
        let series = format!("portmantool_ports_rogue{{host=\"{host}\",protocol=\"tcp\"}}");
        assert_eq!(metrics.value(&series), count as f64, "{series}");
    }
    running.stop();
}

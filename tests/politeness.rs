//! `portscan serve` does no harm: its bounds hold for every kind of scan, gadgets stay up, other hosts get no packet.

use std::time::Duration;

use crate::{
    harness::{LONG, Portscan, eventually, feed_of, scanner, static_feed},
    lab::{Lab, Stats},
};

/// A scanner waits at least 150 ms for a silent port, counted from just before its connect. On a busy machine the SYN
/// may be on the wire a good deal later than that, so a socket certainly stays open for a shorter time only: what
/// exceeds it is not counted, and a count is never too high.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

fn assert_gentle(name: &str, stats: &Stats) {
    assert!(stats.peak_100ms <= 30 && stats.peak_1s <= 300, "{name}: {stats:?}");
    assert_eq!((stats.payload, stats.left_open, stats.reboots), (0, 0, 0), "{name}: {stats:?}");
}

/// Runs the appliance until every device of the lab has its result.
fn serve(lab: &Lab, portscan: &Portscan) {
    let running = portscan.start();
    let devices = lab.hosts().count();
    running.wait_for_devices(devices, LONG);
    for host in lab.hosts() {
        assert_eq!(
            running.open_ports(&host.mac().to_string()),
            Some(host.open_ports()),
            "{}",
            host.address()
        );
    }
    running.stop();
    assert_eq!(lab.outside(), Default::default(), "no packet went to other addresses");
}

#[test]
fn my_num_threads_bounds_the_sockets_per_device() {
    // Far enough away that many probes wait, and one host that never answers.
    let lab = Lab::describe(
        r#"
        [[host]]
        address = "10.77.0.5-6"
        mac = "02:00:00:00:00:05+"
        open = "22,80"
        rtt = "80ms"
        jitter = "20ms"
        [[host]]
        address = "10.77.0.7"
        mac = "02:00:00:00:00:07"
        open = "22"
        default = "filtered"
        rtt = "1ms"
        "#,
    );
    let config = static_feed(&lab) + &scanner("lan", "1d", "1-400");
    serve(&lab, &Portscan::new(&lab, &config).env("MY_NUM_THREADS", "8"));
    for host in lab.hosts() {
        let stats = host.stats();
        let held = stats.most_half_open(SHORTEST_WAIT);
        assert!(held <= 8, "{}: {held} at once", host.address());
        assert!(held >= 4, "{}: the lab would have seen more than {held}", host.address());
        assert_gentle("bounded", &stats);
    }
}

#[test]
fn serve_does_not_reboot_a_gadget() {
    let lab = Lab::enter("gadget");
    let config = static_feed(&lab) + &scanner("lan", "1d", "1-2000,6053");
    serve(&lab, &Portscan::new(&lab, &config));
    assert_gentle("gadget", &lab.host("10.77.0.70").stats());
}

#[test]
fn two_scanners_share_a_hosts_budget() {
    let lab = Lab::enter("near");
    let config = static_feed(&lab) + &scanner("low", "1d", "1-1500") + &scanner("high", "1d", "8000-9500");
    let running = Portscan::new(&lab, &config).start();
    let refusing = lab.host("10.77.0.5");
    // Every port of both scanners has been probed.
    eventually(LONG, "both scanners have probed the near host", || {
        (refusing.stats().ports >= 3001).then_some(())
    });
    running.stop();
    for host in lab.hosts() {
        assert_gentle(&host.address().to_string(), &host.stats());
    }
}

#[test]
fn a_probe_by_hand_shares_the_hosts_budget() {
    let lab = Lab::enter("near");
    let host = lab.host("10.77.0.5");
    let config = feed_of([host].into_iter()) + &scanner("lan", "1d", "1-10000");
    let running = Portscan::new(&lab, &config).start();
    eventually(LONG, "the scan has begun", || (host.stats().syns > 50).then_some(()));
    let answer = running.get("/portscan/10.77.0.5/8080/json");
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"open".into()), "{answer:?}");
    // A scan of all 10,000 ports takes half a minute at its pace.
    assert!(host.stats().ports < 10_000, "the probe does not wait for the scan");
    running.wait_for_devices(1, LONG);
    running.stop();
    assert_gentle("near", &host.stats());
}

#[test]
fn excluded_devices_get_no_packet() {
    let lab = Lab::enter("near");
    let exclude = "exclude = [\"10.77.0.5\", \"02:00:00:00:00:06\"]\n";
    let config = exclude.to_owned() + &static_feed(&lab) + &scanner("lan", "1d", "1-100");
    let running = Portscan::new(&lab, &config).start();
    running.wait_for_devices(1, LONG);
    let refused = running.get("/portscan/10.77.0.5/22/json");
    running.stop();
    assert_eq!(lab.host("10.77.0.5").stats().syns, 0, "{refused:?}");
    assert_eq!(lab.host("10.77.0.6").stats().syns, 0);
}

#[test]
fn a_device_that_goes_away_keeps_its_last_result() {
    let lab = Lab::enter("near");
    // The quick scan of the commonest ports ends soon, the one of all takes a minute and more at its pace.
    let config = static_feed(&lab) + &scanner("deep", "1d", "1-20000");
    let running = Portscan::new(&lab, &config).start();
    let gone = lab.host("10.77.0.5");
    let served = || running.open_ports("02:00:00:00:00:05").map(|ports| ports.to_string());
    eventually(LONG, "the quick scan is stored", || served().filter(|ports| ports == "22,80,443,8080"));
    gone.vanish();
    let quiet = Duration::from_secs(12);
    eventually(quiet * 3, "the scan has stopped", || {
        let last = gone.stats().last_syn?;
        (lab.now().since(last) > quiet).then_some(())
    });
    let probed = gone.stats().ports;
    assert!(probed < 10_000, "the scan stopped in the middle, not after {probed} ports");
    assert_eq!(served().as_deref(), Some("22,80,443,8080"));
    running.stop();
}

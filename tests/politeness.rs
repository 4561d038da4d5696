//! `portscan serve` does no harm: bounds hold whoever asks, gadgets stay up, nobody unnamed is touched.

use std::time::Duration;

use crate::{
    harness::{LONG, Portscan, eventually, feed_of, scanner, static_feed},
    lab::{Lab, Stats},
};

/// A scanner waits 150 ms at least for a silent port, counted from just before its connect. On a busy machine
/// the SYN may be on the wire a good deal later than that, so a socket is known to be held for less: what is
/// held for longer is not counted, and a count is never too high.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

fn assert_kind(name: &str, stats: &Stats) {
    assert!(stats.peak_100ms <= 30 && stats.peak_1s <= 300, "{name}: {stats:?}");
    assert_eq!((stats.payload, stats.left_open, stats.reboots), (0, 0, 0), "{name}: {stats:?}");
}

/// Serves until every device of the lab has its result.
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
    assert_eq!(lab.outside(), Default::default(), "nobody else was bothered");
}

#[test]
fn never_more_sockets_to_a_device_than_told() {
    // Far enough away that there is much to wait for, and one that never answers.
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
        assert_kind("bounded", &stats);
    }
}

#[test]
fn a_gadget_survives() {
    let lab = Lab::enter("gadget");
    let config = static_feed(&lab) + &scanner("lan", "1d", "1-2000,6053");
    serve(&lab, &Portscan::new(&lab, &config));
    assert_kind("gadget", &lab.host("10.77.0.70").stats());
}

#[test]
fn two_scanners_share_a_hosts_budget() {
    let lab = Lab::enter("near");
    let config = static_feed(&lab) + &scanner("low", "1d", "1-1500") + &scanner("high", "1d", "8000-9500");
    let running = Portscan::new(&lab, &config).start();
    let refusing = lab.host("10.77.0.5");
    // Everything that either of them wants to know has been asked.
    eventually(LONG, "both scanners have seen the near host", || {
        (refusing.stats().ports >= 3001).then_some(())
    });
    running.stop();
    for host in lab.hosts() {
        assert_kind(&host.address().to_string(), &host.stats());
    }
}

#[test]
fn a_probe_by_hand_shares_it_too() {
    let lab = Lab::enter("near");
    let host = lab.host("10.77.0.5");
    let config = feed_of([host].into_iter()) + &scanner("lan", "1d", "1-10000");
    let running = Portscan::new(&lab, &config).start();
    eventually(LONG, "the scan has begun", || (host.stats().syns > 50).then_some(()));
    let answer = running.get("/portscan/10.77.0.5/8080/json");
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"open".into()), "{answer:?}");
    // Looking at all 10,000 takes half a minute at its pace.
    assert!(host.stats().ports < 10_000, "it does not wait behind the scan");
    running.wait_for_devices(1, LONG);
    assert_kind("near", &host.stats());
    running.stop();
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
    // The quick scanner is through soon, the deep one takes a minute and more at its pace.
    let config = static_feed(&lab) + &scanner("quick", "1d", "20-30,80") + &scanner("deep", "1d", "1-20000");
    let running = Portscan::new(&lab, &config).start();
    let gone = lab.host("10.77.0.5");
    let served = || running.open_ports("02:00:00:00:00:05").map(|ports| ports.to_string());
    eventually(LONG, "the quick one is through", || served().filter(|ports| ports == "22,80"));
    gone.vanish();
    let quiet = Duration::from_secs(12);
    eventually(quiet * 3, "it has been left alone", || {
        let last = gone.stats().last_syn?;
        (lab.now().since(last) > quiet).then_some(())
    });
    let asked = gone.stats().ports;
    assert!(asked < 10_000, "it was left alone in the middle, not after {asked} ports");
    assert_eq!(served().as_deref(), Some("22,80"));
    running.stop();
}

//! A device is its MAC: whatever happens to addresses, results stay with whom they are about.

use std::time::Duration;

use crate::{
    harness::{LONG, Portscan, Running, eventually, scanner, static_feed},
    lab::Lab,
};

#[test]
fn a_device_that_moves_keeps_its_history() {
    let lab = Lab::enter("near");
    let lan = scanner("lan", "2s", "20-100,443,8080");
    let mut portscan = Portscan::new(&lab, &(static_feed(&lab) + &lan));
    let running = portscan.start();
    running.wait_for_devices(3, LONG);
    running.stop();

    lab.host("10.77.0.5").move_to("10.77.0.50");
    portscan.set_config(&(static_feed(&lab) + &lan));
    let running = portscan.start();
    assert_eq!(running.open_ports("02:00:00:00:00:05").unwrap().to_string(), "22,80,443,8080", "from before");
    eventually(LONG, "it is seen at its new address", || {
        let device = running.get("/portscan/02:00:00:00:00:05/json").json();
        (device["host"]["ipv4"] == "10.77.0.50").then_some(())
    });
    assert_eq!(running.macs().len(), 3, "and it is no new device");
    running.stop();
}

#[test]
fn an_address_that_changes_hands_leaves_nothing_under_the_old_mac() {
    let lab = Lab::enter("handover");
    let config = static_feed(&lab) + &scanner("lan", "1d", "1-1500,8080");
    let running = Portscan::new(&lab, &config).start();
    running.wait_for_devices(1, LONG);
    let handed = lab.host("10.77.0.5");
    eventually(LONG, "the scan of the address is over", || {
        let stats = handed.stats();
        (stats.syns >= 300 && lab.now().since(stats.last_syn?) > Duration::from_secs(12)).then_some(())
    });
    assert_eq!(handed.mac().to_string(), "02:00:00:00:01:05", "the lab has handed it over");
    assert_eq!(running.macs(), ["02:00:00:00:00:06"]);
    let old = running.get("/portscan/02:00:00:00:00:05/json");
    assert_eq!((old.status, old.json()), (200, serde_json::json!({ "error": "host not found" })));
    running.stop();
}

#[test]
fn a_feed_that_names_the_wrong_mac_stores_nothing_under_it() {
    let lab = Lab::enter("near");
    let wrong = static_feed(&lab).replace("02:00:00:00:00:05", "02:00:00:00:00:99");
    let running = Portscan::new(&lab, &(wrong + &scanner("lan", "1d", "20-30"))).start();
    running.wait_for_devices(2, LONG);
    let finished = |mac: &str| running.open_ports(mac).is_some();
    eventually(LONG, "the others are done", || {
        (finished("02:00:00:00:00:06") && finished("02:00:00:00:00:07")).then_some(())
    });
    let contradicted =
        running.wait_for_line(LONG, |line| line.contains("10.77.0.5") && line.contains("00:99"));
    assert!(!contradicted.contains("finished"), "{contradicted}");
    assert!(!finished("02:00:00:00:00:99"));
    running.stop();
}

#[test]
fn a_scanner_of_few_ports_hides_nothing_that_another_found() {
    let lab = Lab::enter("near");
    let config =
        static_feed(&lab) + &scanner("all", "1d", "20-100,440-450,8080") + &scanner("few", "2s", "22,81");
    let running = Portscan::new(&lab, &config).start();
    let mac = "02:00:00:00:00:05";
    let scans = |running: &Running| {
        running.lines().iter().filter(|line| line.contains("finished") && line.contains(mac)).count()
    };
    eventually(LONG, "both have looked, the one with few ports again and again", || {
        let all = running.open_ports(mac)?.to_string() == "22,80,443,8080";
        (all && scans(&running) >= 4).then_some(())
    });
    // Whichever was the last to look, from here on nothing changes.
    let looks = scans(&running);
    eventually(LONG, "it is looked at twice more", || {
        assert_eq!(running.open_ports(mac).unwrap().to_string(), "22,80,443,8080");
        (scans(&running) >= looks + 2).then_some(())
    });
    running.stop();
}

#[test]
fn what_is_said_of_a_mac_holds_where_only_the_look_finds_it_out() {
    let lab = Lab::enter("near");
    let config = "exclude = [\"02:00:00:00:00:07\"]\n[feed]\nurl = []\n".to_owned()
        + &scanner("lan", "1d", "20-3000")
        + "targets = [\"10.77.0.5-7\"]\n"
        + "[[device]]\nmatch = \"02:00:00:00:00:06\"\nscan = false\n"
        + "[[device]]\nmatch = \"02:00:00:00:00:05\"\nports = \"22\"\n";
    let running = Portscan::new(&lab, &config).start();
    running.wait_for_devices(1, LONG);
    assert_eq!(running.open_ports("02:00:00:00:00:05").unwrap().to_string(), "22", "its own ports");
    for address in ["10.77.0.6", "10.77.0.7"] {
        let left = running.wait_for_line(LONG, |line| line.contains(address));
        assert!(left.contains("left alone"), "{left}");
        let syns = lab.host(address).stats().syns;
        // A look at all of them takes 2,981 and more; how soon the machine gets round to it is its own affair.
        assert!(syns < 1500, "{address} got {syns} SYNs after it was known who it is");
    }
    assert_eq!(running.macs(), ["02:00:00:00:00:05"]);
    running.stop();
}

#[test]
fn this_machine_is_known_by_its_own_hardware() {
    let lab = Lab::enter("near");
    let lan = scanner("lan", "1d", "20-30");
    let feed = |own: &str| format!("[feed]\nurl = []\nhosts = [{{ address = \"10.77.0.1\"{own} }}]\n{lan}");
    let running = Portscan::new(&lab, &feed(", mac = \"02:00:00:00:00:99\"")).start();
    let contradicted = running.wait_for_line(LONG, |line| line.contains("10.77.0.1"));
    assert!(contradicted.contains("00:99") && contradicted.contains("another device"), "{contradicted}");
    assert!(running.macs().is_empty());
    running.stop();
    let running = Portscan::new(&lab, &feed("")).start();
    running.wait_for_devices(1, LONG);
    assert_eq!(running.macs(), ["02:00:00:00:FF:01"]);
    running.stop();
}

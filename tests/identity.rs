//! A device is its MAC: whatever happens to its addresses, its results stay with it.

use std::time::Duration;

use crate::{
    harness::{LONG, Portscan, Running, eventually, is_stored, scanner, static_feed},
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
    assert_eq!(
        running.open_ports("02:00:00:00:00:05").unwrap().to_string(),
        "22,80,443,8080",
        "the results from before the move"
    );
    eventually(LONG, "the device is seen at its new address", || {
        let device = running.get("/portscan/02:00:00:00:00:05/json").json();
        (device["host"]["ipv4"] == "10.77.0.50").then_some(())
    });
    assert_eq!(running.macs().len(), 3, "no new device appears");
    running.stop();
}

#[test]
fn a_scan_stores_nothing_if_the_address_changes_its_mac_during_it() {
    let lab = Lab::enter("handover");
    let config = static_feed(&lab) + &scanner("lan", "1d", "1-1500,8080");
    let running = Portscan::new(&lab, &config).start();
    running.wait_for_devices(1, LONG);
    let handed = lab.host("10.77.0.5");
    eventually(LONG, "the scan of the address is over", || {
        let stats = handed.stats();
        (stats.syns >= 300 && lab.now().since(stats.last_syn?) > Duration::from_secs(12)).then_some(())
    });
    assert_eq!(handed.mac().to_string(), "02:00:00:00:01:05", "the other MAC has the address");
    assert_eq!(running.macs(), ["02:00:00:00:00:06"]);
    let old = running.get("/portscan/02:00:00:00:00:05/json");
    assert_eq!((old.status, old.json()), (200, serde_json::json!({ "error": "host not found" })));
    running.stop();
}

#[test]
fn a_wrong_mac_in_a_feed_gets_no_results() {
    let lab = Lab::enter("near");
    let wrong = static_feed(&lab).replace("02:00:00:00:00:05", "02:00:00:00:00:99");
    let running = Portscan::new(&lab, &(wrong + &scanner("lan", "1d", "20-30"))).start();
    running.wait_for_devices(2, LONG);
    let finished = |mac: &str| running.open_ports(mac).is_some();
    eventually(LONG, "the other devices have results", || {
        (finished("02:00:00:00:00:06") && finished("02:00:00:00:00:07")).then_some(())
    });
    let contradicted =
        running.wait_for_line(LONG, |line| line.contains("10.77.0.5") && line.contains("00:99"));
    assert!(!is_stored(&contradicted), "{contradicted}");
    assert!(!finished("02:00:00:00:00:99"));
    running.stop();
}

#[test]
fn a_scanner_of_few_ports_hides_no_findings_of_another() {
    let lab = Lab::enter("near");
    let config =
        static_feed(&lab) + &scanner("all", "1d", "20-100,440-450,8080") + &scanner("few", "2s", "22,81");
    let running = Portscan::new(&lab, &config).start();
    let mac = "02:00:00:00:00:05";
    let scans = |running: &Running| {
        running.lines().iter().filter(|line| line.contains("finished") && line.contains(mac)).count()
    };
    eventually(LONG, "both scanners have results, the one with few ports several", || {
        let all = running.open_ports(mac)?.to_string() == "22,80,443,8080";
        (all && scans(&running) >= 4).then_some(())
    });
    // Whichever scanner was the last, nothing changes from here on.
    let looks = scans(&running);
    eventually(LONG, "it is scanned twice more", || {
        assert_eq!(running.open_ports(mac).unwrap().to_string(), "22,80,443,8080");
        (scans(&running) >= looks + 2).then_some(())
    });
    running.stop();
}

#[test]
fn rules_for_a_mac_apply_if_only_the_scan_learns_the_mac() {
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
        assert_eq!(lab.host(address).stats().syns, 0, "{address}");
    }
    assert_eq!(running.macs(), ["02:00:00:00:00:05"]);
    running.stop();
}

#[test]
fn this_machine_has_the_mac_of_its_interface() {
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

/// A server with two addresses: one port is open on both, one on each alone.
const TWO_ADDRESSES: &str = "
    [[host]]
    address = \"10.77.0.5\"
    mac = \"02:00:00:00:00:05\"
    open = \"22,80\"
    [[host]]
    address = \"10.77.0.6\"
    mac = \"02:00:00:00:00:05\"
    open = \"22,8080\"
    [[host]]
    address = \"10.77.0.7\"
    mac = \"02:00:00:00:00:07\"
    open = \"443\"
";

/// The rows of /v1/hosts, each as MAC or "-", address, and open ports with the addresses listed for them.
fn devices(running: &Running) -> Vec<String> {
    let hosts = running.get("/v1/hosts").json();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let row = |host: &serde_json::Value| {
        let ports = host["ports"].as_array().unwrap().iter().map(|port| {
            let at = port["addresses"].as_array().map(|at| at.iter().map(text).collect::<Vec<_>>().join("+"));
            format!(" {}{}", port["port"], at.map(|at| format!("@{at}")).unwrap_or_default())
        });
        format!("{} {}:{}", text(&host["mac"]), text(&host["address"]), ports.collect::<String>())
    };
    hosts.as_array().unwrap().iter().map(row).collect()
}

/// The number of open ports in /v1/info, and of rows in /v1/diff.
fn totals(running: &Running) -> (u64, usize) {
    let open = running.get("/v1/info").json()["open"].as_u64().unwrap();
    (open, running.get("/v1/diff").json().as_array().unwrap().len())
}

#[test]
fn every_address_of_a_device_is_scanned_and_its_changes_are_confirmed_there() {
    let lab = Lab::describe(TWO_ADDRESSES);
    let config = static_feed(&lab) + &scanner("lan", "3s", "20-100,443,8000-8100");
    let running = Portscan::new(&lab, &config).start();
    let both = "02:00:00:00:00:05 10.77.0.5: 22@10.77.0.5+10.77.0.6 80@10.77.0.5 8080@10.77.0.6";
    eventually(LONG, "both addresses are scanned", || (devices(&running).first()? == both).then_some(()));
    eventually(LONG, "all three devices are scanned", || (totals(&running) == (4, 5)).then_some(()));
    assert_eq!(running.open_ports("02:00:00:00:00:05").unwrap().to_string(), "22,80,8080");
    let accepted = serde_json::json!([
        { "address": "02:00:00:00:00:05", "port": 22, "protocol": "tcp", "state": "open" },
        { "address": "02:00:00:00:00:05", "port": 80, "protocol": "tcp", "state": "open" },
        { "address": "02:00:00:00:00:05", "port": 8080, "protocol": "tcp", "state": "open" },
        { "address": "10.77.0.7", "port": 443, "protocol": "tcp", "state": "open" },
    ]);
    assert_eq!(running.patch("/v1/expected", &accepted).status, 204);
    assert_eq!(totals(&running), (4, 0), "an expectation holds at each address of its device");

    lab.host("10.77.0.6").open(8090);
    let changes = || running.get("/v1/changes").json();
    let opened = eventually(LONG, "the opening is confirmed", || {
        let changes = changes();
        changes
            .as_array()?
            .iter()
            .find(|change| change["kind"] == "opened" && change["port"] == 8090)
            .cloned()
    });
    assert_eq!((&opened["address"], &opened["alert"]), (&"10.77.0.6".into(), &true.into()), "{opened}");
    let diff = running.get("/v1/diff").json();
    assert_eq!((&diff[0]["address"], &diff[0]["port"]), (&"10.77.0.6".into(), &8090.into()), "{diff}");
    let metrics = running.get("/metrics").body;
    for line in [
        "portmantool_ports_rogue{host=\"10.77.0.5\",protocol=\"tcp\"} 0",
        "portmantool_ports_rogue{host=\"10.77.0.6\",protocol=\"tcp\"} 1",
        "portscan_port_rogue{mac=\"02:00:00:00:00:05\",host=\"10.77.0.6\",port=\"8090\",protocol=\"tcp\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    running.stop();
}

#[test]
fn listed_addresses_without_an_answer_are_no_devices() {
    let lab = Lab::enter("near");
    let config = "[feed]\nurl = []\n".to_owned()
        + &scanner("dmz", "1d", "22,80,443")
        + "targets = [\"10.77.0.0/28\"]\n";
    let running = Portscan::new(&lab, &config).start();
    eventually(LONG, "the run is over", || {
        let scans = running.get("/v1/runs").json();
        let info = running.get("/v1/info").json();
        (scans.as_array()?.is_empty() && !info["last_scan"].is_null()).then_some(())
    });
    let expected = [
        "02:00:00:00:FF:01 10.77.0.1:",
        "02:00:00:00:00:05 10.77.0.5: 22 80 443",
        "02:00:00:00:00:06 10.77.0.6: 22",
        "02:00:00:00:00:07 10.77.0.7: 80",
    ];
    let mut found = devices(&running);
    found.sort_by_key(|row| row.split(' ').nth(1).unwrap().to_owned());
    assert_eq!(found, expected);
    let new = running.get("/v1/changes").json();
    assert_eq!(new.as_array().unwrap().len(), expected.len(), "{new}");
    running.stop();
}

#[test]
fn a_host_configured_by_address_is_one_device_and_one_event() {
    let lab = Lab::enter("near");
    let config = "[feed]\nurl = []\nhosts = [{ address = \"10.77.0.5\", name = \"nas\" }]\n".to_owned()
        + &scanner("lan", "1d", "20-100");
    let running = Portscan::new(&lab, &config).start();
    running.wait_for_devices(1, LONG);
    assert_eq!(devices(&running), ["02:00:00:00:00:05 10.77.0.5: 22 80"]);
    let changes = running.get("/v1/changes").json();
    let kinds: Vec<_> =
        changes.as_array().unwrap().iter().map(|change| (&change["kind"], &change["mac"])).collect();
    assert_eq!(kinds, [(&"new".into(), &"02:00:00:00:00:05".into())], "{changes}");
    running.stop();
}

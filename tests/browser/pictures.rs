//! The screenshots of the page in README and docs/page.md: `make screenshots` renews them.

use std::{fmt::Write as _, path::Path, time::Duration};

use nix::sys::signal::Signal;
use serde_json::json;

use super::{pages, visit};
use crate::{
    harness::{
        Portscan, Running,
        browser::{Browser, SCHEMES, Screen},
        eventually, scanner,
    },
    lab::Lab,
};

/// A closed port is confirmed by a second look, a minute later.
const LONG: Duration = Duration::from_secs(240);

/// The largest picture, in octets.
const LARGEST: u64 = 60_000;

/// Name, last octet of the address, MAC, open ports. The last device appears later.
const DEVICES: [(&str, u8, &str, &str); 10] = [
    ("router", 1, "C8:0E:14:20:31:01", "53,80,443,5060"),
    ("nas", 10, "00:11:32:7A:41:10", "22,80,111,139,443,445,2049,5000,5001"),
    ("printer", 20, "3C:2A:F4:11:90:20", "80,443,515,631,9100"),
    ("kitchen-pi", 30, "B8:27:EB:AC:14:30", "22,80,1883"),
    ("tv", 40, "A4:6C:F1:05:66:40", "7000,8001,8009,9080"),
    ("lights", 50, "00:17:88:28:4E:50", "80,443,8080"),
    ("doorbell", 60, "24:0A:C4:9B:07:60", "80,554"),
    ("laptop", 70, "DA:A1:19:52:C3:70", "22"),
    ("phone", 80, "7A:0D:3B:86:11:80", "62078"),
    ("thermostat", 90, "24:0A:C4:30:D2:90", "80,6668"),
];

/// Addresses for documentation (RFC 5737).
fn address(octet: u8) -> String {
    format!("192.0.2.{octet}")
}

fn lan() -> Lab {
    let mut scenario = "[lan]\nscanner = \"192.0.2.2/24\"\nrouter = \"192.0.2.254\"\n".to_owned();
    for (_, octet, mac, open) in DEVICES {
        let (address, rtt) = (address(octet), if octet < 40 { "300us" } else { "4ms" });
        let _ = write!(
            scenario,
            "[[host]]\naddress = \"{address}\"\nmac = \"{mac}\"\nopen = \"{open}\"\nrtt = \"{rtt}\"\n"
        );
    }
    Lab::describe(&scenario)
}

fn config(devices: usize) -> String {
    let mut hosts = String::new();
    for (name, octet, mac, _) in &DEVICES[..devices] {
        let address = address(*octet);
        let _ = write!(hosts, "{{ address = \"{address}\", mac = \"{mac}\", name = \"{name}\" }}, ");
    }
    format!("[feed]\nurl = []\nhosts = [{hosts}]\n{}", scanner("lan", "1d", "1-10000,62078"))
}

/// Makes changes as of a day on that LAN, in two minutes.
fn live(lab: &Lab, portscan: &mut Portscan, running: &Running) {
    running.wait_for_complete(DEVICES.len() - 1, LONG);
    let note = json!({"note": "Scans to the share \"in\" of the nas.\nToner: TN-243."});
    assert_eq!(running.patch("/v1/hosts/192.0.2.20", &note).status, 204);
    let accept = portscan.run(&["expected", "accept", "--all", "--url", running.base()], LONG);
    assert!(accept.status.success(), "{accept:?}");
    let rows = json!([
        {"address": "00:11:32:7A:41:10", "port": 873, "protocol": "tcp", "state": "open", "comment": "backups by rsync"},
        {"address": "B8:27:EB:AC:14:30", "port": 22, "protocol": "tcp", "state": "open", "comment": "how I get in"},
    ]);
    assert_eq!(running.patch("/v1/expected", &rows).status, 204);

    lab.host(&address(60)).open(23);
    lab.host(&address(40)).close(8009);
    portscan.set_config(&config(DEVICES.len()));
    portscan.write_config();
    running.signal(Signal::SIGHUP);
    for octet in [40, 60] {
        assert_eq!(running.post(&format!("/v1/run?host={}", address(octet))).status, 202);
    }
    eventually(LONG, "all changes are recorded", || {
        let changes = running.get("/v1/changes").body;
        ["\"opened\"", "\"closed\""].iter().all(|kind| changes.contains(kind)).then_some(())
    });
    running.wait_for_complete(DEVICES.len(), LONG);
    eventually(LONG, "no run is in progress", || {
        let runs = running.get("/v1/runs").json();
        runs.as_array()?.iter().all(|run| run["status"] != "running").then_some(())
    });
}

#[test]
#[ignore = "`make screenshots` runs it: it takes minutes, and writes into this repository"]
fn every_page_has_current_screenshots() {
    let lab = lan();
    let mut portscan = Portscan::new(&lab, &config(DEVICES.len() - 1));
    let running = portscan.start();
    live(&lab, &mut portscan, &running);
    let browser = Browser::start(&lab);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screenshots");
    std::fs::create_dir_all(&folder).unwrap();
    for (page, url) in pages(&browser, running.base()) {
        let url =
            if page == "Device" { format!("{}/#/device/{}", running.base(), DEVICES[6].2) } else { url };
        if page == "Running" {
            assert_eq!(running.post("/v1/run").status, 202);
        }
        for screen in Screen::ALL {
            for scheme in SCHEMES {
                browser.show(screen, scheme);
                visit(&browser, &url);
                let file = format!("{}-{}-{scheme}.png", page.to_lowercase(), screen.name());
                let file = folder.join(file);
                browser.screenshot(&file);
                let octets = file.metadata().unwrap().len();
                assert!(octets < LARGEST, "{}: {octets} octets", file.display());
            }
        }
    }
    running.stop();
}

//! `portscan doctor` on the real kernel: what it finds lacking is lacking, and it sends nothing.

use std::{fs, net::TcpListener};

use nix::mount::{MsFlags, mount};
use serde_json::Value;

use crate::{
    harness::{Finished, LONG, Portscan, static_feed},
    lab::Lab,
};

/// The findings about a subject.
fn about<'a>(document: &'a Value, subject: &str) -> Vec<&'a Value> {
    let all = document["findings"].as_array().unwrap_or_else(|| panic!("{document}"));
    all.iter().filter(|finding| finding["subject"] == subject).collect()
}

/// What `--json` says, and whether nothing essential is lacking.
fn judged(finished: &Finished) -> (Value, bool) {
    let document: Value =
        serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {finished:?}"));
    let works = document["works"].as_bool().unwrap();
    assert_eq!(finished.status.code(), Some(if works { 0 } else { 1 }), "{finished:?}");
    (document, works)
}

#[test]
#[allow(clippy::too_many_lines, reason = "one machine, in one state after the other")]
fn judges_the_machine_and_the_running_appliance_and_sends_nothing() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, &format!("{}[mdns]\nenabled = false\n", static_feed(&lab)));
    let folder = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let data = folder.path().display().to_string();
    let doctor = |listen: &str, data: &str| {
        portscan.run(&["doctor", "--json", "--listen", listen, "--data-dir", data], LONG)
    };

    let (before, multicasts) = (lab.arp_requests(), lab.multicasts());
    let (document, works) = judged(&doctor("127.0.0.1:0", &data));
    assert!(works, "{document:#}");
    let interface = about(&document, "interface");
    let is_the_labs = |found: &&Value| found["detail"].as_str().unwrap().starts_with("lan0 has 10.77.");
    assert!(interface.iter().any(is_the_labs), "{document:#}");
    assert_eq!(about(&document, "capability NET_ADMIN")[0]["state"], "ok");
    assert_eq!(about(&document, "neighbour table")[0]["state"], "ok");
    assert_eq!((lab.arp_requests(), lab.multicasts()), (before, multicasts), "it sends nothing");

    // Another program has the port, namely this test: its name and number are reported.
    let (document, works) = judged(&doctor(&taken, &data));
    let port = about(&document, "port")[0];
    assert!(!works && port["essential"] == true && port["state"] == "lacking", "{document:#}");
    let own = format!("(process {})", std::process::id());
    assert!(port["detail"].as_str().unwrap().contains(&own), "{document:#}");

    // A disk that is mounted read-only, and one that is kept in memory.
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = |flags| mount(Some("tmpfs"), &disk, Some("tmpfs"), flags, Some("size=99m")).unwrap();
    mounted(MsFlags::empty());
    let in_memory = disk.display().to_string();
    let (document, works) = judged(&doctor("127.0.0.1:0", &in_memory));
    let found = about(&document, "disk")[0];
    assert!(works && found["state"] == "lacking" && found["essential"] == false, "{document:#}");
    mounted(MsFlags::MS_RDONLY);
    let (document, works) = judged(&doctor("127.0.0.1:0", &in_memory));
    assert!(!works && about(&document, "disk")[0]["essential"] == true, "{document:#}");
    assert!(about(&document, "disk")[0]["detail"].as_str().unwrap().contains("read-only"), "{document:#}");

    // A faulty configuration is a finding, and the machine is judged all the same.
    let file = folder.path().join("portscan.toml");
    fs::write(&file, "lissen = 1\n").unwrap();
    let options = ["doctor", "--json", "--config", file.to_str().unwrap()];
    let (document, works) = judged(&portscan.run(&options, LONG));
    assert!(!works && about(&document, "configuration")[0]["state"] == "lacking", "{document:#}");
    assert_eq!(about(&document, "neighbour table")[0]["state"], "ok");
}

#[test]
fn recognises_the_running_appliance_as_the_holder_of_its_port() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, &static_feed(&lab));
    let running = portscan.start();
    let listen = running.base().trim_start_matches("http://").to_owned();
    let file = portscan.write_config();
    let options = ["doctor", "--config", file.to_str().unwrap(), "--listen", &listen];
    let told = portscan.run(&options, LONG);
    assert!(told.status.success() && told.stdout.ends_with("\nnothing essential is lacking\n"), "{told:?}");
    let held = format!("ok           port: {listen} is held by the running appliance, portscan (process ");
    assert!(told.stdout.contains(&held), "{}", told.stdout);
    assert!(told.stdout.contains("descriptors: the appliance (process "), "{}", told.stdout);

    // The appliance judges itself as the command does.
    let options = ["doctor", "--json", "--config", file.to_str().unwrap(), "--listen", &listen];
    let (of_the_command, _) = judged(&portscan.run(&options, LONG));
    let own = running.get("/v1/doctor").json();
    let findings = |document: &Value| -> Vec<(Value, Value, Value)> {
        let all = document["findings"].as_array().unwrap_or_else(|| panic!("{document}"));
        all.iter().map(|found| ["subject", "state", "mend"].map(|key| found[key].clone()).into()).collect()
    };
    assert_eq!(findings(&own), findings(&of_the_command));
    assert_eq!(own["works"], true, "{own:#}");
    let descriptors = &about(&own, "descriptors")[0]["detail"];
    assert_eq!(descriptors, &about(&of_the_command, "descriptors")[0]["detail"]);
    running.stop();
}

//! What the appliance knows soon after its start, with nothing configured but the feed.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::Ports;

use crate::{
    harness::{Portscan, Running, eventually, scanner, static_feed},
    lab::Lab,
};

/// A quick look takes 4 s and more on a busy machine.
const QUICK: Duration = Duration::from_secs(120);

fn devices(running: &Running) -> Vec<Value> {
    running.get("/v1/hosts").json().as_array().cloned().expect("a list")
}

/// The open TCP ports of a device that are confirmed, or that are not.
fn open_ports(device: &Value, unconfirmed: bool) -> Ports {
    let ports = device["ports"].as_array().expect("ports").iter();
    let wanted = ports.filter(|port| port["unconfirmed"] == json!(unconfirmed));
    wanted.map(|port| u16::try_from(port["port"].as_u64().unwrap()).unwrap()).collect()
}

#[test]
fn open_ports_are_shown_as_unconfirmed_and_then_as_the_result_of_a_quick_look() {
    let lab = Lab::enter("near");
    let running = Portscan::new(&lab, &static_feed(&lab)).start();
    let truth = lab.truth();
    let mut early = 0;
    eventually(QUICK, "every device has a result", || {
        let devices = devices(&running);
        for device in devices.iter().filter(|device| device["scanned"].is_null()) {
            let found = open_ports(device, true);
            let address = device["address"].as_str().unwrap().parse().unwrap();
            assert!(found.is_subset(&truth[&address]), "{device}: a phantom");
            assert!(open_ports(device, false).is_empty(), "{device}: confirmed before any result");
            early += found.len();
        }
        let all = devices.len() == lab.hosts().count();
        (all && devices.iter().all(|device| !device["scanned"].is_null())).then_some(())
    });
    assert!(early > 0, "no port was shown before the first result");
    for device in devices(&running) {
        assert_eq!(device["presence"], "online", "{device}");
        assert_eq!(device["scanned"]["complete"], json!(false), "{device}");
        assert_eq!(device["scanned"]["ports"], json!(1000), "{device}");
        let mac = device["mac"].as_str().unwrap();
        let result = running.get(&format!("/portscan/{mac}/json")).json();
        assert_eq!(result["scanned_ports"], json!(1000), "{result}");
    }
    // The look at all ports is on its way.
    let scanning = eventually(QUICK, "a device is scanned whole", || {
        devices(&running)
            .into_iter()
            .map(|device| device["scanning"].clone())
            .find(|share| share["total"].as_u64().is_some_and(|total| total > 60_000))
    });
    assert!(scanning["done"].as_u64().unwrap() < 60_000, "{scanning}");
    running.stop();
}

/// Prints a table: `make first-minute`.
#[test]
#[ignore = "an hour: `make first-minute`"]
fn how_long_an_answer_takes() {
    for (scenario, is_whole) in [("school", false), ("forty", true)] {
        let lab = Lab::alone(scenario);
        let began = lab.now();
        let running = Portscan::new(&lab, &static_feed(&lab)).start();
        let count = lab.hosts().count();
        let milestones =
            ["the first open port", "every device's commonest ports", "all ports of every device"];
        let last = if is_whole { 2 } else { 1 };
        let mut reached = 0;
        eventually(Duration::from_secs(3 * 3600), milestones[last], || {
            let devices = devices(&running);
            let scanned = |device: &&Value| !device["scanned"].is_null();
            let complete = |device: &&Value| device["scanned"]["complete"] == json!(true);
            let is_reached = [
                devices.iter().any(|device| !device["ports"].as_array().unwrap().is_empty()),
                devices.iter().filter(scanned).count() == count,
                devices.iter().filter(complete).count() == count,
            ];
            while is_reached.get(reached) == Some(&true) {
                let seconds = lab.now().since(began).as_secs_f32();
                eprintln!("{scenario}: {seconds:.1} s to {}", milestones[reached]);
                reached += 1;
            }
            // Each reading is one more request to an appliance that has work to do.
            std::thread::sleep(Duration::from_millis(200));
            (reached > last).then_some(())
        });
        let peaks =
            |of: fn(&crate::lab::Stats) -> usize| lab.hosts().map(|host| of(&host.stats())).max().unwrap();
        eprintln!(
            "{scenario}: {count} devices; peak {} SYNs in 100 ms, {} in 1 s; reboots {}; processor {:.0} s; peak RSS \
             {} KB",
            peaks(|stats| stats.peak_100ms),
            peaks(|stats| stats.peak_1s),
            lab.hosts().map(|host| host.stats().reboots).sum::<usize>(),
            running.cpu().as_secs_f32(),
            running.peak_rss() / 1024,
        );
        for device in devices(&running) {
            let address = device["address"].as_str().unwrap().parse().unwrap();
            let truth = &lab.truth()[&address];
            let open = [false, true].map(|unconfirmed| open_ports(&device, unconfirmed));
            let open: Ports = open.iter().flat_map(Ports::iter).collect();
            assert!(open.is_subset(truth), "{device}: phantoms");
            if device["scanned"]["complete"] == json!(true) {
                assert_eq!(&open, truth, "{device}");
            }
        }
        running.stop();
    }
}

/// Prints what an hourly scan of the commonest ports costs: `make first-minute`.
#[test]
#[ignore = "an hour: `make first-minute`"]
fn what_the_hourly_scan_costs() {
    let lab = Lab::alone("school");
    let config = static_feed(&lab) + &scanner("common", "1d", "common");
    let running = Portscan::new(&lab, &config).start();
    let count = lab.hosts().count();
    let portscan = Portscan::new(&lab, "");
    let run = || {
        let run =
            portscan.run(&["run", "common", "--wait", "--url", running.base()], Duration::from_secs(1800));
        assert!(run.status.success(), "{}", run.stderr);
    };
    let sent = || lab.hosts().map(|host| host.stats().syns).sum::<usize>();
    // The first run creates all rows; the second finds nothing new.
    run();
    let before = (sent(), running.cpu(), running.written_to_disk(), lab.now());
    run();
    let (packets, cpu) = (sent() - before.0, running.cpu() - before.1);
    let (written, seconds) = (running.written_to_disk() - before.2, lab.now().since(before.3).as_secs_f32());
    eprintln!(
        "school: {count} devices scanned again at their commonest ports: {seconds:.1} s, {packets} SYNs, processor \
         {:.1} s, {written} bytes written, {} in a day; peak {} SYNs in 100 ms, {} in 1 s to one device; reboots {}",
        cpu.as_secs_f32(),
        written * 24,
        lab.hosts().map(|host| host.stats().peak_100ms).max().unwrap(),
        lab.hosts().map(|host| host.stats().peak_1s).max().unwrap(),
        lab.hosts().map(|host| host.stats().reboots).sum::<usize>(),
    );
    for device in devices(&running) {
        let address = device["address"].as_str().unwrap().parse().unwrap();
        let truth = &lab.truth()[&address];
        let open = open_ports(&device, false);
        assert!(open.is_subset(truth), "{device}: phantoms");
    }
    running.stop();
}

//! The cost of identification in a network of 250 devices with ten open ports each: time, packets, memory, bytes.

use std::{fs, time::Duration};

use crate::{
    harness::{Portscan, eventually, scanner, static_feed},
    lab::{Lab, Stats},
};

const DEVICES: usize = 250;

/// Ten ports that are open on each; none of them is left alone.
const OPEN: &str = "21-23,80,443,5000,6053,7000,8080,8443";

/// All ports of a device take 40 s, because its services are silent; eight devices are identified at once.
const LONG: Duration = Duration::from_secs(2 * 3600);

/// Prints the figures: `make identify-cost`.
#[test]
#[ignore = "half an hour: `make identify-cost`"]
fn two_hundred_and_fifty_devices_are_identified_gently() {
    let lab = Lab::describe(&format!(
        "[[host]]\naddress = \"10.77.1.1-{DEVICES}\"\nmac = \"02:00:00:00:01:01+\"\nopen = \"{OPEN}\"\nrtt = \"2ms\"\n"
    ));
    let config = |level: &str| {
        let identify = format!("log = \"debug\"\n{}[identify]\nlevel = \"{level}\"\n", static_feed(&lab));
        identify + &scanner("lan", "1d", OPEN)
    };
    let sum = |of: fn(&Stats) -> usize| lab.hosts().map(|host| of(&host.stats())).sum::<usize>();
    let mut portscan = Portscan::new(&lab, &config("off"));
    let running = portscan.start();
    running.wait_for_complete(DEVICES, LONG);
    let scanned = running.peak_rss() / 1024;
    running.stop();
    let database = portscan.database();
    let bytes = || fs::metadata(&database).expect("a database").len();
    let (syns, before) = (sum(|stats| stats.syns), bytes());

    portscan.set_config(&config("greetings"));
    let running = portscan.start();
    let began = lab.now();
    let identified = || running.lines().iter().filter(|line| line.contains("identified a port")).count();
    eventually(LONG, "all ports are identified", || (identified() >= DEVICES * 10).then_some(()));
    let (took, written) = (lab.now().since(began), running.written_to_disk());
    eprintln!(
        "{DEVICES} devices, {} ports: {:.0} s, {} connections, {} bytes sent to ports; {:.1} s of processor; peak RSS {} KB, of \
         the scan {scanned} KB; {written} bytes written; reboots {}",
        DEVICES * 10,
        took.as_secs_f32(),
        sum(|stats| stats.syns) - syns,
        lab.hosts().map(|host| host.stats().payload).sum::<u64>(),
        running.cpu().as_secs_f32(),
        running.peak_rss() / 1024,
        sum(|stats| stats.reboots),
    );
    running.stop();
    eprintln!("database: {before} bytes before, {} after", bytes());
    assert_eq!(lab.hosts().map(|host| host.stats().payload).sum::<u64>(), 0);
}

//! The memory of a scan of 254 devices, and of an appliance at rest.
//!
//! By default on a reduced port space; `make acceptance` scans all 65,535 (`PORTSCAN_TEST_PORTS=1-65535`).

use std::time::Duration;

use crate::{
    harness::{Portscan, scanner, static_feed},
    lab::Lab,
};

/// Twenty million probes, in a lab that answers ten thousand a second; doubled for a busy machine.
const LONG: Duration = Duration::from_secs(75 * 60);

/// The memory limits on a Pi, in bytes.
const IDLE: u64 = 13 << 20;
const SCANNING: u64 = 32 << 20;

/// How much of that the program's own pages may be, in bytes. How many of them are resident is a matter of the processor,
/// the kernel and the file system, and of unoptimised code they are three times as many: so the rest is measured here, and
/// all of it on the emulated Pi (`tests/pi.rs`).
const PROGRAM: u64 = 7 << 20;

#[test]
fn memory_is_bounded_with_254_devices() {
    let lab = Lab::alone("big");
    let ports = std::env::var("PORTSCAN_TEST_PORTS").unwrap_or_else(|_| "1-200".to_owned());
    // As fast as possible: the probes in flight are what costs memory, and T3 would take hours. The gadgets are the
    // exception, because they would not survive it.
    let gadgets = "[[device]]\nmatch = \"10.77.1.231-254\"\ntiming = \"T3\"\n";
    let lan = scanner("lan", "1d", &ports) + "timing = \"T5\"\n" + gadgets;
    let config = "max_in_flight = 1024\n".to_owned() + &static_feed(&lab) + &lan;
    let running = Portscan::new(&lab, &config).start();
    let began = lab.now();
    running.wait_for_devices(lab.hosts().count(), LONG);
    let took = lab.now().since(began);
    let peak = running.peak_own_memory();
    running.stop();
    let idle = Portscan::new(&lab, "[feed]\nurl = []\n").start();
    idle.get("/healthz");
    let resting = idle.own_memory();
    idle.stop();
    eprintln!(
        "254 devices, ports {ports}: {:.0} s, at most {} KB; idle {} KB",
        took.as_secs_f32(),
        peak / 1024,
        resting / 1024
    );
    assert!(peak <= SCANNING - PROGRAM && resting <= IDLE - PROGRAM, "{peak} bytes scanning, {resting} idle");
}

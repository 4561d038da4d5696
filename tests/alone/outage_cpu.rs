//! The processor time of waiting after an outage.

use std::{thread, time::Duration};

use crate::{
    harness::{LONG, Portscan, scanner, static_feed},
    lab::{
        Lab,
        namespace::{INTERFACE, ip},
    },
};

/// The measured part of the half minute that the appliance waits for a first answer after an outage.
const WAITING: Duration = Duration::from_secs(4);

#[test]
fn waiting_for_a_first_answer_after_an_outage_takes_little_cpu() {
    let lab = Lab::alone("near");
    let config = format!("{}{}", static_feed(&lab), scanner("lan", "1d", "20-90"));
    let running = Portscan::new(&lab, &config).start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    lab.hosts().for_each(|host| host.vanish());
    ip(&["link", "set", INTERFACE, "down"]);
    running.wait_for_line(LONG, |line| line.contains("has no link"));
    ip(&["link", "set", INTERFACE, "up"]);
    running.wait_for_line(LONG, |line| line.contains("a link is back") && line.contains("lan0"));
    assert_eq!(running.post("/v1/run").status, 202);
    let before = running.cpu();
    // This sleep is the measured period.
    thread::sleep(WAITING);
    let took = running.cpu() - before;
    eprintln!("{took:?} of a processor in {WAITING:?}");
    assert!(took < WAITING / 4, "{took:?} of a processor in {WAITING:?}");
    running.kill();
}
